// A page that lists things of one kind. The user can search, sort and select them, and act
// on them.

import { useCollection } from '@cloudscape-design/collection-hooks'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Header from '@cloudscape-design/components/header'
import Pagination from '@cloudscape-design/components/pagination'
import SpaceBetween from '@cloudscape-design/components/space-between'
import Table, { type TableProps } from '@cloudscape-design/components/table'
import TextFilter from '@cloudscape-design/components/text-filter'
import { useCallback, useEffect, useState, type ReactNode } from 'react'
import { byName } from '../format'
import { GuardedButton } from '../guarded-button'
import { t } from '../i18n'
import { NotLoaded, Refusal } from '../refusal'
import { Confirm } from './confirm'

/** Column is a column whose text is also what it is sorted and found by. */
export interface Column<T> {
  id: string
  header: string
  /** The text by which rows are sorted and searched. */
  text: (row: T) => string
  /** What is shown, where it is more than the text. */
  cell?: (row: T) => ReactNode
  minWidth?: number
}

/** Action is something to do with the selected row. */
export interface Action<T> {
  text: string
  /** Whether it can be done with a row; with any when absent. */
  enabled?: (row: T) => boolean
  /** A question before it is done. */
  confirm?: (row: T) => { title: string; text: ReactNode }
  run: (row: T) => Promise<void> | void
  /** The actions that policy must allow; none for what calls nothing, or what a resource's own policy may allow. */
  needs: readonly string[]
}

interface Props<T> {
  title: string
  description?: ReactNode
  /** A smaller title, on a page of something else. */
  embedded?: boolean
  load: () => Promise<T[]>
  columns: Column<T>[]
  idOf: (row: T) => string
  nameOf?: (row: T) => string
  actions?: Action<T>[]
  /** Buttons that need no selection; they get a function that loads the list again. */
  buttons?: (reload: () => void) => ReactNode
  empty?: ReactNode
}

const PAGE_SIZE = 25

/** useLoaded loads something, and again on demand. */
export function useLoaded<T>(load: () => Promise<T>): {
  value: T | null
  error: unknown
  loading: boolean
  reload: () => void
} {
  const [state, setState] = useState<{ value: T | null; error: unknown; loading: boolean }>({
    value: null,
    error: null,
    loading: true,
  })
  const [round, setRound] = useState(0)
  useEffect(() => {
    let over = false
    setState((s) => ({ ...s, loading: true }))
    load().then(
      (value) => {
        if (!over) setState({ value, error: null, loading: false })
      },
      (error: unknown) => {
        if (!over) setState({ value: null, error, loading: false })
      },
    )
    return () => {
      over = true
    }
  }, [load, round])
  const reload = useCallback(() => setRound((n) => n + 1), [])
  return { ...state, reload }
}

/** ResourceTable lists things of one kind. */
export function ResourceTable<T>(props: Props<T>) {
  const { columns, idOf, nameOf = idOf } = props
  const { value, error, loading, reload } = useLoaded(props.load)
  const [selected, setSelected] = useState<string | null>(null)
  const [failed, setFailed] = useState<unknown>(null)
  const list = value ?? []
  const { items, filterProps, paginationProps, collectionProps, filteredItemsCount } = useCollection(list, {
    filtering: {
      filteringFunction: (row, text) => {
        const whole = columns
          .map((c) => c.text(row))
          .join(' ')
          .toLowerCase()
        return text
          .toLowerCase()
          .split(/\s+/)
          .every((word) => whole.includes(word))
      },
      noMatch: <Box padding="l">{t('admin.noMatch')}</Box>,
      empty: error !== null ? <NotLoaded /> : (props.empty ?? <Box padding="l">{t('admin.none')}</Box>),
    },
    pagination: { pageSize: PAGE_SIZE },
    sorting: {},
  })
  const row = list.find((r) => idOf(r) === selected)
  const done = () => {
    setFailed(null)
    reload()
  }
  const table: TableProps.ColumnDefinition<T>[] = columns.map((c, i) => ({
    id: c.id,
    header: c.header,
    cell: c.cell ?? ((r: T) => c.text(r) || '–'),
    sortingField: c.id,
    sortingComparator: (a: T, b: T) => byName(c.text(a), c.text(b)),
    isRowHeader: i === 0,
    minWidth: c.minWidth,
  }))
  const actions = props.actions ?? []
  return (
    <SpaceBetween size="s">
      {error !== null && <Refusal error={error} what={t('admin.listFailed')} />}
      {failed !== null && <Refusal error={failed} />}
      <Table
        {...collectionProps}
        items={items}
        trackBy={idOf}
        columnDefinitions={table}
        variant={props.embedded ? 'container' : 'full-page'}
        wrapLines
        loading={loading && value === null}
        loadingText={t('common.loading')}
        {...(actions.length === 0
          ? {}
          : {
              selectionType: 'single' as const,
              selectedItems: row === undefined ? [] : [row],
              onSelectionChange: (ev: { detail: { selectedItems: T[] } }) => {
                const chosen = ev.detail.selectedItems[0]
                setSelected(chosen === undefined ? null : idOf(chosen))
              },
            })}
        ariaLabels={{
          tableLabel: props.title,
          selectionGroupLabel: props.title,
          itemSelectionLabel: (_, r) => t('common.select', { name: nameOf(r) }),
        }}
        header={
          <Header
            variant={props.embedded ? 'h2' : 'awsui-h1-sticky'}
            counter={value === null ? undefined : `(${list.length})`}
            description={props.description}
            actions={
              <SpaceBetween direction="horizontal" size="xs">
                <Button iconName="refresh" ariaLabel={t('common.refresh')} onClick={reload} />
                {actions.map((a) => (
                  <ActionButton key={a.text} action={a} row={row} onDone={done} onFailed={setFailed} />
                ))}
                {props.buttons?.(reload)}
              </SpaceBetween>
            }
          >
            {props.title}
          </Header>
        }
        filter={
          list.length > 5 && (
            <TextFilter
              {...filterProps}
              filteringPlaceholder={t('admin.find')}
              filteringAriaLabel={t('admin.find')}
              countText={t('common.countOf', { count: filteredItemsCount ?? 0, total: list.length })}
            />
          )
        }
        pagination={list.length > PAGE_SIZE && <Pagination {...paginationProps} />}
      />
    </SpaceBetween>
  )
}

function ActionButton<T>(props: {
  action: Action<T>
  row: T | undefined
  onDone: () => void
  onFailed: (error: unknown) => void
}) {
  const { action, row } = props
  const [asking, setAsking] = useState(false)
  const [busy, setBusy] = useState(false)
  const run = async () => {
    if (row === undefined) return
    setAsking(false)
    setBusy(true)
    try {
      await action.run(row)
      props.onDone()
    } catch (err) {
      props.onFailed(err)
    }
    setBusy(false)
  }
  const question = row === undefined ? undefined : action.confirm?.(row)
  return (
    <>
      <GuardedButton
        needs={action.needs}
        loading={busy}
        disabled={row === undefined || action.enabled?.(row) === false}
        onClick={() => (question === undefined ? void run() : setAsking(true))}
      >
        {action.text}
      </GuardedButton>
      {asking && question !== undefined && (
        <Confirm
          title={question.title}
          action={action.text}
          onConfirm={() => void run()}
          onCancel={() => setAsking(false)}
        >
          {question.text}
        </Confirm>
      )}
    </>
  )
}
