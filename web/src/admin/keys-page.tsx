import FormField from '@cloudscape-design/components/form-field'
import Input from '@cloudscape-design/components/input'
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator'
import { useState } from 'react'
import { GuardedButton } from '../guarded-button'
import { t } from '../i18n'
import { createdColumn } from './columns'
import { FormModal } from './confirm'
import { ResourceTable } from './resource-page'
import { createKmsKey, kms, listKmsKeys } from './storage'

const LOOK: Record<string, StatusIndicatorProps.Type> = {
  Enabled: 'success',
  Disabled: 'stopped',
  PendingDeletion: 'warning',
}

/** KeysPage lists the KMS keys. */
export default function KeysPage() {
  return (
    <ResourceTable
      title={t('nav.keys')}
      load={listKmsKeys}
      idOf={(k) => k.id}
      nameOf={(k) => k.alias || k.id}
      columns={[
        { id: 'alias', header: t('keys.alias'), text: (k) => k.alias },
        { id: 'id', header: t('keys.id'), text: (k) => k.id, cell: (k) => <code className="wrap">{k.id}</code> },
        {
          id: 'state',
          header: t('common.state'),
          text: (k) => k.state,
          cell: (k) => <StatusIndicator type={LOOK[k.state] ?? 'info'}>{k.state}</StatusIndicator>,
        },
        { id: 'description', header: t('common.description'), text: (k) => k.description },
        createdColumn(),
      ]}
      actions={[
        {
          text: t('keys.enable'),
          enabled: (k) => k.state === 'Disabled',
          needs: [],
          run: async (k) => void (await kms('EnableKey', { KeyId: k.id })),
        },
        {
          text: t('keys.disable'),
          enabled: (k) => k.state === 'Enabled',
          needs: [],
          run: async (k) => void (await kms('DisableKey', { KeyId: k.id })),
        },
        {
          text: t('keys.scheduleDeletion'),
          enabled: (k) => k.state !== 'PendingDeletion',
          confirm: (k) => ({
            title: t('keys.scheduleDeletion'),
            text: t('keys.deletionHint', { name: k.alias || k.id }),
          }),
          needs: [],
          run: async (k) => void (await kms('ScheduleKeyDeletion', { KeyId: k.id, PendingWindowInDays: 30 })),
        },
        {
          text: t('keys.cancelDeletion'),
          enabled: (k) => k.state === 'PendingDeletion',
          needs: [],
          run: async (k) => void (await kms('CancelKeyDeletion', { KeyId: k.id })),
        },
      ]}
      buttons={(reload) => <CreateKey onCreated={reload} />}
    />
  )
}

function CreateKey({ onCreated }: { onCreated: () => void }) {
  const [open, setOpen] = useState(false)
  const [alias, setAlias] = useState('')
  const [description, setDescription] = useState('')
  return (
    <>
      <GuardedButton needs={['kms:CreateKey']} variant="primary" onClick={() => setOpen(true)}>
        {t('keys.create')}
      </GuardedButton>
      {open && (
        <FormModal
          title={t('keys.create')}
          action={t('common.create')}
          onSubmit={async () => {
            await createKmsKey(alias.trim(), description.trim())
            onCreated()
          }}
          onClose={() => setOpen(false)}
        >
          <FormField label={t('keys.alias')}>
            <Input value={alias} autoFocus spellcheck={false} onChange={(ev) => setAlias(ev.detail.value)} />
          </FormField>
          <FormField label={t('common.description')}>
            <Input value={description} onChange={(ev) => setDescription(ev.detail.value)} />
          </FormField>
        </FormModal>
      )}
    </>
  )
}
