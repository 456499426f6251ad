// The policies of a user, a group or a role: attached ones, and its own.

import FormField from '@cloudscape-design/components/form-field'
import Input from '@cloudscape-design/components/input'
import Link from '@cloudscape-design/components/link'
import Select from '@cloudscape-design/components/select'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useCallback, useState } from 'react'
import { GuardedButton } from '../guarded-button'
import { t } from '../i18n'
import { Refusal } from '../refusal'
import { follow, href } from '../router'
import { arnColumn } from './columns'
import { FormModal } from './confirm'
import {
  attach,
  deleteInline,
  detach,
  listAttached,
  listInline,
  listPolicies,
  putInline,
  readInline,
  type Kind,
} from './iam'
import { EMPTY_POLICY, PolicyEditor } from './policy-editor'
import { ResourceTable, useLoaded } from './resource-page'

/** Permissions lists and changes the policies of an entity. */
export function Permissions({ kind, name }: { kind: Kind; name: string }) {
  const loadAttached = useCallback(() => listAttached(kind, name), [kind, name])
  const loadInline = useCallback(() => listInline(kind, name), [kind, name])
  const [editing, setEditing] = useState<{ policy: string; text: string; reload: () => void } | null>(null)
  const [error, setError] = useState<unknown>(null)
  const edit = (policy: string, reload: () => void) =>
    readInline(kind, name, policy).then((text) => setEditing({ policy, text, reload }), setError)
  return (
    <SpaceBetween size="l">
      {error !== null && <Refusal error={error} />}
      <ResourceTable
        embedded
        title={t('iam.attached')}
        load={loadAttached}
        idOf={(p) => p.arn}
        nameOf={(p) => p.name}
        columns={[
          {
            id: 'name',
            header: t('common.name'),
            text: (p) => p.name,
            cell: (p) => (
              <Link href={href('policies', p.arn)} onFollow={follow}>
                {p.name}
              </Link>
            ),
          },
          arnColumn(),
        ]}
        actions={[
          {
            text: t('iam.detach'),
            needs: [`iam:Detach${kind}Policy`],
            run: async (p) => void (await detach(kind, name, p.arn)),
          },
        ]}
        buttons={(reload) => <AttachPolicy kind={kind} name={name} onAttached={reload} />}
      />
      <ResourceTable
        embedded
        title={t('iam.inline')}
        load={loadInline}
        idOf={(p) => p}
        columns={[{ id: 'name', header: t('common.name'), text: (p) => p }]}
        actions={[
          { text: t('common.edit'), needs: [`iam:Get${kind}Policy`], run: (p) => void edit(p, () => {}) },
          {
            text: t('common.delete'),
            confirm: (p) => ({ title: t('iam.deletePolicy'), text: <b>{p}</b> }),
            needs: [`iam:Delete${kind}Policy`],
            run: async (p) => void (await deleteInline(kind, name, p)),
          },
        ]}
        buttons={(reload) => (
          <GuardedButton
            needs={[`iam:Put${kind}Policy`]}
            onClick={() => setEditing({ policy: '', text: EMPTY_POLICY, reload })}
          >
            {t('iam.createInline')}
          </GuardedButton>
        )}
      />
      {editing !== null && (
        <EditInline
          kind={kind}
          name={name}
          policy={editing.policy}
          text={editing.text}
          onSaved={editing.reload}
          onClose={() => setEditing(null)}
        />
      )}
    </SpaceBetween>
  )
}

function AttachPolicy({ kind, name, onAttached }: { kind: Kind; name: string; onAttached: () => void }) {
  const [open, setOpen] = useState(false)
  return (
    <>
      <GuardedButton needs={[`iam:Attach${kind}Policy`]} onClick={() => setOpen(true)}>
        {t('iam.attach')}
      </GuardedButton>
      {open && <AttachForm kind={kind} name={name} onAttached={onAttached} onClose={() => setOpen(false)} />}
    </>
  )
}

function AttachForm(props: { kind: Kind; name: string; onAttached: () => void; onClose: () => void }) {
  const policies = useLoaded(listPolicies)
  const [chosen, setChosen] = useState<{ value?: string; label?: string } | null>(null)
  return (
    <FormModal
      title={t('iam.attach')}
      action={t('iam.attach')}
      disabled={chosen === null}
      onSubmit={async () => {
        await attach(props.kind, props.name, chosen?.value ?? '')
        props.onAttached()
      }}
      onClose={props.onClose}
    >
      {policies.error !== null && <Refusal error={policies.error} />}
      <FormField label={t('iam.policy')}>
        <Select
          selectedOption={chosen}
          options={(policies.value ?? []).map((p) => ({ value: p.arn, label: p.name, description: p.arn }))}
          filteringType="auto"
          statusType={policies.loading ? 'loading' : 'finished'}
          onChange={(ev) => setChosen(ev.detail.selectedOption)}
        />
      </FormField>
    </FormModal>
  )
}

function EditInline(props: {
  kind: Kind
  name: string
  policy: string
  text: string
  onSaved: () => void
  onClose: () => void
}) {
  const [policy, setPolicy] = useState(props.policy)
  const [text, setText] = useState(props.text)
  return (
    <FormModal
      size="large"
      title={props.policy === '' ? t('iam.createInline') : t('iam.editInline')}
      action={t('common.save')}
      disabled={policy.trim() === ''}
      onSubmit={async () => {
        await putInline(props.kind, props.name, policy.trim(), text)
        props.onSaved()
      }}
      onClose={props.onClose}
    >
      <FormField label={t('common.name')}>
        <Input
          value={policy}
          disabled={props.policy !== ''}
          spellcheck={false}
          onChange={(ev) => setPolicy(ev.detail.value)}
        />
      </FormField>
      <PolicyEditor value={text} onChange={setText} />
    </FormModal>
  )
}
