// What stands in the way of a session, asked before it is started.

import * as v from 'valibot'
import { call } from './api'
import { t } from './i18n'

const check = v.object({
  Kind: v.picklist(['Access', 'Node', 'Recording', 'Logs']),
  Outcome: v.picklist(['Ready', 'Warning', 'Failing']),
  Text: v.string(),
  Hint: v.optional(v.string()),
})

/** Check is one thing that a session needs. */
export type Check = v.InferOutput<typeof check>

const windowSchema = v.object({ From: v.number(), To: v.number() })

/** Window is when policy allows the session, in seconds since 1970. */
export type Window = v.InferOutput<typeof windowSchema>

const startCheck = v.object({
  Checks: v.array(check),
  Ready: v.boolean(),
  /** None where the time makes no difference. */
  Windows: v.optional(v.array(windowSchema)),
  /** A fresh second factor would lift the denial. */
  SecondFactor: v.optional(v.boolean()),
  ReasonRequired: v.optional(v.boolean()),
  ReasonPattern: v.optional(v.string()),
})

/** StartCheck says what a session on a node would need. */
export type StartCheck = v.InferOutput<typeof startCheck>

/** checkStart asks how a session on a node would stand that started now. */
export async function checkStart(node: string, background = true): Promise<StartCheck> {
  return call('Sekisho.CheckSessionStart', { Target: node }, startCheck, background)
}

/** refusalOf names the action that policy does not allow, for the button that cannot be pressed; '' when it does. */
export function refusalOf(c: StartCheck | null): string {
  if (c?.SecondFactor === true) return '' // it is asked for when the session starts
  if (!c?.Checks.some((x) => x.Kind === 'Access' && x.Outcome === 'Failing')) return ''
  return (c.Windows ?? []).length > 0 ? t('start.deniedNow') : t('start.denied')
}

/** windowText says when a permission opens and closes, in the viewer's own zone and language. */
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

/** nextTurn is when the answer changes by the hour alone; 0 for never. */
export function nextTurn(windows: Window[] | undefined, now: number): number {
  const turns = (windows ?? []).flatMap((w) => [w.From, w.To]).filter((at) => at > now)
  return turns.length === 0 ? 0 : Math.min(...turns)
}
