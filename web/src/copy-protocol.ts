// The protocol of sekisho cp (internal/session/transfer) for one file, as a browser needs it: frames of
// a kind, four bytes of length and a body. The two sides take turns.

import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import * as v from 'valibot'

const KIND = {
  hello: 'h',
  entry: 'e',
  offer: 'o',
  begin: 'b',
  data: 'd',
  end: 'z',
  accepted: 'a',
  note: 'n',
  done: 'q',
  error: 'x',
} as const

const VERSION = 1
const HEAD = 5
/** The largest body of a frame, in bytes. */
const MAX_BODY = 64 * 1024
const MODE = 0o644

/** Wire carries frames to the node. */
export type Send = (data: Uint8Array) => Promise<void>

/** CopyError is the end of a copy that failed. */
export class CopyError extends Error {
  override name = 'CopyError'
  constructor(
    /** The node refused or failed; the message is its own. Or the other side broke the protocol. */
    readonly reason: 'node' | 'protocol' | 'folder' | 'size' | 'digest' | 'cancelled' | 'ended' | 'agent',
    message: string,
  ) {
    super(message)
  }
}

const utf8 = new TextEncoder()

/** frame writes a frame. */
export function frame(kind: string, body: Uint8Array | object = {}): Uint8Array<ArrayBuffer> {
  const bytes = body instanceof Uint8Array ? body : utf8.encode(JSON.stringify(body))
  const out = new Uint8Array(HEAD + bytes.length)
  out[0] = kind.charCodeAt(0)
  new DataView(out.buffer).setUint32(1, bytes.length)
  out.set(bytes, HEAD)
  return out
}

const EMPTY = new Uint8Array(0)

/** Frames splits what the node sends into frames. */
export class Frames {
  private buffer = EMPTY
  private waiting: { kind: string; body: Uint8Array }[] = []
  private reader: { resolve: (f: { kind: string; body: Uint8Array }) => void; reject: (e: Error) => void } | null = null
  private failure: Error | null = null

  push(data: Uint8Array): void {
    const all = new Uint8Array(this.buffer.length + data.length)
    all.set(this.buffer)
    all.set(data, this.buffer.length)
    let at = 0
    while (all.length - at >= HEAD) {
      const length = new DataView(all.buffer).getUint32(at + 1)
      if (length > MAX_BODY) {
        this.fail(new CopyError('protocol', `frame of ${length} bytes`))
        return
      }
      if (all.length - at < HEAD + length) break
      this.deliver({ kind: String.fromCharCode(all[at]!), body: all.slice(at + HEAD, at + HEAD + length) })
      at += HEAD + length
    }
    this.buffer = all.slice(at)
  }

  private deliver(f: { kind: string; body: Uint8Array }): void {
    if (this.reader === null) this.waiting.push(f)
    else {
      const { resolve } = this.reader
      this.reader = null
      resolve(f)
    }
  }

  /** fail ends the reading, after the frames that have arrived. */
  fail(error: Error): void {
    this.failure ??= error
    this.reader?.reject(error)
    this.reader = null
  }

  /** arrived reports whether a frame, or the end, has arrived and was not read. */
  get arrived(): boolean {
    return this.waiting.length > 0 || this.failure !== null
  }

  /** next returns the next frame; an error frame is thrown. */
  async next(): Promise<{ kind: string; body: Uint8Array }> {
    const f = this.waiting.shift()
    if (f === undefined && this.failure !== null) throw this.failure
    const got =
      f ??
      (await new Promise<{ kind: string; body: Uint8Array }>((resolve, reject) => (this.reader = { resolve, reject })))
    if (got.kind === KIND.error) throw new CopyError('node', read(got.body, v.object({ text: v.string() })).text)
    return got
  }

  /** want is next for a frame of one kind. */
  async want(kind: string): Promise<Uint8Array> {
    const f = await this.next()
    if (f.kind !== kind) throw new CopyError('protocol', `unexpected frame ${JSON.stringify(f.kind)}`)
    return f.body
  }
}

async function unexpected(frames: Frames): Promise<CopyError> {
  const f = await frames.next()
  return new CopyError('protocol', `unexpected frame ${JSON.stringify(f.kind)}`)
}

function read<S extends v.GenericSchema>(body: Uint8Array, schema: S): v.InferOutput<S> {
  try {
    return v.parse(schema, JSON.parse(new TextDecoder().decode(body)))
  } catch {
    throw new CopyError('protocol', 'malformed frame')
  }
}

/** Source is a file to upload. */
export interface Source {
  name: string
  size: number
  lastModified: number
  slice(from: number, to: number): { arrayBuffer(): Promise<ArrayBuffer> }
}

/** sendFile uploads a file. */
export async function sendFile(
  source: Source,
  send: Send,
  frames: Frames,
  progress: (done: number) => void,
): Promise<void> {
  await send(frame(KIND.hello, { version: VERSION, name: source.name, dir: false }))
  const mtime = `${Math.round(source.lastModified)}000000` // nanoseconds exceed the integers of JavaScript
  const entry = JSON.stringify({ path: '', dir: false, mode: MODE, mtime: 0, size: source.size })
  await send(frame(KIND.entry, utf8.encode(entry.replace('"mtime":0', `"mtime":${mtime}`))))
  await frames.want(KIND.offer) // what the node has of the file is sent again
  await send(frame(KIND.begin, { offset: 0 }))
  const sum = sha256.create()
  for (let at = 0; at < source.size;) {
    const piece = new Uint8Array(await source.slice(at, Math.min(source.size, at + MAX_BODY)).arrayBuffer())
    if (piece.length === 0) throw new CopyError('size', 'the file became shorter')
    sum.update(piece)
    if (frames.arrived) throw await unexpected(frames) // the node failed and says why
    await send(frame(KIND.data, piece))
    at += piece.length
    progress(at)
  }
  await send(frame(KIND.end, { sha256: bytesToHex(sum.digest()) }))
  await frames.want(KIND.accepted)
  await send(frame(KIND.done, EMPTY))
  await frames.want(KIND.done)
}

/** receiveFile downloads a file of at most so many bytes. Folders are refused. */
export async function receiveFile(
  send: Send,
  frames: Frames,
  most: number,
  progress: (done: number, size: number) => void,
): Promise<Uint8Array<ArrayBuffer>[]> {
  const refuse = async (reason: 'folder' | 'size' | 'digest' | 'protocol', message: string) => {
    await send(frame(KIND.error, { text: message }))
    return new CopyError(reason, message)
  }
  const hello = read(await frames.want(KIND.hello), v.object({ version: v.literal(VERSION), dir: v.boolean() }))
  if (hello.dir) throw await refuse('folder', 'the console downloads single files')
  const { size } = read(await frames.want(KIND.entry), v.object({ size: v.pipe(v.number(), v.minValue(0)) }))
  if (size > most) throw await refuse('size', `the console downloads at most ${most} bytes`)
  await send(frame(KIND.offer, { offset: 0 }))
  await frames.want(KIND.begin)
  const sum = sha256.create()
  const parts: Uint8Array<ArrayBuffer>[] = []
  let done = 0
  for (;;) {
    const f = await frames.next()
    if (f.kind === KIND.end) {
      const end = read(f.body, v.object({ sha256: v.string() }))
      if (done !== size || end.sha256 !== bytesToHex(sum.digest()))
        throw await refuse('digest', 'the file arrived damaged')
      break
    }
    if (f.kind !== KIND.data || done + f.body.length > size) throw await refuse('protocol', 'unexpected data')
    sum.update(f.body)
    parts.push(Uint8Array.from(f.body))
    done += f.body.length
    progress(done, size)
  }
  await send(frame(KIND.accepted, EMPTY))
  await frames.want(KIND.done)
  await send(frame(KIND.done, EMPTY))
  return parts
}
