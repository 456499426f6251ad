// Links to recordings, for signed-in users.

import * as v from 'valibot'
import { call, IGNORED } from './api'
import { millis } from './format'
import { awsTime } from './schemas'

const linkSchema = v.object({ LinkId: v.string(), CreatedBy: v.string(), CreatedAt: awsTime, ExpiresAt: awsTime })
const made = v.object({ ...linkSchema.entries, Path: v.string() })
const listed = v.object({ Links: v.array(linkSchema) })

/** Link is a link to a recording, without its token. */
export interface Link {
  id: string
  createdBy: string
  createdAt: number
  expiresAt: number
}

const linkOf = (l: v.InferOutput<typeof linkSchema>): Link => ({
  id: l.LinkId,
  createdBy: l.CreatedBy,
  createdAt: millis(l.CreatedAt),
  expiresAt: millis(l.ExpiresAt),
})

/** shareRecording makes a link that lasts for so many seconds, and returns its address. */
export async function shareRecording(session: string, seconds: number): Promise<string> {
  const r = await call('Sekisho.ShareSessionRecording', { SessionId: session, DurationSeconds: seconds }, made)
  return location.origin + r.Path
}

/** listLinks lists the usable links to a recording. */
export async function listLinks(session: string): Promise<Link[]> {
  return (await call('Sekisho.ListRecordingLinks', { SessionId: session }, listed)).Links.map(linkOf)
}

/** revokeLink ends a link. */
export async function revokeLink(id: string): Promise<void> {
  await call('Sekisho.RevokeRecordingLink', { LinkId: id }, IGNORED)
}
