// Who can reach a node, and what a user can reach, in the next week.

import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import ExpandableSection from '@cloudscape-design/components/expandable-section'
import SpaceBetween from '@cloudscape-design/components/space-between'
import Table from '@cloudscape-design/components/table'
import { useState } from 'react'
import { mayDo } from '../access'
import { t } from '../i18n'
import { NotLoaded, Refusal } from '../refusal'
import { When } from '../time'
import { loadReach, type Reach } from './jit'

/** ReachOf shows the reach of a node or a user, once it is opened. */
export function ReachOf({ of }: { of: { node: string } | { user: string } }) {
  const [found, setFound] = useState<Reach | null>(null)
  const [error, setError] = useState<unknown>(null)
  if (mayDo('iam:SimulatePrincipalPolicy') === false) return null
  const load = () => {
    setError(null)
    loadReach(of).then(setFound, setError)
  }
  const rows = (found?.Access ?? []).flatMap((e) =>
    e.Spans.map((s) => ({ ...s, name: e.PrincipalArn ?? `${e.NodeId ?? ''} ${e.NodeName ?? ''}` })),
  )
  return (
    <ExpandableSection
      headerText={'node' in of ? t('reach.node') : t('reach.user')}
      onChange={(ev) => {
        if (ev.detail.expanded && found === null) load()
      }}
    >
      <SpaceBetween size="s">
        <Box color="text-body-secondary">{t('reach.hint')}</Box>
        {error !== null && <Refusal error={error} action={<Button onClick={load}>{t('common.tryAgain')}</Button>} />}
        <Table
          variant="embedded"
          wrapLines
          items={rows}
          loading={found === null && error === null}
          loadingText={t('common.loading')}
          empty={error !== null ? <NotLoaded /> : t('reach.nobody')}
          columnDefinitions={[
            {
              id: 'name',
              minWidth: 200,
              header: t('common.name'),
              cell: (r) => <code className="wrap">{r.name}</code>,
            },
            { id: 'from', minWidth: 130, header: t('simulator.from'), cell: (r) => <When at={r.From * 1000} /> },
            { id: 'to', minWidth: 130, header: t('simulator.to'), cell: (r) => <When at={r.To * 1000} /> },
            {
              id: 'depends',
              minWidth: 180,
              header: t('reach.depends'),
              cell: (r) => (r.Access === 'Always' ? t('reach.nothing') : (r.DependsOn ?? []).join('; ')),
            },
          ]}
        />
        {found?.NextToken !== undefined && <Box>{t('reach.more')}</Box>}
      </SpaceBetween>
    </ExpandableSection>
  )
}
