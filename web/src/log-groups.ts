// Log groups and keys, in the name of the signed-in user.

import { call } from './api'

/** Group is a log group. */
export interface Group {
  name: string
  /** The key that encrypts it; '' for none. */
  key: string
}

async function groups(input: object): Promise<{ groups: Group[]; next?: string }> {
  const r = await call<{ logGroups?: { logGroupName: string; kmsKeyId?: string }[]; nextToken?: string }>('Logs_20140328.DescribeLogGroups', {
    limit: 50,
    ...input,
  })
  return { groups: (r.logGroups ?? []).map((g) => ({ name: g.logGroupName, key: g.kmsKeyId ?? '' })), next: r.nextToken || undefined }
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
  await call('Logs_20140328.CreateLogGroup', { logGroupName: name })
}

/** Key is a KMS key that something may be encrypted with. */
export interface Key {
  arn: string
  name: string
}

/** listKeys lists the account's own keys, by their aliases where they have one. */
export async function listKeys(): Promise<Key[]> {
  const [keys, aliases] = await Promise.all([
    call<{ Keys?: { KeyId: string; KeyArn: string }[] }>('TrentService.ListKeys', { Limit: 100 }),
    call<{ Aliases?: { AliasName: string; TargetKeyId?: string }[] }>('TrentService.ListAliases', { Limit: 100 }),
  ])
  const named = new Map((aliases.Aliases ?? []).map((a) => [a.TargetKeyId ?? '', a.AliasName]))
  return (keys.Keys ?? []).map((k) => ({ arn: k.KeyArn, name: named.get(k.KeyId) ?? k.KeyId }))
}

/** encryptGroup gives a log group a key: the first there is, or a new one. */
export async function encryptGroup(name: string): Promise<void> {
  const keys = await listKeys()
  const kmsKeyId =
    keys[0]?.arn ??
    (await call<{ KeyMetadata: { Arn: string } }>('TrentService.CreateKey', { Description: 'Log groups of sessions' })).KeyMetadata.Arn
  await call('Logs_20140328.AssociateKmsKey', { logGroupName: name, kmsKeyId })
}

/** LogEvent is one event of a stream. */
export interface LogEvent {
  at: number
  message: string
}

/** readStream reads a stream from its beginning, page by page, until a page is empty or there is enough. */
export async function readStream(group: string, stream: string, most: number): Promise<{ events: LogEvent[]; more: boolean }> {
  const events: LogEvent[] = []
  let token: string | undefined
  for (let size = 0; size < most; ) {
    const r: { events?: { timestamp: number; message: string }[]; nextForwardToken?: string } = await call('Logs_20140328.GetLogEvents', {
      logGroupName: group,
      logStreamName: stream,
      startFromHead: true,
      ...(token === undefined ? {} : { nextToken: token }),
    })
    for (const e of r.events ?? []) {
      events.push({ at: e.timestamp, message: e.message })
      size += e.message.length + 1
    }
    // The end is where a page brings the token it was asked by.
    if (r.nextForwardToken === undefined || r.nextForwardToken === token) return { events, more: false }
    token = r.nextForwardToken
  }
  return { events, more: true }
}

/** writeTestEvent makes a stream of its own and writes one event to it. */
export async function writeTestEvent(group: string, stream: string, message: string): Promise<void> {
  await call('Logs_20140328.CreateLogStream', { logGroupName: group, logStreamName: stream })
  await call('Logs_20140328.PutLogEvents', {
    logGroupName: group,
    logStreamName: stream,
    logEvents: [{ timestamp: Date.now(), message }],
  })
}
