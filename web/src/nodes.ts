// The nodes, kept up to date by what the server pushes.

import { call, CallError } from './api'
import { onChange } from './events'
import { millis, type AwsTime } from './format'
import { Store } from './store'

/** Connection is a node's connection status; unknown until asked. */
export type Connection = 'connected' | 'notconnected' | 'unknown'

/** Node is a managed node as the console shows it. */
export interface Node {
  id: string
  name: string
  connection: Connection
  pingStatus: string
  platformType: string
  platform: string
  agentVersion: string
  computerName: string
  ipAddress: string
  /** Where the server sees the agent come from; empty when it does not say. */
  sourceAddress: string
  role: string
  activationId: string
  registeredAt: number
  lastPingAt: number
  /** Why the node is not connected, as the server says; empty when it does not. */
  why: string
  /** How it stands, in the server's word; empty when it does not say. */
  state: string
  /** What the server has seen of it, the newest first. */
  notes: Note[]
  tags: { key: string; value: string }[]
}

/** Note is something the server has seen of a node. */
export interface Note {
  kind: string
  text: string
  fingerprint: string
  lastAt: number
  count: number
}

interface Properties {
  InstanceId: string
  Name?: string
  ComputerName?: string
  PingStatus?: string
  LastPingDateTime?: AwsTime
  AgentVersion?: string
  PlatformType?: string
  PlatformName?: string
  PlatformVersion?: string
  IPAddress?: string
  IamRole?: string
  ActivationId?: string
  RegistrationDate?: AwsTime
  // What Sekisho says beyond the AWS members.
  ConnectionStatus?: string
  NotConnectedReason?: string
  SourceIp?: string
  State?: string
  Notes?: { Kind: string; Text: string; Fingerprint?: string; LastAt?: AwsTime; Count: number }[]
  Tags?: { Key: string; Value: string }[]
}

interface NodeState {
  nodes: Node[]
  loading: boolean
  error: CallError | null
}

/** The nodes that the signed-in user may list. */
export const nodes = new Store<NodeState>({ nodes: [], loading: true, error: null })

function fromProperties(p: Properties): Node {
  const node: Node = {
    id: p.InstanceId,
    name: p.Name || p.ComputerName || '',
    connection: p.ConnectionStatus === 'connected' || p.ConnectionStatus === 'notconnected' ? p.ConnectionStatus : 'unknown',
    pingStatus: p.PingStatus ?? '',
    platformType: p.PlatformType ?? '',
    platform: [p.PlatformName || p.PlatformType, p.PlatformVersion].filter(Boolean).join(' '),
    agentVersion: p.AgentVersion ?? '',
    computerName: p.ComputerName ?? '',
    ipAddress: p.IPAddress ?? '',
    sourceAddress: p.SourceIp ?? '',
    role: p.IamRole ?? '',
    activationId: p.ActivationId ?? '',
    registeredAt: millis(p.RegistrationDate),
    lastPingAt: millis(p.LastPingDateTime),
    why: p.NotConnectedReason ?? '',
    state: p.State ?? '',
    notes: (p.Notes ?? []).map((x) => ({
      kind: x.Kind,
      text: x.Text,
      fingerprint: x.Fingerprint ?? '',
      lastAt: millis(x.LastAt),
      count: x.Count,
    })),
    tags: (p.Tags ?? []).map((t) => ({ key: t.Key, value: t.Value })),
  }
  return node
}

/** whyNotConnected puts the reason in words: the server's, or what the facts tell. */
export function whyNotConnected(n: Node): string {
  if (n.connection !== 'notconnected') return ''
  if (n.why !== '') return `${n.why.charAt(0).toUpperCase()}${n.why.slice(1)}${n.why.endsWith('.') ? '' : '.'}`
  if (n.lastPingAt === 0) return 'It is registered, but its agent has never been heard from. Is the agent running?'
  if (n.pingStatus === 'Online') return 'Its agent is up, but its message channel is down.'
  return 'Its agent has gone silent: the machine is off, the agent has stopped, or the network between is down.'
}

/** Stray is a machine that is not managed but was heard of. */
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
  const r = await call<{
    Machines?: { Kind: string; Reason: string; SourceIp?: string; InstanceId?: string; LastSeenAt?: AwsTime; Count: number }[]
    Deregistered?: { InstanceId: string; Name?: string; ComputerName?: string; SourceIp?: string; DeregisteredAt?: AwsTime }[]
  }>('Sekisho.ListSeenMachines', {}, true)
  return [
    ...(r.Machines ?? []).map((m) => ({
      key: `${m.Kind} ${m.InstanceId ?? ''} ${m.SourceIp ?? ''}`,
      what: m.Kind,
      address: m.SourceIp ?? '',
      node: m.InstanceId ?? '',
      reason: m.Reason,
      lastAt: millis(m.LastSeenAt),
      count: m.Count,
    })),
    ...(r.Deregistered ?? []).map((n) => ({
      key: n.InstanceId,
      what: 'Deregistered',
      address: n.SourceIp ?? '',
      node: n.InstanceId,
      reason: [n.Name, n.ComputerName].filter(Boolean).join(' '),
      lastAt: millis(n.DeregisteredAt),
      count: 1,
    })),
  ]
}

/** approveIdentity makes the machine that shows a changed fingerprint the node. */
export async function approveIdentity(node: string, fingerprint: string): Promise<void> {
  await call('Sekisho.ApproveNodeIdentity', { InstanceId: node, Fingerprint: fingerprint })
  await refreshNodes([node])
}

const PAGE = 1000

async function fetchNodes(filter: object, background: boolean): Promise<Node[]> {
  const all: Node[] = []
  let token: string | undefined
  do {
    const page: { InstanceProperties?: Properties[]; NextToken?: string } = await call(
      'AmazonSSM.DescribeInstanceProperties',
      { MaxResults: PAGE, ...filter, ...(token === undefined ? {} : { NextToken: token }) },
      background,
    )
    for (const p of page.InstanceProperties ?? []) all.push(fromProperties(p))
    token = page.NextToken || undefined
  } while (token !== undefined)
  return all
}

/** Connection statuses that were asked for one by one, by node ID. */
const asked = new Map<string, Connection>()

function withAsked(list: Node[]): Node[] {
  return list.map((n) => (n.connection === 'unknown' ? { ...n, connection: asked.get(n.id) ?? 'unknown' } : n))
}

/** loadNodes reads every node anew. */
export async function loadNodes(background = false): Promise<void> {
  if (!background) nodes.update({ loading: true })
  try {
    const list = await fetchNodes({}, background)
    asked.clear()
    nodes.set({ nodes: withAsked(list), loading: false, error: null })
  } catch (err) {
    nodes.update({ loading: false, error: err as CallError })
  }
}

/** refreshNodes reads some nodes anew. */
export async function refreshNodes(ids: string[]): Promise<void> {
  try {
    const fresh = new Map<string, Node>()
    for (const n of await fetchNodes({ InstancePropertyFilterList: [{ key: 'InstanceIds', valueSet: ids }] }, true)) {
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
    nodes.update({ nodes: [...kept, ...added], error: null })
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
        const r = await call<{ Status?: string }>('AmazonSSM.GetConnectionStatus', { Target: id }, true)
        asked.set(id, r.Status === 'connected' ? 'connected' : 'notconnected')
      } catch {
        // Not allowed to know: it stays unknown.
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
    // Who may not list nodes is not told which one it was.
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
