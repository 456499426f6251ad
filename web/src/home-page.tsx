// The start page: what needs attention, and a way to start a session.

import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Container from '@cloudscape-design/components/container'
import Header from '@cloudscape-design/components/header'
import Link from '@cloudscape-design/components/link'
import SpaceBetween from '@cloudscape-design/components/space-between'
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator'
import { useEffect, useRef, useState } from 'react'
import { rights } from './access'
import { listWebhooks } from './admin/happenings'
import { listRequests } from './admin/jit'
import { readHealth } from './admin/operate'
import { ConnectTo } from './connect-to'
import { count, t } from './i18n'
import { stateText } from './node-status'
import { nodes } from './nodes'
import { follow, href, navigate } from './router'
import type { PageProps } from './routes'
import { listSessions, type Session } from './sessions'
import { useStore } from './store'
import { loadFactors } from './account'

/** Notice is something that needs attention. */
interface Notice {
  type: StatusIndicatorProps.Type
  text: string
  to: string
}

/** useAllowed says whether policy allows an action. */
const useAllowed = (action: string) => useStore(rights).get(action)?.allowed === true

/** useCounted counts something, for users who may see it; 0 until it is known. */
function useCounted(action: string, load: () => Promise<number>): number {
  const allowed = useAllowed(action)
  const [counted, setCounted] = useState(0)
  const loader = useRef(load)
  useEffect(() => {
    if (!allowed) return
    loader.current().then(setCounted, () => {}) // the page itself shows the error
  }, [allowed])
  return counted
}

const failingWebhooks = async () => (await listWebhooks()).filter((w) => w.Status === 'Failing').length
const pendingRequests = async () => (await listRequests()).filter((r) => r.Status === 'Pending').length
const serverProblems = async () => (await readHealth()).Problems.filter((p) => p.Code !== 'IntegrityFindings').length

/** useSessionList lists the active sessions, for users who may. */
function useSessionList(): Session[] | null {
  const allowed = useAllowed('ssm:DescribeSessions')
  const [list, setList] = useState<Session[] | null>(null)
  useEffect(() => {
    if (allowed) {
      listSessions('Active', { from: 0, until: 0 }, undefined, true).then(
        (page) => setList(page.sessions),
        () => {},
      )
    }
  }, [allowed])
  return list
}

/** useWithoutMfa says whether the user's password alone opens the account. */
function useWithoutMfa(): boolean {
  const allowed = useAllowed('iam:ListMFADevices')
  const [without, setWithout] = useState(false)
  useEffect(() => {
    if (allowed) {
      loadFactors().then(
        (list) => setWithout(list.length === 0),
        () => {},
      )
    }
  }, [allowed])
  return without
}

function useNotices(): Notice[] {
  const { nodes: list } = useStore(nodes)
  const webhooks = useCounted('sekisho:ListWebhooks', failingWebhooks)
  const requests = useCounted('sekisho:ListAccessRequests', pendingRequests)
  const problems = useCounted('sekisho:GetHealth', serverProblems)
  const withoutMfa = useWithoutMfa()
  const notices: Notice[] = []
  if (problems > 0) notices.push({ type: 'error', text: count('home.health', problems), to: href('health') })
  if (withoutMfa) notices.push({ type: 'warning', text: t('mfa.passwordOnly'), to: href('account') })
  const states = new Map<string, number>()
  for (const n of list) {
    if (n.connection === 'notconnected') states.set(stateText(n), (states.get(stateText(n)) ?? 0) + 1)
  }
  for (const [state, n] of states) {
    const filter = JSON.stringify(['and', ['status', '=', state]])
    notices.push({
      type: 'warning',
      text: `${state}: ${count('home.nodes', n)}`,
      to: `${href('nodes')}?filter=${encodeURIComponent(filter)}`,
    })
  }
  for (const n of list) {
    if (n.notes.some((note) => note.kind.startsWith('Identity'))) {
      notices.push({ type: 'error', text: t('home.identity', { node: n.name || n.id }), to: href('nodes', n.id) })
    }
  }
  if (requests > 0) notices.push({ type: 'info', text: count('home.requests', requests), to: href('requests') })
  if (webhooks > 0) notices.push({ type: 'error', text: count('home.webhooks', webhooks), to: href('events') })
  return notices
}

/** HomePage is the first page after signing in. */
export default function HomePage({ who }: PageProps) {
  const { nodes: list, denied, loading } = useStore(nodes)
  const sessions = useSessionList()
  const connected = list.filter((n) => n.connection === 'connected').length
  return (
    <SpaceBetween size="l">
      <Header variant="h1" description={t('home.description', { account: who.account })}>
        {t('nav.home')}
      </Header>
      <Attention loading={loading} />
      <div className="figures">
        {!denied && (
          <Figure
            title={t('nav.nodes')}
            value={t('common.countOf', { count: connected, total: list.length })}
            text={t('state.connected')}
            to={href('nodes')}
          />
        )}
        {sessions !== null && (
          <Figure
            title={t('nav.sessions')}
            value={String(sessions.length)}
            text={t('nav.active')}
            to={href('sessions', 'active')}
          />
        )}
      </div>
      <ConnectTo heading="h2" />
      {!denied && <Button onClick={() => navigate('nodes')}>{t('nodes.choose')}</Button>}
    </SpaceBetween>
  )
}

function Attention({ loading }: { loading: boolean }) {
  const notices = useNotices()
  return (
    <Container header={<Header variant="h2">{t('home.attention')}</Header>}>
      {notices.length === 0 ? (
        loading ? (
          <StatusIndicator type="loading">{t('common.loading')}</StatusIndicator>
        ) : (
          <StatusIndicator type="success">{t('home.nothing')}</StatusIndicator>
        )
      ) : (
        <ul className="checklist">
          {notices.map((n) => (
            <li key={n.text}>
              <StatusIndicator type={n.type}>
                <Link href={n.to} onFollow={follow}>
                  {n.text}
                </Link>
              </StatusIndicator>
            </li>
          ))}
        </ul>
      )}
    </Container>
  )
}

function Figure(props: { title: string; value: string; text: string; to: string }) {
  return (
    <Container>
      <Box variant="awsui-key-label">{props.title}</Box>
      <Box fontSize="display-l" fontWeight="light">
        <Link href={props.to} onFollow={follow} fontSize="display-l">
          {props.value}
        </Link>
      </Box>
      <Box color="text-body-secondary">{props.text}</Box>
    </Container>
  )
}
