// The message frame of the data channel: one binary WebSocket message.
//
//    0  HeaderLength   u32   116; some senders 112 and no PayloadType
//    4  MessageType    32 B  ASCII, padded with spaces or NULs
//   36  SchemaVersion  u32   1
//   40  CreatedDate    u64   milliseconds since 1970; never 0
//   48  SequenceNumber i64
//   56  Flags          u64
//   64  MessageId      16 B  UUID, its two halves swapped
//   80  PayloadDigest  32 B  SHA-256 of the payload
//  112  PayloadType    u32
//  116  PayloadLength  u32
//  120  Payload
//
// Every integer is big-endian.

import { sha256 } from '@noble/hashes/sha2.js'

/** The message types a client leg sends or receives. */
export const MessageType = {
  input: 'input_stream_data',
  output: 'output_stream_data',
  acknowledge: 'acknowledge',
  channelClosed: 'channel_closed',
  startPublication: 'start_publication',
  pausePublication: 'pause_publication',
} as const

/** The payload types of stream data. */
export const PayloadType = {
  none: 0,
  output: 1,
  error: 2,
  size: 3,
  handshakeRequest: 5,
  handshakeResponse: 6,
  handshakeComplete: 7,
  encryptionChallenge: 8,
  encryptionAnswer: 9,
  flag: 10,
  stderr: 11,
  exitCode: 12,
  copy: 1000,
} as const

/** Frame is one decoded message. */
export interface Frame {
  messageType: string
  schemaVersion: number
  createdDate: number
  sequenceNumber: number
  flags: number
  /** Lower-case UUID text, as acknowledgements quote it. */
  messageId: string
  payloadType: number
  payload: Uint8Array
}

/** FrameError is the reason why a message is not a frame. */
export class FrameError extends Error {
  override name = 'FrameError'
}

const HEADER_LENGTH = 116
const SHORT_HEADER_LENGTH = 112
const PAYLOAD_START = HEADER_LENGTH + 4
/** The largest accepted message; real ones have about 1 KiB. */
export const MAX_FRAME = 1 << 20

/** newMessageId mints a random (version 4) UUID. */
export function newMessageId(): string {
  const b = crypto.getRandomValues(new Uint8Array(16))
  b[6] = (b[6]! & 0x0f) | 0x40
  b[8] = (b[8]! & 0x3f) | 0x80
  return uuidText(b)
}

function uuidText(b: Uint8Array): string {
  const hex = Array.from(b, (v) => v.toString(16).padStart(2, '0')).join('')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

function uuidBytes(text: string): Uint8Array {
  const hex = text.replaceAll('-', '')
  if (!/^[0-9a-fA-F]{32}$/.test(hex)) throw new FrameError(`message ID ${JSON.stringify(text)} is not a UUID`)
  return Uint8Array.from({ length: 16 }, (_, i) => parseInt(hex.slice(i * 2, i * 2 + 2), 16))
}

/** encode returns the bytes of a frame. */
export function encode(f: Frame): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(PAYLOAD_START + f.payload.length)
  const view = new DataView(out.buffer)
  view.setUint32(0, HEADER_LENGTH)
  out.fill(0x20, 4, 36)
  const type = new TextEncoder().encode(f.messageType)
  if (type.length === 0 || type.length > 32) throw new FrameError('message type must have 1 to 32 bytes')
  out.set(type, 4)
  view.setUint32(36, f.schemaVersion)
  view.setBigUint64(40, BigInt(f.createdDate))
  view.setBigInt64(48, BigInt(f.sequenceNumber))
  view.setBigUint64(56, BigInt(f.flags))
  const id = uuidBytes(f.messageId)
  out.set(id.subarray(8), 64)
  out.set(id.subarray(0, 8), 72)
  out.set(sha256(f.payload), 80)
  view.setUint32(112, f.payloadType)
  view.setUint32(116, f.payload.length)
  out.set(f.payload, PAYLOAD_START)
  return out
}

/** decode reads one message; any malformed message is a FrameError. */
export function decode(data: Uint8Array): Frame {
  if (data.length > MAX_FRAME) throw new FrameError(`frame of ${data.length} bytes is too large`)
  if (data.length < SHORT_HEADER_LENGTH + 4) throw new FrameError(`frame of ${data.length} bytes is too short`)
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const headerLength = view.getUint32(0)
  if (headerLength !== HEADER_LENGTH && headerLength !== SHORT_HEADER_LENGTH) {
    throw new FrameError(`header length ${headerLength} is not known`)
  }
  if (data.length < headerLength + 4) throw new FrameError('frame ends inside its header')
  const payload = data.subarray(headerLength + 4)
  if (view.getUint32(headerLength) !== payload.length) {
    throw new FrameError(`payload has ${payload.length} bytes, the header says ${view.getUint32(headerLength)}`)
  }

  let end = 36
  while (end > 4 && (data[end - 1] === 0 || data[end - 1] === 0x20)) end--
  const messageType = new TextDecoder().decode(data.subarray(4, end))
  if (messageType === '') throw new FrameError('message type is empty')

  const publication = messageType === MessageType.startPublication || messageType === MessageType.pausePublication
  const createdDate = Number(view.getBigUint64(40))
  const sequenceNumber = Number(view.getBigInt64(48))
  if (!publication) {
    if (createdDate === 0) throw new FrameError('created date is zero')
    if (!Number.isSafeInteger(sequenceNumber) || sequenceNumber < 0) {
      throw new FrameError('sequence number is out of range')
    }
    if (payload.length > 0) {
      const digest = sha256(payload)
      if (!digest.every((v, i) => v === data[80 + i])) throw new FrameError('payload digest does not match')
    }
  }

  const id = new Uint8Array(16)
  id.set(data.subarray(72, 80), 0)
  id.set(data.subarray(64, 72), 8)
  return {
    messageType,
    schemaVersion: view.getUint32(36),
    createdDate,
    sequenceNumber,
    flags: Number(view.getBigUint64(56)),
    messageId: uuidText(id),
    payloadType: headerLength === HEADER_LENGTH ? view.getUint32(112) : PayloadType.none,
    payload,
  }
}
