// The console's texts: a catalogue for each language, and functions that look
// texts up in the catalogue of the chosen language.

import { Fragment, type ReactNode } from 'react'
import { Store } from '../store'
import type { en } from './en'

type English = typeof en

/** Catalogue has every text of the console. A missing or additional key is a compile error. */
export type Catalogue = Record<keyof English, string>

/** Language is a language that the console has a catalogue for. */
export type Language = 'en' | 'ja'

/** LANGUAGES are the languages to choose from, in their own names. */
export const LANGUAGES: { id: Language; text: string }[] = [
  { id: 'en', text: 'English' },
  { id: 'ja', text: '日本語' },
]

type Base<K> = K extends `${infer B}#${string}` ? B : K
/** PluralKey names a text that depends on a count: it has the forms KEY#one and KEY#other. */
export type PluralKey = Base<Extract<keyof English, `${string}#other`>>
/** TextKey names every other text. */
export type TextKey = Exclude<keyof English, `${string}#${string}`>

type Names<S> = S extends `${string}{${infer P}}${infer Rest}` ? P | Names<Rest> : never
/** PlainKey names a text without values. */
export type PlainKey = { [K in TextKey]: [Names<English[K]>] extends [never] ? K : never }[TextKey]
type Values<S, V> = [Names<S>] extends [never] ? [] : [values: Record<Names<S>, V>]

const KEY = 'sekisho-language'
const loaders: Record<Language, () => Promise<Catalogue>> = {
  en: () => import('./en').then((m) => m.en),
  ja: () => import('./ja').then((m) => m.ja),
}

let catalogue: Catalogue | null = null

/** language is the language that the page is shown in. */
export const language = new Store<Language>('en')

/** preferredLanguage is what the user has chosen, or else the first of the browser's languages that the console has. */
export function preferredLanguage(
  chosen: string | null = stored(),
  browser: readonly string[] = navigator.languages,
): Language {
  const known = (tag: string) => LANGUAGES.find((l) => l.id === tag.toLowerCase().split('-')[0])?.id
  return known(chosen ?? '') ?? browser.map(known).find((l) => l !== undefined) ?? 'en'
}

function stored(): string | null {
  try {
    return localStorage.getItem(KEY)
  } catch {
    return null
  }
}

/** showLanguage loads a catalogue and shows the page in its language. */
export async function showLanguage(to: Language): Promise<void> {
  catalogue = await loaders[to]()
  if (typeof document !== 'undefined') document.documentElement.lang = to
  language.set(to)
}

/** chooseLanguage switches the language and remembers the choice. */
export async function chooseLanguage(to: Language): Promise<void> {
  try {
    localStorage.setItem(KEY, to)
  } catch {
    // Without storage the choice lasts as long as the page.
  }
  await showLanguage(to)
}

function lookUp(key: keyof English): string {
  if (catalogue === null) throw new Error(`the text ${key} was used before a catalogue was loaded`)
  return catalogue[key]
}

/** fill replaces each {name} in a text. */
function fill(text: string, values: Record<string, string | number> | undefined): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values?.[name] ?? whole))
}

/** t is a text in the chosen language. */
export function t<K extends TextKey>(key: K, ...values: Values<English[K], string | number>): string {
  return fill(lookUp(key), values[0])
}

/** count is a text about a number of things, in the grammatical form that the number needs. */
export function count<K extends PluralKey>(
  key: K,
  n: number,
  ...values: [Exclude<Names<English[`${K}#other`]>, 'count'>] extends [never]
    ? []
    : [values: Record<Exclude<Names<English[`${K}#other`]>, 'count'>, string | number>]
): string {
  const form = new Intl.PluralRules(language.get()).select(n) === 'one' ? 'one' : 'other'
  const shown = new Intl.NumberFormat(language.get()).format(n)
  return fill(lookUp(`${key}#${form}` as keyof English), { ...values[0], count: shown })
}

/** rich is a text with elements in place of its {names}. */
export function rich<K extends TextKey>(key: K, ...values: Values<English[K], ReactNode>): ReactNode[] {
  const parts = lookUp(key).split(/\{(\w+)\}/)
  return parts.map((part, i) => {
    const value: ReactNode = i % 2 === 0 ? part : (values[0] as Record<string, ReactNode> | undefined)?.[part]
    return <Fragment key={i}>{value}</Fragment>
  })
}
