// Log groups and keys, on behalf of the signed-in user.

import * as v from 'valibot'
import { call, IGNORED } from './api'

const groupsPage = v.object({
  logGroups: v.optional(
    v.array(
      v.object({
        logGroupName: v.string(),
        kmsKeyId: v.optional(v.string()),
        creationTime: v.optional(v.number()),
        storedBytes: v.optional(v.number()),
      }),
    ),
  ),
  nextToken: v.optional(v.string()),
})
const keysPage = v.object({ Keys: v.optional(v.array(v.object({ KeyId: v.string(), KeyArn: v.string() }))) })
const aliasesPage = v.object({
  Aliases: v.optional(v.array(v.object({ AliasName: v.string(), TargetKeyId: v.optional(v.string()) }))),
})
const createdKey = v.object({ KeyMetadata: v.object({ Arn: v.string() }) })
const eventsPage = v.object({
  events: v.optional(v.array(v.object({ timestamp: v.number(), message: v.string() }))),
  nextForwardToken: v.optional(v.string()),
})

/** Group is a log group. */
export interface Group {
  name: string
  /** The key that encrypts it; '' for none. */
  key: string
}

async function groups(input: object): Promise<{ groups: Group[]; next?: string }> {
  const r = await call(
    'Logs_20140328.DescribeLogGroups',
    {
      limit: 50,
      ...input,
    },
    groupsPage,
  )
  return {
    groups: (r.logGroups ?? []).map((g) => ({ name: g.logGroupName, key: g.kmsKeyId ?? '' })),
    next: r.nextToken || undefined,
  }
}

/** listGroups lists the log groups, for who may list them. */
export async function listGroups(): Promise<Group[]> {
  const all: Group[] = []
  let nextToken: string | undefined
  do {
    const page = await groups(nextToken === undefined ? {} : { nextToken })
    all.push(...page.groups)
    nextToken = page.next
  } while (nextToken !== undefined && all.length < 1000)
  return all
}

/** findGroup finds one log group; null when there is none. */
export async function findGroup(name: string): Promise<Group | null> {
  const page = await groups({ logGroupNamePrefix: name })
  return page.groups.find((g) => g.name === name) ?? null
}

/** createGroup makes a log group. */
export async function createGroup(name: string): Promise<void> {
  await call('Logs_20140328.CreateLogGroup', { logGroupName: name }, IGNORED)
}

/** Key is a KMS key that something may be encrypted with. */
export interface Key {
  arn: string
  name: string
}

/** listKeys lists the account's own keys, by their aliases where they have one. */
export async function listKeys(): Promise<Key[]> {
  const [keys, aliases] = await Promise.all([
    call('TrentService.ListKeys', { Limit: 100 }, keysPage),
    call('TrentService.ListAliases', { Limit: 100 }, aliasesPage),
  ])
  const named = new Map((aliases.Aliases ?? []).map((a) => [a.TargetKeyId ?? '', a.AliasName]))
  return (keys.Keys ?? []).map((k) => ({ arn: k.KeyArn, name: named.get(k.KeyId) ?? k.KeyId }))
}

/** encryptGroup gives a log group a key: the first there is, or a new one. */
export async function encryptGroup(name: string): Promise<void> {
  const keys = await listKeys()
  const kmsKeyId =
    keys[0]?.arn ??
    (await call('TrentService.CreateKey', { Description: 'Session log groups' }, createdKey)).KeyMetadata.Arn
  await call('Logs_20140328.AssociateKmsKey', { logGroupName: name, kmsKeyId }, IGNORED)
}

/** LogEvent is one event of a stream. */
export interface LogEvent {
  at: number
  message: string
}

/** readStream reads a stream from its beginning, page by page, until a page is empty or there is enough. */
export async function readStream(
  group: string,
  stream: string,
  most: number,
): Promise<{ events: LogEvent[]; more: boolean }> {
  const events: LogEvent[] = []
  let token: string | undefined
  for (let size = 0; size < most;) {
    const r: v.InferOutput<typeof eventsPage> = await call(
      'Logs_20140328.GetLogEvents',
      {
        logGroupName: group,
        logStreamName: stream,
        startFromHead: true,
        ...(token === undefined ? {} : { nextToken: token }),
      },
      eventsPage,
    )
    for (const e of r.events ?? []) {
      events.push({ at: e.timestamp, message: e.message })
      size += e.message.length + 1
    }
    // At the end, a page returns the token of its request.
    if (r.nextForwardToken === undefined || r.nextForwardToken === token) return { events, more: false }
    token = r.nextForwardToken
  }
  return { events, more: true }
}

/** writeTestEvent makes a stream of its own and writes one event to it. */
export async function writeTestEvent(group: string, stream: string, message: string): Promise<void> {
  await call('Logs_20140328.CreateLogStream', { logGroupName: group, logStreamName: stream }, IGNORED)
  await call(
    'Logs_20140328.PutLogEvents',
    {
      logGroupName: group,
      logStreamName: stream,
      logEvents: [{ timestamp: Date.now(), message }],
    },
    IGNORED,
  )
}
