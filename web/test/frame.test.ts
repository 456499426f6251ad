import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { decode, encode, FrameError, MAX_FRAME, newMessageId, type Frame } from '../src/frame'
import { sha256 } from '@noble/hashes/sha2.js'

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'))
const hex = (b: Uint8Array) => Buffer.from(b).toString('hex')

// An agent's first prompt, laid out byte by byte by hand from a captured
// frame: created 1795433853506, message 1308e652-2ecc-44b4-9207-d6e1096ab492,
// payload "$ ".
const prompt =
  '00000074' +
  '6f75747075745f73747265616d5f646174612020202020202020202020202020' +
  '00000001' +
  '000001a208327242' +
  '0000000000000000' +
  '0000000000000001' +
  '9207d6e1096ab492' +
  '1308e6522ecc44b4' +
  'e5b111ba26d5bb1cc89d8a3d74fad4cf1ebd5701c29877969c322b456d0784a3' +
  '00000001' +
  '00000002' +
  '2420'

const promptFrame: Frame = {
  messageType: 'output_stream_data',
  schemaVersion: 1,
  createdDate: 1795433853506,
  sequenceNumber: 0,
  flags: 1,
  messageId: '1308e652-2ecc-44b4-9207-d6e1096ab492',
  payloadType: 1,
  payload: bytes('2420'),
}

describe('sha256', () => {
  it.each([0, 1, 55, 56, 63, 64, 65, 119, 120, 1024, 5000])('agrees with the platform for %d bytes', (n) => {
    const data = Uint8Array.from({ length: n }, (_, i) => (i * 31 + n) & 0xff)
    expect(hex(sha256(data))).toBe(createHash('sha256').update(data).digest('hex'))
  })
})

describe('frame', () => {
  it('decodes what an agent sends', () => {
    expect(decode(bytes(prompt))).toEqual(promptFrame)
  })

  it('encodes the same bytes', () => {
    expect(hex(encode(promptFrame))).toBe(prompt)
  })

  it('reads NUL padding', () => {
    expect(decode(bytes(prompt.replace('20'.repeat(14), '00'.repeat(14)))).messageType).toBe('output_stream_data')
  })

  it('reads the short header of some channel_closed frames', () => {
    const body = '{"Output":"bye"}'
    const frame = encode({
      ...promptFrame,
      messageType: 'channel_closed',
      payloadType: 0,
      payload: Buffer.from(body),
    })
    const short = new Uint8Array(frame.length - 4)
    short.set(frame.subarray(0, 112))
    short.set(frame.subarray(116), 112)
    new DataView(short.buffer).setUint32(0, 112)
    const got = decode(short)
    expect(got.messageType).toBe('channel_closed')
    expect(Buffer.from(got.payload).toString()).toBe(body)
  })

  it('keeps 53-bit sequence numbers', () => {
    const f = { ...promptFrame, sequenceNumber: Number.MAX_SAFE_INTEGER }
    expect(decode(encode(f)).sequenceNumber).toBe(Number.MAX_SAFE_INTEGER)
  })

  it.each<[string, (b: Uint8Array) => Uint8Array]>([
    ['empty', () => new Uint8Array()],
    ['cut inside the header', (b) => b.slice(0, 119)],
    ['a header length past the end', (b) => (new DataView(b.buffer).setUint32(0, 0xffffff00), b)],
    ['a header length of zero', (b) => (new DataView(b.buffer).setUint32(0, 0), b)],
    ['a lying payload length', (b) => (new DataView(b.buffer).setUint32(116, 3), b)],
    ['a damaged payload', (b) => ((b[120] = 0x25), b)],
    ['a damaged digest', (b) => ((b[80]! ^= 1), b)],
    ['an empty message type', (b) => (b.fill(0x20, 4, 36), b)],
    ['a created date of zero', (b) => (b.fill(0, 40, 48), b)],
    ['a negative sequence number', (b) => (b.fill(0xff, 48, 56), b)],
    ['too large', () => new Uint8Array(MAX_FRAME + 1)],
  ])('refuses %s', (_, damage) => {
    expect(() => decode(damage(bytes(prompt)))).toThrow(FrameError)
  })

  it('mints version 4 UUIDs', () => {
    expect(newMessageId()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(newMessageId()).not.toBe(newMessageId())
  })
})
