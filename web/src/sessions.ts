// Sessions, as DescribeSessions returns them.

import * as v from 'valibot'
import { call } from './api'
import { millis } from './format'
import { awsTime, text } from './schemas'

/** Session is a session of any user, active or ended. */
export interface Session {
  id: string
  target: string
  /** The name of the node; '' if it is no longer managed. */
  nodeName: string
  status: string
  owner: string
  startedAt: number
  endedAt: number
  document: string
  reason: string
  details: string
  /** Encrypted end to end: the server has no recording of its content. */
  encrypted: boolean
  /** The OS user it runs as; '' for the agent's default. */
  runAs: string
  /** The OS user that the agent of a running session reports; '' where it is unknown. */
  osUser: string
  /** The access key that it was started with, and from which address. */
  accessKey: string
  sourceAddress: string
  /** The idle timeout and the maximum duration, in milliseconds; 0 for no limit. */
  idleFor: number
  lastsFor: number
  /** Where its log goes: an object, and a stream of a log group; null for nowhere. */
  object: { bucket: string; key: string } | null
  stream: { group: string; stream: string } | null
  /** Why the log was not delivered; '' if it was, is not due, or does not exist. */
  undelivered: string
}

const sessionAnswer = v.object({
  SessionId: v.string(),
  Target: text,
  NodeName: text,
  Status: text,
  StartDate: awsTime,
  EndDate: awsTime,
  DocumentName: text,
  Owner: text,
  Reason: text,
  EndReason: text,
  Recording: text,
  RunAsUser: text,
  OSUser: text,
  AccessKeyId: text,
  SourceIPAddress: text,
  IdleSessionTimeout: v.optional(v.string()),
  MaxSessionDuration: v.optional(v.string()),
  OutputUrl: v.optional(v.object({ S3OutputUrl: v.optional(v.string()), CloudWatchOutputUrl: v.optional(v.string()) })),
  LogNotDelivered: text,
})
type SessionAnswer = v.InferOutput<typeof sessionAnswer>

const sessionsPage = v.object({
  Sessions: v.optional(v.array(sessionAnswer), []),
  NextToken: v.optional(v.string()),
})

const minutes = (m: string | undefined) => (m === undefined ? 0 : Number(m) * 60_000)

/** objectOf reads s3://BUCKET/KEY. */
export function objectOf(url: string | undefined): Session['object'] {
  const m = /^s3:\/\/([^/]+)\/(.+)$/.exec(url ?? '')
  return m === null ? null : { bucket: m[1]!, key: m[2]! }
}

/** streamOf reads the ARN of a stream. */
export function streamOf(arn: string | undefined): Session['stream'] {
  const m = /:log-group:(.+):log-stream:(.+)$/.exec(arn ?? '')
  return m === null ? null : { group: m[1]!, stream: m[2]! }
}

function fromAnswer(s: SessionAnswer): Session {
  return {
    id: s.SessionId,
    target: s.Target,
    nodeName: s.NodeName,
    status: s.Status,
    owner: s.Owner,
    startedAt: millis(s.StartDate),
    endedAt: millis(s.EndDate),
    document: s.DocumentName,
    reason: s.Reason,
    details: s.EndReason,
    encrypted: s.Recording === 'Encrypted',
    runAs: s.RunAsUser,
    osUser: s.OSUser,
    accessKey: s.AccessKeyId,
    sourceAddress: s.SourceIPAddress,
    idleFor: minutes(s.IdleSessionTimeout),
    lastsFor: minutes(s.MaxSessionDuration),
    object: objectOf(s.OutputUrl?.S3OutputUrl),
    stream: streamOf(s.OutputUrl?.CloudWatchOutputUrl),
    undelivered: s.LogNotDelivered,
  }
}

/** SessionPage is one page of sessions. */
export interface SessionPage {
  sessions: Session[]
  next?: string
}

/** listSessions reads a page of active or ended sessions that began in a period; 0 means no bound. */
export async function listSessions(
  state: 'Active' | 'History',
  period: { from: number; until: number },
  next?: string,
  background = false,
): Promise<SessionPage> {
  const bound = (key: string, at: number) =>
    at === 0 ? [] : [{ key, value: new Date(at).toISOString().slice(0, 19) + 'Z' }]
  const Filters = [...bound('InvokedAfter', period.from), ...bound('InvokedBefore', period.until)]
  const r = await call(
    'AmazonSSM.DescribeSessions',
    {
      State: state,
      MaxResults: 200,
      ...(Filters.length === 0 ? {} : { Filters }),
      ...(next === undefined ? {} : { NextToken: next }),
    },
    sessionsPage,
    background,
  )
  return { sessions: r.Sessions.map(fromAnswer), next: r.NextToken || undefined }
}

/** findSession finds one session, active or ended; null if the user cannot see it. */
export async function findSession(
  id: string,
  states: ('History' | 'Active')[] = ['History', 'Active'],
  background = false,
): Promise<Session | null> {
  for (const State of states) {
    const r = await call(
      'AmazonSSM.DescribeSessions',
      { State, Filters: [{ key: 'SessionId', value: id }] },
      sessionsPage,
      background,
    )
    const found = r.Sessions.find((s) => s.SessionId === id)
    if (found !== undefined) return fromAnswer(found)
  }
  return null
}
