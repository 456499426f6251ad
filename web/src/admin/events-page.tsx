import SpaceBetween from '@cloudscape-design/components/space-between'
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator'
import ExpandableSection from '@cloudscape-design/components/expandable-section'
import { useStore } from '../store'
import { rights } from '../access'
import { utc } from '../format'
import { t, type PlainKey } from '../i18n'
import { When } from '../time'
import { listEvents, listWebhooks } from './happenings'
import { ResourceTable } from './resource-page'

const LOOK: Record<string, [StatusIndicatorProps.Type, PlainKey]> = {
  Working: ['success', 'webhook.Working'],
  Failing: ['error', 'webhook.Failing'],
  Unused: ['pending', 'webhook.Unused'],
}

/** EventsPage lists the events, and the webhooks with the state of their deliveries. */
export default function EventsPage() {
  const mayList = useStore(rights).get('sekisho:ListWebhooks')?.allowed === true
  return (
    <SpaceBetween size="l">
      <ResourceTable
        title={t('nav.events')}
        load={listEvents}
        idOf={(e) => e.id}
        columns={[
          { id: 'at', header: t('audit.time'), text: (e) => utc(e.at), cell: (e) => <When at={e.at} />, minWidth: 180 },
          {
            id: 'type',
            header: t('common.kind'),
            text: (e) => e.type,
            cell: (e) => (
              <ExpandableSection headerText={e.type} variant="inline">
                <pre className="log-page" tabIndex={0} aria-label={t('audit.record')}>
                  {e.full}
                </pre>
              </ExpandableSection>
            ),
          },
          {
            id: 'subject',
            header: t('common.resource'),
            text: (e) => e.resources,
            cell: (e) => <span className="wrap">{e.resources}</span>,
          },
        ]}
      />
      {mayList && <Webhooks />}
    </SpaceBetween>
  )
}

function Webhooks() {
  return (
    <ResourceTable
      embedded
      title={t('webhook.title')}
      description={t('webhook.hint')}
      load={listWebhooks}
      idOf={(w) => w.Name}
      columns={[
        { id: 'name', header: t('common.name'), text: (w) => w.Name },
        {
          id: 'address',
          header: t('nodes.address'),
          text: (w) => w.Address,
          cell: (w) => <span className="wrap">{w.Address}</span>,
        },
        {
          id: 'status',
          header: t('common.state'),
          text: (w) => w.Status,
          cell: (w) => {
            const [type, key] = LOOK[w.Status] ?? ['info', 'common.unknown']
            return (
              <>
                <StatusIndicator type={type}>{t(key)}</StatusIndicator>
                {w.LastFailure !== '' && w.Failures > 0 && <div className="under wrap faint">{w.LastFailure}</div>}
              </>
            )
          },
        },
        { id: 'waiting', header: t('webhook.waiting'), text: (w) => String(w.Waiting) },
        { id: 'delivered', header: t('webhook.delivered'), text: (w) => String(w.Delivered) },
        { id: 'dropped', header: t('webhook.dropped'), text: (w) => String(w.GivenUp + w.Dropped) },
      ]}
    />
  )
}
