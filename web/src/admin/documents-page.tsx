import Badge from '@cloudscape-design/components/badge'
import Container from '@cloudscape-design/components/container'
import FormField from '@cloudscape-design/components/form-field'
import Header from '@cloudscape-design/components/header'
import Input from '@cloudscape-design/components/input'
import Link from '@cloudscape-design/components/link'
import Select from '@cloudscape-design/components/select'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useCallback, useEffect, useState } from 'react'
import { call, IGNORED } from '../api'
import { millis, ownerName, utc } from '../format'
import { GuardedButton } from '../guarded-button'
import { t } from '../i18n'
import { Refusal } from '../refusal'
import { follow, href } from '../router'
import type { PageProps } from '../routes'
import { When } from '../time'
import { FormModal } from './confirm'
import { TextDiff } from './diff'
import { EntityPage } from './entity-page'
import { pretty } from './iam'
import { ResourceTable, useLoaded } from './resource-page'
import { listDocuments, listDocumentVersions, readDocument } from './ssm'

const TEMPLATES: Record<string, string> = {
  Command: JSON.stringify(
    {
      schemaVersion: '2.2',
      description: '',
      parameters: {},
      mainSteps: [{ action: 'aws:runShellScript', name: 'run', inputs: { runCommand: ['uptime'] } }],
    },
    null,
    2,
  ),
  Session: JSON.stringify(
    { schemaVersion: '1.0', description: '', sessionType: 'Standard_Stream', inputs: {} },
    null,
    2,
  ),
}

/** DocumentsPage lists the documents; with a name it shows one of them. */
export default function DocumentsPage({ params }: PageProps) {
  const name = params[0]
  if (name !== undefined) return <DocumentPage key={name} name={name} />
  return (
    <ResourceTable
      title={t('nav.documents')}
      load={listDocuments}
      idOf={(d) => d.Name}
      columns={[
        {
          id: 'name',
          header: t('common.name'),
          text: (d) => d.Name,
          cell: (d) => (
            <Link href={href('documents', d.Name)} onFollow={follow}>
              {d.Name}
            </Link>
          ),
        },
        { id: 'type', header: t('common.kind'), text: (d) => d.DocumentType },
        { id: 'owner', header: t('common.owner'), text: (d) => d.Owner },
        { id: 'version', header: t('common.version'), text: (d) => d.DocumentVersion },
        {
          id: 'created',
          header: t('common.created'),
          text: (d) => utc(millis(d.CreatedDate)),
          cell: (d) => <When at={millis(d.CreatedDate)} />,
        },
      ]}
      actions={[
        {
          text: t('common.delete'),
          enabled: (d) => d.Owner !== 'Amazon',
          confirm: (d) => ({ title: t('documents.delete'), text: <b>{d.Name}</b> }),
          needs: ['ssm:DeleteDocument'],
          run: async (d) => void (await call('AmazonSSM.DeleteDocument', { Name: d.Name }, IGNORED)),
        },
      ]}
      buttons={(reload) => <CreateDocument onCreated={reload} />}
    />
  )
}

function ContentField({
  value,
  readOnly,
  onChange,
}: {
  value: string
  readOnly?: boolean
  onChange: (text: string) => void
}) {
  return (
    <FormField label={t('documents.content')} stretch>
      <textarea
        className="code-editor"
        aria-label={t('documents.content')}
        value={value}
        readOnly={readOnly}
        rows={Math.min(30, Math.max(10, value.split('\n').length + 1))}
        spellCheck={false}
        onChange={(ev) => onChange(ev.target.value)}
      />
    </FormField>
  )
}

function CreateDocument({ onCreated }: { onCreated: () => void }) {
  const [open, setOpen] = useState(false)
  const [name, setName] = useState('')
  const [type, setType] = useState('Command')
  const [text, setText] = useState(TEMPLATES['Command']!)
  return (
    <>
      <GuardedButton needs={['ssm:CreateDocument']} variant="primary" onClick={() => setOpen(true)}>
        {t('documents.create')}
      </GuardedButton>
      {open && (
        <FormModal
          size="large"
          title={t('documents.create')}
          action={t('common.create')}
          disabled={name.trim() === ''}
          onSubmit={async () => {
            const DocumentFormat = text.trimStart().startsWith('{') ? 'JSON' : 'YAML'
            await call(
              'AmazonSSM.CreateDocument',
              { Name: name.trim(), DocumentType: type, DocumentFormat, Content: text },
              IGNORED,
            )
            onCreated()
          }}
          onClose={() => setOpen(false)}
        >
          <FormField label={t('common.name')}>
            <Input value={name} autoFocus spellcheck={false} onChange={(ev) => setName(ev.detail.value)} />
          </FormField>
          <FormField label={t('common.kind')}>
            <Select
              selectedOption={{ value: type }}
              options={Object.keys(TEMPLATES).map((value) => ({ value }))}
              onChange={(ev) => {
                const chosen = ev.detail.selectedOption.value ?? 'Command'
                if (text === TEMPLATES[type]) setText(TEMPLATES[chosen]!)
                setType(chosen)
              }}
            />
          </FormField>
          <ContentField value={text} onChange={setText} />
        </FormModal>
      )}
    </>
  )
}

function DocumentPage({ name }: { name: string }) {
  const load = useCallback(() => listDocumentVersions(name), [name])
  const versions = useLoaded(load)
  const [shown, setShown] = useState('$DEFAULT')
  return (
    <EntityPage list="documents" title={t('nav.documents')} name={name}>
      <Editor key={shown} name={name} version={shown} onSaved={versions.reload} />
      <ResourceTable
        key={versions.value?.length}
        embedded
        title={t('versions.title')}
        load={load}
        idOf={(d) => d.id}
        columns={[
          {
            id: 'id',
            header: t('common.version'),
            text: (d) => d.id,
            cell: (d) => (
              <span className="node-name">
                {d.id} {d.isDefault && <Badge color="green">{t('versions.inForce')}</Badge>}
              </span>
            ),
          },
          { id: 'author', header: t('versions.savedBy'), text: (d) => ownerName(d.author) },
          {
            id: 'created',
            header: t('common.created'),
            text: (d) => utc(d.createdAt),
            cell: (d) => <When at={d.createdAt} />,
          },
        ]}
        actions={[
          { text: t('common.show'), needs: [], run: (d) => setShown(d.id) },
          {
            text: t('versions.makeDefault'),
            enabled: (d) => !d.isDefault,
            needs: ['ssm:UpdateDocumentDefaultVersion'],
            run: async (d) => {
              await call('AmazonSSM.UpdateDocumentDefaultVersion', { Name: name, DocumentVersion: d.id }, IGNORED)
            },
          },
        ]}
      />
    </EntityPage>
  )
}

/** Editor edits a version of a document, and saves a new one. */
function Editor({ name, version, onSaved }: { name: string; version: string; onSaved: () => void }) {
  const load = useCallback(() => readDocument(name, version), [name, version])
  const { value, error, reload } = useLoaded(load)
  const [text, setText] = useState('')
  const [busy, setBusy] = useState(false)
  const [failed, setFailed] = useState<unknown>(null)
  const before = value === null ? '' : pretty(value.Content)
  useEffect(() => setText(before), [before])
  const save = async () => {
    setBusy(true)
    try {
      const DocumentFormat = text.trimStart().startsWith('{') ? 'JSON' : 'YAML'
      await call(
        'AmazonSSM.UpdateDocument',
        { Name: name, DocumentVersion: '$LATEST', DocumentFormat, Content: text },
        IGNORED,
      )
      setFailed(null)
      onSaved()
      reload()
    } catch (err) {
      setFailed(err)
    }
    setBusy(false)
  }
  return (
    <Container header={<Header variant="h2">{t('versions.version', { version })}</Header>}>
      <SpaceBetween size="m">
        {error !== null && <Refusal error={error} />}
        <ContentField value={text} onChange={setText} />
        {value !== null && text !== before && <TextDiff before={before} after={text} />}
        {failed !== null && <Refusal error={failed} what={t('prefs.notSaved')} />}
        <GuardedButton
          needs={['ssm:UpdateDocument']}
          variant="primary"
          loading={busy}
          disabled={value === null || text === before}
          onClick={() => void save()}
        >
          {t('policy.saveVersion')}
        </GuardedButton>
      </SpaceBetween>
    </Container>
  )
}
