import Container from '@cloudscape-design/components/container'
import Header from '@cloudscape-design/components/header'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useCallback, useEffect, useState } from 'react'
import { when } from '../format'
import { GuardedButton } from '../guarded-button'
import { rich, t } from '../i18n'
import { Refusal } from '../refusal'
import type { PageProps } from '../routes'
import { CreateForm } from './create-form'
import { createdColumn, nameColumn } from './columns'
import { EntityPage } from './entity-page'
import { iam, listRoles, readTrust } from './iam'
import { Permissions } from './permissions'
import { PolicyEditor } from './policy-editor'
import { ResourceTable, useLoaded } from './resource-page'

const TRUST = JSON.stringify(
  {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: { Service: 'ssm.amazonaws.com' }, Action: 'sts:AssumeRole' }],
  },
  null,
  2,
)

/** RolesPage lists the roles; with a name it shows one of them. */
export default function RolesPage({ params }: PageProps) {
  const name = params[0]
  if (name !== undefined) {
    return (
      <EntityPage list="roles" title={t('nav.roles')} name={name}>
        <Permissions kind="Role" name={name} />
        <Trust role={name} />
      </EntityPage>
    )
  }
  return (
    <ResourceTable
      title={t('nav.roles')}
      load={listRoles}
      idOf={(r) => r.name}
      columns={[nameColumn('roles'), { id: 'path', header: t('iam.path'), text: (r) => r.path }, createdColumn()]}
      actions={[
        {
          text: t('common.delete'),
          confirm: (r) => ({
            title: t('iam.deleteRole'),
            text: rich('iam.deleteHint', { name: <b>{r.name}</b>, time: when(r.createdAt) }),
          }),
          needs: ['iam:DeleteRole'],
          run: async (r) => void (await iam('DeleteRole', { RoleName: r.name })),
        },
      ]}
      buttons={(reload) => <CreateRole onCreated={reload} />}
    />
  )
}

function TrustField({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  return (
    <PolicyEditor
      value={value}
      type="TRUST_POLICY"
      label={t('setup.trust')}
      description={t('iam.trustHint')}
      onChange={onChange}
    />
  )
}

/** Trust edits the trust policy of a role. */
function Trust({ role }: { role: string }) {
  const load = useCallback(() => readTrust(role), [role])
  const { value, error } = useLoaded(load)
  const [text, setText] = useState('')
  const [busy, setBusy] = useState(false)
  const [failed, setFailed] = useState<unknown>(null)
  useEffect(() => setText(value ?? ''), [value])
  const save = async () => {
    setBusy(true)
    try {
      await iam('UpdateAssumeRolePolicy', { RoleName: role, PolicyDocument: text })
      setFailed(null)
    } catch (err) {
      setFailed(err)
    }
    setBusy(false)
  }
  return (
    <Container header={<Header variant="h2">{t('setup.trust')}</Header>}>
      <SpaceBetween size="m">
        {error !== null && <Refusal error={error} />}
        <TrustField value={text} onChange={setText} />
        {failed !== null && <Refusal error={failed} what={t('prefs.notSaved')} />}
        <GuardedButton
          needs={['iam:UpdateAssumeRolePolicy']}
          loading={busy}
          disabled={text === value || text === ''}
          onClick={() => void save()}
        >
          {t('common.save')}
        </GuardedButton>
      </SpaceBetween>
    </Container>
  )
}

function CreateRole({ onCreated }: { onCreated: () => void }) {
  const [trust, setTrust] = useState(TRUST)
  return (
    <CreateForm
      needs={['iam:CreateRole']}
      size="large"
      title={t('iam.createRole')}
      create={async (name) => void (await iam('CreateRole', { RoleName: name, AssumeRolePolicyDocument: trust }))}
      onCreated={onCreated}
    >
      <TrustField value={trust} onChange={setTrust} />
    </CreateForm>
  )
}
