// What stands in the way of a session, asked before it is started.

import { call } from './api'

/** Check is one thing that a session needs. */
export interface Check {
  Kind: 'Access' | 'Node' | 'Recording' | 'Logs'
  Outcome: 'Ready' | 'Warning' | 'Failing'
  Text: string
  Hint?: string
}

/** Window is when policy allows the session, in seconds since 1970. */
export interface Window {
  From: number
  To: number
}

/** StartCheck is how a session on a node would stand. */
export interface StartCheck {
  Checks: Check[]
  Ready: boolean
  /** None where the time makes no difference. */
  Windows?: Window[]
  ReasonRequired?: boolean
  ReasonPattern?: string
}

/** checkStart asks how a session on a node would stand that started now. */
export async function checkStart(node: string, background = true): Promise<StartCheck> {
  return call<StartCheck>('Sekisho.CheckSessionStart', { Target: node }, background)
}

/** refusalOf names the action that policy does not allow, for the button that cannot be pressed; '' when it does. */
export function refusalOf(c: StartCheck | null): string {
  if (!c?.Checks.some((x) => x.Kind === 'Access' && x.Outcome === 'Failing')) return ''
  return (c.Windows ?? []).length > 0
    ? 'The action ssm:StartSession is not allowed on this node at this time.'
    : 'The action ssm:StartSession is missing on this node.'
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
  if (open !== undefined) return `Policy allows it until ${whole(open.To)} (${name}).`
  const next = windows.filter((w) => w.From > now).slice(0, 3)
  if (next.length === 0) return ''
  const spans = next.map((w) => `${whole(w.From)} to ${day(w.From) === day(w.To) ? hour(w.To) : whole(w.To)}`)
  return `Policy allows it from ${spans.join(', then from ')} (${name}).`
}

/** nextTurn is when the answer changes by the hour alone; 0 for never. */
export function nextTurn(windows: Window[] | undefined, now: number): number {
  const turns = (windows ?? []).flatMap((w) => [w.From, w.To]).filter((t) => t > now)
  return turns.length === 0 ? 0 : Math.min(...turns)
}
