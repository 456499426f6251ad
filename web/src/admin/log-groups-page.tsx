import { useCallback, useState } from 'react'
import { call, IGNORED } from '../api'
import { utc } from '../format'
import { t } from '../i18n'
import { createGroup, listGroups } from '../log-groups'
import type { PageProps } from '../routes'
import { LogStream } from '../session-log'
import { When } from '../time'
import { CreateForm } from './create-form'
import { createdColumn, nameColumn } from './columns'
import { EntityPage } from './entity-page'
import { ResourceTable } from './resource-page'
import { listStreams } from './storage'

/** LogGroupsPage lists the log groups; with a name it shows the streams of one of them. */
export default function LogGroupsPage({ params }: PageProps) {
  const name = params[0]
  if (name !== undefined) {
    return (
      <EntityPage list="log-groups" title={t('nav.logGroups')} name={name}>
        <Streams group={name} />
      </EntityPage>
    )
  }
  return (
    <ResourceTable
      title={t('nav.logGroups')}
      load={listGroups}
      idOf={(g) => g.name}
      columns={[
        nameColumn('log-groups'),
        {
          id: 'key',
          header: t('prefs.kmsKey'),
          text: (g) => g.key,
          cell: (g) => <code className="wrap">{g.key || '–'}</code>,
        },
      ]}
      actions={[
        {
          text: t('common.delete'),
          confirm: (g) => ({ title: t('logGroups.delete'), text: <b>{g.name}</b> }),
          needs: ['logs:DeleteLogGroup'],
          run: async (g) => void (await call('Logs_20140328.DeleteLogGroup', { logGroupName: g.name }, IGNORED)),
        },
      ]}
      buttons={(reload) => <CreateLogGroup onCreated={reload} />}
    />
  )
}

function Streams({ group }: { group: string }) {
  const load = useCallback(() => listStreams(group), [group])
  const [shown, setShown] = useState<string | null>(null)
  return (
    <>
      <ResourceTable
        embedded
        title={t('logGroups.streams')}
        load={load}
        idOf={(s) => s.name}
        columns={[
          {
            id: 'name',
            header: t('common.name'),
            text: (s) => s.name,
            cell: (s) => <span className="wrap">{s.name}</span>,
          },
          createdColumn(),
          {
            id: 'last',
            header: t('logGroups.last'),
            text: (s) => utc(s.lastEventAt),
            cell: (s) => <When at={s.lastEventAt} />,
          },
        ]}
        actions={[{ text: t('log.read'), needs: ['logs:GetLogEvents'], run: (s) => setShown(s.name) }]}
      />
      {shown !== null && <LogStream key={shown} group={group} stream={shown} />}
    </>
  )
}

function CreateLogGroup({ onCreated }: { onCreated: () => void }) {
  return (
    <CreateForm
      needs={['logs:CreateLogGroup']}
      title={t('logGroups.create')}
      create={createGroup}
      onCreated={onCreated}
    />
  )
}
