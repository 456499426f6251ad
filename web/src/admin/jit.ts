// Just-in-time access, grants and reach: the calls.

import * as v from 'valibot'
import { call, IGNORED } from '../api'

const request = v.object({
  AccessRequestId: v.string(),
  Status: v.picklist(['Pending', 'Approved', 'Rejected', 'Revoked', 'Expired']),
  Requester: v.string(),
  InstanceIds: v.array(v.string()),
  Reason: v.string(),
  BreakGlass: v.optional(v.boolean()),
  ApprovalsNeeded: v.number(),
  Decisions: v.array(
    v.object({
      Status: v.picklist(['Approved', 'Rejected', 'Revoked']),
      By: v.string(),
      Reason: v.string(),
      At: v.number(),
    }),
  ),
  CreatedAt: v.number(),
  ExpiresAt: v.number(),
})
const requests = v.object({ AccessRequests: v.array(request), NextToken: v.optional(v.string()) })

/** AccessRequest is a request for access to nodes. */
export type AccessRequest = v.InferOutput<typeof request>

/** listRequests lists the latest access requests, newest first. */
export async function listRequests(): Promise<AccessRequest[]> {
  return (await call('Sekisho.ListAccessRequests', { MaxResults: 200 }, requests)).AccessRequests
}

/** requestAccess asks for access to nodes. */
export async function requestAccess(nodes: string[], reason: string, breakGlass: boolean): Promise<void> {
  const input = { Reason: reason, Targets: [{ Key: 'InstanceIds', Values: nodes }], BreakGlass: breakGlass }
  await call('AmazonSSM.StartAccessRequest', input, IGNORED)
}

/** Decision is a decision on a request. */
export type Decision = 'Approve' | 'Reject' | 'Revoke'

/** decide approves, rejects or revokes a request. */
export async function decide(decision: Decision, id: string, reason: string): Promise<void> {
  await call(`Sekisho.${decision}AccessRequest`, { AccessRequestId: id, Reason: reason }, IGNORED)
}

/** Grant says who may open sessions: where, on which nodes and when. */
export interface Grant {
  Targets: string[]
  Documents: string[]
  Weekdays: string[]
  From: string
  To: string
  Zone: string
  /** Local dates, both inclusive. */
  FirstDay: string
  LastDay: string
  SourceIps: string[]
  MFA: boolean
  /** The greatest age of the second factor; any if absent. */
  MFAWithinSeconds?: number
  /** Names of calendars. */
  During: string[]
  Except: string[]
  /** Seconds since 1970. */
  NotBefore?: number
  NotAfter?: number
}

const built = v.object({ PolicyDocument: v.string() })

/** buildPolicy writes the policy of a grant. */
export async function buildPolicy(g: Grant): Promise<string> {
  return (await call('Sekisho.BuildPolicy', g, built)).PolicyDocument
}

/** Holder is what a policy is attached to. */
export type Holder = 'UserName' | 'GroupName' | 'RoleName'

/** grantAccess attaches the policy of a grant as an inline policy. */
export async function grantAccess(g: Grant, holder: Holder, name: string, policy: string): Promise<void> {
  await call('Sekisho.GrantAccess', { ...g, [holder]: name, PolicyName: policy }, IGNORED)
}

const entry = v.object({
  PrincipalArn: v.optional(v.string()),
  NodeId: v.optional(v.string()),
  NodeName: v.optional(v.string()),
  Spans: v.array(
    v.object({
      From: v.number(),
      To: v.number(),
      Access: v.picklist(['Always', 'Depends']),
      DependsOn: v.optional(v.array(v.string())),
    }),
  ),
})
const access = v.object({ From: v.number(), To: v.number(), Access: v.array(entry), NextToken: v.optional(v.string()) })

/** Reach is who can reach a node, or what a principal can reach, in a span of time. */
export type Reach = v.InferOutput<typeof access>

/** loadReach asks for the reach of a node or a user in the next week. */
export function loadReach(of: { node: string } | { user: string }): Promise<Reach> {
  return 'node' in of
    ? call('Sekisho.ListNodeAccess', { Target: of.node, MaxResults: 1000 }, access)
    : call('Sekisho.ListPrincipalAccess', { UserName: of.user, MaxResults: 1000 }, access)
}

/** words splits a list that was typed. */
export const words = (text: string) => text.split(/[\s,]+/).filter((w) => w !== '')
