import StatusIndicator from '@cloudscape-design/components/status-indicator'
import { lazy, Suspense, useState } from 'react'
import { millis, utc } from '../format'
import { GuardedButton } from '../guarded-button'
import { t } from '../i18n'
import { When } from '../time'
import { ResourceTable } from './resource-page'
import { deleteActivation, listActivations } from './ssm'

const RegisterModal = lazy(() => import('../register').then((m) => ({ default: m.RegisterModal })))

/** ActivationsPage lists the hybrid activations. */
export default function ActivationsPage() {
  return (
    <ResourceTable
      title={t('nav.activations')}
      description={t('activations.description')}
      load={listActivations}
      idOf={(a) => a.ActivationId}
      columns={[
        {
          id: 'id',
          header: t('activations.id'),
          text: (a) => a.ActivationId,
          cell: (a) => <code className="wrap">{a.ActivationId}</code>,
        },
        { id: 'name', header: t('activations.name'), text: (a) => a.DefaultInstanceName },
        {
          id: 'state',
          header: t('common.state'),
          text: (a) => (a.Expired ? t('activations.expired') : t('activations.valid')),
          cell: (a) => (
            <StatusIndicator type={a.Expired ? 'stopped' : 'success'}>
              {a.Expired ? t('activations.expired') : t('activations.valid')}
            </StatusIndicator>
          ),
        },
        {
          id: 'used',
          header: t('activations.used'),
          text: (a) => t('common.countOf', { count: a.RegistrationsCount, total: a.RegistrationLimit }),
        },
        { id: 'role', header: t('common.role'), text: (a) => a.IamRole },
        {
          id: 'expires',
          header: t('activations.expires'),
          text: (a) => utc(millis(a.ExpirationDate)),
          cell: (a) => <When at={millis(a.ExpirationDate)} />,
        },
        { id: 'description', header: t('common.description'), text: (a) => a.Description },
      ]}
      actions={[
        {
          text: t('common.delete'),
          confirm: (a) => ({ title: t('activations.delete'), text: <code className="wrap">{a.ActivationId}</code> }),
          needs: ['ssm:DeleteActivation'],
          run: async (a) => void (await deleteActivation(a.ActivationId)),
        },
      ]}
      buttons={(reload) => <Create onDone={reload} />}
    />
  )
}

function Create({ onDone }: { onDone: () => void }) {
  const [open, setOpen] = useState(false)
  return (
    <>
      <GuardedButton needs={['ssm:CreateActivation']} variant="primary" onClick={() => setOpen(true)}>
        {t('common.create')}
      </GuardedButton>
      {open && (
        <Suspense fallback={null}>
          <RegisterModal
            onDismiss={() => {
              setOpen(false)
              onDone()
            }}
          />
        </Suspense>
      )}
    </>
  )
}
