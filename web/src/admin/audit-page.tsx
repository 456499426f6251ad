import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import ExpandableSection from '@cloudscape-design/components/expandable-section'
import Header from '@cloudscape-design/components/header'
import Input from '@cloudscape-design/components/input'
import Select from '@cloudscape-design/components/select'
import SpaceBetween from '@cloudscape-design/components/space-between'
import StatusIndicator from '@cloudscape-design/components/status-indicator'
import Table from '@cloudscape-design/components/table'
import Toggle from '@cloudscape-design/components/toggle'
import { useCallback, useEffect, useRef, useState } from 'react'
import { t } from '../i18n'
import { NotLoaded, Refusal } from '../refusal'
import { useQuery } from '../router'
import { When } from '../time'
import { lookupEvents, type AuditEvent, type Look } from './audit'

const ATTRIBUTES = () => [
  { value: 'Username', label: t('common.user') },
  { value: 'EventName', label: t('audit.event') },
  { value: 'EventSource', label: t('audit.source') },
  { value: 'ResourceName', label: t('common.resource') },
  { value: 'AccessKeyId', label: t('iam.keyId') },
  { value: 'EventId', label: t('audit.id') },
]

/** useEvents reads the matching events, page by page. */
function useEvents(look: Look) {
  const [events, setEvents] = useState<AuditEvent[]>([])
  const [next, setNext] = useState<string>()
  const [loading, setLoading] = useState(true)
  const [error, setError] = useState<unknown>(null)
  const asked = useRef(0)
  const { attribute, value, from, until } = look
  const load = useCallback(
    async (token?: string) => {
      const ask = ++asked.current
      setLoading(true)
      try {
        const page = await lookupEvents({ attribute, value, from, until }, token)
        if (ask !== asked.current) return
        setEvents((before) => (token === undefined ? page.events : [...before, ...page.events]))
        setNext(page.next)
        setError(null)
      } catch (err) {
        if (ask === asked.current) setError(err)
      }
      if (ask === asked.current) setLoading(false)
    },
    [attribute, value, from, until],
  )
  useEffect(() => void load(), [load])
  return { events, next, loading, error, load }
}

/** AuditPage lists the events of the audit trail, with the reason of each denial. */
export default function AuditPage() {
  const [query, setQuery] = useQuery()
  const attribute = query.get('by') ?? 'Username'
  const deniedOnly = query.get('denied') === '1'
  const [typed, setTyped] = useState(query.get('value') ?? '')
  const day = (name: string, plus: number) => {
    const date = query.get(name) ?? ''
    return date === '' ? 0 : new Date(`${date}T00:00`).getTime() + plus
  }
  const { events, next, loading, error, load } = useEvents({
    attribute,
    value: query.get('value') ?? '',
    from: day('from', 0),
    until: day('until', 86_400_000),
  })
  const shown = deniedOnly ? events.filter((e) => e.errorCode !== '') : events
  return (
    <SpaceBetween size="m">
      {error !== null && <Refusal error={error} what={t('admin.listFailed')} />}
      <Table
        items={shown}
        trackBy="id"
        variant="full-page"
        wrapLines
        loading={loading && events.length === 0}
        loadingText={t('common.loading')}
        header={
          <Header
            variant="awsui-h1-sticky"
            actions={<Button iconName="refresh" ariaLabel={t('common.refresh')} onClick={() => void load()} />}
          >
            {t('nav.audit')}
          </Header>
        }
        filter={
          <form
            className="filters-row"
            onSubmit={(ev) => {
              ev.preventDefault()
              setQuery({ value: typed.trim() })
            }}
          >
            <Select
              selectedOption={ATTRIBUTES().find((a) => a.value === attribute) ?? ATTRIBUTES()[0]!}
              options={ATTRIBUTES()}
              ariaLabel={t('audit.by')}
              onChange={(ev) => setQuery({ by: ev.detail.selectedOption.value ?? '' })}
            />
            <Input
              type="search"
              value={typed}
              ariaLabel={t('common.value')}
              placeholder={t('audit.exact')}
              onChange={(ev) => setTyped(ev.detail.value)}
              onBlur={() => setQuery({ value: typed.trim() })}
            />
            {(['from', 'until'] as const).map((name) => (
              <label key={name} className="period">
                {name === 'from' ? t('sessions.from') : t('sessions.until')}
                <input
                  className="when"
                  type="date"
                  value={query.get(name) ?? ''}
                  onChange={(ev) => setQuery({ [name]: ev.target.value })}
                />
              </label>
            ))}
            <Toggle checked={deniedOnly} onChange={(ev) => setQuery({ denied: ev.detail.checked ? '1' : '' })}>
              {t('audit.failuresOnly')}
            </Toggle>
          </form>
        }
        empty={error !== null ? <NotLoaded /> : <Box padding="l">{t('admin.noMatch')}</Box>}
        footer={
          next !== undefined && (
            <Box textAlign="center">
              <Button loading={loading} onClick={() => void load(next)}>
                {t('audit.older')}
              </Button>
            </Box>
          )
        }
        columnDefinitions={[
          { id: 'at', header: t('audit.time'), cell: (e) => <When at={e.at} />, minWidth: 180 },
          {
            id: 'user',
            header: t('common.user'),
            cell: (e) => <span className="wrap">{e.user || '–'}</span>,
            minWidth: 120,
          },
          {
            id: 'event',
            header: t('audit.event'),
            isRowHeader: true,
            minWidth: 200,
            cell: (e) => (
              <ExpandableSection headerText={`${e.source}:${e.name}`} variant="inline">
                <pre className="log-page" tabIndex={0} aria-label={t('audit.record')}>
                  {e.full}
                </pre>
              </ExpandableSection>
            ),
          },
          {
            id: 'result',
            header: t('simulator.result'),
            minWidth: 260,
            cell: (e) =>
              e.errorCode === '' ? (
                <StatusIndicator type="success">{t('audit.succeeded')}</StatusIndicator>
              ) : (
                <>
                  <StatusIndicator type="error">{e.errorCode}</StatusIndicator>
                  <div className="under wrap">{e.errorMessage}</div>
                  {e.reason !== '' && <div className="under wrap faint">{e.reason}</div>}
                </>
              ),
          },
          { id: 'ip', header: t('simulator.address'), cell: (e) => e.sourceIp || '–' },
        ]}
      />
    </SpaceBetween>
  )
}
