import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { ago, lasting } from '../src/format'
import { count, preferredLanguage, showLanguage, t } from '../src/i18n'
import { en } from '../src/i18n/en'
import { ja } from '../src/i18n/ja'

const names = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((m) => m[1]).toSorted()
/** Texts that are the same in both languages: names and formats. */
const SAME = new Set(['app.title', 'aspect.MFA', 'error.headed', 'nav.runCommand', 'simulator.mfa'])

function sources(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true, recursive: true })
    .filter((f) => f.isFile() && /\.tsx?$/.test(f.name))
    .map((f) => join(f.parentPath, f.name))
}

describe('the catalogues', () => {
  afterAll(() => showLanguage('en'))

  test('every text has a translation with the same values', () => {
    expect(Object.keys(ja).toSorted()).toEqual(Object.keys(en).toSorted())
    for (const [key, text] of Object.entries(en)) {
      const translated = ja[key as keyof typeof en]
      expect(translated.trim(), key).not.toBe('')
      const form = key.replace(/#one$/, '#other')
      expect(names(translated), key).toEqual(names(text))
      if (!SAME.has(form)) expect(translated, `${key} is not translated`).not.toBe(text)
    }
  })

  test('every text is used', () => {
    const code = sources(join(import.meta.dirname, '../src'))
      .filter((f) => !/i18n\/(en|ja)\.ts$/.test(f))
      .map((f) => readFileSync(f, 'utf8'))
      .join('\n')
    // Keys that are put together, such as `sessionState.${status}`.
    const families = [...code.matchAll(/`([a-zA-Z]+\.)\$\{/g)].map((m) => m[1]!)
    const unused = Object.keys(en)
      .map((key) => key.split('#')[0]!)
      .filter((key) => !code.includes(`'${key}'`) && !families.some((f) => key.startsWith(f)))
    expect(unused).toEqual([])
  })

  test('the language is chosen from the browser until the user chooses', () => {
    expect(preferredLanguage(null, ['ja-JP', 'en'])).toBe('ja')
    expect(preferredLanguage(null, ['fr', 'en-GB', 'ja'])).toBe('en')
    expect(preferredLanguage(null, ['fr'])).toBe('en')
    expect(preferredLanguage('en', ['ja'])).toBe('en')
    expect(preferredLanguage('tlh', ['ja'])).toBe('ja')
  })

  test('texts, counts and durations follow the language', async () => {
    expect(t('nodes.startOn', { node: 'web-1' })).toBe('Start session on web-1')
    expect([1, 2].map((n) => count('time.days', n))).toEqual(['1 day ago', '2 days ago'])
    await showLanguage('ja')
    expect(t('nodes.startOn', { node: 'web-1' })).toBe('web-1 でセッションを開始')
    expect([1, 2].map((n) => count('time.days', n))).toEqual(['1 日前', '2 日前'])
    expect(ago(Date.now() - 180_000, Date.now())).toBe('3 分前')
    expect(lasting(3_720_000)).toBe('1 時間 02 分')
  })
})
