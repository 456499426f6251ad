// The last of what a terminal showed, as the bytes that drew it.

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

  /** bytes are the last ones, at most so many; what is cut off ends with a line. */
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
