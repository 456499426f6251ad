// The list of nodes on a phone.

import Cards, { type CardsProps } from '@cloudscape-design/components/cards'
import Link from '@cloudscape-design/components/link'
import { t } from './i18n'
import { NodeStatus } from './node-status'
import { StartButton, type Row } from './node-table'
import { follow, href } from './router'
import { Ago } from './time'

const CARD = () => ({
  header: (n: Row) => (
    <Link href={href('nodes', n.id)} onFollow={follow}>
      {n.name || t('common.noName')}
    </Link>
  ),
  sections: [
    { id: 'status', content: (n: Row) => <NodeStatus node={n} /> },
    { id: 'id', header: t('nodes.nodeId'), content: (n: Row) => <code>{n.id}</code>, width: 60 },
    { id: 'ping', header: t('nodes.lastHeard'), content: (n: Row) => <Ago at={n.lastPingAt} />, width: 40 },
    { id: 'platform', header: t('common.platform'), content: (n: Row) => n.platform || '–', width: 60 },
    { id: 'agent', header: t('common.agent'), content: (n: Row) => n.agentVersion || '–', width: 40 },
    { id: 'action', content: (n: Row) => <StartButton row={n} wide /> },
  ],
})

/** NodeCards shows each node as a card. */
export default function NodeCards(props: Omit<CardsProps<Row>, 'cardDefinition'>) {
  return <Cards {...props} cardDefinition={CARD()} />
}
