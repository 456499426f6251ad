// The account's session preferences: the document they are kept in, and the
// form that people fill in.

import * as v from 'valibot'
import { call, CallError, IGNORED } from './api'
import { millis } from './format'
import { awsTime } from './schemas'
import { myRights, type Right } from './access'
import { t } from './i18n'

/** DOCUMENT holds the preferences. */
export const DOCUMENT = 'SSM-SessionManagerRunShell'

const documentSchema = v.object({ Content: v.string() })
const versionsSchema = v.object({
  DocumentVersions: v.array(
    v.object({
      DocumentVersion: v.string(),
      CreatedDate: awsTime,
      IsDefaultVersion: v.boolean(),
      Author: v.optional(v.string()),
    }),
  ),
})

type Tree = Record<string, unknown>

/** Form is the preferences as they are edited: texts as they are typed. */
export interface Form {
  idleMinutes: string
  maxMinutes: string
  reasonRequired: boolean
  reasonPattern: string
  perOwner: string
  perNode: string
  bucket: string
  prefix: string
  bucketEncryption: boolean
  group: string
  groupEncryption: boolean
  streaming: boolean
  runAs: boolean
  runAsUser: string
  friendlyPrompt: Switch
  promptTag: string
  loginShell: Switch
  banner: string
  profileLinux: string
  profileMac: string
  profileWindows: string
  kmsKey: string
  recordInput: boolean
  recordForwards: boolean
  disableCopy: boolean
  disablePaste: boolean
  recordingDays: string
  requireServerRecording: boolean
}

/** Switch is on, off, or left to the server. */
export type Switch = 'auto' | 'on' | 'off'

const tree = (x: unknown): Tree => (typeof x === 'object' && x !== null && !Array.isArray(x) ? (x as Tree) : {})
const text = (x: unknown): string => (typeof x === 'string' || typeof x === 'number' ? String(x) : '')
const flag = (x: unknown): boolean => x === true || x === 'true'
const switchOf = (x: unknown): Switch => (x === true ? 'on' : x === false ? 'off' : 'auto')

/** formOf reads a document's preferences into a form; null is what holds before any are saved. */
export function formOf(content: string | null): Form {
  const inputs = tree(content === null ? {} : tree(JSON.parse(content))['inputs'])
  const extensions = tree(inputs['sekisho'])
  const limits = tree(extensions['maxConcurrentSessions'])
  const profile = tree(inputs['shellProfile'])
  return {
    idleMinutes: text(inputs['idleSessionTimeout']),
    maxMinutes: text(inputs['maxSessionDuration']),
    reasonRequired: flag(extensions['reasonRequired']),
    reasonPattern: text(extensions['reasonPattern']),
    perOwner: text(limits['perOwner']),
    perNode: text(limits['perNode']),
    bucket: text(inputs['s3BucketName']),
    prefix: text(inputs['s3KeyPrefix']),
    bucketEncryption: flag(inputs['s3EncryptionEnabled']),
    group: text(inputs['cloudWatchLogGroupName']),
    groupEncryption: flag(inputs['cloudWatchEncryptionEnabled']),
    streaming: flag(inputs['cloudWatchStreamingEnabled']),
    runAs: flag(inputs['runAsEnabled']),
    runAsUser: text(inputs['runAsDefaultUser']),
    friendlyPrompt: switchOf(extensions['friendlyPrompt']),
    promptTag: text(extensions['promptTag']),
    loginShell: switchOf(extensions['loginShell']),
    banner: text(extensions['banner']),
    profileLinux: text(profile['linux']),
    profileMac: text(profile['macos']),
    profileWindows: text(profile['windows']),
    kmsKey: text(inputs['kmsKeyId']),
    recordInput: extensions['recordInput'] !== false,
    recordForwards: flag(extensions['recordForwards']),
    disableCopy: flag(extensions['disableCopy']),
    disablePaste: flag(extensions['disablePaste']),
    recordingDays: text(extensions['recordingDays']),
    requireServerRecording: flag(extensions['requireServerRecording']),
  }
}

/** put sets what is not the default, and takes away what is. */
function put(into: Tree, name: string, value: unknown): void {
  const none =
    value === '' ||
    value === false ||
    value === undefined ||
    (typeof value === 'object' && Object.keys(tree(value)).length === 0)
  if (none) delete into[name]
  else into[name] = value
}

/** contentOf writes a form as a document, over the one it was read from: what the form does not know stays. */
export function contentOf(f: Form, before: string | null): string {
  const doc: Tree = before === null ? {} : (JSON.parse(before) as Tree)
  doc['schemaVersion'] ??= '1.0'
  doc['description'] ??= 'Session preferences of the account'
  doc['sessionType'] ??= 'Standard_Stream'
  const inputs = (doc['inputs'] = { ...tree(doc['inputs']) })
  const number = (s: string) => (/^\d+$/.test(s.trim()) ? Number(s.trim()) : s.trim())
  const on = (s: Switch) => (s === 'on' ? true : s === 'off' ? false : undefined)
  put(inputs, 'idleSessionTimeout', f.idleMinutes.trim())
  put(inputs, 'maxSessionDuration', f.maxMinutes.trim())
  put(inputs, 's3BucketName', f.bucket.trim())
  put(inputs, 's3KeyPrefix', f.prefix.trim())
  put(inputs, 's3EncryptionEnabled', f.bucket.trim() !== '' && f.bucketEncryption)
  put(inputs, 'cloudWatchLogGroupName', f.group.trim())
  put(inputs, 'cloudWatchEncryptionEnabled', f.group.trim() !== '' && f.groupEncryption)
  put(inputs, 'cloudWatchStreamingEnabled', f.group.trim() !== '' && f.streaming)
  put(inputs, 'runAsEnabled', f.runAs)
  put(inputs, 'runAsDefaultUser', f.runAsUser.trim())
  put(inputs, 'kmsKeyId', f.kmsKey.trim())
  const profile = { ...tree(inputs['shellProfile']) }
  put(profile, 'linux', f.profileLinux)
  put(profile, 'macos', f.profileMac)
  put(profile, 'windows', f.profileWindows)
  put(inputs, 'shellProfile', profile)
  const extensions = { ...tree(inputs['sekisho']) }
  put(extensions, 'reasonRequired', f.reasonRequired)
  put(extensions, 'reasonPattern', f.reasonPattern)
  put(extensions, 'banner', f.banner)
  const limits = { ...tree(extensions['maxConcurrentSessions']) }
  put(limits, 'perOwner', f.perOwner.trim() === '' ? '' : number(f.perOwner))
  put(limits, 'perNode', f.perNode.trim() === '' ? '' : number(f.perNode))
  put(extensions, 'maxConcurrentSessions', limits)
  setSwitch(extensions, 'friendlyPrompt', on(f.friendlyPrompt))
  put(extensions, 'promptTag', f.promptTag.trim())
  setSwitch(extensions, 'loginShell', on(f.loginShell))
  setSwitch(extensions, 'recordInput', f.recordInput ? undefined : false)
  put(extensions, 'recordForwards', f.recordForwards)
  put(extensions, 'disableCopy', f.disableCopy)
  put(extensions, 'disablePaste', f.disablePaste)
  put(extensions, 'recordingDays', number(f.recordingDays))
  put(extensions, 'requireServerRecording', f.requireServerRecording)
  put(inputs, 'sekisho', extensions)
  return JSON.stringify(doc, null, 2)
}

function setSwitch(into: Tree, name: string, value: boolean | undefined): void {
  if (value === undefined) delete into[name]
  else into[name] = value
}

/** mistakes says what is wrong with a form, by field, before it is sent. */
export function mistakes(f: Form): Partial<Record<keyof Form, string>> {
  const out: Partial<Record<keyof Form, string>> = {}
  const within = (name: keyof Form, least: number, most: number) => {
    const s = String(f[name]).trim()
    if (s !== '' && !(/^\d+$/.test(s) && Number(s) >= least && Number(s) <= most)) {
      out[name] = t('prefs.numberError', { least, most })
    }
  }
  within('idleMinutes', 1, 60)
  within('recordingDays', 1, 36500)
  within('maxMinutes', 1, 1440)
  within('perOwner', 1, 100000)
  within('perNode', 1, 100000)
  if (f.runAsUser.trim() === 'root') out.runAsUser = t('prefs.rootError')
  if (f.requireServerRecording && f.kmsKey.trim() !== '') {
    out.requireServerRecording = t('prefs.recordingError')
  }
  return out
}

/** Change is one setting that differs between two versions. */
export interface Change {
  setting: string
  before: string
  after: string
}

function leaves(x: unknown, at: string, into: Map<string, string>): void {
  if (typeof x === 'object' && x !== null && Object.keys(x).length > 0) {
    for (const [k, child] of Object.entries(x)) leaves(child, at === '' ? k : `${at}.${k}`, into)
  } else into.set(at, typeof x === 'string' ? x : JSON.stringify(x))
}

/** differences lists what differs between two documents; null is one that does not exist. */
export function differences(before: string | null, after: string): Change[] {
  const [a, b] = [new Map<string, string>(), new Map<string, string>()]
  if (before !== null) leaves(JSON.parse(before), '', a)
  leaves(JSON.parse(after), '', b)
  return [...new Set([...a.keys(), ...b.keys()])]
    .filter((k) => a.get(k) !== b.get(k))
    .map((k) => ({ setting: k.replace(/^inputs\./, ''), before: a.get(k) ?? '', after: b.get(k) ?? '' }))
}

/** Remedy is something that makes refused preferences acceptable. */
export type Remedy =
  'createBucket' | 'clearBucket' | 'createGroup' | 'clearGroup' | 'encryptGroup' | 'clearGroupEncryption'

const REMEDIES: Record<string, Remedy[]> = {
  BucketMissing: ['createBucket', 'clearBucket'],
  LogGroupMissing: ['createGroup', 'clearGroup'],
  LogGroupNotEncrypted: ['encryptGroup', 'clearGroupEncryption'],
}

/** remediesFor returns the remedies for refused preferences, by the server's reason. */
export function remediesFor(error: unknown): Remedy[] {
  return error instanceof CallError ? (REMEDIES[error.reason] ?? []) : []
}

/** Saved is a version of the preferences. */
export interface Saved {
  number: string
  author: string
  at: number
  inForce: boolean
}

/** Loaded is what there is, and what the signed-in user may do with it. */
export interface Loaded {
  /** null: none were saved. */
  content: string | null
  /** The versions, the newest first; empty for who may not list them. */
  versions: Saved[]
  /** What the user may not do, of what the page needs; by action. */
  missing: Map<string, Right>
}

/** loadPreferences reads the preferences in force. */
export async function loadPreferences(): Promise<Loaded> {
  const rights = await myRights(
    [
      'ssm:GetDocument',
      'ssm:CreateDocument',
      'ssm:UpdateDocument',
      'ssm:UpdateDocumentDefaultVersion',
      'ssm:ListDocumentVersions',
    ].map((Action) => ({
      Action,
      DocumentName: DOCUMENT,
    })),
  )
  const missing = new Map(rights.filter((r) => !r.allowed).map((r) => [r.action, r]))
  const content = missing.has('ssm:GetDocument') ? null : await readVersion('$DEFAULT')
  const versions = content === null || missing.has('ssm:ListDocumentVersions') ? [] : await listVersions()
  return { content, versions, missing }
}

/** readVersion reads a version of the preferences; null when there is none. */
export async function readVersion(version: string): Promise<string | null> {
  try {
    const r = await call(
      'AmazonSSM.GetDocument',
      {
        Name: DOCUMENT,
        DocumentVersion: version,
        DocumentFormat: 'JSON',
      },
      documentSchema,
    )
    return r.Content
  } catch (err) {
    if (err instanceof CallError && err.code === 'InvalidDocument') return null
    throw err
  }
}

async function listVersions(): Promise<Saved[]> {
  const r = await call('AmazonSSM.ListDocumentVersions', { Name: DOCUMENT, MaxResults: 50 }, versionsSchema)
  return r.DocumentVersions.map((d) => ({
    number: d.DocumentVersion,
    author: d.Author ?? '',
    at: millis(d.CreatedDate),
    inForce: d.IsDefaultVersion,
  }))
}

/** savePreferences saves a new version, over the one that was the latest when it was read. */
export async function savePreferences(content: string, loaded: Loaded): Promise<void> {
  if (loaded.content === null) {
    await call(
      'AmazonSSM.CreateDocument',
      {
        Name: DOCUMENT,
        DocumentType: 'Session',
        DocumentFormat: 'JSON',
        Content: content,
      },
      IGNORED,
    )
    return
  }
  await call(
    'AmazonSSM.UpdateDocument',
    {
      Name: DOCUMENT,
      DocumentFormat: 'JSON',
      DocumentVersion: loaded.versions[0]?.number ?? '$LATEST',
      Content: content,
    },
    IGNORED,
  )
}

/** makeDefault makes an earlier version the one that holds. */
export async function makeDefault(version: string): Promise<void> {
  await call('AmazonSSM.UpdateDocumentDefaultVersion', { Name: DOCUMENT, DocumentVersion: version }, IGNORED)
}
