// Requests for just-in-time access: made, approved, rejected and revoked.

import Alert from '@cloudscape-design/components/alert'
import Checkbox from '@cloudscape-design/components/checkbox'
import FormField from '@cloudscape-design/components/form-field'
import Header from '@cloudscape-design/components/header'
import Input from '@cloudscape-design/components/input'
import SpaceBetween from '@cloudscape-design/components/space-between'
import Table from '@cloudscape-design/components/table'
import { useCallback, useEffect, useState } from 'react'
import { GuardedButton } from '../guarded-button'
import { nodeIds } from '../find-nodes'
import { t } from '../i18n'
import { NotLoaded, Refusal } from '../refusal'
import { When } from '../time'
import { FormModal } from './confirm'
import { decide, listRequests, requestAccess, words, type AccessRequest, type Decision } from './jit'

/** RequestsPage lists access requests and decides about them. */
export default function RequestsPage() {
  const [list, setList] = useState<AccessRequest[] | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [chosen, setChosen] = useState<string | null>(null)
  const [open, setOpen] = useState<Decision | 'Request' | null>(null)
  const load = useCallback(() => {
    listRequests().then(setList, setError)
  }, [])
  useEffect(load, [load])
  const one = list?.find((r) => r.AccessRequestId === chosen) ?? null
  const pending = one?.Status === 'Pending'
  return (
    <SpaceBetween size="l">
      {error !== null && <Refusal error={error} />}
      <Table
        variant="full-page"
        items={list ?? []}
        loading={list === null && error === null}
        loadingText={t('common.loading')}
        empty={error !== null ? <NotLoaded /> : t('jit.none')}
        trackBy="AccessRequestId"
        selectionType="single"
        selectedItems={one === null ? [] : [one]}
        onSelectionChange={(ev) => setChosen(ev.detail.selectedItems[0]?.AccessRequestId ?? null)}
        ariaLabels={{
          selectionGroupLabel: t('jit.title'),
          itemSelectionLabel: (_, r) => t('common.select', { name: r.AccessRequestId }),
        }}
        wrapLines
        header={
          <Header
            variant="awsui-h1-sticky"
            description={t('jit.description')}
            actions={
              <SpaceBetween direction="horizontal" size="xs">
                <GuardedButton
                  needs={['sekisho:ApproveAccessRequest']}
                  disabled={!pending}
                  onClick={() => setOpen('Approve')}
                >
                  {t('jit.Approve')}
                </GuardedButton>
                <GuardedButton
                  needs={['sekisho:RejectAccessRequest']}
                  disabled={!pending}
                  onClick={() => setOpen('Reject')}
                >
                  {t('jit.Reject')}
                </GuardedButton>
                <GuardedButton
                  needs={['sekisho:RevokeAccessRequest']}
                  disabled={!pending && one?.Status !== 'Approved'}
                  onClick={() => setOpen('Revoke')}
                >
                  {t('jit.Revoke')}
                </GuardedButton>
                <GuardedButton needs={['ssm:StartAccessRequest']} variant="primary" onClick={() => setOpen('Request')}>
                  {t('jit.request')}
                </GuardedButton>
              </SpaceBetween>
            }
          >
            {t('jit.title')}
          </Header>
        }
        columnDefinitions={[
          { id: 'id', minWidth: 150, header: 'ID', cell: (r) => <code>{r.AccessRequestId}</code> },
          {
            id: 'status',
            minWidth: 120,
            header: t('common.state'),
            cell: (r) => (
              <>
                {t(`jitStatus.${r.Status}`)}
                {r.BreakGlass === true && ` (${t('jit.breakGlass')})`}
              </>
            ),
          },
          {
            id: 'who',
            minWidth: 200,
            header: t('jit.requester'),
            cell: (r) => <code className="wrap">{r.Requester}</code>,
          },
          { id: 'nodes', minWidth: 180, header: t('common.node'), cell: (r) => r.InstanceIds.join(', ') },
          { id: 'reason', minWidth: 140, header: t('common.reason'), cell: (r) => r.Reason },
          {
            id: 'decisions',
            minWidth: 180,
            header: t('jit.decisions'),
            cell: (r) =>
              r.Decisions.map(
                (d) => `${t(`jitStatus.${d.Status}`)}: ${d.By.slice(d.By.lastIndexOf('/') + 1)} – ${d.Reason}`,
              ).join('\n') || t('jit.needs', { needed: r.ApprovalsNeeded }),
          },
          { id: 'expires', minWidth: 150, header: t('jit.expires'), cell: (r) => <When at={r.ExpiresAt * 1000} /> },
        ]}
      />
      {open === 'Request' && <RequestForm onDone={load} onClose={() => setOpen(null)} />}
      {open !== null && open !== 'Request' && one !== null && (
        <DecideForm decision={open} request={one} onDone={load} onClose={() => setOpen(null)} />
      )}
    </SpaceBetween>
  )
}

function RequestForm({ onDone, onClose }: { onDone: () => void; onClose: () => void }) {
  const [nodes, setNodes] = useState('')
  const [reason, setReason] = useState('')
  const [breakGlass, setBreakGlass] = useState(false)
  return (
    <FormModal
      title={t('jit.request')}
      action={t('jit.request')}
      disabled={words(nodes).length === 0 || reason.trim() === ''}
      onSubmit={async () => {
        await requestAccess(await nodeIds(words(nodes)), reason.trim(), breakGlass)
        onDone()
      }}
      onClose={onClose}
    >
      <FormField label={t('nav.nodes')} description={t('jit.nodesHint')}>
        <Input value={nodes} spellcheck={false} onChange={(ev) => setNodes(ev.detail.value)} />
      </FormField>
      <FormField label={t('common.reason')}>
        <Input value={reason} onChange={(ev) => setReason(ev.detail.value)} />
      </FormField>
      <Checkbox checked={breakGlass} onChange={(ev) => setBreakGlass(ev.detail.checked)}>
        {t('jit.breakGlass')}
      </Checkbox>
      {breakGlass && <Alert type="warning">{t('jit.breakGlassHint')}</Alert>}
    </FormModal>
  )
}

function DecideForm(props: { decision: Decision; request: AccessRequest; onDone: () => void; onClose: () => void }) {
  const { decision, request } = props
  const [reason, setReason] = useState('')
  return (
    <FormModal
      title={`${t(`jit.${decision}`)}: ${request.AccessRequestId}`}
      action={t(`jit.${decision}`)}
      disabled={reason.trim() === ''}
      onSubmit={async () => {
        await decide(decision, request.AccessRequestId, reason.trim())
        props.onDone()
      }}
      onClose={props.onClose}
    >
      <FormField label={t('common.reason')}>
        <Input value={reason} autoFocus onChange={(ev) => setReason(ev.detail.value)} />
      </FormField>
    </FormModal>
  )
}
