// The nodes on which the signed-in user can start sessions, and when, as the server computes it from
// policy. It needs no permission.

import * as v from 'valibot'
import { call } from './api'
import { byName } from './format'
import { text } from './schemas'
import { Store } from './store'

const span = v.object({
  From: v.number(),
  To: v.number(),
  Access: v.picklist(['Always', 'Depends']),
  DependsOn: v.optional(v.array(v.string()), []),
})

/** Span is a time in which the access is the same, in seconds since 1970. */
export type Span = v.InferOutput<typeof span>

const page = v.object({
  From: v.number(),
  To: v.number(),
  Access: v.array(v.object({ NodeId: v.string(), NodeName: text, ConnectionStatus: text, Spans: v.array(span) })),
  NextToken: v.optional(v.string()),
})

/** Reachable is a node on which the user can start sessions, now or later. */
export interface Reachable {
  id: string
  name: string
  connected: boolean
  spans: Span[]
}

/** Period is the time that was looked at, in seconds since 1970. */
export interface Period {
  from: number
  to: number
}

const PAGE = 1000

/** listReach lists the nodes in reach in the next week; with a target, those with this ID, name or KEY=VALUE. */
export async function listReach(target = ''): Promise<{ nodes: Reachable[]; period: Period }> {
  const all: Reachable[] = []
  let period: Period | null = null
  let token: string | undefined
  do {
    const r: v.InferOutput<typeof page> = await call(
      'Sekisho.ListMyAccess',
      {
        MaxResults: PAGE,
        ...(target === '' ? {} : { Target: target }),
        ...(token === undefined ? {} : { NextToken: token }),
        // Later pages are about the same time.
        ...(period === null ? {} : { From: period.from, To: period.to }),
      },
      page,
      true,
    )
    period ??= { from: r.From, to: r.To }
    for (const e of r.Access) {
      all.push({ id: e.NodeId, name: e.NodeName, connected: e.ConnectionStatus === 'connected', spans: e.Spans })
    }
    token = r.NextToken || undefined
  } while (token !== undefined)
  return { nodes: all.toSorted((a, b) => byName(a.name || a.id, b.name || b.id)), period }
}

/** reachable has the nodes in reach; null until they are known. */
export const reachable = new Store<{ nodes: Reachable[]; period: Period } | null>(null)

/** loadReachable lists them again. */
export async function loadReachable(): Promise<void> {
  reachable.set(await listReach())
}

/** begins and ends report whether a span begins or ends within the period. The server's spans are in whole seconds. */
export const begins = (s: Span, p: Period) => s.From >= p.from + 1
export const ends = (s: Span, p: Period) => s.To <= p.to - 1

/** whole reports whether a node can be reached during the whole period, whatever else is true. */
export const whole = (n: Reachable, p: Period) =>
  n.spans.length === 1 && n.spans[0]!.Access === 'Always' && !begins(n.spans[0]!, p) && !ends(n.spans[0]!, p)

/** openNow is the span that a moment is in, which it may depend on conditions to use. */
export const openNow = (n: Reachable, now: number) => n.spans.find((s) => s.From <= now && now < s.To)
