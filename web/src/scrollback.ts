// The last output of a terminal, as bytes.

const NEWLINE = 10

/** Scrollback keeps the last bytes of an output, up to a limit. */
export class Scrollback {
  private chunks: Uint8Array[] = []
  private size = 0
  private whole = true

  constructor(private readonly limit: number) {}

  push(data: Uint8Array): void {
    this.chunks.push(data)
    this.size += data.length
    while (this.size - this.chunks[0]!.length >= this.limit) {
      this.size -= this.chunks.shift()!.length
      this.whole = false
    }
  }

  /** bytes returns at most this many of the last bytes. If it omits any, it starts at a line. */
  bytes(most = this.limit): Uint8Array {
    const all = new Uint8Array(this.size)
    let at = 0
    for (const c of this.chunks) {
      all.set(c, at)
      at += c.length
    }
    most = Math.min(most, this.limit)
    if (this.whole && all.length <= most) return all
    const last = all.subarray(Math.max(0, all.length - most))
    return last.subarray(last.indexOf(NEWLINE) + 1)
  }
}
