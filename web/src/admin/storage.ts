// Buckets, log groups and KMS keys, on behalf of the signed-in user.

import * as v from 'valibot'
import { call, IGNORED } from '../api'
import { millis } from '../format'
import { s3 } from '../s3'
import { awsTime, text } from '../schemas'
import { allPages } from './ssm'

/** Bucket is a bucket of the account. */
export interface Bucket {
  name: string
  createdAt: number
}

const xml = async (res: Response) => new DOMParser().parseFromString(await res.text(), 'text/xml')
const of = (el: Element | Document, name: string) => el.querySelector(name)?.textContent ?? ''

export async function listBuckets(): Promise<Bucket[]> {
  const doc = await xml(await s3('GET', []))
  return [...doc.querySelectorAll('Bucket')].map((b) => ({
    name: of(b, 'Name'),
    createdAt: Date.parse(of(b, 'CreationDate')) || 0,
  }))
}

/** Stored is a version of an object of a bucket. */
export interface Stored {
  key: string
  version: string
  latest: boolean
  deleted: boolean
  at: number
  size: number
  /** How many versions the object has. */
  versions: number
}

/** MOST_OBJECTS bounds how much of a bucket is listed. */
const MOST_OBJECTS = 1000

/** listStored lists the objects under a prefix with all their versions. */
export async function listStored(bucket: string, prefix: string): Promise<Stored[]> {
  const doc = await xml(
    await s3('GET', [bucket], `versions&max-keys=${MOST_OBJECTS}&prefix=${encodeURIComponent(prefix)}`),
  )
  const list = [...doc.querySelectorAll('Version, DeleteMarker')].map((el) => ({
    key: of(el, 'Key'),
    version: of(el, 'VersionId'),
    latest: of(el, 'IsLatest') === 'true',
    deleted: el.localName === 'DeleteMarker',
    at: Date.parse(of(el, 'LastModified')) || 0,
    size: Number(of(el, 'Size')),
    versions: 0,
  }))
  const counts = new Map<string, number>()
  for (const s of list) counts.set(s.key, (counts.get(s.key) ?? 0) + 1)
  return list.map((s) => ({ ...s, versions: counts.get(s.key) ?? 1 }))
}

const next = v.optional(v.string())
const streams = v.object({
  logStreams: v.optional(
    v.array(
      v.object({
        logStreamName: v.string(),
        lastEventTimestamp: v.optional(v.number(), 0),
        creationTime: v.optional(v.number(), 0),
      }),
    ),
    [],
  ),
  nextToken: next,
})

/** Stream is a log stream. */
export interface Stream {
  name: string
  createdAt: number
  lastEventAt: number
}

export async function listStreams(group: string): Promise<Stream[]> {
  const r = await call(
    'Logs_20140328.DescribeLogStreams',
    { logGroupName: group, orderBy: 'LastEventTime', descending: true, limit: 50 },
    streams,
  )
  return r.logStreams.map((s) => ({
    name: s.logStreamName,
    createdAt: s.creationTime,
    lastEventAt: s.lastEventTimestamp,
  }))
}

const keyList = v.object({
  Keys: v.optional(v.array(v.object({ KeyId: v.string(), KeyArn: v.string() })), []),
  NextToken: next,
})
const aliasList = v.object({
  Aliases: v.optional(v.array(v.object({ AliasName: v.string(), TargetKeyId: v.optional(v.string()) })), []),
  NextToken: next,
})
const keyMetadata = v.object({
  KeyMetadata: v.object({
    KeyId: v.string(),
    Arn: v.string(),
    KeyState: text,
    Description: text,
    CreationDate: awsTime,
    DeletionDate: awsTime,
  }),
})

/** KmsKey is a KMS key. */
export interface KmsKey {
  id: string
  arn: string
  alias: string
  state: string
  description: string
  createdAt: number
}

export async function listKmsKeys(): Promise<KmsKey[]> {
  const [keys, aliases] = await Promise.all([
    allPages('TrentService.ListKeys', { Limit: 100 }, keyList),
    allPages('TrentService.ListAliases', { Limit: 100 }, aliasList),
  ])
  const named = new Map(aliases.flatMap((p) => p.Aliases).map((a) => [a.TargetKeyId ?? '', a.AliasName]))
  return Promise.all(
    keys
      .flatMap((p) => p.Keys)
      .map(async (k) => {
        const { KeyMetadata: m } = await call('TrentService.DescribeKey', { KeyId: k.KeyId }, keyMetadata)
        return {
          id: m.KeyId,
          arn: m.Arn,
          alias: named.get(m.KeyId) ?? '',
          state: m.KeyState,
          description: m.Description,
          createdAt: millis(m.CreationDate),
        }
      }),
  )
}

export const kms = (operation: string, input: object) => call(`TrentService.${operation}`, input, IGNORED)

export async function createKmsKey(alias: string, description: string): Promise<void> {
  const made = await call('TrentService.CreateKey', { Description: description }, keyMetadata)
  if (alias !== '') await kms('CreateAlias', { AliasName: `alias/${alias}`, TargetKeyId: made.KeyMetadata.KeyId })
}
