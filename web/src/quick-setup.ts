// The API of Quick Setup: the roles that nodes need, which nodes have them, and
// the command that adds machines.

import * as v from 'valibot'
import { call } from './api'
import { millis } from './format'
import { awsTime } from './schemas'
import type { Node } from './nodes'
import { count, t } from './i18n'

/** ROLE is the role that Quick Setup gives to nodes. */
export const ROLE = 'AmazonSSMRoleForInstancesQuickSetup'

const outcome = v.picklist(['Present', 'Missing', 'Made', 'Differs', 'Unknown', 'Failed', 'Skipped'])
export type Outcome = v.InferOutput<typeof outcome>

const stepSchema = v.object({
  Kind: v.picklist(['Role', 'Trust', 'ManagedPolicy', 'InlinePolicy', 'InstanceProfile', 'ProfileRole', 'NodeRole']),
  Resource: v.string(),
  Detail: v.optional(v.string()),
  Outcome: outcome,
  Text: v.string(),
  ErrorCode: v.optional(v.string()),
  ErrorMessage: v.optional(v.string()),
})

/** Step is one resource that Quick Setup creates, and its state. */
export type Step = v.InferOutput<typeof stepSchema>

const agentSchema = v.object({ Architecture: v.string(), Sha256: v.optional(v.string()), Available: v.boolean() })

/** Agent is one of the agents that machines can download from the server. */
export type Agent = v.InferOutput<typeof agentSchema>

const setupSchema = v.object({
  Steps: v.array(stepSchema),
  Changes: v.number(),
  Ready: v.boolean(),
  Agents: v.optional(v.array(agentSchema)),
})

/** Setup is the state of Quick Setup, or the result of a run. */
export type Setup = v.InferOutput<typeof setupSchema>

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

export const describeSetup = () => call('Sekisho.DescribeQuickSetup', {}, setupSchema, true)
export const applySetup = (choice: Choice) => call('Sekisho.ApplyQuickSetup', choice, setupSchema)

/** Order says how machines become nodes. */
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

/** InstallCommand makes a machine a node. It contains a secret. */
export interface InstallCommand {
  activationId: string
  expires: number
  limit: number
  command: string
  userData: string
  uninstall: string
}

const installSchema = v.object({
  ActivationId: v.string(),
  ExpirationDate: awsTime,
  RegistrationLimit: v.number(),
  Command: v.string(),
  UserData: v.string(),
  UninstallCommand: v.string(),
})

/** createInstallCommand creates an activation and the command that uses it. */
export async function createInstallCommand(order: Order): Promise<InstallCommand> {
  const r = await call('Sekisho.CreateInstallCommand', order, installSchema)
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
const LABELS = (): Record<Step['Kind'], string> => ({
  Role: t('common.role'),
  Trust: t('setup.trust'),
  ManagedPolicy: t('setup.managedPolicy'),
  InlinePolicy: t('setup.inlinePolicy'),
  InstanceProfile: t('setup.instanceProfile'),
  ProfileRole: t('setup.profileRole'),
  NodeRole: t('setup.nodeRole'),
})

/** label names what a step is about. */
export const label = (s: Step) => LABELS()[s.Kind] ?? s.Kind

/** summary describes the result of a run in one sentence. */
export function summary(s: Setup): { type: 'success' | 'info' | 'error'; text: string } {
  const failed = s.Steps.some((x) => x.Outcome === 'Failed')
  if (failed) return { type: 'error', text: s.Changes === 0 ? t('setup.nothing') : count('setup.partly', s.Changes) }
  if (s.Changes === 0) return { type: 'info', text: t('setup.allPresent') }
  const rest = s.Steps.some((x) => x.Outcome !== 'Made') ? t('setup.rest') : ''
  return { type: 'success', text: `${count('setup.changed', s.Changes)}${rest}` }
}

/** tagged returns the nodes that have a tag. */
export const tagged = (list: Node[], tag: Tag) =>
  list.filter((n) => n.tags.some((x) => x.key === tag.Key && x.value === tag.Value))
