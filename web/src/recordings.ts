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

/** Source is where a player reads a recording from. */
export interface Source {
  /** The ID of the session, or of the link. */
  id: string
  /** read reads the bytes from an offset on. */
  read(offset: number, background: boolean): Promise<RecordingPage>
  /** readFrom reads on from a position, and waits for something new in a session that runs. */
  readFrom(position: string): Promise<RecordingPage>
}

/** NOW is the position at the end of a recording that is being written. */
export const NOW = 'now'
const WAIT_MS = 10_000

function sourceOf(id: string, operation: string, input: object): Source {
  const read = async (part: object, background: boolean) =>
    pageOf(await call(operation, { ...input, ...part }, pageSchema, background))
  return {
    id,
    read: (StartOffset, background) => read({ StartOffset }, background),
    readFrom: (Position) => read({ Position, WaitMilliseconds: Position === NOW ? 0 : WAIT_MS }, Position !== NOW),
  }
}

/** recordingOf is the recording of a session. */
export const recordingOf = (id: string): Source => sourceOf(id, 'Sekisho.GetSessionRecording', { SessionId: id })

/** sharedRecording is the recording that a link shows. */
export const sharedRecording = (LinkId: string, Token: string): Source =>
  sourceOf(LinkId, 'Sekisho.GetSharedRecording', { LinkId, Token })

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
