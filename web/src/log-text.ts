// Logs of sessions as people read them: without what only terminals
// understand, line by line.

import type { LogEvent } from './log-groups'

/** Line is one line of a log; its time where the log has it. */
export interface Line {
  at?: number
  text: string
}

// eslint-disable-next-line no-control-regex -- they are what is looked for
const SEQUENCES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]+[0-~]|[0-~])/g

/** plainLines are the lines of what a terminal was sent. */
export function plainLines(text: string): string[] {
  const lines = text.replaceAll(SEQUENCES, '').split('\n').map(plainLine)
  if (lines.length > 0 && lines[lines.length - 1] === '') lines.pop()
  return lines
}

/** plainLine does what a carriage return and a backspace do, and drops the rest. */
function plainLine(line: string): string {
  const out: string[] = []
  let at = 0
  for (const c of line.replace(/\r+$/, '')) {
    if (c === '\r') at = 0
    else if (c === '\b') at = Math.max(0, at - 1)
    else if (c >= ' ' || c === '\t') {
      if (c !== '\x7f') out[at++] = c
    }
  }
  return out.join('')
}

/** readable turns the events of a stream into lines: records that were streamed, or a text in pieces. */
export function readable(events: LogEvent[]): Line[] {
  const out: Line[] = []
  let text = ''
  const flush = () => {
    out.push(...plainLines(text).map((t) => ({ text: t })))
    text = ''
  }
  for (const e of events) {
    const record = recordOf(e.message)
    if (record === null) {
      text += e.message
      continue
    }
    flush()
    out.push(...record.lines.map((l) => ({ at: record.at || e.at, text: plainLines(l)[0] ?? '' })))
  }
  flush()
  return out
}

function recordOf(message: string): { at: number; lines: string[] } | null {
  if (!message.startsWith('{')) return null
  try {
    const r = JSON.parse(message) as { eventTime?: unknown; sessionData?: unknown }
    if (!Array.isArray(r.sessionData)) return null
    return { at: typeof r.eventTime === 'string' ? Date.parse(r.eventTime) || 0 : 0, lines: r.sessionData.map(String) }
  } catch {
    return null
  }
}

/** bytes writes a size. */
export function bytes(n: number): string {
  if (n < 1024) return `${n} B`
  const units = ['KiB', 'MiB', 'GiB', 'TiB']
  let i = -1
  let v = n
  do {
    v /= 1024
    i++
  } while (v >= 1024 && i < units.length - 1)
  return `${v < 10 ? v.toFixed(1) : Math.round(v)} ${units[i]}`
}
