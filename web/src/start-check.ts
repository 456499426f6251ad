// Checks whether a session could start, before it is started.

import * as v from 'valibot'
import { call } from './api'
import { t } from './i18n'

const check = v.object({
  Kind: v.picklist(['Access', 'Node', 'Recording', 'Logs']),
  Outcome: v.picklist(['Ready', 'Warning', 'Failing']),
  Text: v.string(),
  Hint: v.optional(v.string()),
})

/** Check is one requirement of a session, and whether it is met. */
export type Check = v.InferOutput<typeof check>

const windowSchema = v.object({ From: v.number(), To: v.number() })

/** Window is a period in which policy allows the session, in seconds since 1970. */
export type Window = v.InferOutput<typeof windowSchema>

const startCheck = v.object({
  Checks: v.array(check),
  Ready: v.boolean(),
  /** Missing if the time makes no difference. */
  Windows: v.optional(v.array(windowSchema)),
  /** A fresh second factor would lift the denial. */
  SecondFactor: v.optional(v.boolean()),
  ReasonRequired: v.optional(v.boolean()),
  ReasonPattern: v.optional(v.string()),
})

/** StartCheck is the result of checking all requirements of a session. */
export type StartCheck = v.InferOutput<typeof startCheck>

/** checkStart checks whether a session on a node could start now. */
export async function checkStart(node: string, background = true): Promise<StartCheck> {
  return call('Sekisho.CheckSessionStart', { Target: node }, startCheck, background)
}

/** refusalOf says which action policy denies, for the disabled start button; '' if none. */
export function refusalOf(c: StartCheck | null): string {
  if (c?.SecondFactor === true) return '' // the start of the session asks for it
  if (!c?.Checks.some((x) => x.Kind === 'Access' && x.Outcome === 'Failing')) return ''
  return (c.Windows ?? []).length > 0 ? t('start.deniedNow') : t('start.denied')
}

/** windowText says when a permission begins and ends, in the viewer's time zone and language. */
export function windowText(windows: Window[] | undefined, now: number, zone?: string, language?: string): string {
  if (windows === undefined || windows.length === 0) return ''
  const format = (options: Intl.DateTimeFormatOptions) => {
    const f = new Intl.DateTimeFormat(language, { ...options, timeZone: zone })
    return (at: number) => f.format(at * 1000)
  }
  const whole = format({ dateStyle: 'medium', timeStyle: 'short' })
  const hour = format({ timeStyle: 'short' })
  const day = format({ dateStyle: 'short' })
  const name = zone ?? Intl.DateTimeFormat().resolvedOptions().timeZone
  const open = windows.find((w) => w.From <= now && now < w.To)
  if (open !== undefined) return t('start.until', { time: whole(open.To), zone: name })
  const next = windows.filter((w) => w.From > now).slice(0, 3)
  if (next.length === 0) return ''
  const spans = next.map((w) =>
    t('start.span', { from: whole(w.From), to: day(w.From) === day(w.To) ? hour(w.To) : whole(w.To) }),
  )
  return t('start.from', { spans: spans.join(t('start.then')), zone: name })
}

/** nextTurn is the next time at which a window begins or ends; 0 for never. */
export function nextTurn(windows: Window[] | undefined, now: number): number {
  const turns = (windows ?? []).flatMap((w) => [w.From, w.To]).filter((at) => at > now)
  return turns.length === 0 ? 0 : Math.min(...turns)
}
