import { useCollection } from '@cloudscape-design/collection-hooks'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Cards from '@cloudscape-design/components/cards'
import Header from '@cloudscape-design/components/header'
import Link from '@cloudscape-design/components/link'
import Modal from '@cloudscape-design/components/modal'
import Pagination from '@cloudscape-design/components/pagination'
import SegmentedControl from '@cloudscape-design/components/segmented-control'
import SpaceBetween from '@cloudscape-design/components/space-between'
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator'
import Table, { type TableProps } from '@cloudscape-design/components/table'
import TextFilter from '@cloudscape-design/components/text-filter'
import { useCallback, useEffect, useRef, useState } from 'react'
import { call } from './api'
import { onChange } from './events'
import { lasting, ownerName, timeOfDay, useNow, when } from './format'
import { useNarrow } from './narrow'
import { nodes } from './nodes'
import { Refusal } from './refusal'
import { follow, href, navigate } from './router'
import { listSessions, type Session } from './sessions'
import { useStore } from './store'

const PAGE_SIZE = 20
const GATHER_MS = 300

const LOOK: Record<string, StatusIndicatorProps.Type> = {
  Connected: 'success',
  Connecting: 'in-progress',
  Disconnected: 'warning',
  Terminating: 'in-progress',
  Terminated: 'stopped',
  Failed: 'error',
}

/** SessionStatus shows a session's status. */
export function SessionStatus({ status }: { status: string }) {
  return <StatusIndicator type={LOOK[status] ?? 'info'}>{status || 'Unknown'}</StatusIndicator>
}

/** SessionsPage lists the sessions that run, or those that are over. */
export function SessionsPage({ history }: { history: boolean }) {
  const state = history ? 'History' : 'Active'
  const [list, setList] = useState<Session[]>([])
  const [next, setNext] = useState<string>()
  const [loading, setLoading] = useState(true)
  const [error, setError] = useState<unknown>(null)
  const [ending, setEnding] = useState<Session | null>(null)
  const allNodes = useStore(nodes).nodes
  const now = useNow(history ? 60_000 : 1000)
  const narrow = useNarrow()
  const asked = useRef(0)

  const load = useCallback(
    async (background: boolean) => {
      const ask = ++asked.current
      if (!background) setLoading(true)
      try {
        const page = await listSessions(state, undefined, background)
        if (ask !== asked.current) return
        setList(page.sessions)
        setNext(page.next)
        setError(null)
      } catch (err) {
        if (ask === asked.current) setError(err)
      }
      if (ask === asked.current) setLoading(false)
    },
    [state],
  )
  const more = async () => {
    const ask = asked.current
    try {
      const page = await listSessions(state, next)
      if (ask !== asked.current) return
      setList((l) => [...l, ...page.sessions])
      setNext(page.next)
    } catch (err) {
      setError(err)
    }
  }
  useEffect(() => {
    setList([])
    void load(false)
    let timer: ReturnType<typeof setTimeout> | undefined
    const stop = onChange((c) => {
      if (c.kind === 'node') return
      timer ??= setTimeout(() => {
        timer = undefined
        void load(true)
      }, GATHER_MS)
    })
    return () => {
      clearTimeout(timer)
      stop()
    }
  }, [load])

  const nodeName = (s: Session) => allNodes.find((n) => n.id === s.target)?.name || s.target
  const { items, filterProps, paginationProps, collectionProps, filteredItemsCount } = useCollection(list, {
    filtering: {
      filteringFunction: (s, text) =>
        text
          .toLowerCase()
          .split(/\s+/)
          .every((word) => [s.id, nodeName(s), s.target, s.owner, s.status, s.reason].join(' ').toLowerCase().includes(word)),
      noMatch: <Box padding="l">No session matches.</Box>,
      empty: history ? (
        <Box textAlign="center" color="inherit" padding="l">
          <b>No sessions yet</b>
          <Box color="inherit" padding={{ top: 'xs' }}>
            A session appears here when it is over, with its recording to replay.
          </Box>
        </Box>
      ) : (
        <Box textAlign="center" color="inherit" padding="l">
          <SpaceBetween size="s">
            <b>Nobody is in a session</b>
            <Box color="inherit">Sessions started here, by the aws CLI or by the sekisho command show up while they run.</Box>
            <Button onClick={() => navigate('nodes')}>Choose a node</Button>
          </SpaceBetween>
        </Box>
      ),
    },
    pagination: { pageSize: PAGE_SIZE },
    sorting: { defaultState: { sortingColumn: { sortingField: 'startedAt' }, isDescending: true } },
  })

  const replay = (s: Session) =>
    s.encrypted ? (
      <span title="Encrypted from end to end: the server could not record it">
        Encrypted{' '}
        <Link href={href('sessions', 'replay', s.id)} onFollow={follow}>
          Details
        </Link>
      </span>
    ) : (
      <Link href={href('sessions', 'replay', s.id)} onFollow={follow}>
        {history ? 'Replay' : 'Watch'}
      </Link>
    )
  const duration = (s: Session) => lasting((s.endedAt || now) - s.startedAt)
  const started = (s: Session) => (
    <span title={when(s.startedAt)}>
      {new Date(s.startedAt).toDateString() === new Date(now).toDateString() ? `Today, ${timeOfDay(s.startedAt)}` : when(s.startedAt)}
    </span>
  )

  const columns: TableProps.ColumnDefinition<Session>[] = [
    {
      id: 'node',
      header: 'Node',
      cell: (s) => (
        <>
          <div>{nodeName(s)}</div>
          {nodeName(s) !== s.target && <code className="nowrap faint under">{s.target}</code>}
        </>
      ),
      isRowHeader: true,
    },
    {
      id: 'owner',
      header: 'Owner',
      cell: (s) => <span title={s.owner}>{ownerName(s.owner)}</span>,
      sortingField: 'owner',
    },
    { id: 'status', header: 'Status', cell: (s) => <SessionStatus status={s.status} />, sortingField: 'status', minWidth: 130 },
    { id: 'started', header: 'Started', cell: started, sortingField: 'startedAt', minWidth: 130 },
    { id: 'duration', header: 'Duration', cell: duration, minWidth: 110 },
    {
      id: 'action',
      header: 'Actions',
      cell: (s) => (
        <SpaceBetween direction="horizontal" size="s">
          {replay(s)}
          {!history && (
            <Button variant="inline-link" onClick={() => setEnding(s)}>
              End
            </Button>
          )}
        </SpaceBetween>
      ),
      minWidth: 120,
    },
    { id: 'why', header: history ? 'Ended because' : 'Reason', cell: (s) => (history ? s.details : s.reason) || '–' },
    { id: 'id', header: 'Session ID', cell: (s) => <code className="nowrap">{s.id}</code>, sortingField: 'id' },
  ]
  const header = (
    <Header
      variant="awsui-h1-sticky"
      counter={loading ? undefined : `(${list.length}${next === undefined ? '' : '+'})`}
      actions={
        <SpaceBetween direction="horizontal" size="xs">
          <SegmentedControl
            selectedId={state}
            label="Which sessions"
            options={[
              { id: 'Active', text: 'Active' },
              { id: 'History', text: 'History' },
            ]}
            onChange={(ev) => navigate('sessions', ev.detail.selectedId === 'Active' ? 'active' : 'history')}
          />
          <Button iconName="refresh" ariaLabel="Refresh" onClick={() => void load(false)} />
        </SpaceBetween>
      }
    >
      Sessions
    </Header>
  )
  const filter = (
    <TextFilter
      {...filterProps}
      filteringPlaceholder="Find sessions by node, owner, ID"
      countText={`${filteredItemsCount ?? 0} of ${list.length}`}
    />
  )
  const pagination = list.length > PAGE_SIZE ? <Pagination {...paginationProps} /> : undefined
  const footer =
    next === undefined ? undefined : (
      <Box textAlign="center">
        <Button onClick={() => void more()}>Load older sessions</Button>
      </Box>
    )

  return (
    <SpaceBetween size="m">
      {error !== null && <Refusal error={error} what="The sessions could not be listed" />}
      {narrow ? (
        <>
          <Cards
            {...collectionProps}
            items={items}
            trackBy="id"
            loading={loading}
            loadingText="Loading the sessions"
            header={header}
            filter={filter}
            pagination={pagination}
            cardDefinition={{
              header: (s) => nodeName(s),
              sections: [
                { id: 'status', content: (s) => <SessionStatus status={s.status} /> },
                { id: 'owner', header: 'Owner', content: (s) => ownerName(s.owner), width: 50 },
                { id: 'started', header: 'Started', content: started, width: 50 },
                { id: 'duration', header: 'Duration', content: duration, width: 50 },
                {
                  id: 'action',
                  header: 'Recording',
                  width: 50,
                  content: replay,
                },
                ...(history
                  ? []
                  : [{ id: 'end', content: (s: Session) => <Button onClick={() => setEnding(s)}>End session</Button> }]),
              ],
            }}
          />
          {footer}
        </>
      ) : (
        <Table
          {...collectionProps}
          items={items}
          columnDefinitions={columns}
          trackBy="id"
          variant="full-page"
          stickyHeader
          loading={loading}
          loadingText="Loading the sessions"
          header={header}
          filter={filter}
          pagination={pagination}
          footer={footer}
        />
      )}
      {ending !== null && (
        <EndModal
          session={ending}
          name={nodeName(ending)}
          onDone={() => {
            setEnding(null)
            void load(true)
          }}
        />
      )}
    </SpaceBetween>
  )
}

function EndModal({ session, name, onDone }: { session: Session; name: string; onDone: () => void }) {
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const end = async () => {
    setBusy(true)
    try {
      await call('AmazonSSM.TerminateSession', { SessionId: session.id })
      onDone()
    } catch (err) {
      setError(err)
      setBusy(false)
    }
  }
  return (
    <Modal
      visible
      header="End this session?"
      onDismiss={onDone}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={onDone}>
              Keep it
            </Button>
            <Button variant="primary" loading={busy} onClick={() => void end()}>
              End session
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="m">
        <Box>
          The session of <b>{ownerName(session.owner)}</b> on <b>{name}</b> ends at once, and what runs in it is stopped.
        </Box>
        {error !== null && <Refusal error={error} />}
      </SpaceBetween>
    </Modal>
  )
}
