// The API of recordings.

import * as v from 'valibot'
import { call } from './api'

const pageSchema = v.object({
  Data: v.optional(v.string()),
  NextOffset: v.number(),
  NextPosition: v.optional(v.string()),
  TotalBytes: v.number(),
  Complete: v.optional(v.boolean()),
  Live: v.optional(v.boolean()),
  Sealed: v.optional(v.boolean()),
})

/** RecordingPage is one page of a recording's bytes. */
export interface RecordingPage {
  bytes: Uint8Array<ArrayBuffer>
  next: number
  /** Where readFrom continues; '' if the server is too old to report it. */
  position: string
  total: number
  complete: boolean
  live: boolean
  sealed: boolean
}

/** readRecording reads the bytes of a recording from an offset. */
export async function readRecording(id: string, offset: number, background: boolean): Promise<RecordingPage> {
  const r = await call('Sekisho.GetSessionRecording', { SessionId: id, StartOffset: offset }, pageSchema, background)
  return pageOf(r)
}

/** NOW is the position at the end of a recording that is being written. */
export const NOW = 'now'
const WAIT_MS = 10_000

/** readFrom reads from a position, and waits for new output of a running session. */
export async function readFrom(id: string, position: string): Promise<RecordingPage> {
  const wait = position === NOW ? 0 : WAIT_MS
  const input = { SessionId: id, Position: position, WaitMilliseconds: wait }
  return pageOf(await call('Sekisho.GetSessionRecording', input, pageSchema, position !== NOW))
}

function pageOf(r: v.InferOutput<typeof pageSchema>): RecordingPage {
  return {
    bytes: Uint8Array.from(atob(r.Data ?? ''), (c) => c.charCodeAt(0)),
    next: r.NextOffset,
    position: r.NextPosition ?? '',
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

/** joinSession lets the signed-in user type into another user's session. */
export async function joinSession(id: string): Promise<void> {
  await call('Sekisho.JoinSession', { SessionId: id }, v.object({}))
}

/** leaveSession ends what joinSession began. */
export async function leaveSession(id: string): Promise<void> {
  await call('Sekisho.LeaveSession', { SessionId: id }, v.object({}), true)
}

/** MOST_TYPED limits the input of one call, in bytes. */
const MOST_TYPED = 8 << 10

/** typing returns a function that sends input, one call at a time so that it arrives in order. */
export function typing(id: string, onError: (error: unknown) => void): (data: string) => void {
  let waiting: number[] = []
  let sending = false
  const send = async () => {
    if (sending) return
    sending = true
    try {
      while (waiting.length > 0) {
        const piece = waiting.slice(0, MOST_TYPED)
        waiting = waiting.slice(MOST_TYPED)
        const data = btoa(String.fromCharCode(...piece))
        await call('Sekisho.SendSessionInput', { SessionId: id, Data: data }, v.object({}), true)
      }
    } catch (error) {
      waiting = []
      onError(error)
    } finally {
      sending = false
    }
  }
  return (data) => {
    waiting.push(...new TextEncoder().encode(data))
    void send()
  }
}

const participants = v.object({
  Participants: v.array(v.object({ Principal: v.string(), Keyboard: v.boolean() })),
})

/** Participant is somebody who watches a session, or types into it. */
export type Participant = v.InferOutput<typeof participants>['Participants'][number]

/** listParticipants lists the users who watch a session, apart from its owner. */
export async function listParticipants(id: string): Promise<Participant[]> {
  return (await call('Sekisho.ListSessionParticipants', { SessionId: id }, participants, true)).Participants
}
