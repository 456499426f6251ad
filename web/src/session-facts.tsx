// The facts about a session above its terminal: node, user, start, and time left.

import CopyToClipboard from '@cloudscape-design/components/copy-to-clipboard'
import Icon from '@cloudscape-design/components/icon'
import Link from '@cloudscape-design/components/link'
import { useEffect, useState } from 'react'
import { signedIn } from './api'
import { lasting, ownerName, timeOfDay, useNow, utc, when } from './format'
import type { LiveSession } from './live-session'
import { nodes } from './nodes'
import { listParticipants, type Participant } from './recordings'
import { follow, href } from './router'
import { findSession, type Session } from './sessions'
import { checkStart } from './start-check'
import { useStore } from './store'
import { environment } from './tags'
import type { Target } from './workspace'
import { t } from './i18n'

/** useEnvironment is the environment that a node's tags name; null for none. */
export function useEnvironment(node: string): ReturnType<typeof environment> {
  return environment(useStore(nodes).nodes.find((n) => n.id === node)?.tags ?? [])
}

/** SessionFacts are the facts about a session that is open here. */
export function SessionFacts({ target, live, owner }: { target: Target; live: LiveSession; owner: string }) {
  const { endedAt, title, encrypted, channel, osUser } = useStore(live.state)
  const who = useStore(signedIn)
  const env = useEnvironment(target.id)
  const [session, setSession] = useState<Session | null>(null)
  useEffect(() => {
    let over = false
    findSession(live.id, ['Active'], true).then(
      (s) => {
        if (!over) setSession(s)
      },
      () => {}, // without permission to list sessions, show the rest
    )
    return () => {
      over = true
    }
  }, [live])
  const ended = channel.kind === 'ended'
  return (
    <div className="terminal-facts">
      <span className="terminal-node" title={title}>
        <Link href={href('nodes', target.id)} onFollow={follow} fontSize="inherit">
          {target.name || target.id}
        </Link>
      </span>
      {env !== null && (
        <span className={`environment environment-${env.kind}`} title={t('facts.environment')}>
          {env.name}
        </span>
      )}
      <Fact label={t('common.node')}>
        <CopyToClipboard
          variant="inline"
          copyButtonAriaLabel={t('common.copy')}
          textToCopy={target.id}
          copySuccessText={t('common.copied')}
          copyErrorText={t('common.notCopied')}
        />
      </Fact>
      <Fact minor label={t('common.account')}>
        {who?.account} / {who?.region}
      </Fact>
      {(osUser !== '' || session !== null) && (
        <Fact label={t('facts.osUser')}>
          {osUser || session?.runAs || <span title={t('facts.defaultUserHint')}>{t('facts.defaultUser')}</span>}
        </Fact>
      )}
      <Fact minor label={t('common.owner')}>
        <span title={owner}>{ownerName(owner)}</span>
      </Fact>
      <Credentials session={session} />
      <Fact minor label={t('common.started')}>
        <span title={`${when(live.startedAt)}\n${utc(live.startedAt)}`}>{timeOfDay(live.startedAt)}</span>{' '}
        <Elapsed from={live.startedAt} to={endedAt} />
      </Fact>
      <Fact minor label={t('common.session')}>
        <Link href={href('sessions', ended ? 'replay' : 'watch', live.id)} onFollow={follow} fontSize="inherit">
          {t('common.open')}
        </Link>{' '}
        <CopyToClipboard
          variant="inline"
          copyButtonAriaLabel={t('common.copy')}
          textToCopy={live.id}
          copySuccessText={t('common.copied')}
          copyErrorText={t('common.notCopied')}
        />
      </Fact>
      {!ended && <Watchers id={live.id} />}
      {!ended && <Permission node={target.id} />}
      {!ended && session !== null && session.idleFor > 0 && <Remaining live={live} session={session} />}
      {!ended &&
        (encrypted ? (
          <>
            <span className="encrypted" title={t('facts.encryptedHint')}>
              <Icon name="lock-private" size="small" /> {t('facts.encrypted')}
            </span>
            <span className="faint nowrap">{t('facts.notRecorded')}</span>
          </>
        ) : (
          <span className="recording" title={t('facts.recordedHint')}>
            <span className="dot dot-recording" aria-hidden="true" /> {t('replay.recording')}
          </span>
        ))}
    </div>
  )
}

/** Credentials are those that the session was started with. */
function Credentials({ session }: { session: Session | null }) {
  const here = useStore(signedIn)?.accessKeyId ?? ''
  const used = session?.accessKey ?? here // this page has started it
  if (used === '') return null
  return (
    <Fact minor label={t('facts.credentials')}>
      <span title={t('facts.credentialsHint', { key: used, address: session?.sourceAddress || '–' })}>
        {used === here ? t('facts.thisSignIn') : <code>{used}</code>}
      </span>
    </Fact>
  )
}

const WATCHERS_MS = 5000

/** Watchers lists the users who watch the session, and who can type into it. */
function Watchers({ id }: { id: string }) {
  const [list, setList] = useState<Participant[]>([])
  useEffect(() => {
    let over = false
    const look = () => {
      listParticipants(id).then(
        (all) => {
          if (!over) setList(all)
        },
        () => {}, // an older server lacks this operation
      )
    }
    look()
    const timer = setInterval(look, WATCHERS_MS)
    return () => {
      over = true
      clearInterval(timer)
    }
  }, [id])
  if (list.length === 0) return null
  return (
    <Fact label={t('facts.watchers')}>
      <span role="status">
        {list
          .map((p) => (p.Keyboard ? t('facts.canType', { who: ownerName(p.Principal) }) : ownerName(p.Principal)))
          .join(', ')}
      </span>
    </Fact>
  )
}

/** Fact is one fact; a minor one is left out where a terminal is narrow. */
function Fact({ label, minor, children }: { label: string; minor?: boolean; children: React.ReactNode }) {
  return (
    <span className={minor ? 'fact minor' : 'fact'}>
      <span className="fact-label">{label}</span> {children}
    </span>
  )
}

function Elapsed({ from, to }: { from: number; to: number }) {
  const now = useNow(1000)
  return <span className="faint">{lasting((to || now) - from)}</span>
}

/** The remaining time is highlighted when it is shorter than this. */
const SOON_MS = 120_000

/** Remaining shows how long the session lasts without further input and output. */
function Remaining({ live, session }: { live: LiveSession; session: Session }) {
  const [active, setActive] = useState(() => Date.now())
  const now = useNow(1000)
  useEffect(() => {
    const heard = () => setActive((last) => (Date.now() - last < 500 ? last : Date.now()))
    const stops = [live.term.onData(heard), live.term.onWriteParsed(heard)]
    return () => stops.forEach((s) => s.dispose())
  }, [live])
  // now may be older than active.
  const idle = Math.max(0, session.idleFor - Math.max(0, now - active))
  const rest = session.lastsFor === 0 ? Infinity : Math.max(0, session.lastsFor - (now - live.startedAt))
  const left = Math.min(idle, rest)
  return (
    <Fact label={idle <= rest ? t('facts.idleEnd') : t('facts.ends')}>
      <span
        className={left < SOON_MS ? 'soon' : undefined}
        title={t('facts.idleHint', { duration: lasting(session.idleFor) })}
      >
        {lasting(left)}
      </span>
    </Fact>
  )
}

/** Permission shows how long policy still allows sessions on the node, where that depends on the time. */
function Permission({ node }: { node: string }) {
  const [until, setUntil] = useState(0)
  const now = useNow(1000)
  useEffect(() => {
    let over = false
    checkStart(node).then(
      (c) => {
        const at = Date.now() / 1000
        const open = (c.Windows ?? []).find((w) => w.From <= at && at < w.To)
        if (!over && open !== undefined) setUntil(open.To * 1000)
      },
      () => {}, // without an answer, show nothing
    )
    return () => {
      over = true
    }
  }, [node])
  if (until <= now) return null
  return (
    <Fact label={t('facts.permissionEnds')}>
      <span
        className={until - now < SOON_MS ? 'soon' : undefined}
        title={t('facts.permissionHint', { time: `${when(until)} (${utc(until)})` })}
      >
        {lasting(until - now)}
      </span>
    </Fact>
  )
}
