// The state of a node in one word, which is the same everywhere.

import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator'
import { t, type PlainKey } from './i18n'
import type { Node } from './nodes'

const STATES: Record<string, [StatusIndicatorProps.Type, PlainKey]> = {
  Connected: ['success', 'state.connected'],
  NotConnected: ['stopped', 'state.notConnected'],
  Unknown: ['loading', 'state.unknown'],
  ChannelDown: ['warning', 'state.channelDown'],
  NeverConnected: ['pending', 'state.neverConnected'],
  Lost: ['stopped', 'state.lost'],
  ClockSkewed: ['error', 'state.clockSkewed'],
  CredentialsRefused: ['error', 'state.credentialsRefused'],
  IdentityChanged: ['error', 'state.identityChanged'],
  NoRole: ['error', 'state.noRole'],
}

function stateOf(node: Node): [StatusIndicatorProps.Type, PlainKey] {
  if (node.connection === 'connected') return STATES['Connected']!
  if (node.connection === 'unknown') return STATES['Unknown']!
  const never = node.lastPingAt === 0 ? 'NeverConnected' : 'NotConnected'
  return STATES[node.state] ?? STATES[never]!
}

/** stateText is the state of a node as a word. */
export const stateText = (node: Node) => t(stateOf(node)[1])

/** NodeStatus shows the state of a node. */
export function NodeStatus({ node }: { node: Node }) {
  return <StatusIndicator type={stateOf(node)[0]}>{stateText(node)}</StatusIndicator>
}
