// Playback moves through a recording and draws on a screen. It has no clock: its owner
// passes the elapsed time.

import { clampSize, type Cast } from './cast'

/** Screen is what a recording is drawn on. */
export interface Screen {
  /** Clears everything and takes a size. */
  reset(cols: number, rows: number): void
  resize(cols: number, rows: number): void
  write(data: string): void
}

/** Pauses longer than this many seconds are cut to it when idle time is skipped. */
export const IDLE_LIMIT = 1.5

/** Playback is a position in a recording. */
export class Playback {
  /** Seconds since the start. */
  position = 0
  speed = 1
  skipIdle = true
  private next = 0
  private drawn = false
  /** How much of the current pause has been shown. */
  private idled = 0

  constructor(
    private readonly cast: Cast,
    private readonly screen: Screen,
  ) {}

  get duration(): number {
    return this.cast.duration
  }

  get atEnd(): boolean {
    return this.next >= this.cast.events.length && this.position >= this.duration
  }

  /** pace sets how fast it plays, and whether pauses are cut short. */
  pace(speed: number, skipIdle: boolean): void {
    this.speed = speed
    this.skipIdle = skipIdle
  }

  /** start draws the empty first screen. */
  start(): void {
    this.seek(0)
  }

  /** advance plays on by so many seconds of the watcher's time. */
  advance(seconds: number): void {
    let left = seconds * this.speed
    while (left > 0) {
      const event = this.cast.events[this.next]
      if (event === undefined) {
        this.position = Math.min(this.duration, this.position + left)
        return
      }
      const gap = event.time - this.position
      if (this.skipIdle) {
        const shown = Math.max(0, IDLE_LIMIT - this.idled)
        if (gap > shown && left >= shown) {
          // The pause has been long enough.
          this.position = event.time
          left -= shown
          this.idled = 0
          this.drawUntil(event.time)
          continue
        }
      }
      if (gap > left) {
        this.position += left
        this.idled += left
        return
      }
      left -= Math.max(0, gap)
      this.position = event.time
      this.idled = 0
      this.drawUntil(event.time)
    }
  }

  /** seek goes to a position, drawing what a watcher would have seen by then. */
  seek(position: number): void {
    const to = Math.min(Math.max(0, position), this.duration)
    if (to < this.position || !this.drawn) {
      this.drawn = true
      const h = this.cast.header
      this.screen.reset(h?.cols ?? 80, h?.rows ?? 24)
      this.next = 0
    }
    this.position = to
    this.idled = 0
    this.drawUntil(to)
  }

  private drawUntil(time: number): void {
    let pending: string[] = []
    const flush = () => {
      if (pending.length > 0) this.screen.write(pending.join(''))
      pending = []
    }
    for (;;) {
      const event = this.cast.events[this.next]
      if (event === undefined || event.time > time) break
      this.next++
      if (event.code === 'o') pending.push(event.data)
      else if (event.code === 'r') {
        const size = /^(\d+)x(\d+)$/.exec(event.data)
        if (size) {
          flush()
          const { cols, rows } = clampSize(Number(size[1]), Number(size[2]))
          this.screen.resize(cols, rows)
        }
      }
    }
    flush()
  }
}
