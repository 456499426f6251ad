// One user: permissions, groups, access keys, the console password and MFA
// devices.

import Alert from '@cloudscape-design/components/alert'
import Checkbox from '@cloudscape-design/components/checkbox'
import FormField from '@cloudscape-design/components/form-field'
import Input from '@cloudscape-design/components/input'
import Select from '@cloudscape-design/components/select'
import SpaceBetween from '@cloudscape-design/components/space-between'
import StatusIndicator from '@cloudscape-design/components/status-indicator'
import { useCallback, useState } from 'react'
import { utc } from '../format'
import { GuardedButton } from '../guarded-button'
import { t } from '../i18n'
import { Refusal } from '../refusal'
import type { PageProps } from '../routes'
import { When } from '../time'
import { arnColumn, createdColumn } from './columns'
import { FormModal } from './confirm'
import { EntityPage } from './entity-page'
import { childText, iam, listAccessKeys, listGroups, listMfaDevices, listUserGroups } from './iam'
import { Permissions } from './permissions'
import { ReachOf } from './reach'
import { ResourceTable, useLoaded } from './resource-page'
import { Secret } from './secret'

/** UserPage shows and changes one user. */
export default function UserPage({ params }: PageProps) {
  const name = params[0] ?? ''
  return (
    <EntityPage list="users" title={t('nav.users')} name={name}>
      <Permissions kind="User" name={name} />
      <Groups user={name} />
      <AccessKeys user={name} />
      <Password user={name} />
      <MfaDevices user={name} />
      <ReachOf key={name} of={{ user: name }} />
    </EntityPage>
  )
}

function Groups({ user }: { user: string }) {
  const load = useCallback(() => listUserGroups(user), [user])
  return (
    <ResourceTable
      embedded
      title={t('nav.groups')}
      load={load}
      idOf={(g) => g.name}
      columns={[{ id: 'name', header: t('common.name'), text: (g) => g.name }, arnColumn()]}
      actions={[
        {
          text: t('common.remove'),
          needs: ['iam:RemoveUserFromGroup'],
          run: async (g) => void (await iam('RemoveUserFromGroup', { UserName: user, GroupName: g.name })),
        },
      ]}
      buttons={(reload) => <AddToGroup user={user} onAdded={reload} />}
    />
  )
}

function AddToGroup({ user, onAdded }: { user: string; onAdded: () => void }) {
  const [open, setOpen] = useState(false)
  return (
    <>
      <GuardedButton needs={['iam:AddUserToGroup']} onClick={() => setOpen(true)}>
        {t('iam.addToGroup')}
      </GuardedButton>
      {open && <AddToGroupForm user={user} onAdded={onAdded} onClose={() => setOpen(false)} />}
    </>
  )
}

function AddToGroupForm({ user, onAdded, onClose }: { user: string; onAdded: () => void; onClose: () => void }) {
  const groups = useLoaded(listGroups)
  const [group, setGroup] = useState('')
  return (
    <FormModal
      title={t('iam.addToGroup')}
      action={t('mfa.enrol')}
      disabled={group === ''}
      onSubmit={async () => {
        await iam('AddUserToGroup', { UserName: user, GroupName: group })
        onAdded()
      }}
      onClose={onClose}
    >
      {groups.error !== null && <Refusal error={groups.error} />}
      <FormField label={t('nav.groups')}>
        <Select
          selectedOption={group === '' ? null : { value: group }}
          options={(groups.value ?? []).map((g) => ({ value: g.name }))}
          filteringType="auto"
          onChange={(ev) => setGroup(ev.detail.selectedOption.value ?? '')}
        />
      </FormField>
    </FormModal>
  )
}

function AccessKeys({ user }: { user: string }) {
  const load = useCallback(() => listAccessKeys(user), [user])
  const [made, setMade] = useState<{ id: string; secret: string } | null>(null)
  const [error, setError] = useState<unknown>(null)
  const create = async (reload: () => void) => {
    try {
      const doc = await iam('CreateAccessKey', { UserName: user })
      setMade({ id: childText(doc, 'AccessKeyId'), secret: childText(doc, 'SecretAccessKey') })
      setError(null)
      reload()
    } catch (err) {
      setError(err)
    }
  }
  return (
    <SpaceBetween size="s">
      {made !== null && (
        <Alert type="warning" header={t('iam.keyCreated')} dismissible onDismiss={() => setMade(null)}>
          <div>
            {t('iam.keyId')}: <Secret text={made.id} />
          </div>
          <div>
            {t('iam.keySecret')}: <Secret text={made.secret} />
          </div>
        </Alert>
      )}
      {error !== null && <Refusal error={error} />}
      <ResourceTable
        embedded
        title={t('iam.accessKeys')}
        load={load}
        idOf={(k) => k.id}
        columns={[
          { id: 'id', header: t('iam.keyId'), text: (k) => k.id, cell: (k) => <code>{k.id}</code> },
          {
            id: 'state',
            header: t('common.state'),
            text: (k) => (k.active ? t('iam.active') : t('iam.inactive')),
            cell: (k) => (
              <StatusIndicator type={k.active ? 'success' : 'stopped'}>
                {k.active ? t('iam.active') : t('iam.inactive')}
              </StatusIndicator>
            ),
          },
          createdColumn(),
        ]}
        actions={[
          {
            text: t('iam.activate'),
            enabled: (k) => !k.active,
            needs: ['iam:UpdateAccessKey'],
            run: async (k) =>
              void (await iam('UpdateAccessKey', { UserName: user, AccessKeyId: k.id, Status: 'Active' })),
          },
          {
            text: t('iam.deactivate'),
            enabled: (k) => k.active,
            needs: ['iam:UpdateAccessKey'],
            run: async (k) =>
              void (await iam('UpdateAccessKey', { UserName: user, AccessKeyId: k.id, Status: 'Inactive' })),
          },
          {
            text: t('common.delete'),
            confirm: (k) => ({ title: t('iam.deleteKey'), text: <code>{k.id}</code> }),
            needs: ['iam:DeleteAccessKey'],
            run: async (k) => void (await iam('DeleteAccessKey', { UserName: user, AccessKeyId: k.id })),
          },
        ]}
        buttons={(reload) => (
          <GuardedButton needs={['iam:CreateAccessKey']} onClick={() => void create(reload)}>
            {t('iam.createKey')}
          </GuardedButton>
        )}
      />
    </SpaceBetween>
  )
}

/** Password sets a new console password, which the user has to change. */
function Password({ user }: { user: string }) {
  const [open, setOpen] = useState(false)
  const [password, setPassword] = useState('')
  const [reset, setReset] = useState(true)
  const [done, setDone] = useState(false)
  const save = async () => {
    const params = { UserName: user, Password: password, PasswordResetRequired: String(reset) }
    try {
      await iam('UpdateLoginProfile', params)
    } catch (err) {
      if (!(err instanceof Error && 'code' in err && err.code === 'NoSuchEntity')) throw err
      await iam('CreateLoginProfile', params)
    }
    setPassword('')
    setDone(true)
  }
  return (
    <SpaceBetween size="s">
      <h2 className="section-title">{t('iam.consolePassword')}</h2>
      {done && <StatusIndicator type="success">{t('iam.passwordSet')}</StatusIndicator>}
      <GuardedButton needs={['iam:UpdateLoginProfile', 'iam:CreateLoginProfile']} onClick={() => setOpen(true)}>
        {t('iam.setPassword')}
      </GuardedButton>
      {open && (
        <FormModal
          title={t('iam.setPassword')}
          action={t('common.save')}
          disabled={password === ''}
          onSubmit={save}
          onClose={() => setOpen(false)}
        >
          <FormField label={t('password.new')} constraintText={t('password.rules')}>
            <Input
              type="password"
              autoComplete="new-password"
              value={password}
              onChange={(ev) => setPassword(ev.detail.value)}
            />
          </FormField>
          <Checkbox checked={reset} onChange={(ev) => setReset(ev.detail.checked)}>
            {t('iam.resetRequired')}
          </Checkbox>
        </FormModal>
      )}
    </SpaceBetween>
  )
}

function MfaDevices({ user }: { user: string }) {
  const load = useCallback(() => listMfaDevices(user), [user])
  return (
    <ResourceTable
      embedded
      title={t('mfa.title')}
      load={load}
      idOf={(d) => d.serial}
      columns={[
        {
          id: 'serial',
          header: t('iam.serial'),
          text: (d) => d.serial,
          cell: (d) => <code className="wrap">{d.serial}</code>,
        },
        { id: 'since', header: t('mfa.since'), text: (d) => utc(d.since), cell: (d) => <When at={d.since} /> },
      ]}
      actions={[
        {
          text: t('iam.deactivate'),
          confirm: (d) => ({ title: t('iam.deactivateMfa'), text: <code className="wrap">{d.serial}</code> }),
          needs: ['iam:DeactivateMFADevice'],
          run: async (d) => {
            await iam('DeactivateMFADevice', { UserName: user, SerialNumber: d.serial })
            if (d.serial.includes(':mfa/')) await iam('DeleteVirtualMFADevice', { SerialNumber: d.serial })
          },
        },
      ]}
    />
  )
}
