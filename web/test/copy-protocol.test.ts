import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { CopyError, frame, Frames, receiveFile, sendFile } from '../src/copy-protocol'

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** The node's side: what it was sent, as frames, and a way to answer. */
function node() {
  const toBrowser = new Frames()
  const toNode = new Frames()
  const send = (data: Uint8Array) => {
    // In pieces, as the network may have it.
    for (let i = 0; i < data.length; i += 7) toNode.push(data.slice(i, i + 7))
    return Promise.resolve()
  }
  const say = (kind: string, body: object | Uint8Array = new Uint8Array(0)) => toBrowser.push(frame(kind, body))
  return { toBrowser, toNode, send, say }
}

const source = (name: string, content: Uint8Array) => ({
  name,
  size: content.length,
  lastModified: 1_700_000_000_123,
  slice: (from: number, to: number) => ({
    arrayBuffer: () => Promise.resolve(Uint8Array.from(content.slice(from, to)).buffer),
  }),
})

const reason = async (copy: Promise<unknown>) => {
  const error = await copy.then(
    () => null,
    (e: unknown) => e,
  )
  expect(error).toBeInstanceOf(CopyError)
  return (error as CopyError).reason
}

describe('an upload', () => {
  const content = new Uint8Array(200_000).map((_, i) => i % 251)

  test('sends the file, its digest and its time in nanoseconds', async () => {
    const n = node()
    const progress: number[] = []
    const copy = sendFile(source('a.txt', content), n.send, n.toBrowser, (done) => progress.push(done))
    expect(JSON.parse(text(await n.toNode.want('h')))).toEqual({ version: 1, name: 'a.txt', dir: false })
    expect(text(await n.toNode.want('e'))).toContain('"mtime":1700000000123000000')
    n.say('o', { offset: 0 })
    expect(JSON.parse(text(await n.toNode.want('b')))).toEqual({ offset: 0 })
    const got: number[] = []
    let f = await n.toNode.next()
    for (; f.kind === 'd'; f = await n.toNode.next()) {
      expect(f.body.length).toBeLessThanOrEqual(64 * 1024)
      got.push(...f.body)
    }
    expect(got.length).toBe(content.length)
    expect(JSON.parse(text(f.body))).toEqual({ sha256: sha256(content) })
    n.say('a')
    await n.toNode.want('q')
    n.say('q')
    await copy
    expect(progress.at(-1)).toBe(content.length)
  })

  test('stops with the reason that the node gives', async () => {
    const n = node()
    const copy = sendFile(source('a.txt', content), n.send, n.toBrowser, () => {})
    n.say('x', { text: 'no space left on device' })
    await expect(copy).rejects.toThrow('no space left on device')
    expect(await reason(copy)).toBe('node')
  })

  test('stops when the session ends', async () => {
    const n = node()
    const copy = sendFile(source('a.txt', content), n.send, n.toBrowser, () => {})
    n.toBrowser.fail(new CopyError('ended', ''))
    expect(await reason(copy)).toBe('ended')
  })
})

describe('a download', () => {
  const content = new Uint8Array(1000).map((_, i) => i % 7)
  const begin = (n: ReturnType<typeof node>, size: number, dir = false) => {
    n.say('h', { version: 1, name: '../../evil', dir })
    n.say('e', { path: '', dir: false, mode: 420, mtime: 1, size })
    n.say('b', { offset: 0 })
  }

  test('returns what the node sent, after it has checked the digest', async () => {
    const n = node()
    begin(n, content.length)
    n.say('d', content.slice(0, 400))
    n.say('d', content.slice(400))
    n.say('z', { sha256: sha256(content) })
    n.say('q')
    const parts = await receiveFile(n.send, n.toBrowser, 1000, () => {})
    expect(Buffer.concat(parts).equals(content)).toBe(true)
    expect(JSON.parse(text(await n.toNode.want('o')))).toEqual({ offset: 0 })
    await n.toNode.want('a')
  })

  test.each([
    ['a folder', 'folder', (n: ReturnType<typeof node>) => begin(n, 0, true)],
    ['a file that is too large', 'size', (n: ReturnType<typeof node>) => begin(n, 1001)],
    [
      'a file with another digest',
      'digest',
      (n: ReturnType<typeof node>) => {
        begin(n, 3)
        n.say('d', content.slice(0, 3))
        n.say('z', { sha256: sha256(content) })
      },
    ],
    [
      'more data than was announced',
      'protocol',
      (n: ReturnType<typeof node>) => {
        begin(n, 3)
        n.say('d', content.slice(0, 4))
      },
    ],
    [
      'an oversized frame',
      'protocol',
      (n: ReturnType<typeof node>) => n.toBrowser.push(Uint8Array.of(100, 1, 0, 0, 0)),
    ],
    ['a malformed frame', 'protocol', (n: ReturnType<typeof node>) => n.say('h', new Uint8Array([123]))],
  ] as const)('%s is refused', async (_, why, say) => {
    const n = node()
    say(n)
    expect(await reason(receiveFile(n.send, n.toBrowser, 1000, () => {}))).toBe(why)
  })
})
