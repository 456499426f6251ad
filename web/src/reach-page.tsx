// "Machines I can reach": computed from policy, for every user.

import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Header from '@cloudscape-design/components/header'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useEffect, useState } from 'react'
import { onChange } from './events'
import { t } from './i18n'
import { loadReachable, reachable } from './reach'
import { ReachTable } from './reach-table'
import { Refusal } from './refusal'
import { useStore } from './store'

const GATHER_MS = 1000

/** useReachable loads the nodes in reach, and again when nodes change. */
export function useReachable(): { error: unknown; reload: () => void } {
  const [error, setError] = useState<unknown>(null)
  const reload = () => {
    loadReachable().then(() => setError(null), setError)
  }
  useEffect(() => {
    reload()
    let timer: ReturnType<typeof setTimeout> | undefined
    const stop = onChange((c) => {
      if (c.kind === 'session') return
      timer ??= setTimeout(() => {
        timer = undefined
        reload()
      }, GATHER_MS)
    })
    return () => {
      clearTimeout(timer)
      stop()
    }
  }, [])
  return { error, reload }
}

/** ReachPage lists the nodes on which the signed-in user can start sessions, and when. */
export default function ReachPage() {
  const { error, reload } = useReachable()
  const found = useStore(reachable)
  return (
    <SpaceBetween size="m">
      {error !== null && <Refusal error={error} what={t('nodes.listFailed')} />}
      <ReachTable
        found={found}
        failed={error !== null}
        header={
          <Header
            variant="awsui-h1-sticky"
            counter={found === null ? undefined : `(${found.nodes.length})`}
            description={t('mine.description')}
            actions={<Button iconName="refresh" ariaLabel={t('common.refresh')} onClick={reload} />}
          >
            {t('mine.title')}
          </Header>
        }
      />
    </SpaceBetween>
  )
}

/** MyMachines is the list on the page of nodes of a user who may not list all nodes. */
export function MyMachines() {
  const { error } = useReachable()
  const found = useStore(reachable)
  return (
    <SpaceBetween size="s">
      {error !== null && <Refusal error={error} what={t('nodes.listFailed')} />}
      <ReachTable
        embedded
        found={found}
        failed={error !== null}
        header={
          <Header
            variant="h2"
            counter={found === null ? undefined : `(${found.nodes.length})`}
            description={<Box color="inherit">{t('mine.description')}</Box>}
          >
            {t('mine.title')}
          </Header>
        }
      />
    </SpaceBetween>
  )
}
