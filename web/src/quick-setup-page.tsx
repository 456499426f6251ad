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
import { applySetup, describeSetup, label, ROLE, summary, tagged, type Choice, type Outcome, type Setup, type Step } from './quick-setup'
import { Refusal } from './refusal'
import { useStore } from './store'

const OUTCOMES: Record<Outcome, [StatusIndicatorProps.Type, string]> = {
  Present: ['success', 'There'],
  Missing: ['pending', 'Not there yet'],
  Made: ['success', 'Made just now'],
  Differs: ['warning', 'Changed by somebody; left so'],
  Unknown: ['stopped', 'Not yours to see'],
  Failed: ['error', 'Failed'],
  Skipped: ['stopped', 'Not tried'],
}

function StepStatus({ step }: { step: Step }) {
  const [type, text] = OUTCOMES[step.Outcome]
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

/** What a step is of: the role or the machine, and the policy. */
function Resource({ step }: { step: Step }) {
  return (
    <>
      <code className="wrap">{step.Resource}</code>
      {(step.Kind === 'ManagedPolicy' || step.Kind === 'InlinePolicy') && <span className="under faint wrap">{step.Detail}</span>}
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
      loadingText="Looking"
      wrapLines
      trackBy={(s) => `${s.Kind} ${s.Resource}`}
      columnDefinitions={[
        {
          id: 'what',
          header: 'What',
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
        ...(narrow ? [] : [{ id: 'resource', header: 'Of', minWidth: 200, cell: (s: Step) => <Resource step={s} /> }]),
        { id: 'status', header: 'State', minWidth: narrow ? 110 : 190, cell: (s) => <StepStatus step={s} /> },
      ]}
      ariaLabels={{ tableLabel: 'Steps of Quick Setup' }}
    />
  )
}

type How = 'none' | 'chosen' | 'tag'

/** QuickSetupPage makes the roles, gives them to machines, and adds machines. */
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
  const told = ran === null ? null : summary(ran)
  const steps = ran === null ? (setup?.Steps ?? []) : ran.Steps
  const missing = setup?.Steps.filter((s) => s.Outcome === 'Missing').length ?? 0

  return (
    <SpaceBetween size="l">
      <Header
        variant="h1"
        description="Makes the roles that managed nodes need, gives them to machines, and adds new machines. What is there stays as it is: run it as often as you like."
      >
        Quick Setup
      </Header>
      {error !== null && <Refusal error={error} what="Quick Setup" action={<Button onClick={() => void look()}>Look again</Button>} />}
      <Container
        header={
          <Header
            variant="h2"
            actions={
              <Button
                iconName="refresh"
                ariaLabel="Look again"
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
                  {setup.Ready ? 'Everything is there' : missing > 0 ? `${missing} missing` : 'Not everything can be seen'}
                </StatusIndicator>
              )
            }
          >
            {ran === null ? 'Roles and policies' : 'What was done'}
          </Header>
        }
      >
        <Steps steps={steps} loading={error === null} />
      </Container>
      <Container
        header={
          <Header variant="h2" description={<>Those that get the role {<code className="wrap">{ROLE}</code>}. Their agents take it over without a restart.</>}>
            Machines
          </Header>
        }
        footer={
          <Button variant="primary" loading={busy} disabled={incomplete} onClick={() => void run()}>
            Run Quick Setup
          </Button>
        }
      >
        <SpaceBetween size="m">
          <SegmentedControl
            selectedId={how}
            label="Which machines get the role"
            options={[
              { id: 'none', text: 'None now' },
              { id: 'chosen', text: 'Choose' },
              { id: 'tag', text: 'By tag' },
            ]}
            onChange={(ev) => setHow(ev.detail.selectedId as How)}
          />
          {how === 'none' && (
            <Box color="text-body-secondary">
              Only the roles and policies are made. {known.nodes.filter((n) => n.role === ROLE).length} of {known.nodes.length} machines have the role.
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
          {told !== null && (
            <Alert type={told.type} dismissible onDismiss={() => setRan(null)} header={told.text}>
              {told.type === 'error' && 'The step that failed says why. Those after it were not tried.'}
            </Alert>
          )}
        </SpaceBetween>
      </Container>
      <AddMachines agents={setup?.Agents} ready={setup === null || !setup.Steps.some((s) => s.Resource === ROLE && s.Outcome === 'Missing')} />
    </SpaceBetween>
  )
}

function RoleStatus({ node }: { node: Node }) {
  if (node.role === ROLE) return <StatusIndicator type="success">Has the role</StatusIndicator>
  return <StatusIndicator type="pending">{node.role === '' ? 'Has none' : <span className="wrap">{node.role}</span>}</StatusIndicator>
}

const PAGE_SIZE = 10

/** Choose lets machines be chosen one by one. */
function Choose({ list, chosen, onChoose }: { list: Node[]; chosen: Node[]; onChoose: (n: Node[]) => void }) {
  const narrow = useNarrow()
  const { items, filterProps, paginationProps, collectionProps, filteredItemsCount } = useCollection(list, {
    filtering: {
      filteringFunction: (n, text) => `${n.id} ${n.name} ${n.role} ${n.tags.map((t) => `${t.key}=${t.value}`).join(' ')}`.toLowerCase().includes(text.toLowerCase()),
      empty: 'There are no machines yet: add one below.',
      noMatch: 'No machine matches.',
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
      onRowClick={({ detail: { item } }) => onChoose(now.some((n) => n.id === item.id) ? now.filter((n) => n.id !== item.id) : [...now, item])}
      filter={
        list.length > PAGE_SIZE && (
          <TextFilter {...filterProps} filteringPlaceholder="Find machines by name, ID, role, tag" countText={`${filteredItemsCount ?? 0} of ${list.length}`} />
        )
      }
      pagination={list.length > PAGE_SIZE && <Pagination {...paginationProps} />}
      columnDefinitions={[
        {
          id: 'name',
          header: 'Machine',
          sortingField: 'name',
          isRowHeader: true,
          minWidth: narrow ? 100 : 180,
          cell: (n) => (
            <>
              {n.name || '(no name)'}
              <code className="wrap faint under">{n.id}</code>
            </>
          ),
        },
        { id: 'role', header: 'Role', sortingField: 'role', minWidth: narrow ? 110 : 200, cell: (n) => <RoleStatus node={n} /> },
        ...(narrow ? [] : [{ id: 'tags', header: 'Tags', minWidth: 120, cell: (n: Node) => n.tags.map((t) => `${t.key}=${t.value}`).join(', ') || '–' }]),
      ]}
      ariaLabels={{
        tableLabel: 'Machines',
        selectionGroupLabel: 'Machines',
        allItemsSelectionLabel: () => 'Select all machines',
        itemSelectionLabel: (_, n) => `Select ${n.name || n.id}`,
      }}
    />
  )
}

/** ByTag lets machines be chosen by a tag that they have. */
function ByTag(props: { list: Node[]; tagKey: string; value: string; matches: Node[]; onChange: (key: string, value: string) => void }) {
  const tags = props.list.flatMap((n) => n.tags)
  const options = (of: string[]) => [...new Set(of)].sort().map((value) => ({ value }))
  return (
    <SpaceBetween size="s">
      <div className="pair">
        <FormField label="Key">
          <Autosuggest
            value={props.tagKey}
            options={options(tags.map((t) => t.key))}
            enteredTextLabel={(v) => `Key "${v}"`}
            onChange={(ev) => props.onChange(ev.detail.value, props.value)}
          />
        </FormField>
        <FormField label="Value">
          <Autosuggest
            value={props.value}
            options={options(tags.filter((t) => t.key === props.tagKey.trim()).map((t) => t.value))}
            enteredTextLabel={(v) => `Value "${v}"`}
            onChange={(ev) => props.onChange(props.tagKey, ev.detail.value)}
          />
        </FormField>
      </div>
      {props.tagKey !== '' && (
        <StatusIndicator type={props.matches.length > 0 ? 'info' : 'pending'}>
          {props.matches.length === 0
            ? 'No machine has this tag'
            : `${props.matches.length} ${props.matches.length === 1 ? 'machine' : 'machines'}: ${props.matches
                .slice(0, 5)
                .map((n) => n.name || n.id)
                .join(', ')}${props.matches.length > 5 ? ' …' : ''}`}
        </StatusIndicator>
      )}
    </SpaceBetween>
  )
}
