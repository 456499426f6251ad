// Recordings, as the server keeps them.

import { call } from './api'

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
  const r = await call<{
    Data?: string
    NextOffset: number
    TotalBytes: number
    Complete?: boolean
    Live?: boolean
    Sealed?: boolean
  }>('Sekisho.GetSessionRecording', { SessionId: id, StartOffset: offset }, background)
  return {
    bytes: Uint8Array.from(atob(r.Data ?? ''), (c) => c.charCodeAt(0)),
    next: r.NextOffset,
    total: r.TotalBytes,
    complete: r.Complete === true,
    live: r.Live === true,
    sealed: r.Sealed === true,
  }
}

/** Verification says whether a recording is as it was sealed. */
export interface Verification {
  Verified: boolean
  Problem?: string
  KeyFingerprint?: string
}

/** verifyRecording has the server check a recording against its seal. */
export function verifyRecording(id: string): Promise<Verification> {
  return call<Verification>('Sekisho.VerifySessionRecording', { SessionId: id })
}
