import Badge from '@cloudscape-design/components/badge'
import { useCallback } from 'react'
import { utc } from '../format'
import { t } from '../i18n'
import { bytes } from '../log-text'
import type { PageProps } from '../routes'
import { createLogBucket, readObject } from '../s3'
import { saveFile } from '../save-file'
import { When } from '../time'
import { CreateForm } from './create-form'
import { createdColumn, nameColumn } from './columns'
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
      columns={[nameColumn('buckets'), createdColumn()]}
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
          needs: [],
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
  return (
    <CreateForm
      needs={['s3:CreateBucket']}
      title={t('buckets.create')}
      description={t('buckets.createHint')}
      create={createLogBucket}
      onCreated={onCreated}
    />
  )
}
