// The nodes, kept up to date by what the server pushes.

import * as v from 'valibot'
import { call, CallError, IGNORED } from './api'
import { onChange } from './events'
import { mayDo } from './access'
import { byName, millis } from './format'
import { awsTime, tags, text } from './schemas'
import { Store } from './store'
import { t, type PlainKey } from './i18n'

/** Connection is a node's connection status; unknown until asked. */
export type Connection = 'connected' | 'notconnected' | 'unknown'

/** Node is a managed node as the console shows it. */
export interface Node {
  id: string
  /** The name to show: the server applies the account's rule. */
  name: string
  /** The names that administrators gave: tags, and the name in the activation. */
  givenNames: string[]
  connection: Connection
  pingStatus: string
  platformType: string
  platform: string
  agentVersion: string
  computerName: string
  ipAddress: string
  /** The agent's source address, as the server sees it; empty if the server does not report it. */
  sourceAddress: string
  role: string
  activationId: string
  registeredAt: number
  lastPingAt: number
  /** Why the node is not connected, as the server says; empty when it does not. */
  why: string
  /** The state, as the server reports it; empty if it does not. */
  state: string
  /** The server's notes about it, newest first. */
  notes: Note[]
  tags: { key: string; value: string }[]
}

/** Note is an observation of the server about a node. */
export interface Note {
  kind: string
  text: string
  fingerprint: string
  lastAt: number
  count: number
}

const properties = v.object({
  InstanceId: v.string(),
  Name: text,
  ComputerName: text,
  PingStatus: text,
  LastPingDateTime: awsTime,
  AgentVersion: text,
  PlatformType: text,
  PlatformName: text,
  PlatformVersion: text,
  IPAddress: text,
  IamRole: text,
  ActivationId: text,
  RegistrationDate: awsTime,
  // Members that Sekisho adds to those of AWS.
  NodeName: text,
  GivenNames: v.optional(v.array(v.string()), []),
  ConnectionStatus: text,
  NotConnectedReason: text,
  SourceIp: text,
  State: text,
  Notes: v.optional(
    v.array(v.object({ Kind: v.string(), Text: v.string(), Fingerprint: text, LastAt: awsTime, Count: v.number() })),
    [],
  ),
  Tags: tags,
})
type Properties = v.InferOutput<typeof properties>

const propertiesPage = v.object({
  InstanceProperties: v.optional(v.array(properties), []),
  InstanceInformationList: v.optional(v.array(properties), []),
  NextToken: v.optional(v.string()),
})
const connectionAnswer = v.object({ Status: v.optional(v.string()) })
const strayMachines = v.object({
  Machines: v.optional(
    v.array(
      v.object({
        Kind: v.string(),
        Reason: v.string(),
        SourceIp: text,
        InstanceId: text,
        LastSeenAt: awsTime,
        Count: v.number(),
      }),
    ),
    [],
  ),
  Deregistered: v.optional(
    v.array(v.object({ InstanceId: v.string(), NodeName: text, SourceIp: text, DeregisteredAt: awsTime })),
    [],
  ),
})

interface NodeState {
  nodes: Node[]
  loading: boolean
  /** Policy does not allow to list nodes. */
  denied: boolean
  error: CallError | null
}

/** The nodes that the signed-in user may list. */
export const nodes = new Store<NodeState>({ nodes: [], loading: true, denied: false, error: null })

function fromProperties(p: Properties): Node {
  const node: Node = {
    id: p.InstanceId,
    name: p.NodeName,
    givenNames: p.GivenNames,
    connection:
      p.ConnectionStatus === 'connected' || p.ConnectionStatus === 'notconnected' ? p.ConnectionStatus : 'unknown',
    pingStatus: p.PingStatus,
    platformType: p.PlatformType,
    platform: [p.PlatformName || p.PlatformType, p.PlatformVersion].filter(Boolean).join(' '),
    agentVersion: p.AgentVersion,
    computerName: p.ComputerName,
    ipAddress: p.IPAddress,
    sourceAddress: p.SourceIp,
    role: p.IamRole,
    activationId: p.ActivationId,
    registeredAt: millis(p.RegistrationDate),
    lastPingAt: millis(p.LastPingDateTime),
    why: p.NotConnectedReason,
    state: p.State,
    notes: p.Notes.map((x) => ({
      kind: x.Kind,
      text: x.Text,
      fingerprint: x.Fingerprint,
      lastAt: millis(x.LastAt),
      count: x.Count,
    })),
    tags: p.Tags.map((x) => ({ key: x.Key, value: x.Value })),
  }
  return node
}

/**
 * matching are the nodes that a text selects: by ID, by a tag as KEY=VALUE, or by name. The names that administrators
 * gave take precedence over those that machines report, so that no machine can pass as another.
 */
export function matching(list: Node[], wanted: string): Node[] {
  const byId = list.filter((n) => n.id === wanted)
  if (byId.length > 0) return byId
  const at = wanted.indexOf('=')
  if (at >= 0)
    return list.filter((n) => n.tags.some((x) => x.key === wanted.slice(0, at) && x.value === wanted.slice(at + 1)))
  const given = list.filter((n) => n.givenNames.includes(wanted))
  return given.length > 0 ? given : list.filter((n) => n.computerName === wanted)
}

const WHY: Record<string, PlainKey> = {
  ChannelDown: 'nodes.whyChannel',
  NeverConnected: 'nodes.whyNever',
  Lost: 'nodes.whySilent',
  ClockSkewed: 'nodes.whyClock',
  CredentialsRefused: 'nodes.whyCredentials',
  IdentityChanged: 'nodes.whyIdentity',
  NoRole: 'nodes.whyRole',
}

/** whyNotConnected says why a node is not connected; '' when it is. */
export function whyNotConnected(n: Node): string {
  if (n.connection !== 'notconnected') return ''
  const state = n.state in WHY ? n.state : n.lastPingAt === 0 ? 'NeverConnected' : 'Lost'
  return t(WHY[state]!)
}

/** Stray is a machine that has contacted the server but is not managed. */
export interface Stray {
  key: string
  what: string
  address: string
  node: string
  reason: string
  lastAt: number
  count: number
}

/** loadStrays lists the machines that were refused, and the nodes deregistered. */
export async function loadStrays(): Promise<Stray[]> {
  const r = await call('Sekisho.ListSeenMachines', {}, strayMachines, true)
  return [
    ...r.Machines.map((m) => ({
      key: `${m.Kind} ${m.InstanceId} ${m.SourceIp}`,
      what: m.Kind,
      address: m.SourceIp,
      node: m.InstanceId,
      reason: m.Reason,
      lastAt: millis(m.LastSeenAt),
      count: m.Count,
    })),
    ...r.Deregistered.map((n) => ({
      key: n.InstanceId,
      what: t('nodes.deregistered'),
      address: n.SourceIp,
      node: n.InstanceId,
      reason: n.NodeName,
      lastAt: millis(n.DeregisteredAt),
      count: 1,
    })),
  ]
}

/** approveIdentity makes the machine that shows a changed fingerprint the node. */
export async function approveIdentity(node: string, fingerprint: string): Promise<void> {
  await call('Sekisho.ApproveNodeIdentity', { InstanceId: node, Fingerprint: fingerprint }, IGNORED)
  await refreshNodes([node])
}

/** How nodes are listed: by the operation that policy allows, the larger pages first. */
const LISTS = [
  { operation: 'DescribeInstanceProperties', filters: 'InstancePropertyFilterList', most: 1000 },
  { operation: 'DescribeInstanceInformation', filters: 'InstanceInformationFilterList', most: 50 },
] as const

/** LIST_ACTIONS allow to list nodes: one is enough. */
export const LIST_ACTIONS = LISTS.map((l) => `ssm:${l.operation}`)

async function fetchNodes(
  ids: string[] | null,
  background: boolean,
  onPage: (sofar: Node[]) => void = () => {},
): Promise<Node[]> {
  const list = LISTS.find((l) => mayDo(`ssm:${l.operation}`)) ?? LISTS[0]
  const all: Node[] = []
  let token: string | undefined
  do {
    const page: v.InferOutput<typeof propertiesPage> = await call(
      `AmazonSSM.${list.operation}`,
      {
        MaxResults: list.most,
        ...(ids === null ? {} : { [list.filters]: [{ key: 'InstanceIds', valueSet: ids }] }),
        ...(token === undefined ? {} : { NextToken: token }),
      },
      propertiesPage,
      background,
    )
    for (const p of [...page.InstanceProperties, ...page.InstanceInformationList]) all.push(fromProperties(p))
    token = page.NextToken || undefined
    if (token !== undefined) onPage(all)
  } while (token !== undefined)
  return all.toSorted((x, y) => byName(x.name, y.name))
}

/** Connection statuses that were asked for one by one, by node ID. */
const asked = new Map<string, Connection>()

function withAsked(list: Node[]): Node[] {
  return list.map((n) => (n.connection === 'unknown' ? { ...n, connection: asked.get(n.id) ?? 'unknown' } : n))
}

/** loadNodes reads every node again. A user who may not list nodes is not refused each time: the call is not made. */
export async function loadNodes(background = false): Promise<void> {
  if (LIST_ACTIONS.every((action) => mayDo(action) === false)) {
    nodes.set({ nodes: [], loading: false, denied: true, error: null })
    return
  }
  if (!background) nodes.update({ loading: true })
  try {
    // The first pages of a long list are shown while the others are read.
    const first = nodes.get().nodes.length === 0
    const list = await fetchNodes(null, background, (sofar) => {
      if (first) nodes.update({ nodes: withAsked(sofar.toSorted((x, y) => byName(x.name, y.name))) })
    })
    asked.clear()
    nodes.set({ nodes: withAsked(list), loading: false, denied: false, error: null })
  } catch (err) {
    nodes.update({ loading: false, error: err as CallError })
  }
}

/** refreshNodes reads some nodes again. */
export async function refreshNodes(ids: string[]): Promise<void> {
  if (nodes.get().denied) return
  try {
    const fresh = new Map<string, Node>()
    for (const n of await fetchNodes(ids, true)) {
      fresh.set(n.id, n)
    }
    for (const id of ids) asked.delete(id)
    const seen = new Set(nodes.get().nodes.map((n) => n.id))
    const kept = nodes.get().nodes.flatMap((n) => {
      if (!ids.includes(n.id)) return [n]
      const now = fresh.get(n.id)
      return now === undefined ? [] : [now]
    })
    const added = [...fresh.values()].filter((n) => !seen.has(n.id))
    nodes.update({ nodes: [...kept, ...added].toSorted((x, y) => byName(x.name, y.name)), error: null })
  } catch (err) {
    nodes.update({ error: err as CallError })
  }
}

/** askConnections asks for the connection status of nodes whose list entry does not tell. */
export async function askConnections(ids: string[]): Promise<void> {
  const queue = ids.filter((id) => !asked.has(id))
  for (const id of queue) asked.set(id, 'unknown')
  const worker = async () => {
    for (let id = queue.shift(); id !== undefined; id = queue.shift()) {
      try {
        const r = await call('AmazonSSM.GetConnectionStatus', { Target: id }, connectionAnswer, true)
        asked.set(id, r.Status === 'connected' ? 'connected' : 'notconnected')
      } catch {
        // Not permitted: the status stays unknown.
      }
      nodes.update({ nodes: withAsked(nodes.get().nodes) })
    }
  }
  await Promise.all(Array.from({ length: 4 }, worker))
}

const GATHER_MS = 250
const MAX_SINGLE = 25

/** followNodes keeps the list up to date. */
export function followNodes(): () => void {
  let pending = new Set<string>()
  let all = false
  let timer: ReturnType<typeof setTimeout> | undefined
  const stop = onChange((c) => {
    if (c.kind === 'session') return
    // Users who cannot list nodes do not learn which one it was.
    if (c.kind === 'all' || c.id === '') all = true
    else pending.add(c.id)
    timer ??= setTimeout(() => {
      timer = undefined
      const ids = [...pending]
      const everything = all || ids.length > MAX_SINGLE
      pending = new Set()
      all = false
      void (everything ? loadNodes(true) : refreshNodes(ids))
    }, GATHER_MS)
  })
  return () => {
    clearTimeout(timer)
    stop()
  }
}
