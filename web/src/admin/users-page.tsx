import Checkbox from '@cloudscape-design/components/checkbox'
import FormField from '@cloudscape-design/components/form-field'
import Input from '@cloudscape-design/components/input'
import { useState } from 'react'
import { utc, when } from '../format'
import { rich, t } from '../i18n'
import { When } from '../time'
import { CreateForm } from './create-form'
import { arnColumn, createdColumn, nameColumn } from './columns'
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
        nameColumn('users', t('signIn.user')),
        { id: 'path', header: t('iam.path'), text: (u) => u.path },
        createdColumn(),
        {
          id: 'used',
          header: t('iam.passwordUsed'),
          text: (u) => utc(u.passwordUsedAt),
          cell: (u) => (u.passwordUsedAt === 0 ? t('time.never') : <When at={u.passwordUsedAt} />),
        },
        arnColumn(),
      ]}
      actions={[
        {
          text: t('common.delete'),
          confirm: (u) => ({
            title: t('iam.deleteUser'),
            text: rich('iam.deleteHint', { name: <b>{u.name}</b>, time: when(u.createdAt) }),
          }),
          needs: ['iam:DeleteUser'],
          run: async (u) => void (await iam('DeleteUser', { UserName: u.name })),
        },
      ]}
      buttons={(reload) => <CreateUser onCreated={reload} />}
    />
  )
}

function CreateUser({ onCreated }: { onCreated: () => void }) {
  const [password, setPassword] = useState('')
  const [reset, setReset] = useState(true)
  const create = async (name: string) => {
    await iam('CreateUser', { UserName: name })
    if (password === '') return
    await iam('CreateLoginProfile', { UserName: name, Password: password, PasswordResetRequired: String(reset) })
  }
  return (
    <CreateForm
      needs={['iam:CreateUser']}
      title={t('iam.createUser')}
      label={t('signIn.user')}
      create={create}
      onCreated={onCreated}
    >
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
    </CreateForm>
  )
}
