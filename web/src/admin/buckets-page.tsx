import Badge from '@cloudscape-design/components/badge'
import Button from '@cloudscape-design/components/button'
import FormField from '@cloudscape-design/components/form-field'
import Input from '@cloudscape-design/components/input'
import Link from '@cloudscape-design/components/link'
import { useCallback, useState } from 'react'
import { utc } from '../format'
import { t } from '../i18n'
import { bytes } from '../log-text'
import { follow, href } from '../router'
import type { PageProps } from '../routes'
import { createLogBucket, readObject } from '../s3'
import { saveFile } from '../save-file'
import { When } from '../time'
import { FormModal } from './confirm'
import { EntityPage } from './entity-page'
import { ResourceTable } from './resource-page'
import { listBuckets, listStored } from './storage'

/** BucketsPage lists the buckets; with a name it lists the objects of one of them. */
export default function BucketsPage({ params }: PageProps) {
  const name = params[0]
  if (name !== undefined) {
    return (
      <EntityPage list="buckets" title={t('nav.buckets')} name={name}>
        <Objects bucket={name} />
      </EntityPage>
    )
  }
  return (
    <ResourceTable
      title={t('nav.buckets')}
      load={listBuckets}
      idOf={(b) => b.name}
      columns={[
        {
          id: 'name',
          header: t('common.name'),
          text: (b) => b.name,
          cell: (b) => (
            <Link href={href('buckets', b.name)} onFollow={follow}>
              {b.name}
            </Link>
          ),
        },
        {
          id: 'created',
          header: t('common.created'),
          text: (b) => utc(b.createdAt),
          cell: (b) => <When at={b.createdAt} />,
        },
      ]}
      buttons={(reload) => <CreateBucket onCreated={reload} />}
    />
  )
}

/** Objects lists the versions of the objects, and marks objects that were overwritten. */
function Objects({ bucket }: { bucket: string }) {
  const load = useCallback(() => listStored(bucket, ''), [bucket])
  return (
    <ResourceTable
      embedded
      title={t('buckets.objects')}
      description={t('buckets.objectsHint')}
      load={load}
      idOf={(o) => `${o.key} ${o.version}`}
      nameOf={(o) => o.key}
      columns={[
        {
          id: 'key',
          header: t('common.key'),
          text: (o) => o.key,
          cell: (o) => (
            <span className="node-name">
              <span className="wrap">{o.key}</span>
              {o.versions > 1 && <Badge color="severity-medium">{t('buckets.overwritten')}</Badge>}
              {o.deleted && <Badge color="red">{t('buckets.deleted')}</Badge>}
              {o.latest && !o.deleted && o.versions > 1 && <Badge color="blue">{t('buckets.latest')}</Badge>}
            </span>
          ),
        },
        { id: 'at', header: t('log.written'), text: (o) => utc(o.at), cell: (o) => <When at={o.at} /> },
        { id: 'size', header: t('common.size'), text: (o) => (o.deleted ? '–' : bytes(o.size)) },
        {
          id: 'version',
          header: t('common.version'),
          text: (o) => o.version,
          cell: (o) => <code className="wrap">{o.version}</code>,
        },
      ]}
      actions={[
        {
          text: t('common.download'),
          enabled: (o) => !o.deleted,
          run: async (o) => {
            const res = await readObject(bucket, o.key, o.version === 'null' ? '' : o.version)
            saveFile(o.key.slice(o.key.lastIndexOf('/') + 1), await res.blob())
          },
        },
      ]}
    />
  )
}

function CreateBucket({ onCreated }: { onCreated: () => void }) {
  const [open, setOpen] = useState(false)
  const [name, setName] = useState('')
  return (
    <>
      <Button variant="primary" onClick={() => setOpen(true)}>
        {t('buckets.create')}
      </Button>
      {open && (
        <FormModal
          title={t('buckets.create')}
          action={t('common.create')}
          disabled={name.trim() === ''}
          onSubmit={async () => {
            await createLogBucket(name.trim())
            onCreated()
          }}
          onClose={() => setOpen(false)}
        >
          <FormField label={t('common.name')} description={t('buckets.createHint')}>
            <Input value={name} autoFocus spellcheck={false} onChange={(ev) => setName(ev.detail.value)} />
          </FormField>
        </FormModal>
      )}
    </>
  )
}
