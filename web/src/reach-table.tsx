import { useCollection } from '@cloudscape-design/collection-hooks'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Link from '@cloudscape-design/components/link'
import Pagination from '@cloudscape-design/components/pagination'
import StatusIndicator from '@cloudscape-design/components/status-indicator'
import Table, { type TableProps } from '@cloudscape-design/components/table'
import TextFilter from '@cloudscape-design/components/text-filter'
import type { ReactNode } from 'react'
import { byName, useNow } from './format'
import { t } from './i18n'
import { begins, ends, openNow, whole, type Period, type Reachable, type Span } from './reach'
import { NotLoaded } from './refusal'
import { follow, href } from './router'
import { requestStart } from './start-request'
import { When } from './time'

const PAGE_SIZE = 50
const MOST_SPANS = 3

/** ReachTable lists nodes in reach, with the times at which they are. */
export function ReachTable(props: {
  found: { nodes: Reachable[]; period: Period } | null
  header: ReactNode
  failed: boolean
  embedded?: boolean
}) {
  const { found } = props
  const list = found?.nodes ?? []
  const { items, filterProps, paginationProps, collectionProps, filteredItemsCount } = useCollection(list, {
    filtering: {
      filteringFunction: (n, wanted) => `${n.name} ${n.id}`.toLowerCase().includes(wanted.trim().toLowerCase()),
      noMatch: <Box padding="l">{t('nodes.noMatch')}</Box>,
      empty: props.failed ? <NotLoaded /> : <Box padding="l">{t('mine.none')}</Box>,
    },
    pagination: { pageSize: PAGE_SIZE },
    sorting: {},
  })
  return (
    <Table
      {...collectionProps}
      items={items}
      trackBy="id"
      variant={props.embedded ? 'container' : 'full-page'}
      wrapLines
      loading={found === null && !props.failed}
      loadingText={t('nodes.loading')}
      header={props.header}
      columnDefinitions={columnsOf(found?.period ?? { from: 0, to: 0 })}
      filter={
        list.length > 5 && (
          <TextFilter
            {...filterProps}
            filteringPlaceholder={t('mine.find')}
            filteringAriaLabel={t('mine.find')}
            countText={t('common.countOf', { count: filteredItemsCount ?? 0, total: list.length })}
          />
        )
      }
      pagination={list.length > PAGE_SIZE && <Pagination {...paginationProps} />}
    />
  )
}

function columnsOf(period: Period): TableProps.ColumnDefinition<Reachable>[] {
  return [
    {
      id: 'name',
      header: t('common.node'),
      isRowHeader: true,
      minWidth: 190,
      sortingField: 'name',
      sortingComparator: (a, b) => byName(a.name || a.id, b.name || b.id),
      cell: (n) => (
        <>
          <Link href={href('nodes', n.id)} onFollow={follow}>
            <span className="wrap">{n.name || t('common.noName')}</span>
          </Link>
          <code className="nowrap faint under">{n.id}</code>
        </>
      ),
    },
    {
      id: 'state',
      header: t('common.state'),
      minWidth: 140,
      sortingField: 'connected',
      cell: (n) => (
        <StatusIndicator type={n.connected ? 'success' : 'stopped'}>
          {n.connected ? t('state.connected') : t('state.notConnected')}
        </StatusIndicator>
      ),
    },
    { id: 'when', header: t('mine.when'), minWidth: 260, cell: (n) => <Times node={n} period={period} /> },
    { id: 'action', header: t('common.session'), minWidth: 110, cell: (n) => <Start node={n} /> },
  ]
}

/** Times says when a node can be reached, and on what that depends. */
function Times({ node, period }: { node: Reachable; period: Period }) {
  if (whole(node, period)) return <>{t('mine.always')}</>
  return (
    <ul className="plain-list">
      {node.spans.slice(0, MOST_SPANS).map((s) => (
        <li key={`${s.From} ${s.DependsOn.join()}`}>
          <SpanText span={s} period={period} />
        </li>
      ))}
      {node.spans.length > MOST_SPANS && <li>{t('mine.more', { count: node.spans.length - MOST_SPANS })}</li>}
    </ul>
  )
}

function SpanText({ span, period }: { span: Span; period: Period }) {
  const [later, over] = [begins(span, period), ends(span, period)]
  return (
    <>
      {!later && !over && t('mine.always')}
      {later && (
        <>
          {t('sessions.from')} <When at={span.From * 1000} />{' '}
        </>
      )}
      {over && (
        <>
          {t('sessions.until')} <When at={span.To * 1000} />
        </>
      )}
      {span.DependsOn.length > 0 && (
        <div className="under faint wrap">
          {t('mine.depends', { conditions: span.DependsOn.map(condition).join('; ') })}
        </div>
      )}
    </>
  )
}

/** condition is what access depends on: an aspect in words, or a condition as it is. */
function condition(text: string): string {
  switch (text) {
    case 'Who':
    case 'Where':
    case 'Which':
    case 'When':
    case 'MFA':
      return t(`aspect.${text}`)
    default:
      return text
  }
}

function Start({ node }: { node: Reachable }) {
  const now = useNow(30_000) / 1000
  return (
    <Button
      variant="inline-link"
      ariaLabel={t('nodes.startOn', { node: node.name || node.id })}
      disabled={openNow(node, now) === undefined}
      disabledReason={t('mine.notNow')}
      onClick={() => void requestStart({ id: node.id, name: node.name })}
    >
      {t('common.start')}
    </Button>
  )
}
