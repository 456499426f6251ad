// The text of a recording, for search, jumps and export.

import type { CastEvent } from './cast'
import { plainLines } from './log-text'

// oxlint-disable-next-line no-control-regex -- escape sequences begin with a control character
const SEQUENCES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]+[0-~]|[0-~])/g
// oxlint-disable-next-line no-control-regex -- control characters are not part of a line
const CONTROLS = /[\x00-\x1f\x7f]/g
/** Characters that change the direction of the text around them. */
const BIDI = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

/** RecordedText is the text that a session showed, and when it showed each part. */
export interface RecordedText {
  text: string
  /** Where in the text the output of each event begins, and its time. */
  starts: { at: number; time: number }[]
}

/** textOf joins the output of a recording. */
export function textOf(events: readonly CastEvent[]): RecordedText {
  const starts: RecordedText['starts'] = []
  const parts: string[] = []
  let at = 0
  for (const e of events) {
    if (e.code !== 'o') continue
    const part = e.data.replaceAll(SEQUENCES, '')
    if (part === '') continue
    starts.push({ at, time: e.time })
    parts.push(part)
    at += part.length
  }
  return { text: parts.join(''), starts }
}

/** MOST limits the number of matches. */
const MOST = 1000

/** findText lists the times at which a text was shown, ignoring case. */
export function findText(recorded: RecordedText, wanted: string): number[] {
  if (wanted.trim() === '') return []
  const times: number[] = []
  const text = recorded.text.toLowerCase()
  const needle = wanted.toLowerCase()
  let start = 0
  for (let at = text.indexOf(needle); at >= 0 && times.length < MOST; at = text.indexOf(needle, at + needle.length)) {
    // A match is complete when its last character is shown.
    const end = at + needle.length - 1
    while (start + 1 < recorded.starts.length && recorded.starts[start + 1]!.at <= end) start++
    times.push(recorded.starts[start]!.time)
  }
  return times
}

/** Command is a line that was typed. */
export interface Command {
  time: number
  text: string
}

/** commandsOf lists the lines that were typed, where input was recorded. */
export function commandsOf(events: readonly CastEvent[]): Command[] {
  const commands: Command[] = []
  let line = ''
  for (const e of events) {
    if (e.code !== 'i') continue
    for (const c of e.data.replaceAll(SEQUENCES, '')) {
      if (c === '\r' || c === '\n') {
        const text = line.replaceAll(CONTROLS, '').trim()
        if (text !== '') commands.push({ time: e.time, text })
        line = ''
      } else if (c === '\x7f' || c === '\b') line = line.slice(0, -1)
      else if (c === '\x03' || c === '\x15') line = ''
      else line += c
    }
  }
  return commands
}

/** markersOf lists the events of a session besides its output: connections, copied files, restarts. */
export function markersOf(events: readonly CastEvent[]): Command[] {
  return events.flatMap((e) =>
    e.code === 'm' ? [{ time: e.time, text: e.data.replaceAll(CONTROLS, '').replaceAll(BIDI, '') }] : [],
  )
}

/** plainText returns the output as lines without terminal sequences. */
export function plainText(events: readonly CastEvent[]): string {
  const output = events.flatMap((e) => (e.code === 'o' ? [e.data] : [])).join('')
  return plainLines(output).join('\n') + '\n'
}

/** needsReturns reports whether all newlines of the output are bare, as without a terminal. */
export function needsReturns(events: readonly CastEvent[]): boolean {
  let bare = false
  for (const e of events) {
    if (e.code !== 'o') continue
    if (e.data.includes('\r')) return false
    bare ||= e.data.includes('\n')
  }
  return bare
}
