// Usage: sessions, minutes and bytes by person, node, document and day.

import Box from '@cloudscape-design/components/box'
import Header from '@cloudscape-design/components/header'
import SegmentedControl from '@cloudscape-design/components/segmented-control'
import SpaceBetween from '@cloudscape-design/components/space-between'
import Table, { type TableProps } from '@cloudscape-design/components/table'
import { useCollection } from '@cloudscape-design/collection-hooks'
import Pagination from '@cloudscape-design/components/pagination'
import { useCallback, useState } from 'react'
import { byName, formatNumber, ownerName } from '../format'
import { t, type PlainKey } from '../i18n'
import { bytes } from '../log-text'
import { NotLoaded, Refusal } from '../refusal'
import { useQuery } from '../router'
import { GROUPINGS, readUsage, totals, type Grouping, type Total } from './operate'
import { useLoaded } from './resource-page'

const DAY_MS = 86_400_000
const MOST_DAYS = 31
const PAGE_SIZE = 50
const dayOf = (ms: number) => new Date(ms).toISOString().slice(0, 10)

const HEADERS: Record<Grouping, PlainKey> = {
  person: 'usage.person',
  node: 'common.node',
  document: 'common.document',
  day: 'usage.day',
}

/** usePeriod is the period in the address: the last seven days unless it says otherwise. */
function usePeriod(): { from: string; until: string; days: number } {
  const [query] = useQuery()
  const [today] = useState(() => dayOf(Date.now()))
  const until = query.get('until') || today
  const from = query.get('from') || dayOf(Date.parse(until) - 6 * DAY_MS)
  const days = Math.round((Date.parse(until) - Date.parse(from)) / DAY_MS) + 1
  return { from, until, days }
}

/** UsagePage adds up what sessions used. */
export default function UsagePage() {
  const [query, setQuery] = useQuery()
  const by = GROUPINGS.find((g) => g === query.get('by')) ?? 'person'
  const { from, until, days } = usePeriod()
  const valid = days >= 1 && days <= MOST_DAYS
  const load = useCallback(async () => (valid ? readUsage(from, days) : []), [from, days, valid])
  const { value, error, loading } = useLoaded(load)
  return (
    <SpaceBetween size="m">
      {error !== null && <Refusal error={error} what={t('admin.listFailed')} />}
      <UsageTable
        key={by}
        by={by}
        loading={loading}
        failed={error !== null}
        rows={totals(value ?? [], by)}
        filter={
          <div className="filters-row">
            <SegmentedControl
              selectedId={by}
              label={t('usage.by')}
              options={GROUPINGS.map((id) => ({ id, text: t(HEADERS[id]) }))}
              onChange={(ev) => setQuery({ by: ev.detail.selectedId })}
            />
            {(['from', 'until'] as const).map((name) => (
              <label key={name} className="period">
                {name === 'from' ? t('sessions.from') : t('sessions.until')}
                <input
                  className="when"
                  type="date"
                  value={name === 'from' ? from : until}
                  onChange={(ev) => setQuery({ [name]: ev.target.value })}
                />
              </label>
            ))}
            {!valid && <Box color="text-status-error">{t('usage.tooLong')}</Box>}
          </div>
        }
      />
    </SpaceBetween>
  )
}

function UsageTable(props: {
  by: Grouping
  rows: Total[]
  loading: boolean
  failed: boolean
  filter: React.ReactNode
}) {
  const columns = columnsOf(props.by)
  const { items, collectionProps, paginationProps } = useCollection(props.rows, {
    pagination: { pageSize: PAGE_SIZE },
    sorting: { defaultState: { sortingColumn: columns[props.by === 'day' ? 0 : 1]!, isDescending: true } },
  })
  return (
    <Table
      {...collectionProps}
      items={items}
      trackBy={(r) => `${r.key} ${r.under}`}
      variant="full-page"
      loading={props.loading}
      loadingText={t('common.loading')}
      columnDefinitions={columns}
      filter={props.filter}
      empty={props.failed ? <NotLoaded /> : <Box padding="l">{t('usage.none')}</Box>}
      pagination={props.rows.length > PAGE_SIZE && <Pagination {...paginationProps} />}
      header={
        <Header variant="awsui-h1-sticky" description={t('usage.description')} counter={`(${props.rows.length})`}>
          {t('usage.title')}
        </Header>
      }
    />
  )
}

function columnsOf(by: Grouping): TableProps.ColumnDefinition<Total>[] {
  const number = (id: keyof Total, header: string, show: (n: number) => string) => ({
    id,
    header,
    cell: (r: Total) => show(Number(r[id])),
    sortingField: id,
  })
  return [
    {
      id: 'key',
      header: t(HEADERS[by]),
      isRowHeader: true,
      minWidth: 200,
      sortingField: 'key',
      sortingComparator: (a, b) => byName(a.key, b.key),
      cell: (r) => (
        <>
          <span className="wrap" title={r.key}>
            {by === 'person' ? ownerName(r.key) : r.key || '–'}
          </span>
          {r.under !== '' && <code className="nowrap faint under">{r.under}</code>}
        </>
      ),
    },
    number('sessions', t('nav.sessions'), formatNumber),
    number('minutes', t('usage.minutes'), (n) => formatNumber(Math.round(n))),
    number('bytesIn', t('usage.in'), bytes),
    number('bytesOut', t('usage.out'), bytes),
    number('recordingBytes', t('health.recordings'), bytes),
    number('logBytes', t('usage.logs'), bytes),
  ]
}
