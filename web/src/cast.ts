// Reads asciicast recordings: version 3, and version 2 for old ones. A
// recording arrives in pages that may cut a line, or even a character.

/** CastHeader holds the members of the first line that a player needs. */
export interface CastHeader {
  version: number
  cols: number
  rows: number
  /** Milliseconds since 1970; 0 when the recording does not say. */
  startedAt: number
}

/** CastEvent is one event: o output, i input, r resize, m marker, x exit. */
export interface CastEvent {
  /** Seconds since the start. */
  time: number
  code: string
  data: string
}

/** CastError describes a fault in a recording, with its line. */
export class CastError extends Error {
  override name = 'CastError'
}

const MAX_LINE = 16 << 20

/** ENCRYPTED is the marker of a session whose content the server could not see. */
const ENCRYPTED = 'encrypted end to end: the server cannot see or record content from here on'

/** Cast is the part of a recording that has been read. */
export class Cast {
  header: CastHeader | null = null
  readonly events: CastEvent[] = []
  /** Agent and client encrypted the session end to end. */
  encrypted = false
  private readonly decoder = new TextDecoder()
  private rest = ''
  private line = 0
  private time = 0

  /** Seconds from the start to the last event. */
  get duration(): number {
    return this.time
  }

  /** push reads one page of bytes. */
  push(bytes: Uint8Array): void {
    this.rest += this.decoder.decode(bytes, { stream: true })
    const lines = this.rest.split('\n')
    this.rest = lines.pop()!
    if (this.rest.length > MAX_LINE) throw new CastError(`line ${this.line + 1} is too long`)
    for (const l of lines) this.read(l)
  }

  private read(line: string): void {
    this.line++
    // Version 3 allows comments and empty lines anywhere.
    if (line.trim() === '' || line.startsWith('#')) return
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch {
      throw new CastError(`line ${this.line} is not JSON`)
    }
    if (this.header === null) {
      this.header = readHeader(value)
      return
    }
    if (!Array.isArray(value)) throw new CastError(`line ${this.line} is not an event`)
    const [time, code, data] = value as unknown[]
    if (typeof time !== 'number' || !(time >= 0) || typeof code !== 'string') {
      throw new CastError(`line ${this.line} is not an event`)
    }
    // Version 3 counts from the previous event, version 2 from the start.
    this.time = this.header.version === 3 ? this.time + time : Math.max(this.time, time)
    const event = { time: this.time, code, data: typeof data === 'string' ? data : String(data ?? '') }
    this.encrypted ||= code === 'm' && event.data === ENCRYPTED
    this.events.push(event)
  }
}

function readHeader(value: unknown): CastHeader {
  const h = (value ?? {}) as {
    version?: unknown
    width?: unknown
    height?: unknown
    timestamp?: unknown
    term?: { cols?: unknown; rows?: unknown }
  }
  if (h.version !== 2 && h.version !== 3) throw new CastError('this is not an asciicast recording of version 2 or 3')
  const cols = h.version === 3 ? h.term?.cols : h.width
  const rows = h.version === 3 ? h.term?.rows : h.height
  return {
    version: h.version,
    ...clampSize(Number(cols), Number(rows)),
    startedAt: typeof h.timestamp === 'number' ? h.timestamp * 1000 : 0,
  }
}

/** clampSize keeps a recorded size within what a terminal can show. */
export function clampSize(cols: number, rows: number): { cols: number; rows: number } {
  const fit = (n: number, fallback: number, max: number) =>
    Number.isFinite(n) && n >= 1 ? Math.min(Math.floor(n), max) : fallback
  return { cols: fit(cols, 80, 1000), rows: fit(rows, 24, 500) }
}
