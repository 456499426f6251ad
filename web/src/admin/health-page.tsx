// The state of the server: what does not work, and how much it holds.

import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Container from '@cloudscape-design/components/container'
import Header from '@cloudscape-design/components/header'
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs'
import SpaceBetween from '@cloudscape-design/components/space-between'
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator'
import { useStore } from '../store'
import { rights } from '../access'
import { formatNumber } from '../format'
import { t } from '../i18n'
import { bytes } from '../log-text'
import { Refusal } from '../refusal'
import { Ago, When } from '../time'
import {
  listMembers,
  readHealth,
  readIntegrity,
  readRecordingStorage,
  type Health,
  type HealthStatus,
  type Integrity,
  type RecordingStorage,
} from './operate'
import { ResourceTable, useLoaded } from './resource-page'

/** LOOK is how a status looks. */
export const LOOK: Record<HealthStatus, StatusIndicatorProps.Type> = {
  Healthy: 'success',
  Degraded: 'warning',
  Failing: 'error',
}

/** HealthPage shows the state of the server, and the last check of what it keeps. */
export default function HealthPage() {
  const { value, error, reload } = useLoaded(readHealth)
  const mayList = useStore(rights).get('sekisho:ListClusterMembers')?.allowed === true
  const mayMeasure = useStore(rights).get('sekisho:GetRecordingStorage')?.allowed === true
  const mayCheck = useStore(rights).get('sekisho:GetIntegrity')?.allowed === true
  return (
    <SpaceBetween size="l">
      <Header
        variant="h1"
        actions={<Button iconName="refresh" ariaLabel={t('common.refresh')} onClick={reload} />}
        description={t('health.description')}
      >
        {t('health.title')}
      </Header>
      {error !== null && <Refusal error={error} />}
      {value !== null && <Server health={value} />}
      {mayList && <Members />}
      {mayMeasure && <Recordings />}
      {mayCheck && <LastCheck />}
    </SpaceBetween>
  )
}

function Server({ health }: { health: Health }) {
  return (
    <Container header={<Header variant="h2">{t('health.server')}</Header>}>
      <SpaceBetween size="l">
        <StatusIndicator type={LOOK[health.Status]}>{t(`health.${health.Status}`)}</StatusIndicator>
        {health.Problems.length > 0 && (
          <ul className="checklist">
            {health.Problems.map((p) => (
              <li key={p.Code}>
                <StatusIndicator type={LOOK[p.Status]}>
                  <span className="wrap">{p.Text}</span>
                </StatusIndicator>
              </li>
            ))}
          </ul>
        )}
        <KeyValuePairs
          columns={4}
          items={[
            { label: t('common.version'), value: <span className="wrap">{health.Version}</span> },
            { label: t('common.started'), value: <When at={health.StartedAt * 1000} /> },
            { label: t('health.checked'), value: <Ago at={health.CheckedAt * 1000} /> },
            { label: t('health.nodes'), value: formatNumber(health.NodesConnected) },
            { label: t('health.sessions'), value: formatNumber(health.SessionsActive) },
            {
              label: t('health.disk'),
              value: t('health.diskFree', {
                free: bytes(health.DiskFreeBytes),
                total: bytes(health.DiskBytes),
              }),
            },
            { label: t('health.recordings'), value: bytes(health.RecordingBytes) },
            { label: t('health.unsealed'), value: formatNumber(health.RecordingsUnsealed) },
            {
              label: t('health.store'),
              value: <span className="wrap">{health.Store || t('health.dataDirectory')}</span>,
            },
            ...(health.Store === '' ? [] : [{ label: t('health.waiting'), value: bytes(health.StoreWaitingBytes) }]),
          ]}
        />
      </SpaceBetween>
    </Container>
  )
}

/** Members lists the servers of a cluster; a single server has none. */
function Members() {
  const { value, error } = useLoaded(listMembers)
  if (error === null && (value === null || value.length === 0)) return null
  return (
    <ResourceTable
      embedded
      title={t('health.members')}
      load={listMembers}
      idOf={(m) => m.Name}
      columns={[
        {
          id: 'name',
          header: t('common.name'),
          text: (m) => (m.Coordinator ? `${m.Name} (${t('health.coordinator')})` : m.Name),
        },
        {
          id: 'state',
          header: t('common.state'),
          text: (m) => t(`member.${m.Status}`),
          cell: (m) => (
            <StatusIndicator type={m.Status === 'Running' ? 'success' : 'stopped'}>
              {t(`member.${m.Status}`)}
            </StatusIndicator>
          ),
        },
        { id: 'version', header: t('common.version'), text: (m) => m.Version },
        { id: 'address', header: t('nodes.address'), text: (m) => m.Address },
        {
          id: 'started',
          header: t('common.started'),
          text: (m) => String(m.StartedAt),
          cell: (m) => <When at={m.StartedAt * 1000} />,
        },
        {
          id: 'renewed',
          header: t('health.renewed'),
          text: (m) => t('time.s', { seconds: Math.round(m.RenewedSecondsAgo) }),
        },
        {
          id: 'clock',
          header: t('health.clock'),
          text: (m) => t('time.s', { seconds: m.ClockOffsetSeconds.toFixed(1) }),
        },
        { id: 'nodes', header: t('health.nodes'), text: (m) => formatNumber(m.Nodes) },
        { id: 'sessions', header: t('health.sessions'), text: (m) => formatNumber(m.Sessions) },
      ]}
    />
  )
}

/** STORAGE_LOOK is how a state of the storage looks. */
const STORAGE_LOOK: Record<RecordingStorage['State'], StatusIndicatorProps.Type> = {
  working: 'success',
  failing: 'warning',
  full: 'error',
}

/** Recordings shows what recordings take, the limits of it, and the state of their store. */
function Recordings() {
  const { value, error } = useLoaded(readRecordingStorage)
  if (error !== null) return <Refusal error={error} />
  if (value === null) return null
  const store = value.Store
  return (
    <Container header={<Header variant="h2">{t('health.recordings')}</Header>}>
      <SpaceBetween size="l">
        <StatusIndicator type={STORAGE_LOOK[value.State]}>{t(`storage.${value.State}`)}</StatusIndicator>
        {value.Problems.map((p) => (
          <span className="wrap" key={p}>
            {p}
          </span>
        ))}
        <KeyValuePairs
          columns={4}
          items={[
            { label: t('storage.count'), value: formatNumber(value.Recordings) },
            { label: t('storage.held'), value: formatNumber(value.HeldRecordings) },
            {
              label: t('storage.total'),
              value:
                value.LimitBytes === 0
                  ? bytes(value.TotalBytes)
                  : t('storage.ofLimit', { used: bytes(value.TotalBytes), limit: bytes(value.LimitBytes) }),
            },
            {
              label: t('storage.kept'),
              value: value.LimitDays === 0 ? t('storage.forever') : t('storage.days', { days: value.LimitDays }),
            },
            { label: t('storage.disk'), value: bytes(value.DiskBytes) },
            ...(store === undefined
              ? []
              : [
                  { label: t('health.store'), value: <span className="wrap">{store.Location}</span> },
                  { label: t('storage.stored'), value: bytes(store.StoredBytes) },
                  { label: t('health.waiting'), value: bytes(store.WaitingBytes) },
                  { label: t('storage.fetching'), value: formatNumber(store.FetchingRecordings) },
                  {
                    label: t('storage.checked'),
                    value: store.CheckedAt === '' ? t('storage.never') : <Ago at={Date.parse(store.CheckedAt)} />,
                  },
                ]),
          ]}
        />
      </SpaceBetween>
    </Container>
  )
}

/** LastCheck shows what the server's last check of recordings, sessions and the audit trail found. */
function LastCheck() {
  const { value, error } = useLoaded(readIntegrity)
  if (error !== null) return <Refusal error={error} />
  if (value === null) return null
  if (!value.Checked) return <Box color="text-body-secondary">{t('health.notChecked')}</Box>
  return <Findings found={value} />
}

function Findings({ found }: { found: Integrity }) {
  return (
    <ResourceTable
      embedded
      title={t('health.integrity')}
      description={t('health.integrityHint', {
        recordings: formatNumber(found.Recordings),
        sessions: formatNumber(found.Sessions),
        records: formatNumber(found.AuditRecords),
      })}
      load={async () => found.Findings}
      idOf={(f) => `${f.Where} ${f.Subject} ${f.Problem}`}
      empty={<StatusIndicator type="success">{t('health.intact')}</StatusIndicator>}
      columns={[
        { id: 'where', header: t('health.where'), text: (f) => f.Where },
        { id: 'subject', header: t('common.resource'), text: (f) => f.Subject },
        { id: 'kind', header: t('common.kind'), text: (f) => f.Kind },
        { id: 'problem', header: t('health.problem'), text: (f) => f.Problem },
      ]}
    />
  )
}
