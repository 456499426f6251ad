import Badge from '@cloudscape-design/components/badge'
import Checkbox from '@cloudscape-design/components/checkbox'
import Container from '@cloudscape-design/components/container'
import FormField from '@cloudscape-design/components/form-field'
import Header from '@cloudscape-design/components/header'
import Link from '@cloudscape-design/components/link'
import Select from '@cloudscape-design/components/select'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useCallback, useEffect, useState } from 'react'
import { when } from '../format'
import { GuardedButton } from '../guarded-button'
import { rich, t } from '../i18n'
import { Refusal } from '../refusal'
import { follow, href } from '../router'
import type { PageProps } from '../routes'
import { When } from '../time'
import { CreateForm } from './create-form'
import { arnColumn } from './columns'
import { TextDiff } from './diff'
import { EntityPage } from './entity-page'
import { iam, listPolicies, listPolicyVersions, readPolicyVersion, type PolicyVersion } from './iam'
import { EMPTY_POLICY, PolicyEditor } from './policy-editor'
import { ResourceTable, useLoaded } from './resource-page'

/** PoliciesPage lists the managed policies; with an ARN it shows one of them. */
export default function PoliciesPage({ params }: PageProps) {
  const arn = params[0]
  if (arn !== undefined) return <PolicyPage key={arn} arn={arn} />
  return (
    <ResourceTable
      title={t('nav.policies')}
      load={listPolicies}
      idOf={(p) => p.arn}
      nameOf={(p) => p.name}
      columns={[
        {
          id: 'name',
          header: t('common.name'),
          text: (p) => p.name,
          cell: (p) => (
            <span className="node-name">
              <Link href={href('policies', p.arn)} onFollow={follow}>
                {p.name}
              </Link>
              {!p.own && <Badge>AWS</Badge>}
            </span>
          ),
        },
        { id: 'attachments', header: t('iam.attachments'), text: (p) => String(p.attachments) },
        { id: 'version', header: t('common.version'), text: (p) => p.defaultVersion },
        arnColumn(),
      ]}
      actions={[
        {
          text: t('common.delete'),
          enabled: (p) => p.own,
          confirm: (p) => ({
            title: t('iam.deletePolicy'),
            text: rich('iam.deleteHint', { name: <b>{p.name}</b>, time: when(p.createdAt) }),
          }),
          needs: ['iam:DeletePolicy'],
          run: async (p) => void (await iam('DeletePolicy', { PolicyArn: p.arn })),
        },
      ]}
      buttons={(reload) => <CreatePolicy onCreated={reload} />}
    />
  )
}

function CreatePolicy({ onCreated }: { onCreated: () => void }) {
  const [text, setText] = useState(EMPTY_POLICY)
  return (
    <CreateForm
      needs={['iam:CreatePolicy']}
      size="large"
      title={t('iam.createPolicy')}
      create={async (name) => void (await iam('CreatePolicy', { PolicyName: name, PolicyDocument: text }))}
      onCreated={onCreated}
    >
      <PolicyEditor value={text} onChange={setText} />
    </CreateForm>
  )
}

function PolicyPage({ arn }: { arn: string }) {
  const load = useCallback(() => listPolicyVersions(arn), [arn])
  const versions = useLoaded(load)
  const own = !arn.startsWith('arn:aws:iam::aws:')
  const current = versions.value?.find((v) => v.isDefault)
  return (
    <EntityPage list="policies" title={t('nav.policies')} name={arn}>
      {versions.error !== null && <Refusal error={versions.error} />}
      {current !== undefined && (
        <Editor key={current.id} arn={arn} version={current.id} own={own} onSaved={versions.reload} />
      )}
      {own && (
        <ResourceTable
          key={versions.value?.length}
          embedded
          title={t('versions.title')}
          load={load}
          idOf={(v) => v.id}
          columns={[
            {
              id: 'id',
              header: t('common.version'),
              text: (v) => v.id,
              cell: (v) => (
                <span className="node-name">
                  {v.id} {v.isDefault && <Badge color="green">{t('versions.inForce')}</Badge>}
                </span>
              ),
            },
            {
              id: 'created',
              header: t('common.created'),
              text: (v) => String(v.createdAt),
              cell: (v) => <When at={v.createdAt} />,
            },
          ]}
          actions={[
            {
              text: t('versions.makeDefault'),
              enabled: (v) => !v.isDefault,
              needs: ['iam:SetDefaultPolicyVersion'],
              run: async (v) => {
                await iam('SetDefaultPolicyVersion', { PolicyArn: arn, VersionId: v.id })
                versions.reload()
              },
            },
            {
              text: t('common.delete'),
              enabled: (v) => !v.isDefault,
              needs: ['iam:DeletePolicyVersion'],
              run: async (v) => void (await iam('DeletePolicyVersion', { PolicyArn: arn, VersionId: v.id })),
            },
          ]}
        />
      )}
      {versions.value !== null && versions.value.length > 1 && <Compare arn={arn} versions={versions.value} />}
    </EntityPage>
  )
}

/** Editor edits the default version, and saves a new one. */
function Editor({ arn, version, own, onSaved }: { arn: string; version: string; own: boolean; onSaved: () => void }) {
  const load = useCallback(() => readPolicyVersion(arn, version), [arn, version])
  const { value, error } = useLoaded(load)
  const [text, setText] = useState('')
  const [byDefault, setByDefault] = useState(true)
  const [busy, setBusy] = useState(false)
  const [failed, setFailed] = useState<unknown>(null)
  useEffect(() => setText(value ?? ''), [value])
  const save = async () => {
    setBusy(true)
    try {
      await iam('CreatePolicyVersion', { PolicyArn: arn, PolicyDocument: text, SetAsDefault: String(byDefault) })
      setFailed(null)
      onSaved()
    } catch (err) {
      setFailed(err)
    }
    setBusy(false)
  }
  return (
    <Container header={<Header variant="h2">{t('policy.current', { version })}</Header>}>
      <SpaceBetween size="m">
        {error !== null && <Refusal error={error} />}
        {value !== null && <PolicyEditor value={text} readOnly={!own} onChange={setText} />}
        {own && text !== value && value !== null && <TextDiff before={value} after={text} />}
        {failed !== null && <Refusal error={failed} what={t('prefs.notSaved')} />}
        {own && (
          <SpaceBetween direction="horizontal" size="m" alignItems="center">
            <GuardedButton
              needs={['iam:CreatePolicyVersion']}
              variant="primary"
              loading={busy}
              disabled={text === value || text === ''}
              onClick={() => void save()}
            >
              {t('policy.saveVersion')}
            </GuardedButton>
            <Checkbox checked={byDefault} onChange={(ev) => setByDefault(ev.detail.checked)}>
              {t('policy.setDefault')}
            </Checkbox>
          </SpaceBetween>
        )}
      </SpaceBetween>
    </Container>
  )
}

function Compare({ arn, versions }: { arn: string; versions: PolicyVersion[] }) {
  const [a, setA] = useState(versions[1]!.id)
  const [b, setB] = useState(versions[0]!.id)
  const load = useCallback(() => Promise.all([readPolicyVersion(arn, a), readPolicyVersion(arn, b)]), [arn, a, b])
  const { value, error } = useLoaded(load)
  const options = versions.map((v) => ({ value: v.id }))
  return (
    <Container header={<Header variant="h2">{t('policy.compare')}</Header>}>
      <SpaceBetween size="m">
        <div className="pair">
          <FormField label={t('versions.before')}>
            <Select
              selectedOption={{ value: a }}
              options={options}
              onChange={(ev) => setA(ev.detail.selectedOption.value!)}
            />
          </FormField>
          <FormField label={t('versions.after')}>
            <Select
              selectedOption={{ value: b }}
              options={options}
              onChange={(ev) => setB(ev.detail.selectedOption.value!)}
            />
          </FormField>
        </div>
        {error !== null && <Refusal error={error} />}
        {value !== null && <TextDiff before={value[0]} after={value[1]} />}
      </SpaceBetween>
    </Container>
  )
}
