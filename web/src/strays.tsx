// Machines that contacted the server and are not managed.

import ExpandableSection from '@cloudscape-design/components/expandable-section'
import Table from '@cloudscape-design/components/table'
import { useEffect, useState } from 'react'
import { rights } from './access'
import { t } from './i18n'
import { loadStrays, type Stray } from './nodes'
import { useStore } from './store'
import { Ago } from './time'

/** Strays lists machines that were refused, and nodes that were deregistered. */
export function Strays() {
  const [list, setList] = useState<Stray[]>([])
  const allowed = useStore(rights).get('sekisho:ListSeenMachines')?.allowed === true
  useEffect(() => {
    if (allowed) loadStrays().then(setList, () => setList([]))
  }, [allowed])
  if (!allowed || list.length === 0) return null
  return (
    <ExpandableSection variant="container" headerText={t('nodes.strays')} headerCounter={`(${list.length})`}>
      <Table
        variant="embedded"
        items={list}
        trackBy="key"
        wrapLines
        columnDefinitions={[
          { id: 'address', header: t('nodes.address'), cell: (s) => s.address || '–', isRowHeader: true },
          { id: 'what', header: t('nodes.event'), cell: (s) => s.what },
          { id: 'reason', header: t('common.reason'), cell: (s) => s.reason || '–' },
          { id: 'node', header: t('common.node'), cell: (s) => (s.node === '' ? '–' : <code>{s.node}</code>) },
          { id: 'times', header: t('nodes.times'), cell: (s) => s.count },
          { id: 'last', header: t('nodes.lastSeen'), cell: (s) => <Ago at={s.lastAt} /> },
        ]}
      />
    </ExpandableSection>
  )
}
