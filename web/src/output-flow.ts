// Output on its way to a terminal. The terminal parses it in slices between other events. The output that
// waits is bounded: above the limit, the page does not acknowledge more until the terminal has caught up.

/** Write gives output to a terminal, which calls parsed when it has processed it. */
export type Write = (data: Uint8Array, parsed: () => void) => void

/** HIGH is how many bytes may wait before acknowledgements are held back. */
export const HIGH = 512 * 1024
/** LOW is how many bytes wait when acknowledgements continue. */
export const LOW = 128 * 1024

/** OutputFlow passes output to a terminal. */
export class OutputFlow {
  /** Bytes that the terminal has not parsed yet. */
  pending = 0
  private held: (() => void)[] = []

  constructor(
    private readonly write: Write,
    private readonly high = HIGH,
    private readonly low = LOW,
  ) {}

  /** push passes output on. The promise, if there is one, is fulfilled when the node may send more. */
  push(data: Uint8Array): void | Promise<void> {
    this.pending += data.length
    this.write(data, () => this.parsed(data.length))
    if (this.pending <= this.high) return
    return new Promise((release) => this.held.push(release))
  }

  private parsed(bytes: number): void {
    this.pending -= bytes
    if (this.pending > this.low) return
    const held = this.held
    this.held = []
    for (const release of held) release()
  }
}
