import Button from '@cloudscape-design/components/button'
import FormField from '@cloudscape-design/components/form-field'
import Input from '@cloudscape-design/components/input'
import Link from '@cloudscape-design/components/link'
import { useCallback, useState } from 'react'
import { utc, when } from '../format'
import { rich, t } from '../i18n'
import { follow, href } from '../router'
import type { PageProps } from '../routes'
import { When } from '../time'
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
      columns={[
        {
          id: 'name',
          header: t('common.name'),
          text: (g) => g.name,
          cell: (g) => (
            <Link href={href('groups', g.name)} onFollow={follow}>
              {g.name}
            </Link>
          ),
        },
        {
          id: 'created',
          header: t('common.created'),
          text: (g) => utc(g.createdAt),
          cell: (g) => <When at={g.createdAt} />,
        },
        { id: 'arn', header: 'ARN', text: (g) => g.arn, cell: (g) => <code className="wrap">{g.arn}</code> },
      ]}
      actions={[
        {
          text: t('common.delete'),
          confirm: (g) => ({
            title: t('iam.deleteGroup'),
            text: rich('iam.deleteHint', { name: <b>{g.name}</b>, time: when(g.createdAt) }),
          }),
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
      columns={[
        {
          id: 'name',
          header: t('signIn.user'),
          text: (u) => u.name,
          cell: (u) => (
            <Link href={href('users', u.name)} onFollow={follow}>
              {u.name}
            </Link>
          ),
        },
      ]}
      actions={[
        {
          text: t('common.remove'),
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
      <Button onClick={() => setOpen(true)}>{t('iam.addUser')}</Button>
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
  const [open, setOpen] = useState(false)
  const [name, setName] = useState('')
  return (
    <>
      <Button variant="primary" onClick={() => setOpen(true)}>
        {t('iam.createGroup')}
      </Button>
      {open && (
        <FormModal
          title={t('iam.createGroup')}
          action={t('common.create')}
          disabled={name.trim() === ''}
          onSubmit={async () => {
            await iam('CreateGroup', { GroupName: name.trim() })
            onCreated()
          }}
          onClose={() => setOpen(false)}
        >
          <FormField label={t('common.name')}>
            <Input value={name} autoFocus spellcheck={false} onChange={(ev) => setName(ev.detail.value)} />
          </FormField>
        </FormModal>
      )}
    </>
  )
}
