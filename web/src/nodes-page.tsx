// The list of nodes, kept up to date, or a field for a user who may not list
// them.

import { useCollection } from '@cloudscape-design/collection-hooks'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Header from '@cloudscape-design/components/header'
import Link from '@cloudscape-design/components/link'
import Pagination from '@cloudscape-design/components/pagination'
import SpaceBetween from '@cloudscape-design/components/space-between'
import Table from '@cloudscape-design/components/table'
import { lazy, Suspense, useEffect, useId, useMemo, useState } from 'react'
import { rights } from './access'
import { pushing } from './events'
import { t } from './i18n'
import {
  columnsOf,
  filteringProperties,
  queryOf,
  queryText,
  rowOf,
  storeColumns,
  storedColumns,
  tagKeys,
  type Row,
  type Shown,
} from './node-table'
import { askConnections, loadNodes, nodes, type Node } from './nodes'
import { STICKY_OFFSET, useNarrow } from './narrow'
import { NotLoaded, Refusal } from './refusal'
import { follow, href, useQuery } from './router'
import type { PageProps } from './routes'
import { splitPanel } from './split'
import { useStore } from './store'

const NodeFilter = lazy(() => import('./node-filter'))
const Columns = lazy(() => import('./node-columns'))
const NodeCards = lazy(() => import('./node-cards'))
const ConnectTo = lazy(() => import('./connect-to').then((m) => ({ default: m.ConnectTo })))
const MyMachines = lazy(() => import('./reach-page').then((m) => ({ default: m.MyMachines })))
const Strays = lazy(() => import('./strays').then((m) => ({ default: m.Strays })))
const NodeDetails = lazy(() => import('./node-details'))
const RegisterModal = lazy(() => import('./register').then((m) => ({ default: m.RegisterModal })))
const FirstNode = lazy(() => import('./register').then((m) => ({ default: m.FirstNode })))

/** NodesPage lists the nodes. */
export default function NodesPage({ who }: PageProps) {
  const state = useStore(nodes)
  return (
    <SpaceBetween size="m">
      {state.error !== null && <Refusal error={state.error} what={t('nodes.listFailed')} />}
      {state.denied ? (
        <SpaceBetween size="m">
          <Suspense fallback={null}>
            <ConnectTo />
          </Suspense>
          <Suspense fallback={null}>
            <MyMachines />
          </Suspense>
        </SpaceBetween>
      ) : (
        <NodeList list={state.nodes} loading={state.loading} failed={state.error !== null} target={who.target} />
      )}
      <Suspense fallback={null}>
        <Strays />
      </Suspense>
    </SpaceBetween>
  )
}

/** useSelection is the node whose details are in the panel below. */
function useSelection(list: Node[]): [string | null, (id: string | null) => void] {
  const [selected, select] = useState<string | null>(null)
  const node = list.find((n) => n.id === selected)
  useEffect(() => {
    splitPanel.set(node === undefined ? null : <NodePanel node={node} onClose={() => select(null)} />)
  }, [node])
  useEffect(() => () => splitPanel.set(null), [])
  return [selected, select]
}

function NodePanel({ node, onClose }: { node: Node; onClose: () => void }) {
  const heading = useId()
  return (
    <aside className="panel" aria-labelledby={heading}>
      <div className="panel-head">
        <h2 id={heading}>{node.name || node.id}</h2>
        <Link href={href('nodes', node.id)} onFollow={follow}>
          {t('nodes.open')}
        </Link>
        <Button variant="icon" iconName="close" ariaLabel={t('common.close')} onClick={onClose} />
      </div>
      <div className="panel-body">
        <Suspense fallback={null}>
          <NodeDetails node={node} />
        </Suspense>
      </div>
    </aside>
  )
}

function NodeList(props: { list: Node[]; loading: boolean; failed: boolean; target?: string }) {
  const { list, loading, failed, target } = props
  const narrow = useNarrow()
  const [shown, setShown] = useState<Shown>(storedColumns)
  const [selected, select] = useSelection(list)
  const [query, setQuery] = useQuery()
  const keys = useMemo(() => tagKeys(list), [list])
  const rows = useMemo(() => list.map(rowOf), [list])
  const filter = queryOf(query.get('filter'))
  const { items, propertyFilterProps, paginationProps, collectionProps, filteredItemsCount } = useCollection(rows, {
    propertyFiltering: {
      filteringProperties: filteringProperties(keys),
      defaultQuery: filter,
    },
    pagination: { pageSize: shown.pageSize },
    sorting: { defaultState: { sortingColumn: columnsOf([])[0]! } },
  })
  const changed = (to: typeof filter) => {
    propertyFilterProps.onChange({ detail: { ...to, tokens: to.tokens } } as Parameters<
      typeof propertyFilterProps.onChange
    >[0])
    setQuery({ filter: queryText(to) })
  }
  useUnknown(items)

  const common = {
    ...collectionProps,
    items,
    empty: failed ? (
      <NotLoaded />
    ) : list.length === 0 ? (
      <NoNodes />
    ) : (
      <NoMatch onClear={() => changed({ tokens: [], operation: 'and' })} />
    ),
    trackBy: 'id' as const,
    loading,
    loadingText: t('nodes.loading'),
    header: <ListHeader total={loading || failed ? undefined : list.length} />,
    filter: (
      <Suspense fallback={<div className="filter-place" />}>
        <NodeFilter {...propertyFilterProps} onChange={(ev) => changed(ev.detail)} matches={filteredItemsCount ?? 0} />
      </Suspense>
    ),
    pagination: list.length > shown.pageSize ? <Pagination {...paginationProps} /> : undefined,
  }
  if (narrow) {
    return (
      <Suspense fallback={null}>
        <NodeCards {...common} />
      </Suspense>
    )
  }
  return (
    <Table
      {...common}
      columnDefinitions={columnsOf(keys, target)}
      visibleColumns={shown.columns}
      variant="full-page"
      stickyHeader
      stickyHeaderVerticalOffset={STICKY_OFFSET}
      selectionType="single"
      selectedItems={rows.filter((n) => n.id === selected)}
      onSelectionChange={(ev) => select(ev.detail.selectedItems[0]?.id ?? null)}
      onRowClick={(ev) => select(ev.detail.item.id)}
      preferences={
        <Suspense fallback={null}>
          <Columns
            keys={keys}
            shown={shown}
            onChange={(to) => {
              setShown(to)
              storeColumns(to)
            }}
          />
        </Suspense>
      }
      ariaLabels={{
        selectionGroupLabel: t('nav.nodes'),
        itemSelectionLabel: (_, n) => t('common.select', { name: n.name || n.id }),
      }}
    />
  )
}

/** useUnknown asks for the connection status of the rows in sight that do not have one. */
function useUnknown(items: readonly Row[]): void {
  const unknown = items
    .filter((n) => n.connection === 'unknown')
    .map((n) => n.id)
    .join(' ')
  useEffect(() => {
    if (unknown !== '') void askConnections(unknown.split(' '))
  }, [unknown])
}

function ListHeader({ total }: { total?: number }) {
  const live = useStore(pushing)
  const mayRegister = useStore(rights).get('ssm:CreateActivation')?.allowed === true
  const [registering, setRegistering] = useState(false)
  return (
    <>
      <Header
        variant="awsui-h1-sticky"
        counter={total === undefined ? undefined : `(${total})`}
        description={
          <span className="live">
            <span className={live ? 'dot dot-open' : 'dot'} aria-hidden="true" />
            {live ? t('nodes.live') : t('nodes.connecting')}
          </span>
        }
        actions={
          <SpaceBetween size="xs" direction="horizontal">
            <Button iconName="refresh" ariaLabel={t('common.refresh')} onClick={() => void loadNodes()} />
            {mayRegister && <Button onClick={() => setRegistering(true)}>{t('nodes.register')}</Button>}
          </SpaceBetween>
        }
      >
        {t('nav.nodes')}
      </Header>
      {registering && (
        <Suspense fallback={null}>
          <RegisterModal onDismiss={() => setRegistering(false)} />
        </Suspense>
      )}
    </>
  )
}

function NoMatch({ onClear }: { onClear: () => void }) {
  return (
    <Box textAlign="center" color="inherit" padding="l">
      <SpaceBetween size="s">
        <b>{t('nodes.noMatch')}</b>
        <Button onClick={onClear}>{t('common.clearFilter')}</Button>
      </SpaceBetween>
    </Box>
  )
}

/** NoNodes is an empty list: how to register a node, for users who can. */
function NoNodes() {
  const mayRegister = useStore(rights).get('ssm:CreateActivation')?.allowed === true
  if (mayRegister) {
    return (
      <Suspense fallback={null}>
        <FirstNode />
      </Suspense>
    )
  }
  return (
    <Box textAlign="center" color="inherit" padding="l">
      <b>{t('nodes.noneAllowed')}</b>
      <Box color="inherit">{t('nodes.noneAllowedHint')}</Box>
    </Box>
  )
}
