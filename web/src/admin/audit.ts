// The audit trail, as CloudTrail's LookupEvents returns it.

import * as v from 'valibot'
import { call } from '../api'
import { millis } from '../format'
import { awsTime, text } from '../schemas'

const record = v.object({
  sourceIPAddress: text,
  userAgent: text,
  errorCode: text,
  errorMessage: text,
  requestParameters: v.optional(v.unknown()),
  additionalEventData: v.optional(v.nullable(v.record(v.string(), v.unknown()))),
  userIdentity: v.optional(v.object({ arn: text, type: text })),
})
const lookup = v.object({
  Events: v.optional(
    v.array(
      v.object({
        EventId: v.string(),
        EventName: v.string(),
        EventTime: awsTime,
        EventSource: text,
        Username: text,
        ReadOnly: text,
        CloudTrailEvent: v.string(),
      }),
    ),
    [],
  ),
  NextToken: v.optional(v.string()),
})

/** AuditEvent is one event of the audit trail. */
export interface AuditEvent {
  id: string
  name: string
  source: string
  user: string
  at: number
  readOnly: boolean
  errorCode: string
  errorMessage: string
  /** Why policy denied or allowed it, for users who may simulate policies. */
  reason: string
  sourceIp: string
  full: string
}

/** Look is the filter of a look-up. */
export interface Look {
  attribute: string
  value: string
  from: number
  until: number
}

/** lookupEvents reads a page of events, the newest first. */
export async function lookupEvents(look: Look, next?: string): Promise<{ events: AuditEvent[]; next?: string }> {
  const r = await call(
    'com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents',
    {
      MaxResults: 50,
      ...(look.value === ''
        ? {}
        : { LookupAttributes: [{ AttributeKey: look.attribute, AttributeValue: look.value }] }),
      ...(look.from === 0 ? {} : { StartTime: look.from / 1000 }),
      ...(look.until === 0 ? {} : { EndTime: look.until / 1000 }),
      ...(next === undefined ? {} : { NextToken: next }),
    },
    lookup,
    true,
  )
  return {
    events: r.Events.map((e) => {
      const full = v.safeParse(record, JSON.parse(e.CloudTrailEvent))
      const more = full.success ? full.output : null
      return {
        id: e.EventId,
        name: e.EventName,
        source: e.EventSource.replace('.amazonaws.com', ''),
        user: e.Username || (more?.userIdentity?.arn ?? ''),
        at: millis(e.EventTime),
        readOnly: e.ReadOnly === 'true',
        errorCode: more?.errorCode ?? '',
        errorMessage: more?.errorMessage ?? '',
        reason: reasonOf(more?.additionalEventData ?? null),
        sourceIp: more?.sourceIPAddress ?? '',
        full: JSON.stringify(JSON.parse(e.CloudTrailEvent), null, 2),
      }
    }),
    next: r.NextToken || undefined,
  }
}

function reasonOf(data: Record<string, unknown> | null): string {
  const reason = data?.['decisionReason']
  return typeof reason === 'string' ? reason : ''
}
