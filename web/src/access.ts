// The permissions of the signed-in user, as the server reports them.

import { useEffect } from 'react'
import * as v from 'valibot'
import { call } from './api'
import { ROUTES } from './routes'
import { Store, useStore } from './store'

const answers = v.object({
  Answers: v.array(v.object({ Action: v.string(), Allowed: v.boolean(), Message: v.optional(v.string()) })),
})

/** Question is one action on one resource; none is "*". */
export interface Question {
  Action: string
  ResourceArn?: string
  Target?: string
  DocumentName?: string
  /** Whether policy may allow the action on some resource. */
  AnyResource?: boolean
}

/** Right is the answer to a question. */
export interface Right {
  action: string
  allowed: boolean
  /** The error message of an attempt. */
  message: string
}

/** myRights asks what the signed-in user may do, in the order of the questions. */
export async function myRights(questions: Question[]): Promise<Right[]> {
  const r = await call('Sekisho.DescribeMyAccess', { Questions: questions }, answers, true)
  return r.Answers.map((a) => ({ action: a.Action, allowed: a.Allowed, message: a.Message ?? '' }))
}

/** MOST is how many questions the server answers at a time. */
const MOST = 25

/** rights caches the signed-in user's permissions by action. */
export const rights = new Store<Map<string, Right>>(new Map())

/** ACTIONS are the actions that pages check in addition to the action that a page itself needs. */
const ACTIONS = [
  'ssm:DescribeInstanceProperties',
  'ssm:DescribeInstanceInformation',
  'ssm:CreateActivation',
  'sekisho:ListSeenMachines',
  'iam:SimulatePrincipalPolicy',
  'sekisho:ListWebhooks',
  'iam:ListMFADevices',
  'sekisho:GetIntegrity',
  'sekisho:GetHealth',
  'sekisho:GetRecordingStorage',
  'sekisho:ListClusterMembers',
  'sekisho:JoinSession',
  'sekisho:ShareSessionRecording',
]

/** Operations that list are authorized for "*"; others for the resource that they act on. */
const isList = (action: string) => /:(List|Describe|Lookup)/.test(action)

/** mayDo reports whether policy allows an action on some resource; undefined while that is unknown. */
export function mayDo(action: string): boolean | undefined {
  return rights.get().get(action)?.allowed
}

async function ask(actions: string[]): Promise<void> {
  const known = new Map(rights.get())
  for (let i = 0; i < actions.length; i += MOST) {
    const batch = actions.slice(i, i + MOST)
    const some = await myRights(batch.map((Action) => ({ Action, ...(isList(Action) ? {} : { AnyResource: true }) })))
    batch.forEach((action, j) => known.set(action, some[j]!))
  }
  rights.set(new Map([...rights.get(), ...known]))
}

/** loadRights asks for the permissions that pages of the console need. */
export async function loadRights(): Promise<void> {
  rights.set(new Map())
  asked.clear()
  const actions = [...new Set([...ROUTES.flatMap((r) => r.needs ?? []), ...ACTIONS])]
  for (const action of actions) asked.add(action)
  // On failure pages show denials themselves.
  await ask(actions).catch(() => {})
}

/** asked are the actions whose answers are known or on their way. */
const asked = new Set<string>()
let wanted: string[] = []

/** want asks for the rights to actions, together with those that others want at the same time. */
function want(actions: readonly string[]): void {
  for (const action of actions) {
    if (asked.has(action)) continue
    asked.add(action)
    if (wanted.length === 0) {
      queueMicrotask(() => {
        const batch = wanted
        wanted = []
        ask(batch).catch(() => batch.forEach((a) => asked.delete(a)))
      })
    }
    wanted.push(action)
  }
}

/** useMissing are those of some actions that policy denies on every resource. None is missing while that is unknown. */
export function useMissing(actions: readonly string[]): string[] {
  const known = useStore(rights)
  const key = actions.join(' ')
  useEffect(() => {
    if (key !== '') want(key.split(' '))
  }, [key])
  return actions.filter((a) => known.get(a)?.allowed === false)
}
