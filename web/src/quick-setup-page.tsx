import Alert from '@cloudscape-design/components/alert'
import Autosuggest from '@cloudscape-design/components/autosuggest'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Container from '@cloudscape-design/components/container'
import FormField from '@cloudscape-design/components/form-field'
import Header from '@cloudscape-design/components/header'
import Pagination from '@cloudscape-design/components/pagination'
import SegmentedControl from '@cloudscape-design/components/segmented-control'
import SpaceBetween from '@cloudscape-design/components/space-between'
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator'
import Table from '@cloudscape-design/components/table'
import TextFilter from '@cloudscape-design/components/text-filter'
import { useCollection } from '@cloudscape-design/collection-hooks'
import { useCallback, useEffect, useMemo, useState } from 'react'
import { AddMachines } from './add-machines'
import { useNarrow } from './narrow'
import { nodes, type Node } from './nodes'
import {
  applySetup,
  describeSetup,
  label,
  ROLE,
  summary,
  tagged,
  type Choice,
  type Outcome,
  type Setup,
  type Step,
} from './quick-setup'
import { Refusal } from './refusal'
import { useStore } from './store'
import { count, rich, t } from './i18n'

const OUTCOMES = (): Record<Outcome, [StatusIndicatorProps.Type, string]> => ({
  Present: ['success', t('setup.present')],
  Missing: ['pending', t('setup.missing')],
  Made: ['success', t('setup.made')],
  Differs: ['warning', t('setup.differs')],
  Unknown: ['stopped', t('setup.unknown')],
  Failed: ['error', t('setup.failed')],
  Skipped: ['stopped', t('setup.skipped')],
})

function StepStatus({ step }: { step: Step }) {
  const [type, text] = OUTCOMES()[step.Outcome]
  return (
    <>
      <StatusIndicator type={type}>{text}</StatusIndicator>
      {step.ErrorMessage !== undefined && (
        <span className="under wrap faint">
          {step.ErrorCode}: {step.ErrorMessage}
        </span>
      )}
      {step.Outcome === 'Differs' && <span className="under wrap faint">{step.Detail}</span>}
    </>
  )
}

/** Resource names the role or the machine that a step changes, and the policy. */
function Resource({ step }: { step: Step }) {
  return (
    <>
      <code className="wrap">{step.Resource}</code>
      {(step.Kind === 'ManagedPolicy' || step.Kind === 'InlinePolicy') && (
        <span className="under faint wrap">{step.Detail}</span>
      )}
    </>
  )
}

function Steps({ steps, loading }: { steps: Step[]; loading: boolean }) {
  const narrow = useNarrow()
  return (
    <Table
      variant="embedded"
      items={steps}
      loading={loading && steps.length === 0}
      loadingText={t('common.loading')}
      wrapLines
      trackBy={(s) => `${s.Kind} ${s.Resource}`}
      columnDefinitions={[
        {
          id: 'what',
          header: t('setup.resourceType'),
          isRowHeader: true,
          minWidth: 150,
          cell: (s) =>
            narrow ? (
              <>
                {label(s)}
                <br />
                <Resource step={s} />
              </>
            ) : (
              label(s)
            ),
        },
        ...(narrow
          ? []
          : [
              { id: 'resource', header: t('common.resource'), minWidth: 200, cell: (s: Step) => <Resource step={s} /> },
            ]),
        { id: 'status', header: t('common.state'), minWidth: narrow ? 110 : 190, cell: (s) => <StepStatus step={s} /> },
      ]}
      ariaLabels={{ tableLabel: t('setup.steps') }}
    />
  )
}

type How = 'none' | 'chosen' | 'tag'

/** QuickSetupPage creates the roles, assigns them to machines, and adds machines. */
export default function QuickSetupPage() {
  const known = useStore(nodes)
  const [setup, setSetup] = useState<Setup | null>(null)
  const [ran, setRan] = useState<Setup | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)
  const [how, setHow] = useState<How>('none')
  const [chosen, setChosen] = useState<Node[]>([])
  const [key, setKey] = useState('')
  const [value, setValue] = useState('')

  const look = useCallback(async () => {
    try {
      setSetup(await describeSetup())
      setError(null)
    } catch (err) {
      setError(err)
    }
  }, [])
  useEffect(() => void look(), [look])

  const byTag = useMemo(() => tagged(known.nodes, { Key: key.trim(), Value: value.trim() }), [known.nodes, key, value])
  const run = async () => {
    setBusy(true)
    setError(null)
    const choice: Choice = {}
    if (how === 'chosen') choice.InstanceIds = chosen.map((n) => n.id)
    if (how === 'tag') choice.Tags = [{ Key: key.trim(), Value: value.trim() }]
    try {
      setRan(await applySetup(choice))
    } catch (err) {
      setRan(null)
      setError(err)
    } finally {
      setBusy(false)
      await look()
    }
  }
  const incomplete = (how === 'chosen' && chosen.length === 0) || (how === 'tag' && byTag.length === 0)
  const result = ran === null ? null : summary(ran)
  const steps = ran === null ? (setup?.Steps ?? []) : ran.Steps
  const missing = setup?.Steps.filter((s) => s.Outcome === 'Missing').length ?? 0

  return (
    <SpaceBetween size="l">
      <Header variant="h1" description={t('setup.description')}>
        {t('nav.setup')}
      </Header>
      {error !== null && (
        <Refusal
          error={error}
          what={t('nav.setup')}
          action={<Button onClick={() => void look()}>{t('common.refresh')}</Button>}
        />
      )}
      <Container
        header={
          <Header
            variant="h2"
            actions={
              <Button
                iconName="refresh"
                ariaLabel={t('common.refresh')}
                onClick={() => {
                  setRan(null)
                  void look()
                }}
              />
            }
            info={
              setup !== null &&
              ran === null && (
                <StatusIndicator type={setup.Ready ? 'success' : missing > 0 ? 'pending' : 'warning'}>
                  {setup.Ready
                    ? t('setup.complete')
                    : missing > 0
                      ? t('setup.countMissing', { count: missing })
                      : t('setup.unclear')}
                </StatusIndicator>
              )
            }
          >
            {ran === null ? t('setup.roles') : t('setup.result')}
          </Header>
        }
      >
        <Steps steps={steps} loading={error === null} />
      </Container>
      <Container
        header={
          <Header variant="h2" description={rich('setup.machinesHint', { role: <code className="wrap">{ROLE}</code> })}>
            {t('common.machines')}
          </Header>
        }
        footer={
          <Button variant="primary" loading={busy} disabled={incomplete} onClick={() => void run()}>
            {t('setup.run')}
          </Button>
        }
      >
        <SpaceBetween size="m">
          <SegmentedControl
            selectedId={how}
            label={t('setup.which')}
            options={[
              { id: 'none', text: t('setup.noneNow') },
              { id: 'chosen', text: t('setup.choose') },
              { id: 'tag', text: t('setup.byTag') },
            ]}
            onChange={(ev) => setHow(ev.detail.selectedId as How)}
          />
          {how === 'none' && (
            <Box color="text-body-secondary">
              {t('setup.rolesOnly', {
                count: known.nodes.filter((n) => n.role === ROLE).length,
                total: known.nodes.length,
              })}
            </Box>
          )}
          {how === 'chosen' && <Choose list={known.nodes} chosen={chosen} onChoose={setChosen} />}
          {how === 'tag' && (
            <ByTag
              list={known.nodes}
              tagKey={key}
              value={value}
              matches={byTag}
              onChange={(k, v) => {
                setKey(k)
                setValue(v)
              }}
            />
          )}
          {result !== null && (
            <Alert type={result.type} dismissible onDismiss={() => setRan(null)} header={result.text}>
              {result.type === 'error' && t('setup.failedHint')}
            </Alert>
          )}
        </SpaceBetween>
      </Container>
      <AddMachines
        agents={setup?.Agents}
        ready={setup === null || !setup.Steps.some((s) => s.Resource === ROLE && s.Outcome === 'Missing')}
      />
    </SpaceBetween>
  )
}

function RoleStatus({ node }: { node: Node }) {
  if (node.role === ROLE) return <StatusIndicator type="success">{t('setup.hasRole')}</StatusIndicator>
  return (
    <StatusIndicator type="pending">
      {node.role === '' ? t('setup.noRole') : <span className="wrap">{node.role}</span>}
    </StatusIndicator>
  )
}

const PAGE_SIZE = 10

/** Choose lets the user select machines one by one. */
function Choose({ list, chosen, onChoose }: { list: Node[]; chosen: Node[]; onChoose: (n: Node[]) => void }) {
  const narrow = useNarrow()
  const { items, filterProps, paginationProps, collectionProps, filteredItemsCount } = useCollection(list, {
    filtering: {
      filteringFunction: (n, text) =>
        `${n.id} ${n.name} ${n.role} ${n.tags.map((x) => `${x.key}=${x.value}`).join(' ')}`
          .toLowerCase()
          .includes(text.toLowerCase()),
      empty: t('setup.noMachines'),
      noMatch: t('setup.noMatch'),
    },
    pagination: { pageSize: PAGE_SIZE },
    sorting: { defaultState: { sortingColumn: { sortingField: 'name' } } },
  })
  const now = chosen.filter((c) => list.some((n) => n.id === c.id))
  return (
    <Table
      {...collectionProps}
      variant="embedded"
      items={items}
      trackBy="id"
      wrapLines
      selectionType="multi"
      selectedItems={now}
      onSelectionChange={(ev) => onChoose(ev.detail.selectedItems)}
      onRowClick={({ detail: { item } }) =>
        onChoose(now.some((n) => n.id === item.id) ? now.filter((n) => n.id !== item.id) : [...now, item])
      }
      filter={
        list.length > PAGE_SIZE && (
          <TextFilter
            {...filterProps}
            filteringPlaceholder={t('setup.find')}
            countText={t('common.countOf', { count: filteredItemsCount ?? 0, total: list.length })}
          />
        )
      }
      pagination={list.length > PAGE_SIZE && <Pagination {...paginationProps} />}
      columnDefinitions={[
        {
          id: 'name',
          header: t('common.machine'),
          sortingField: 'name',
          isRowHeader: true,
          minWidth: narrow ? 100 : 180,
          cell: (n) => (
            <>
              {n.name || t('common.noName')}
              <code className="wrap faint under">{n.id}</code>
            </>
          ),
        },
        {
          id: 'role',
          header: t('common.role'),
          sortingField: 'role',
          minWidth: narrow ? 110 : 200,
          cell: (n) => <RoleStatus node={n} />,
        },
        ...(narrow
          ? []
          : [
              {
                id: 'tags',
                header: t('common.tags'),
                minWidth: 120,
                cell: (n: Node) => n.tags.map((x) => `${x.key}=${x.value}`).join(', ') || '–',
              },
            ]),
      ]}
      ariaLabels={{
        tableLabel: t('common.machines'),
        selectionGroupLabel: t('common.machines'),
        allItemsSelectionLabel: () => t('setup.selectAll'),
        itemSelectionLabel: (_, n) => t('common.select', { name: n.name || n.id }),
      }}
    />
  )
}

/** ByTag lets the user select machines by a tag. */
function ByTag(props: {
  list: Node[]
  tagKey: string
  value: string
  matches: Node[]
  onChange: (key: string, value: string) => void
}) {
  const tags = props.list.flatMap((n) => n.tags)
  const options = (of: string[]) => [...new Set(of)].toSorted().map((value) => ({ value }))
  return (
    <SpaceBetween size="s">
      <div className="pair">
        <FormField label={t('common.key')}>
          <Autosuggest
            value={props.tagKey}
            options={options(tags.map((x) => x.key))}
            enteredTextLabel={(v) => t('tags.useKey', { value: v })}
            onChange={(ev) => props.onChange(ev.detail.value, props.value)}
          />
        </FormField>
        <FormField label={t('common.value')}>
          <Autosuggest
            value={props.value}
            options={options(tags.filter((x) => x.key === props.tagKey.trim()).map((x) => x.value))}
            enteredTextLabel={(v) => t('tags.useValue', { value: v })}
            onChange={(ev) => props.onChange(props.tagKey, ev.detail.value)}
          />
        </FormField>
      </div>
      {props.tagKey !== '' && (
        <StatusIndicator type={props.matches.length > 0 ? 'info' : 'pending'}>
          {props.matches.length === 0
            ? t('setup.noTagged')
            : count('setup.matches', props.matches.length, {
                names: `${props.matches
                  .slice(0, 5)
                  .map((n) => n.name || n.id)
                  .join(', ')}${props.matches.length > 5 ? ' …' : ''}`,
              })}
        </StatusIndicator>
      )}
    </SpaceBetween>
  )
}
