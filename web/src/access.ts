// The permissions of the signed-in user, as the server reports them.

import * as v from 'valibot'
import { call } from './api'
import { ROUTES } from './routes'
import { Store } from './store'

const answers = v.object({
  Answers: v.array(v.object({ Action: v.string(), Allowed: v.boolean(), Message: v.optional(v.string()) })),
})

/** Question is one action on one resource; none is "*". */
export interface Question {
  Action: string
  ResourceArn?: string
  Target?: string
  DocumentName?: string
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
  'sekisho:JoinSession',
]

/** mayDo reports whether policy allows an action on some resource; undefined while that is unknown. */
export function mayDo(action: string): boolean | undefined {
  return rights.get().get(action)?.allowed
}

/** loadRights asks for the permissions that pages of the console need. */
export async function loadRights(): Promise<void> {
  const actions = [...new Set([...ROUTES.flatMap((r) => r.needs ?? []), ...ACTIONS])]
  const known = new Map<string, Right>()
  try {
    for (let i = 0; i < actions.length; i += MOST) {
      const batch = actions.slice(i, i + MOST)
      const some = await myRights(batch.map((Action) => ({ Action })))
      batch.forEach((action, j) => known.set(action, some[j]!))
    }
  } catch {
    // Pages then show denials themselves.
  }
  rights.set(known)
}
