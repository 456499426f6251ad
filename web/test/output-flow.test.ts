import { describe, expect, test } from 'vitest'
import { OutputFlow } from '../src/output-flow'

/** A terminal that parses on request. */
function terminal(high: number, low: number) {
  const unparsed: { bytes: number; parsed: () => void }[] = []
  const flow = new OutputFlow((data, parsed) => unparsed.push({ bytes: data.length, parsed }), high, low)
  return { flow, unparsed, parse: () => unparsed.shift()!.parsed() }
}

describe('output on its way to a terminal', () => {
  test('the node may send more at once while little waits', () => {
    const { flow } = terminal(100, 50)
    expect(flow.push(new Uint8Array(100))).toBeUndefined()
    expect(flow.pending).toBe(100)
  })

  test('above the limit it waits until the terminal has parsed most of it', async () => {
    const { flow, parse } = terminal(100, 50)
    flow.push(new Uint8Array(80))
    let released = false
    const more = flow.push(new Uint8Array(80))!.then(() => (released = true))
    parse()
    await Promise.resolve()
    expect(released).toBe(false)
    parse()
    await more
    expect(flow.pending).toBe(0)
  })

  test('a node that respects its window never has more than that and the limit waiting', async () => {
    const { flow, unparsed, parse } = terminal(1000, 200)
    const window = 16
    let unacknowledged = 0
    let most = 0
    for (let sent = 0; sent < 5000;) {
      while (unacknowledged < window && sent < 5000) {
        sent++
        unacknowledged++
        const wait = flow.push(new Uint8Array(100))
        if (wait === undefined) unacknowledged--
        else void wait.then(() => unacknowledged--)
      }
      most = Math.max(most, flow.pending)
      if (unparsed.length > 0) parse()
      await Promise.resolve()
    }
    expect(most).toBeLessThanOrEqual(1000 + 100 * window)
  })
})
