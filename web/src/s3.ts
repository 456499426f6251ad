// S3 calls as the signed-in user.

import { CallError, reach, refusal, signedIn, signInEnded } from './api'
import { t } from './i18n'

const NAMESPACE = 'http://s3.amazonaws.com/doc/2006-03-01/'

/** s3 makes an S3 call, by path: `s3('GET', ['bucket'], 'versioning')`. */
export async function s3(
  method: 'GET' | 'HEAD' | 'PUT',
  path: [bucket?: string, key?: string],
  query = '',
  init: { body?: string; headers?: Record<string, string> } = {},
): Promise<Response> {
  const [bucket = '', key = ''] = path
  const line = `${method} /${[bucket, key]
    .filter((p) => p !== '')
    .map(escapePath)
    .join('/')}${query === '' ? '' : `?${query}`}`
  const res = await reach('/console/api/s3', {
    method: 'POST',
    headers: { ...init.headers, 'X-Sekisho-S3': line, 'X-Sekisho-Csrf': signedIn.get()?.csrf ?? '' },
    body: init.body,
  })
  if (res.ok) return res
  const err = await refusal(res)
  if (res.status === 401) signInEnded()
  // The response to HEAD has no body.
  throw err.code === ''
    ? new CallError(`HTTP ${res.status}`, t('error.status', { status: res.status }), res.status, '')
    : err
}

function escapePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/')
}

const xml = async (res: Response) => new DOMParser().parseFromString(await res.text(), 'text/xml')
const textOf = (el: ParentNode, name: string) => el.querySelector(name)?.textContent ?? ''

/** listBuckets returns the names of the buckets, if the user may list them. */
export async function listBuckets(): Promise<string[]> {
  const doc = await xml(await s3('GET', []))
  return [...doc.querySelectorAll('Bucket > Name')].map((e) => e.textContent ?? '')
}

/** bucketVersioning is Enabled, Suspended, or '' for never; the call fails when there is no such bucket. */
export async function bucketVersioning(bucket: string): Promise<string> {
  return textOf(await xml(await s3('GET', [bucket], 'versioning')), 'Status')
}

/** turnVersioningOn has a bucket keep old versions. */
export async function turnVersioningOn(bucket: string): Promise<void> {
  await s3('PUT', [bucket], 'versioning', {
    body: `<VersioningConfiguration xmlns="${NAMESPACE}"><Status>Enabled</Status></VersioningConfiguration>`,
  })
}

/** createLogBucket makes a bucket that keeps old versions. */
export async function createLogBucket(bucket: string): Promise<void> {
  await s3('PUT', [bucket])
  await turnVersioningOn(bucket)
}

/** Version is one version of an object. */
export interface Version {
  id: string
  latest: boolean
  at: number
  size: number
  etag: string
  /** A delete marker, which has no content. */
  deleted: boolean
}

/** listVersions lists the versions of one object, the newest first. */
export async function listVersions(bucket: string, key: string): Promise<Version[]> {
  const all: Version[] = []
  let marker = ''
  do {
    const doc = await xml(await s3('GET', [bucket], `versions&prefix=${encodeURIComponent(key)}${marker}`))
    for (const el of doc.querySelectorAll('Version, DeleteMarker')) {
      if (textOf(el, 'Key') !== key) continue
      all.push({
        id: textOf(el, 'VersionId'),
        latest: textOf(el, 'IsLatest') === 'true',
        at: Date.parse(textOf(el, 'LastModified')),
        size: Number(textOf(el, 'Size')),
        etag: textOf(el, 'ETag').replaceAll('"', ''),
        deleted: el.tagName === 'DeleteMarker',
      })
    }
    marker = ''
    // Keys that begin with this one come after it.
    const next = textOf(doc, 'NextKeyMarker')
    if (textOf(doc, 'IsTruncated') === 'true' && next === key) {
      const id = textOf(doc, 'NextVersionIdMarker')
      marker = `&key-marker=${encodeURIComponent(next)}&version-id-marker=${encodeURIComponent(id)}`
    }
  } while (marker !== '')
  return all
}

/** readObject reads the beginning of a version of an object, or all of it. */
export async function readObject(bucket: string, key: string, version: string, most?: number): Promise<Response> {
  return s3('GET', [bucket, key], version === '' ? '' : `versionId=${encodeURIComponent(version)}`, {
    headers: most === undefined ? {} : { Range: `bytes=0-${most - 1}` },
  })
}
