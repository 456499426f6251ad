// The active sessions, or those that have ended.

import { useCollection } from '@cloudscape-design/collection-hooks'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Cards, { type CardsProps } from '@cloudscape-design/components/cards'
import Header from '@cloudscape-design/components/header'
import Link from '@cloudscape-design/components/link'
import Pagination from '@cloudscape-design/components/pagination'
import SegmentedControl from '@cloudscape-design/components/segmented-control'
import SpaceBetween from '@cloudscape-design/components/space-between'
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator'
import Table, { type TableProps } from '@cloudscape-design/components/table'
import TextFilter from '@cloudscape-design/components/text-filter'
import { useCallback, useEffect, useRef, useState } from 'react'
import { EndModal } from './end-modal'
import { onChange } from './events'
import { lasting, ownerName, useNow } from './format'
import { t, type PlainKey } from './i18n'
import { STICKY_OFFSET, useNarrow } from './narrow'
import { nodes } from './nodes'
import { NotLoaded, Refusal } from './refusal'
import { follow, href, navigate, useQuery, useRoute } from './router'
import { listSessions, type Session } from './sessions'
import { useStore } from './store'
import { Recent } from './time'

const PAGE_SIZE = 20
const GATHER_MS = 300

const LOOK: Record<string, [StatusIndicatorProps.Type, PlainKey]> = {
  Connected: ['success', 'sessionState.Connected'],
  Connecting: ['in-progress', 'sessionState.Connecting'],
  Disconnected: ['warning', 'sessionState.Disconnected'],
  Terminating: ['in-progress', 'sessionState.Terminating'],
  Terminated: ['stopped', 'sessionState.Terminated'],
  Failed: ['error', 'sessionState.Failed'],
}

/** SessionStatus shows a session's status. */
export function SessionStatus({ status }: { status: string }) {
  const [type, key] = LOOK[status] ?? ['info', 'common.unknown']
  return <StatusIndicator type={type}>{t(key)}</StatusIndicator>
}

/** Period bounds the start of sessions: dates in the viewer's time zone, '' for no bound. */
interface Period {
  from: string
  until: string
}

const startOf = (date: string) => new Date(`${date}T00:00`).getTime()
const DAY_MS = 86_400_000

/** boundsOf returns the bounds of a period as times; 0 for none. */
const boundsOf = (p: Period) => ({
  from: p.from === '' ? 0 : startOf(p.from),
  until: p.until === '' ? 0 : startOf(p.until) + DAY_MS,
})

/** within selects the sessions that started in a period. */
const within = (list: Session[], p: Period) =>
  list.filter(
    (s) =>
      (p.from === '' || s.startedAt >= startOf(p.from)) && (p.until === '' || s.startedAt < startOf(p.until) + DAY_MS),
  )

/** useSessions lists sessions, and lists them again when some have changed. */
function useSessions(state: 'Active' | 'History', period: Period) {
  const [list, setList] = useState<Session[]>([])
  const [next, setNext] = useState<string>()
  const [loading, setLoading] = useState(true)
  const [error, setError] = useState<unknown>(null)
  const asked = useRef(0)
  const { from, until } = period

  const load = useCallback(
    async (background: boolean) => {
      const ask = ++asked.current
      if (!background) setLoading(true)
      try {
        const page = await listSessions(state, boundsOf({ from, until }), undefined, background)
        if (ask !== asked.current) return
        setList(page.sessions)
        setNext(page.next)
        setError(null)
      } catch (err) {
        if (ask === asked.current) setError(err)
      }
      if (ask === asked.current) setLoading(false)
    },
    [state, from, until],
  )
  const more = async () => {
    const ask = asked.current
    try {
      const page = await listSessions(state, boundsOf(period), next)
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
  return { list, more: next !== undefined, loading, error, load, loadMore: more }
}

/** nameOf is the name of a session's node, or its ID. */
function useNodeName(): (s: Session) => string {
  const known = useStore(nodes).nodes
  return (s) => known.find((n) => n.id === s.target)?.name || s.nodeName || s.target
}

/** SessionsPage lists sessions, by state, period and text. */
export default function SessionsPage() {
  const history = useRoute()[1] !== 'active'
  const state = history ? 'History' : 'Active'
  const [query, setQuery] = useQuery()
  const period = { from: query.get('from') ?? '', until: query.get('until') ?? '' }
  const sessions = useSessions(state, period)
  const [ending, setEnding] = useState<Session | null>(null)
  const narrow = useNarrow()
  const nodeName = useNodeName()

  const shown = within(sessions.list, period)
  const { items, filterProps, paginationProps, collectionProps, filteredItemsCount } = useCollection(shown, {
    filtering: {
      defaultFilteringText: query.get('q') ?? '',
      filteringFunction: (s, text) =>
        text
          .toLowerCase()
          .split(/\s+/)
          .every((word) =>
            [s.id, nodeName(s), s.target, s.owner, s.status, s.reason, s.document]
              .join(' ')
              .toLowerCase()
              .includes(word),
          ),
      noMatch: <Box padding="l">{t('sessions.noMatch')}</Box>,
      empty: sessions.error !== null ? <NotLoaded /> : <NoSessions history={history} />,
    },
    pagination: { pageSize: PAGE_SIZE },
    sorting: { defaultState: { sortingColumn: { sortingField: 'startedAt' }, isDescending: true } },
  })
  const common = {
    ...collectionProps,
    items,
    trackBy: 'id' as const,
    loading: sessions.loading,
    loadingText: t('sessions.loading'),
    header: (
      <ListHeader
        state={state}
        counter={
          sessions.loading || sessions.error !== null ? undefined : `(${shown.length}${sessions.more ? '+' : ''})`
        }
        onRefresh={() => void sessions.load(false)}
      />
    ),
    filter: (
      <div className="filters">
        <TextFilter
          {...filterProps}
          onChange={(ev) => {
            filterProps.onChange(ev)
            setQuery({ q: ev.detail.filteringText })
          }}
          filteringPlaceholder={t('sessions.find')}
          countText={t('common.countOf', { count: filteredItemsCount ?? 0, total: shown.length })}
        />
        {history && <PeriodFields period={period} onPeriod={setQuery} />}
      </div>
    ),
    pagination: shown.length > PAGE_SIZE ? <Pagination {...paginationProps} /> : undefined,
  }
  const footer = sessions.more && (
    <Box textAlign="center">
      <Button onClick={() => void sessions.loadMore()}>{t('sessions.older')}</Button>
    </Box>
  )
  return (
    <SpaceBetween size="m">
      {sessions.error !== null && <Refusal error={sessions.error} what={t('sessions.listFailed')} />}
      {narrow ? (
        <>
          <Cards {...common} cardDefinition={cardOf(history, nodeName, setEnding)} />
          {footer}
        </>
      ) : (
        <Table
          {...common}
          columnDefinitions={columnsOf(history, nodeName, setEnding)}
          variant="full-page"
          stickyHeader
          stickyHeaderVerticalOffset={STICKY_OFFSET}
          footer={footer}
        />
      )}
      {ending !== null && (
        <EndModal
          session={ending}
          name={nodeName(ending)}
          onDone={() => {
            setEnding(null)
            void sessions.load(true)
          }}
        />
      )}
    </SpaceBetween>
  )
}

function ListHeader(props: { state: 'Active' | 'History'; counter?: string; onRefresh: () => void }) {
  return (
    <Header
      variant="awsui-h1-sticky"
      counter={props.counter}
      actions={
        <SpaceBetween direction="horizontal" size="xs">
          <SegmentedControl
            selectedId={props.state}
            label={t('sessions.which')}
            options={[
              { id: 'Active', text: t('nav.active') },
              { id: 'History', text: t('nav.history') },
            ]}
            onChange={(ev) => navigate('sessions', ev.detail.selectedId === 'Active' ? 'active' : 'history')}
          />
          <Button iconName="refresh" ariaLabel={t('common.refresh')} onClick={props.onRefresh} />
        </SpaceBetween>
      }
    >
      {t('nav.sessions')}
    </Header>
  )
}

function PeriodFields({ period, onPeriod }: { period: Period; onPeriod: (change: Record<string, string>) => void }) {
  return (
    <div className="period">
      {(['from', 'until'] as const).map((name) => (
        <label key={name}>
          {name === 'from' ? t('sessions.from') : t('sessions.until')}
          <input
            className="when"
            type="date"
            value={period[name]}
            onChange={(ev) => onPeriod({ [name]: ev.target.value })}
          />
        </label>
      ))}
    </div>
  )
}

function NoSessions({ history }: { history: boolean }) {
  return (
    <Box textAlign="center" color="inherit" padding="l">
      <SpaceBetween size="s">
        <b>{history ? t('sessions.noHistory') : t('sessions.noActive')}</b>
        <Box color="inherit">{history ? t('sessions.noHistoryHint') : t('sessions.noActiveHint')}</Box>
        {!history && <Button onClick={() => navigate('nodes')}>{t('nodes.choose')}</Button>}
      </SpaceBetween>
    </Box>
  )
}

/** Recording is the link to a session's recording, or why there is none. */
function Recording({ session, history }: { session: Session; history: boolean }) {
  const to = href('sessions', history ? 'replay' : 'watch', session.id)
  if (session.encrypted) {
    return (
      <span title={t('sessions.encryptedHint')}>
        {t('facts.encrypted')}{' '}
        <Link href={to} onFollow={follow}>
          {t('common.details')}
        </Link>
      </span>
    )
  }
  return (
    <Link href={to} onFollow={follow}>
      {history ? t('sessions.replay') : t('sessions.watch')}
    </Link>
  )
}

/** Duration is how long a session has lasted. */
function Duration({ session }: { session: Session }) {
  const now = useNow(1000)
  return <>{lasting((session.endedAt || now) - session.startedAt)}</>
}

type NodeName = (s: Session) => string

function columnsOf(
  history: boolean,
  nodeName: NodeName,
  onEnd: (s: Session) => void,
): TableProps.ColumnDefinition<Session>[] {
  const columns: TableProps.ColumnDefinition<Session>[] = [
    {
      id: 'node',
      header: t('common.node'),
      cell: (s) => (
        <>
          <Link href={href('nodes', s.target)} onFollow={follow}>
            {nodeName(s)}
          </Link>
          {nodeName(s) !== s.target && <code className="nowrap faint under">{s.target}</code>}
        </>
      ),
      isRowHeader: true,
    },
    {
      id: 'owner',
      header: t('common.owner'),
      cell: (s) => <span title={s.owner}>{ownerName(s.owner)}</span>,
      sortingField: 'owner',
    },
    {
      id: 'status',
      header: t('common.state'),
      cell: (s) => <SessionStatus status={s.status} />,
      sortingField: 'status',
      minWidth: 130,
    },
    {
      id: 'started',
      header: t('common.started'),
      cell: (s) => <Recent at={s.startedAt} />,
      sortingField: 'startedAt',
      minWidth: 130,
    },
    { id: 'duration', header: t('common.duration'), cell: (s) => <Duration session={s} />, minWidth: 110 },
    {
      id: 'action',
      header: t('common.actions'),
      cell: (s) => (
        <SpaceBetween direction="horizontal" size="s">
          <Recording session={s} history={history} />
          {!history && (
            <Button variant="inline-link" onClick={() => onEnd(s)}>
              {t('sessions.end')}
            </Button>
          )}
        </SpaceBetween>
      ),
      minWidth: 120,
    },
    { id: 'reason', header: t('common.reason'), cell: (s) => s.reason || '–' },
    { id: 'document', header: t('common.document'), cell: (s) => s.document || '–', sortingField: 'document' },
    { id: 'why', header: t('sessions.endedBecause'), cell: (s) => s.details || '–' },
    { id: 'id', header: t('sessions.id'), cell: (s) => <code className="nowrap">{s.id}</code>, sortingField: 'id' },
  ]
  return columns.filter((c) => history || c.id !== 'why')
}

function cardOf(history: boolean, nodeName: NodeName, onEnd: (s: Session) => void): CardsProps.CardDefinition<Session> {
  return {
    header: (s) => nodeName(s),
    sections: [
      { id: 'status', content: (s) => <SessionStatus status={s.status} /> },
      { id: 'owner', header: t('common.owner'), content: (s) => ownerName(s.owner), width: 50 },
      { id: 'started', header: t('common.started'), content: (s) => <Recent at={s.startedAt} />, width: 50 },
      { id: 'duration', header: t('common.duration'), content: (s) => <Duration session={s} />, width: 50 },
      {
        id: 'action',
        header: t('replay.recording'),
        width: 50,
        content: (s) => <Recording session={s} history={history} />,
      },
      { id: 'reason', header: t('common.reason'), content: (s) => s.reason || '–', width: 50 },
      { id: 'document', header: t('common.document'), content: (s) => s.document || '–', width: 50 },
      ...(history
        ? []
        : [
            {
              id: 'end',
              content: (s: Session) => <Button onClick={() => onEnd(s)}>{t('sessions.endSession')}</Button>,
            },
          ]),
    ],
  }
}
