// Events and webhooks, on behalf of the signed-in user.

import * as v from 'valibot'
import { call } from '../api'
import { text } from '../schemas'

const eventSchema = v.object({
  id: v.string(),
  'detail-type': text,
  time: text,
  resources: v.optional(v.array(v.string()), []),
})
const events = v.object({ Events: v.optional(v.array(v.unknown()), []), NextToken: v.optional(v.string()) })

/** Happening is an event, as it is delivered. */
export interface Happening {
  id: string
  type: string
  at: number
  resources: string
  full: string
}

/** listEvents lists the newest events. */
export async function listEvents(): Promise<Happening[]> {
  const r = await call('Sekisho.ListEvents', { MaxResults: 200 }, events, true)
  return r.Events.flatMap((raw) => {
    const e = v.safeParse(eventSchema, raw)
    if (!e.success) return []
    return [
      {
        id: e.output.id,
        type: e.output['detail-type'],
        at: Date.parse(e.output.time) || 0,
        resources: e.output.resources.join(', '),
        full: JSON.stringify(raw, null, 2),
      },
    ]
  })
}

const webhook = v.object({
  Name: v.string(),
  Address: text,
  Status: text,
  Waiting: v.optional(v.number(), 0),
  Delivered: v.optional(v.number(), 0),
  GivenUp: v.optional(v.number(), 0),
  Dropped: v.optional(v.number(), 0),
  LastFailure: text,
  Failures: v.optional(v.number(), 0),
})
/** Webhook is a webhook with the state of its deliveries. */
export type Webhook = v.InferOutput<typeof webhook>
const webhooks = v.object({ Webhooks: v.optional(v.array(webhook), []) })

/** listWebhooks lists the webhooks. */
export const listWebhooks = async () => (await call('Sekisho.ListWebhooks', {}, webhooks, true)).Webhooks
