import Button from '@cloudscape-design/components/button'
import Checkbox from '@cloudscape-design/components/checkbox'
import FormField from '@cloudscape-design/components/form-field'
import Input from '@cloudscape-design/components/input'
import Link from '@cloudscape-design/components/link'
import { useState } from 'react'
import { utc, when } from '../format'
import { rich, t } from '../i18n'
import { follow, href } from '../router'
import { When } from '../time'
import { FormModal } from './confirm'
import { iam, listUsers } from './iam'
import { ResourceTable } from './resource-page'

/** UsersPage lists the users of the account. */
export default function UsersPage() {
  return (
    <ResourceTable
      title={t('nav.users')}
      load={listUsers}
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
        { id: 'path', header: t('iam.path'), text: (u) => u.path },
        {
          id: 'created',
          header: t('common.created'),
          text: (u) => utc(u.createdAt),
          cell: (u) => <When at={u.createdAt} />,
        },
        {
          id: 'used',
          header: t('iam.passwordUsed'),
          text: (u) => utc(u.passwordUsedAt),
          cell: (u) => (u.passwordUsedAt === 0 ? t('time.never') : <When at={u.passwordUsedAt} />),
        },
        { id: 'arn', header: 'ARN', text: (u) => u.arn, cell: (u) => <code className="wrap">{u.arn}</code> },
      ]}
      actions={[
        {
          text: t('common.delete'),
          confirm: (u) => ({
            title: t('iam.deleteUser'),
            text: rich('iam.deleteHint', { name: <b>{u.name}</b>, time: when(u.createdAt) }),
          }),
          run: async (u) => void (await iam('DeleteUser', { UserName: u.name })),
        },
      ]}
      buttons={(reload) => <CreateUser onCreated={reload} />}
    />
  )
}

function CreateUser({ onCreated }: { onCreated: () => void }) {
  const [open, setOpen] = useState(false)
  const [name, setName] = useState('')
  const [password, setPassword] = useState('')
  const [reset, setReset] = useState(true)
  const create = async () => {
    await iam('CreateUser', { UserName: name.trim() })
    if (password !== '') {
      await iam('CreateLoginProfile', {
        UserName: name.trim(),
        Password: password,
        PasswordResetRequired: String(reset),
      })
    }
    onCreated()
  }
  return (
    <>
      <Button variant="primary" onClick={() => setOpen(true)}>
        {t('iam.createUser')}
      </Button>
      {open && (
        <FormModal
          title={t('iam.createUser')}
          action={t('common.create')}
          disabled={name.trim() === ''}
          onSubmit={create}
          onClose={() => setOpen(false)}
        >
          <FormField label={t('signIn.user')}>
            <Input value={name} autoFocus spellcheck={false} onChange={(ev) => setName(ev.detail.value)} />
          </FormField>
          <FormField
            label={t('iam.consolePassword')}
            description={t('iam.consolePasswordHint')}
            constraintText={t('password.rules')}
          >
            <Input
              type="password"
              autoComplete="new-password"
              value={password}
              onChange={(ev) => setPassword(ev.detail.value)}
            />
          </FormField>
          <Checkbox checked={reset} disabled={password === ''} onChange={(ev) => setReset(ev.detail.checked)}>
            {t('iam.resetRequired')}
          </Checkbox>
        </FormModal>
      )}
    </>
  )
}
