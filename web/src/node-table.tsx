// The columns and filters of the list of nodes, and what the user has chosen
// of them.

import Badge from '@cloudscape-design/components/badge'
import Button from '@cloudscape-design/components/button'
import type { CollectionPreferencesProps } from '@cloudscape-design/components/collection-preferences'
import Link from '@cloudscape-design/components/link'
import type { PropertyFilterProps } from '@cloudscape-design/components/property-filter'
import type { TableProps } from '@cloudscape-design/components/table'
import { byName } from './format'
import { t } from './i18n'
import { NodeStatus, stateText } from './node-status'
import type { Node } from './nodes'
import { follow, href } from './router'
import { requestStart } from './start-request'
import { Ago } from './time'

/** Row is a node with its state and its tags as properties to filter and sort by. */
export type Row = Node & { status: string } & Record<`tag:${string}`, string>

/** rowOf makes the row of a node. */
export function rowOf(node: Node): Row {
  const tags = Object.fromEntries(node.tags.map((x) => [`tag:${x.key}`, x.value]))
  return { ...node, status: stateText(node), ...tags }
}

/** tagKeys are the keys of all tags, in order. */
export function tagKeys(list: Node[]): string[] {
  return [...new Set(list.flatMap((n) => n.tags.map((x) => x.key)))].toSorted(byName)
}

/** by compares rows by a text, as people sort names. */
const by = (text: (row: Row) => string) => (a: Row, b: Row) => byName(text(a), text(b))

function Name({ row, target }: { row: Row; target?: string }) {
  return (
    <>
      <span className="node-name">
        <Link
          href={href('nodes', row.id)}
          onFollow={follow}
          ariaLabel={t('nodes.details', { node: row.name || row.id })}
        >
          {row.name || t('common.noName')}
        </Link>
        {row.id === target && <Badge color="grey">{t('nodes.thisServer')}</Badge>}
      </span>
      <code className="nowrap faint under">{row.id}</code>
    </>
  )
}

/** StartButton starts a session on a node. */
export function StartButton({ row, wide = false }: { row: Row; wide?: boolean }) {
  return (
    <Button
      variant={wide ? 'normal' : 'inline-link'}
      fullWidth={wide}
      ariaLabel={t('nodes.startOn', { node: row.name || row.id })}
      onClick={() => void requestStart({ id: row.id, name: row.name })}
    >
      {wide ? t('nodes.start') : t('common.start')}
    </Button>
  )
}

/** columnsOf are all columns: those of every node, and one for each key of a tag. */
export function columnsOf(keys: string[], target?: string): TableProps.ColumnDefinition<Row>[] {
  return [
    {
      id: 'name',
      header: t('common.node'),
      cell: (n) => <Name row={n} target={target} />,
      sortingField: 'name',
      sortingComparator: by((n) => n.name || n.id),
      isRowHeader: true,
      minWidth: 190,
    },
    {
      id: 'status',
      header: t('common.state'),
      cell: (n) => <NodeStatus node={n} />,
      sortingField: 'status',
      minWidth: 150,
    },
    { id: 'action', header: t('common.session'), cell: (n) => <StartButton row={n} /> },
    { id: 'platform', header: t('common.platform'), cell: (n) => n.platform || '–', sortingField: 'platform' },
    {
      id: 'agentVersion',
      header: t('common.agent'),
      cell: (n) => n.agentVersion || '–',
      sortingField: 'agentVersion',
      sortingComparator: by((n) => n.agentVersion),
    },
    {
      id: 'lastPingAt',
      header: t('nodes.lastHeard'),
      cell: (n) => <Ago at={n.lastPingAt} />,
      sortingField: 'lastPingAt',
      minWidth: 140,
    },
    {
      id: 'address',
      header: t('nodes.address'),
      cell: (n) => n.sourceAddress || n.ipAddress || '–',
      sortingField: 'sourceAddress',
      sortingComparator: by((n) => n.sourceAddress || n.ipAddress),
    },
    {
      id: 'computerName',
      header: t('nodes.computerName'),
      cell: (n) => n.computerName || '–',
      sortingField: 'computerName',
    },
    { id: 'role', header: t('common.role'), cell: (n) => n.role || '–', sortingField: 'role' },
    ...keys.map((key): TableProps.ColumnDefinition<Row> => ({
      id: `tag:${key}`,
      header: key,
      cell: (n) => n[`tag:${key}`] ?? '–',
      sortingField: `tag:${key}`,
      sortingComparator: by((n) => n[`tag:${key}`] ?? ''),
    })),
  ]
}

/** columnOptions are the columns to choose from. */
export function columnOptions(keys: string[]): CollectionPreferencesProps.VisibleContentOptionsGroup[] {
  return [
    {
      label: t('nodes.propertiesGroup'),
      options: [
        { id: 'name', label: t('common.node'), editable: false },
        { id: 'status', label: t('nodes.status') },
        { id: 'platform', label: t('common.platform') },
        { id: 'agentVersion', label: t('common.agent') },
        { id: 'lastPingAt', label: t('nodes.lastHeard') },
        { id: 'address', label: t('nodes.address') },
        { id: 'computerName', label: t('nodes.computerName') },
        { id: 'role', label: t('common.role') },
        { id: 'action', label: t('common.session'), editable: false },
      ],
    },
    ...(keys.length === 0
      ? []
      : [{ label: t('nodes.tagsGroup'), options: keys.map((key) => ({ id: `tag:${key}`, label: key })) }]),
  ]
}

const FIRST_COLUMNS = ['name', 'status', 'action', 'platform', 'agentVersion', 'lastPingAt', 'address']
const COLUMNS_KEY = 'sekisho-node-columns'

/** Shown is how much of the list is shown. */
export interface Shown {
  columns: string[]
  pageSize: number
}

/** storedColumns are the columns and the page size that the user has chosen. */
export function storedColumns(): Shown {
  try {
    const stored = JSON.parse(localStorage.getItem(COLUMNS_KEY) ?? 'null') as Partial<Shown> | null
    if (Array.isArray(stored?.columns) && typeof stored.pageSize === 'number') {
      return { columns: stored.columns.filter((c) => typeof c === 'string'), pageSize: stored.pageSize }
    }
  } catch {
    // Nothing that can be read: the first columns.
  }
  return { columns: FIRST_COLUMNS, pageSize: 20 }
}

/** storeColumns remembers them. */
export function storeColumns(shown: Shown): void {
  try {
    localStorage.setItem(COLUMNS_KEY, JSON.stringify(shown))
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}

/** filteringProperties are what nodes can be filtered by. */
export function filteringProperties(keys: string[]): PropertyFilterProps.FilteringProperty[] {
  const property = (key: string, label: string, group: string): PropertyFilterProps.FilteringProperty => ({
    key,
    propertyLabel: label,
    groupValuesLabel: label,
    group,
    operators: ['=', '!=', ':', '!:'],
  })
  return [
    property('name', t('common.name'), 'properties'),
    property('id', t('nodes.nodeId'), 'properties'),
    property('status', t('nodes.status'), 'properties'),
    property('platform', t('common.platform'), 'properties'),
    property('agentVersion', t('nodes.agentVersion'), 'properties'),
    property('role', t('common.role'), 'properties'),
    ...keys.map((key) => property(`tag:${key}`, t('nodes.tag', { key }), 'tags')),
  ]
}

/** queryOf reads a filter from the address; what is not one is no filter. */
export function queryOf(text: string | null): PropertyFilterProps.Query {
  const none: PropertyFilterProps.Query = { tokens: [], operation: 'and' }
  if (text === null) return none
  try {
    const [operation, ...tokens] = JSON.parse(text) as unknown[]
    if (operation !== 'and' && operation !== 'or') return none
    return {
      operation,
      tokens: tokens.flatMap((token) => {
        const [propertyKey, operator, value] = Array.isArray(token) ? (token as unknown[]) : []
        if (typeof operator !== 'string' || typeof value !== 'string') return []
        return [{ operator, value, ...(typeof propertyKey === 'string' && propertyKey !== '' ? { propertyKey } : {}) }]
      }),
    }
  } catch {
    return none
  }
}

/** queryText writes a filter for the address; '' for none. */
export function queryText(query: PropertyFilterProps.Query): string {
  if (query.tokens.length === 0) return ''
  return JSON.stringify([query.operation, ...query.tokens.map((x) => [x.propertyKey ?? '', x.operator, x.value])])
}
