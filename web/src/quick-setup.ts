// Quick Setup, as the server does it: the roles that nodes need, which nodes
// have them, and how machines are added.

import { call } from './api'
import { millis, type AwsTime } from './format'
import type { Node } from './nodes'

/** ROLE is the role that Quick Setup gives to nodes. */
export const ROLE = 'AmazonSSMRoleForInstancesQuickSetup'

export type Outcome = 'Present' | 'Missing' | 'Made' | 'Differs' | 'Unknown' | 'Failed' | 'Skipped'

/** Step is one thing that Quick Setup sees to, and how it stands. */
export interface Step {
  Kind: 'Role' | 'Trust' | 'ManagedPolicy' | 'InlinePolicy' | 'InstanceProfile' | 'ProfileRole' | 'NodeRole'
  Resource: string
  Detail?: string
  Outcome: Outcome
  Text: string
  ErrorCode?: string
  ErrorMessage?: string
}

/** Agent is one of the agents that machines may fetch from the server. */
export interface Agent {
  Architecture: string
  Sha256?: string
  Available: boolean
}

/** Setup is how Quick Setup stands, or came out. */
export interface Setup {
  Steps: Step[]
  Changes: number
  Ready: boolean
  Agents?: Agent[]
}

/** Tag is a tag of a node. */
export interface Tag {
  Key: string
  Value: string
}

/** Choice says which nodes get the role. */
export interface Choice {
  InstanceIds?: string[]
  Tags?: Tag[]
}

export const describeSetup = () => call<Setup>('Sekisho.DescribeQuickSetup', {}, true)
export const applySetup = (choice: Choice) => call<Setup>('Sekisho.ApplyQuickSetup', choice)

/** Order says which machines are to become nodes, and how. */
export interface Order {
  DefaultInstanceName?: string
  RegistrationLimit: number
  ExpirationDate: number
  Tags?: Tag[]
  NodeIdType: 'managed-instance' | 'instance'
  Agent: 'sekisho' | 'amazon'
  PackageUrl?: string
  PackageSha256?: string
}

/** InstallCommand is how a machine becomes a node. It holds a secret. */
export interface InstallCommand {
  activationId: string
  expires: number
  limit: number
  command: string
  userData: string
  uninstall: string
}

export async function createInstallCommand(order: Order): Promise<InstallCommand> {
  const r = await call<{
    ActivationId: string
    ExpirationDate: AwsTime
    RegistrationLimit: number
    Command: string
    UserData: string
    UninstallCommand: string
  }>('Sekisho.CreateInstallCommand', order)
  return {
    activationId: r.ActivationId,
    expires: millis(r.ExpirationDate),
    limit: r.RegistrationLimit,
    command: r.Command,
    userData: r.UserData,
    uninstall: r.UninstallCommand,
  }
}

/** LABELS name the steps. */
const LABELS: Record<Step['Kind'], string> = {
  Role: 'Role',
  Trust: 'Trust policy',
  ManagedPolicy: 'Managed policy',
  InlinePolicy: 'Inline policy',
  InstanceProfile: 'Instance profile',
  ProfileRole: 'Role in the profile',
  NodeRole: 'Role of the machine',
}

/** label names what a step is about. */
export const label = (s: Step) => LABELS[s.Kind] ?? s.Kind

/** summary says in a sentence how a run came out. */
export function summary(s: Setup): { type: 'success' | 'info' | 'error'; text: string } {
  const failed = s.Steps.some((x) => x.Outcome === 'Failed')
  const changes = s.Changes === 1 ? 'One thing was changed' : `${s.Changes} things were changed`
  if (failed) return { type: 'error', text: s.Changes === 0 ? 'Nothing was changed.' : `${changes} before it stopped.` }
  if (s.Changes === 0) return { type: 'info', text: 'Everything was there already: nothing was changed.' }
  const rest = s.Steps.some((x) => x.Outcome !== 'Made') ? ' The rest was there already.' : ''
  return { type: 'success', text: `${changes}.${rest}` }
}

/** tagged are the nodes that have a tag. */
export const tagged = (list: Node[], tag: Tag) => list.filter((n) => n.tags.some((t) => t.key === tag.Key && t.value === tag.Value))
