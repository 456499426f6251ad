// Sessions, as DescribeSessions tells of them.

import { call } from './api'
import { millis, type AwsTime } from './format'

/** Session is one session of anybody's, running or over. */
export interface Session {
  id: string
  target: string
  status: string
  owner: string
  startedAt: number
  endedAt: number
  document: string
  reason: string
  details: string
  /** Encrypted from end to end: the server has no recording of what was said. */
  encrypted: boolean
}

interface SessionAnswer {
  SessionId: string
  Target?: string
  Status?: string
  StartDate?: AwsTime
  EndDate?: AwsTime
  DocumentName?: string
  Owner?: string
  Reason?: string
  Details?: string
  Recording?: string
}

function fromAnswer(s: SessionAnswer): Session {
  return {
    id: s.SessionId,
    target: s.Target ?? '',
    status: s.Status ?? '',
    owner: s.Owner ?? '',
    startedAt: millis(s.StartDate),
    endedAt: millis(s.EndDate),
    document: s.DocumentName ?? '',
    reason: s.Reason ?? '',
    details: s.Details ?? '',
    encrypted: s.Recording === 'Encrypted',
  }
}

/** SessionPage is one page of sessions. */
export interface SessionPage {
  sessions: Session[]
  next?: string
}

/** listSessions reads a page of the active sessions, or of those that are over. */
export async function listSessions(state: 'Active' | 'History', next?: string, background = false): Promise<SessionPage> {
  const r = await call<{ Sessions?: SessionAnswer[]; NextToken?: string }>(
    'AmazonSSM.DescribeSessions',
    { State: state, MaxResults: 200, ...(next === undefined ? {} : { NextToken: next }) },
    background,
  )
  return { sessions: (r.Sessions ?? []).map(fromAnswer), next: r.NextToken || undefined }
}

/** findSession finds one session, running or over; null when it cannot be seen. */
export async function findSession(id: string): Promise<Session | null> {
  for (const State of ['History', 'Active']) {
    const r = await call<{ Sessions?: SessionAnswer[] }>('AmazonSSM.DescribeSessions', {
      State,
      Filters: [{ key: 'SessionId', value: id }],
    })
    const found = r.Sessions?.find((s) => s.SessionId === id)
    if (found !== undefined) return fromAnswer(found)
  }
  return null
}
