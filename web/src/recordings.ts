// Recordings, as the server keeps them.

import * as v from 'valibot'
import { call } from './api'

const pageSchema = v.object({
  Data: v.optional(v.string()),
  NextOffset: v.number(),
  TotalBytes: v.number(),
  Complete: v.optional(v.boolean()),
  Live: v.optional(v.boolean()),
  Sealed: v.optional(v.boolean()),
})

/** RecordingPage is one page of a recording's bytes. */
export interface RecordingPage {
  bytes: Uint8Array<ArrayBuffer>
  next: number
  total: number
  complete: boolean
  live: boolean
  sealed: boolean
}

/** readRecording reads the bytes of a recording from an offset on. */
export async function readRecording(id: string, offset: number, background: boolean): Promise<RecordingPage> {
  const r = await call('Sekisho.GetSessionRecording', { SessionId: id, StartOffset: offset }, pageSchema, background)
  return {
    bytes: Uint8Array.from(atob(r.Data ?? ''), (c) => c.charCodeAt(0)),
    next: r.NextOffset,
    total: r.TotalBytes,
    complete: r.Complete === true,
    live: r.Live === true,
    sealed: r.Sealed === true,
  }
}

const verification = v.object({
  Verified: v.boolean(),
  Problem: v.optional(v.string()),
  KeyFingerprint: v.optional(v.string()),
})

/** Verification says whether a recording is unaltered since it was sealed. */
export type Verification = v.InferOutput<typeof verification>

/** verifyRecording has the server check a recording against its seal. */
export function verifyRecording(id: string): Promise<Verification> {
  return call('Sekisho.VerifySessionRecording', { SessionId: id }, verification)
}
