import { useCollection } from '@cloudscape-design/collection-hooks'
import Alert from '@cloudscape-design/components/alert'
import Badge from '@cloudscape-design/components/badge'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Cards from '@cloudscape-design/components/cards'
import ExpandableSection from '@cloudscape-design/components/expandable-section'
import CopyToClipboard from '@cloudscape-design/components/copy-to-clipboard'
import Header from '@cloudscape-design/components/header'
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs'
import Link from '@cloudscape-design/components/link'
import Pagination from '@cloudscape-design/components/pagination'
import Select from '@cloudscape-design/components/select'
import SpaceBetween from '@cloudscape-design/components/space-between'
import SplitPanel from '@cloudscape-design/components/split-panel'
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator'
import Table, { type TableProps } from '@cloudscape-design/components/table'
import TextFilter from '@cloudscape-design/components/text-filter'
import { useEffect, useState } from 'react'
import { signedIn } from './api'
import { pushing } from './events'
import { ago, useNow, when } from './format'
import { approveIdentity, askConnections, loadNodes, loadStrays, nodes, whyNotConnected, type Node, type Note, type Stray } from './nodes'
import { Refusal } from './refusal'
import { FirstNode, RegisterModal } from './register'
import { useStore } from './store'
import { useNarrow } from './narrow'
import { NodeTags } from './node-tags'
import { refusalOf } from './start-check'
import { requestStart } from './start-request'
import { StartPanel, useStartCheck } from './start-panel'

const PAGE_SIZE = 20
const STATUSES = [
  { value: '', label: 'Any connection status' },
  { value: 'connected', label: 'Connected' },
  { value: 'notconnected', label: 'Not connected' },
]

/** STATES words how a node stands that is not connected. */
const STATES: Record<string, [StatusIndicatorProps.Type, string]> = {
  ChannelDown: ['warning', 'Message channel down'],
  NeverConnected: ['pending', 'Never connected'],
  Lost: ['stopped', 'Not heard from'],
  ClockSkewed: ['error', 'Clock is wrong'],
  CredentialsRefused: ['error', 'Credentials refused'],
  IdentityChanged: ['error', 'Identity changed'],
  NoRole: ['error', 'No role'],
}

/** DOUBTS are the notes that somebody should look at. */
const DOUBTS = ['IdentityChanged', 'IdentityTwice', 'CredentialsElsewhere', 'ClaimsOtherNode']

function ConnectionStatus({ node }: { node: Node }) {
  switch (node.connection) {
    case 'connected':
      return <StatusIndicator type="success">Connected</StatusIndicator>
    case 'notconnected': {
      const [type, text] = STATES[node.state] ?? [node.lastPingAt === 0 ? 'pending' : 'stopped', 'Not connected']
      return <StatusIndicator type={type}>{text}</StatusIndicator>
    }
    case 'unknown':
      return <StatusIndicator type="loading">Asking</StatusIndicator>
  }
}

/** NodesPage lists the nodes, with their connection status as it is now. */
export function NodesPage(props: { selected: string | null; onSelect: (id: string | null) => void }) {
  const state = useStore(nodes)
  const live = useStore(pushing)
  const target = useStore(signedIn)?.target
  const now = useNow()
  const narrow = useNarrow()
  const [status, setStatus] = useState('')
  const [registering, setRegistering] = useState(false)

  const shown = status === '' ? state.nodes : state.nodes.filter((n) => n.connection === status)
  const noMatch = (
    <Box textAlign="center" color="inherit" padding="l">
      <SpaceBetween size="s">
        <b>No node matches</b>
        <Button
          onClick={() => {
            actions.setFiltering('')
            setStatus('')
          }}
        >
          Clear the filter
        </Button>
      </SpaceBetween>
    </Box>
  )
  const { items, actions, filterProps, paginationProps, collectionProps, filteredItemsCount } = useCollection(shown, {
    filtering: {
      filteringFunction: (n, text) =>
        text
          .toLowerCase()
          .split(/\s+/)
          .every((word) =>
            [n.id, n.name, n.platform, n.agentVersion, n.ipAddress, n.sourceAddress, n.computerName, n.connection, ...n.tags.map((t) => `${t.key}=${t.value}`)]
              .join(' ')
              .toLowerCase()
              .includes(word),
          ),
      noMatch,
      empty: status === '' ? <FirstNode /> : noMatch,
    },
    pagination: { pageSize: PAGE_SIZE },
    sorting: { defaultState: { sortingColumn: { sortingField: 'name' } } },
  })

  const unknown = items.filter((n) => n.connection === 'unknown').map((n) => n.id)
  useEffect(() => {
    if (unknown.length > 0) void askConnections(unknown)
    // eslint-disable-next-line -- the list of names is the dependency
  }, [unknown.join(' ')])

  const selected = state.nodes.find((n) => n.id === props.selected)
  const check = useStartCheck(selected?.id ?? null, selected?.connection ?? '')
  const start = (n: Node) => void requestStart({ id: n.id, name: n.name })
  const name = (n: Node) => (
    <span className="node-name">
      <Link onFollow={() => props.onSelect(n.id)} ariaLabel={`Details of ${n.name || n.id}`}>
        {n.name || '(no name)'}
      </Link>
      {n.id === target && <Badge color="grey">this server</Badge>}
    </span>
  )
  const nameAndId = (n: Node) => (
    <>
      {name(n)}
      <code className="nowrap faint under">{n.id}</code>
    </>
  )

  const header = (
    <Header
      variant="awsui-h1-sticky"
      counter={state.loading ? undefined : `(${state.nodes.length})`}
      description={
        <span className="live">
          <span className={live ? 'dot dot-open' : 'dot'} aria-hidden="true" />
          {live ? 'Live: changes appear by themselves' : 'Connecting to live updates…'}
        </span>
      }
      actions={
        <SpaceBetween size="xs" direction="horizontal">
          <Button iconName="refresh" ariaLabel="Refresh" onClick={() => void loadNodes()} />
          <Button onClick={() => setRegistering(true)}>Register a node</Button>
          {!narrow && (
            <Button
              variant="primary"
              disabled={selected === undefined || refusalOf(check) !== ''}
              disabledReason={selected === undefined ? undefined : refusalOf(check)}
              onClick={() => selected && start(selected)}
            >
              Start session
            </Button>
          )}
        </SpaceBetween>
      }
    >
      Nodes
    </Header>
  )
  const filter = (
    <div className="filters">
      <TextFilter
        {...filterProps}
        filteringPlaceholder="Find nodes by name, ID, platform, address, tag"
        countText={`${filteredItemsCount ?? 0} of ${state.nodes.length}`}
      />
      <Select
        selectedOption={STATUSES.find((s) => s.value === status)!}
        options={STATUSES}
        onChange={(ev) => setStatus(ev.detail.selectedOption.value ?? '')}
        ariaLabel="Connection status"
      />
    </div>
  )

  const columns: TableProps.ColumnDefinition<Node>[] = [
    { id: 'name', header: 'Node', cell: nameAndId, sortingField: 'name', isRowHeader: true, minWidth: 210 },
    { id: 'status', header: 'Connection', cell: (n) => <ConnectionStatus node={n} />, sortingField: 'connection', minWidth: 150 },
    { id: 'platform', header: 'Platform', cell: (n) => n.platform || '–', sortingField: 'platform' },
    { id: 'agent', header: 'Agent', cell: (n) => n.agentVersion || '–', sortingField: 'agentVersion' },
    {
      id: 'ping',
      header: 'Last heard',
      cell: (n) => <span title={when(n.lastPingAt)}>{ago(n.lastPingAt, now)}</span>,
      sortingField: 'lastPingAt',
      minWidth: 130,
    },
    {
      id: 'address',
      header: 'Address',
      cell: (n) => n.sourceAddress || n.ipAddress || '–',
      sortingField: 'ipAddress',
    },
    {
      id: 'action',
      header: 'Session',
      cell: (n) => (
        <Button variant="inline-link" onClick={() => start(n)} ariaLabel={`Start session on ${n.name || n.id}`}>
          Start
        </Button>
      ),
    },
  ]

  return (
    <SpaceBetween size="m">
      {state.error !== null && <Refusal error={state.error} what="The nodes could not be listed" />}
      {narrow ? (
        <Cards
          {...collectionProps}
          items={items}
          trackBy="id"
          loading={state.loading}
          loadingText="Loading the nodes"
          header={header}
          filter={filter}
          pagination={state.nodes.length > PAGE_SIZE ? <Pagination {...paginationProps} /> : undefined}
          cardDefinition={{
            header: name,
            sections: [
              { id: 'status', content: (n) => <ConnectionStatus node={n} /> },
              { id: 'id', header: 'Node ID', content: (n) => <code>{n.id}</code>, width: 60 },
              { id: 'ping', header: 'Last heard', content: (n) => ago(n.lastPingAt, now), width: 40 },
              { id: 'platform', header: 'Platform', content: (n) => n.platform || '–', width: 60 },
              { id: 'agent', header: 'Agent', content: (n) => n.agentVersion || '–', width: 40 },
              {
                id: 'action',
                content: (n) => (
                  <Button fullWidth onClick={() => start(n)} ariaLabel={`Start session on ${n.name || n.id}`}>
                    Start session
                  </Button>
                ),
              },
            ],
          }}
        />
      ) : (
        <Table
          {...collectionProps}
          items={items}
          columnDefinitions={columns}
          trackBy="id"
          variant="full-page"
          stickyHeader
          loading={state.loading}
          loadingText="Loading the nodes"
          selectionType="single"
          selectedItems={selected === undefined ? [] : [selected]}
          onSelectionChange={(ev) => props.onSelect(ev.detail.selectedItems[0]?.id ?? null)}
          onRowClick={(ev) => props.onSelect(ev.detail.item.id)}
          header={header}
          filter={filter}
          pagination={state.nodes.length > PAGE_SIZE ? <Pagination {...paginationProps} /> : undefined}
          ariaLabels={{
            selectionGroupLabel: 'Nodes',
            itemSelectionLabel: (_, n) => `Select ${n.name || n.id}`,
          }}
        />
      )}
      <Strays />
      {registering && <RegisterModal onDismiss={() => setRegistering(false)} />}
    </SpaceBetween>
  )
}

/** Strays lists machines that were heard of and are not managed. */
function Strays() {
  const [list, setList] = useState<Stray[]>([])
  const known = useStore(nodes).nodes
  const now = useNow()
  useEffect(() => {
    // Who may not list them is not told that there are any.
    loadStrays().then(setList, () => setList([]))
  }, [known])
  if (list.length === 0) return null
  return (
    <ExpandableSection variant="container" headerText="Seen, not managed" headerCounter={`(${list.length})`}>
      <Table
        variant="embedded"
        items={list}
        trackBy="key"
        columnDefinitions={[
          { id: 'address', header: 'Address', cell: (s) => s.address || '–', isRowHeader: true },
          { id: 'what', header: 'What', cell: (s) => s.what },
          { id: 'reason', header: 'Reason', cell: (s) => s.reason || '–' },
          { id: 'node', header: 'Node', cell: (s) => (s.node === '' ? '–' : <code>{s.node}</code>) },
          { id: 'times', header: 'Times', cell: (s) => s.count },
          { id: 'last', header: 'Last', cell: (s) => <span title={when(s.lastAt)}>{ago(s.lastAt, now)}</span> },
        ]}
      />
    </ExpandableSection>
  )
}

/** NoteAlert shows a note, and what can be done about it. */
function NoteAlert({ node, note }: { node: string; note: Note }) {
  const [error, setError] = useState<unknown>(null)
  const now = useNow()
  return (
    <Alert
      type={DOUBTS.includes(note.kind) ? 'warning' : 'info'}
      action={
        note.kind === 'IdentityChanged' && (
          <Button onClick={() => approveIdentity(node, note.fingerprint).catch(setError)}>Approve this machine</Button>
        )
      }
    >
      {note.text} Last {ago(note.lastAt, now)}
      {note.count > 1 && `, ${note.count} times`}.{error !== null && <Refusal error={error} what="Not approved" />}
    </Alert>
  )
}

/** ReconnectHelp tells how to start only the agent again. */
function ReconnectHelp() {
  return (
    <ExpandableSection headerText="How to bring it back, without restarting the machine">
      <SpaceBetween size="s">
        <Box>
          It comes back by itself when the network does: this page shows it without being loaded anew. Where it does not, look on the machine what is
          wrong, and restart only the agent:
        </Box>
        <div className="command">
          <pre>{'sudo sekisho-agent doctor\nsudo systemctl restart sekisho-agent'}</pre>
        </div>
        <Box>With AWS's agent it is</Box>
        <div className="command">
          <pre>sudo systemctl restart amazon-ssm-agent</pre>
        </div>
      </SpaceBetween>
    </ExpandableSection>
  )
}

/** NodeDetails shows the facts about one node. */
export function NodeDetails({ id }: { id: string | null }) {
  const node = useStore(nodes).nodes.find((n) => n.id === id)
  const now = useNow()
  const check = useStartCheck(node?.id ?? null, node?.connection ?? '')
  if (node === undefined) {
    return (
      <SplitPanel header="No node selected" hidePreferencesButton>
        Select a node to see its facts.
      </SplitPanel>
    )
  }
  const why = whyNotConnected(node)
  const time = (ms: number) => (ms === 0 ? '–' : `${ago(ms, now)} (${when(ms)})`)
  return (
    <SplitPanel header={node.name || node.id} hidePreferencesButton>
      <SpaceBetween size="l">
        {why !== '' && (
          <Alert type="info" header="Why it is not connected">
            {why}
          </Alert>
        )}
        {node.notes.map((n) => (
          <NoteAlert key={n.kind} node={node.id} note={n} />
        ))}
        <StartPanel target={{ id: node.id, name: node.name }} check={check} />
        <KeyValuePairs
          columns={4}
          items={[
            {
              label: 'Node ID',
              value: <CopyToClipboard variant="inline" textToCopy={node.id} copySuccessText="Copied" copyErrorText="Not copied" />,
            },
            {
              label: 'Connection',
              value: <ConnectionStatus node={node} />,
            },
            { label: 'Last heard', value: time(node.lastPingAt) },
            { label: 'Registered', value: when(node.registeredAt) },
            { label: 'Platform', value: node.platform || '–' },
            { label: 'Agent version', value: node.agentVersion || '–' },
            { label: 'Host name', value: node.computerName || '–' },
            { label: 'Source address', value: node.sourceAddress || '–' },
            { label: 'Address on the machine', value: node.ipAddress || '–' },
            { label: 'Role', value: node.role || '–' },
            { label: 'Activation', value: node.activationId === '' ? '–' : <code className="wrap">{node.activationId}</code> },
          ]}
        />
        <NodeTags key={node.id} node={node} />
        {node.connection === 'notconnected' && <ReconnectHelp />}
      </SpaceBetween>
    </SplitPanel>
  )
}
