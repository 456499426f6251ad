// The page of one node, which links can point to.

import Box from '@cloudscape-design/components/box'
import BreadcrumbGroup from '@cloudscape-design/components/breadcrumb-group'
import Container from '@cloudscape-design/components/container'
import Header from '@cloudscape-design/components/header'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { t } from './i18n'
import NodeDetails from './node-details'
import { nodes } from './nodes'
import { follow, href } from './router'
import type { PageProps } from './routes'
import { StartPanel, useStartCheck } from './start-panel'
import { useStore } from './store'

/** NodePage shows one node; a user who cannot list nodes can still start a session on it. */
export default function NodePage({ params }: PageProps) {
  const id = params[0] ?? ''
  const { nodes: known, loading, denied } = useStore(nodes)
  const node = known.find((n) => n.id === id)
  return (
    <SpaceBetween size="m">
      <BreadcrumbGroup
        items={[
          { text: t('nav.nodes'), href: href('nodes') },
          { text: node?.name || id, href: href('nodes', id) },
        ]}
        onFollow={follow}
      />
      <Header variant="h1" description={<code>{id}</code>}>
        {node?.name || id}
      </Header>
      {node !== undefined ? (
        <Container>
          <NodeDetails node={node} />
        </Container>
      ) : denied ? (
        <UnlistedNode id={id} />
      ) : loading ? (
        <Box color="text-body-secondary">{t('nodes.loading')}</Box>
      ) : (
        <Box>{t('nodes.missing', { id })}</Box>
      )}
    </SpaceBetween>
  )
}

function UnlistedNode({ id }: { id: string }) {
  const check = useStartCheck(id, '')
  return (
    <Container>
      <StartPanel target={{ id, name: '' }} check={check} />
    </Container>
  )
}
