// The IAM API, on behalf of the signed-in user.

import { queryCall } from '../api'

type Params = Record<string, string>

/** childText is the text of a child element; '' where there is none. */
export function childText(of: Element | Document, name: string): string {
  const parent = of instanceof Document ? of.documentElement : of
  for (const child of parent.children) if (child.localName === name) return child.textContent ?? ''
  return of.querySelector(name)?.textContent ?? ''
}

/** iam makes a call. */
export function iam(action: string, params: Params = {}): Promise<Document> {
  return queryCall('iam', action, params)
}

/** MOST_PAGES bounds how much is listed. */
const MOST_PAGES = 50

/** listAll lists all members of a list, page by page. */
export async function listAll<T>(
  action: string,
  list: string,
  read: (member: Element) => T,
  params: Params = {},
): Promise<T[]> {
  const all: T[] = []
  let marker = ''
  for (let page = 0; page < MOST_PAGES; page++) {
    const doc = await iam(action, { ...params, ...(marker === '' ? {} : { Marker: marker }) })
    for (const m of doc.querySelectorAll(`${list} > member`)) all.push(read(m))
    marker =
      doc.querySelector('IsTruncated')?.textContent === 'true' ? (doc.querySelector('Marker')?.textContent ?? '') : ''
    if (marker === '') break
  }
  return all
}

const time = (m: Element, name: string) => Date.parse(childText(m, name)) || 0

/** Entity is a user, a group, a role or a policy. */
export interface Entity {
  name: string
  arn: string
  path: string
  createdAt: number
}

const entity =
  (kind: 'User' | 'Group' | 'Role' | 'Policy') =>
  (m: Element): Entity => ({
    name: childText(m, `${kind}Name`),
    arn: childText(m, 'Arn'),
    path: childText(m, 'Path'),
    createdAt: time(m, 'CreateDate'),
  })

/** User is a user of the account. */
export interface User extends Entity {
  passwordUsedAt: number
}

export const listUsers = () =>
  listAll('ListUsers', 'Users', (m): User => ({ ...entity('User')(m), passwordUsedAt: time(m, 'PasswordLastUsed') }))
export const listGroups = () => listAll('ListGroups', 'Groups', entity('Group'))
export const listRoles = () => listAll('ListRoles', 'Roles', entity('Role'))

/** ManagedPolicy is a managed policy. */
export interface ManagedPolicy extends Entity {
  defaultVersion: string
  attachments: number
  /** Policies of AWS cannot be changed. */
  own: boolean
}

export const listPolicies = (scope: 'All' | 'Local' = 'All') =>
  listAll(
    'ListPolicies',
    'Policies',
    (m): ManagedPolicy => ({
      ...entity('Policy')(m),
      defaultVersion: childText(m, 'DefaultVersionId'),
      attachments: Number(childText(m, 'AttachmentCount')),
      own: !childText(m, 'Arn').startsWith('arn:aws:iam::aws:'),
    }),
    { Scope: scope },
  )

/** PolicyVersion is one version of a managed policy. */
export interface PolicyVersion {
  id: string
  isDefault: boolean
  createdAt: number
}

export const listPolicyVersions = (arn: string) =>
  listAll(
    'ListPolicyVersions',
    'Versions',
    (m): PolicyVersion => ({
      id: childText(m, 'VersionId'),
      isDefault: childText(m, 'IsDefaultVersion') === 'true',
      createdAt: time(m, 'CreateDate'),
    }),
    { PolicyArn: arn },
  )

/** pretty formats a policy document; one that is not JSON stays as it is. */
export function pretty(document: string): string {
  try {
    return JSON.stringify(JSON.parse(document), null, 2)
  } catch {
    return document
  }
}

const document = (doc: Document, name: string) => pretty(decodeURIComponent(doc.querySelector(name)?.textContent ?? ''))

export const readPolicyVersion = async (arn: string, version: string) =>
  document(await iam('GetPolicyVersion', { PolicyArn: arn, VersionId: version }), 'Document')

/** Kind is what policies can be attached to. */
export type Kind = 'User' | 'Group' | 'Role'

/** Attached is a managed policy of a user, a group or a role. */
export interface Attached {
  name: string
  arn: string
}

export const listAttached = (kind: Kind, name: string) =>
  listAll(
    `ListAttached${kind}Policies`,
    'AttachedPolicies',
    (m): Attached => ({ name: childText(m, 'PolicyName'), arn: childText(m, 'PolicyArn') }),
    { [`${kind}Name`]: name },
  )

export const listInline = (kind: Kind, name: string) =>
  listAll(`List${kind}Policies`, 'PolicyNames', (m) => m.textContent ?? '', { [`${kind}Name`]: name })

export const readInline = async (kind: Kind, name: string, policy: string) =>
  document(await iam(`Get${kind}Policy`, { [`${kind}Name`]: name, PolicyName: policy }), 'PolicyDocument')

export const putInline = (kind: Kind, name: string, policy: string, text: string) =>
  iam(`Put${kind}Policy`, { [`${kind}Name`]: name, PolicyName: policy, PolicyDocument: text })

export const deleteInline = (kind: Kind, name: string, policy: string) =>
  iam(`Delete${kind}Policy`, { [`${kind}Name`]: name, PolicyName: policy })

export const attach = (kind: Kind, name: string, arn: string) =>
  iam(`Attach${kind}Policy`, { [`${kind}Name`]: name, PolicyArn: arn })

export const detach = (kind: Kind, name: string, arn: string) =>
  iam(`Detach${kind}Policy`, { [`${kind}Name`]: name, PolicyArn: arn })

/** AccessKey is an access key of a user. */
export interface AccessKey {
  id: string
  active: boolean
  createdAt: number
}

export const listAccessKeys = (user: string) =>
  listAll(
    'ListAccessKeys',
    'AccessKeyMetadata',
    (m): AccessKey => ({
      id: childText(m, 'AccessKeyId'),
      active: childText(m, 'Status') === 'Active',
      createdAt: time(m, 'CreateDate'),
    }),
    { UserName: user },
  )

export const listUserGroups = (user: string) =>
  listAll('ListGroupsForUser', 'Groups', entity('Group'), { UserName: user })

export const listMembers = (group: string) => listAll('GetGroup', 'Users', entity('User'), { GroupName: group })

/** MfaDevice is an MFA device of a user. */
export interface MfaDevice {
  serial: string
  since: number
}

export const listMfaDevices = (user: string) =>
  listAll(
    'ListMFADevices',
    'MFADevices',
    (m): MfaDevice => ({ serial: childText(m, 'SerialNumber'), since: time(m, 'EnableDate') }),
    { UserName: user },
  )

export const readTrust = async (role: string) =>
  document(await iam('GetRole', { RoleName: role }), 'AssumeRolePolicyDocument')
