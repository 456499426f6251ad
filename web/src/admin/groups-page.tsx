import FormField from '@cloudscape-design/components/form-field'
import Input from '@cloudscape-design/components/input'
import { useCallback, useState } from 'react'
import { when } from '../format'
import { GuardedButton } from '../guarded-button'
import { rich, t } from '../i18n'
import type { PageProps } from '../routes'
import { CreateForm } from './create-form'
import { arnColumn, createdColumn, nameColumn } from './columns'
import { FormModal } from './confirm'
import { EntityPage } from './entity-page'
import { iam, listGroups, listMembers } from './iam'
import { Permissions } from './permissions'
import { ResourceTable } from './resource-page'

/** GroupsPage lists the groups of users; with a name it shows one of them. */
export default function GroupsPage({ params }: PageProps) {
  const name = params[0]
  if (name !== undefined) {
    return (
      <EntityPage list="groups" title={t('nav.groups')} name={name}>
        <Members group={name} />
        <Permissions kind="Group" name={name} />
      </EntityPage>
    )
  }
  return (
    <ResourceTable
      title={t('nav.groups')}
      load={listGroups}
      idOf={(g) => g.name}
      columns={[nameColumn('groups'), createdColumn(), arnColumn()]}
      actions={[
        {
          text: t('common.delete'),
          confirm: (g) => ({
            title: t('iam.deleteGroup'),
            text: rich('iam.deleteHint', { name: <b>{g.name}</b>, time: when(g.createdAt) }),
          }),
          needs: ['iam:DeleteGroup'],
          run: async (g) => void (await iam('DeleteGroup', { GroupName: g.name })),
        },
      ]}
      buttons={(reload) => <CreateGroup onCreated={reload} />}
    />
  )
}

function Members({ group }: { group: string }) {
  const load = useCallback(() => listMembers(group), [group])
  return (
    <ResourceTable
      embedded
      title={t('nav.users')}
      load={load}
      idOf={(u) => u.name}
      columns={[nameColumn('users', t('signIn.user'))]}
      actions={[
        {
          text: t('common.remove'),
          needs: ['iam:RemoveUserFromGroup'],
          run: async (u) => void (await iam('RemoveUserFromGroup', { UserName: u.name, GroupName: group })),
        },
      ]}
      buttons={(reload) => <AddMember group={group} onAdded={reload} />}
    />
  )
}

function AddMember({ group, onAdded }: { group: string; onAdded: () => void }) {
  const [open, setOpen] = useState(false)
  const [user, setUser] = useState('')
  return (
    <>
      <GuardedButton needs={['iam:AddUserToGroup']} onClick={() => setOpen(true)}>
        {t('iam.addUser')}
      </GuardedButton>
      {open && (
        <FormModal
          title={t('iam.addUser')}
          action={t('mfa.enrol')}
          disabled={user.trim() === ''}
          onSubmit={async () => {
            await iam('AddUserToGroup', { UserName: user.trim(), GroupName: group })
            onAdded()
          }}
          onClose={() => setOpen(false)}
        >
          <FormField label={t('signIn.user')}>
            <Input value={user} autoFocus spellcheck={false} onChange={(ev) => setUser(ev.detail.value)} />
          </FormField>
        </FormModal>
      )}
    </>
  )
}

function CreateGroup({ onCreated }: { onCreated: () => void }) {
  return (
    <CreateForm
      needs={['iam:CreateGroup']}
      title={t('iam.createGroup')}
      create={async (name) => void (await iam('CreateGroup', { GroupName: name }))}
      onCreated={onCreated}
    />
  )
}
