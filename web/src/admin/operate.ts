// The state of the server, and what the account's sessions use: the calls.

import * as v from 'valibot'
import { call, CallError } from '../api'
import { text } from '../schemas'

const status = v.picklist(['Healthy', 'Degraded', 'Failing'])

/** HealthStatus says how well a server works. */
export type HealthStatus = v.InferOutput<typeof status>

const health = v.object({
  Status: status,
  Problems: v.array(v.object({ Code: v.string(), Text: v.string(), Status: status })),
  Version: text,
  StartedAt: v.number(),
  CheckedAt: v.number(),
  NodesConnected: v.number(),
  SessionsActive: v.number(),
  DiskBytes: v.number(),
  DiskFreeBytes: v.number(),
  RecordingBytes: v.number(),
  RecordingsUnsealed: v.number(),
  Store: text,
  StoreWaitingBytes: v.number(),
  StoreWaitingRecordings: v.number(),
})

/** Health is the state of the server. */
export type Health = v.InferOutput<typeof health>

/** readHealth reads the state of the server. */
export const readHealth = (): Promise<Health> => call('Sekisho.GetHealth', {}, health, true)

const storage = v.object({
  State: v.picklist(['working', 'failing', 'full']),
  Problems: v.optional(v.array(v.string()), []),
  Recordings: v.number(),
  HeldRecordings: v.number(),
  TotalBytes: v.number(),
  DiskBytes: v.number(),
  LimitBytes: v.number(),
  LimitDays: v.number(),
  Store: v.optional(
    v.object({
      Location: v.string(),
      StoredBytes: v.number(),
      WaitingBytes: v.number(),
      FetchingRecordings: v.number(),
      CheckBytesPerSecond: v.number(),
      CheckedRecordings: v.number(),
      CheckedBytes: v.number(),
      CheckedAt: text,
    }),
  ),
})

/** RecordingStorage is what recordings take, and where they are. */
export type RecordingStorage = v.InferOutput<typeof storage>

/** readRecordingStorage reads what recordings take, and where they are. */
export const readRecordingStorage = (): Promise<RecordingStorage> =>
  call('Sekisho.GetRecordingStorage', {}, storage, true)

const integrity = v.object({
  Checked: v.boolean(),
  CheckedAt: text,
  Recordings: v.optional(v.number(), 0),
  Sessions: v.optional(v.number(), 0),
  AuditRecords: v.optional(v.number(), 0),
  Findings: v.optional(
    v.array(v.object({ Kind: v.string(), Where: v.string(), Subject: v.string(), Problem: v.string() })),
    [],
  ),
})

/** Integrity is the result of the last check of recordings, sessions and the audit trail. */
export type Integrity = v.InferOutput<typeof integrity>

/** readIntegrity reads the result of the last check. */
export const readIntegrity = (): Promise<Integrity> => call('Sekisho.GetIntegrity', {}, integrity, true)

const members = v.object({
  Members: v.array(
    v.object({
      Name: v.string(),
      Status: v.picklist(['Running', 'Stopped']),
      Coordinator: v.boolean(),
      Version: text,
      Address: text,
      StartedAt: v.number(),
      RenewedSecondsAgo: v.number(),
      ClockOffsetSeconds: v.number(),
      Nodes: v.number(),
      Sessions: v.number(),
    }),
  ),
})

/** Member is a server process of a cluster. */
export type Member = v.InferOutput<typeof members>['Members'][number]

/** listMembers lists the members of the cluster; none for a server that is not in one. */
export async function listMembers(): Promise<Member[]> {
  try {
    return (await call('Sekisho.ListClusterMembers', {}, members, true)).Members
  } catch (err) {
    if (err instanceof CallError && /NotFound/.test(err.code)) return []
    throw err
  }
}

const usageRow = v.object({
  Date: v.string(),
  PrincipalArn: v.string(),
  NodeId: v.string(),
  NodeName: text,
  DocumentName: text,
  Sessions: v.number(),
  Minutes: v.number(),
  BytesIn: v.number(),
  BytesOut: v.number(),
  RecordingBytes: v.number(),
  LogBytes: v.number(),
})
const usage = v.object({ From: v.string(), To: v.string(), Usage: v.array(usageRow) })

/** UsageRow is the use of one node with one document by one principal on one day. */
export type UsageRow = v.InferOutput<typeof usageRow>

/** readUsage reads the usage of consecutive days, in UTC. */
export async function readUsage(from: string, days: number): Promise<UsageRow[]> {
  return (await call('Sekisho.GetUsage', { From: from, Days: days }, usage)).Usage
}

/** GROUPINGS are what usage can be added up by. */
export const GROUPINGS = ['person', 'node', 'document', 'day'] as const
export type Grouping = (typeof GROUPINGS)[number]

/** Total is the usage of one person, node, document or day. */
export interface Total {
  key: string
  /** What is shown below the key, such as a node's ID. */
  under: string
  sessions: number
  minutes: number
  bytesIn: number
  bytesOut: number
  recordingBytes: number
  logBytes: number
}

const KEYS: Record<Grouping, (r: UsageRow) => [string, string]> = {
  person: (r) => [r.PrincipalArn, ''],
  node: (r) => [r.NodeName || r.NodeId, r.NodeName === '' ? '' : r.NodeId],
  document: (r) => [r.DocumentName, ''],
  day: (r) => [r.Date, ''],
}

/** totals adds up usage. */
export function totals(rows: UsageRow[], by: Grouping): Total[] {
  const all = new Map<string, Total>()
  for (const r of rows) {
    const [key, under] = KEYS[by](r)
    const id = `${key} ${under}`
    let sum = all.get(id)
    if (sum === undefined) {
      sum = { key, under, sessions: 0, minutes: 0, bytesIn: 0, bytesOut: 0, recordingBytes: 0, logBytes: 0 }
      all.set(id, sum)
    }
    sum.sessions += r.Sessions
    sum.minutes += r.Minutes
    sum.bytesIn += r.BytesIn
    sum.bytesOut += r.BytesOut
    sum.recordingBytes += r.RecordingBytes
    sum.logBytes += r.LogBytes
  }
  return [...all.values()]
}
