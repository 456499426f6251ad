// Playback of a recording: the terminal as its owner saw it.

import '@xterm/xterm/css/xterm.css'
import Alert from '@cloudscape-design/components/alert'
import Button from '@cloudscape-design/components/button'
import BreadcrumbGroup from '@cloudscape-design/components/breadcrumb-group'
import Container from '@cloudscape-design/components/container'
import Header from '@cloudscape-design/components/header'
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs'
import SpaceBetween from '@cloudscape-design/components/space-between'
import StatusIndicator from '@cloudscape-design/components/status-indicator'
import { useEffect, useMemo, useState } from 'react'
import { lasting, ownerName } from './format'
import { nodes } from './nodes'
import { recordingOf, verifyRecording, type Verification } from './recordings'
import { Refusal } from './refusal'
import { follow, href, useRoute } from './router'
import { ShareButton } from './share-modal'
import { SessionLog } from './session-log'
import { findSession, type Session } from './sessions'
import { SessionStatus } from './sessions-page'
import { useStore } from './store'
import { t } from './i18n'
import { Player } from './player'
import { When } from './time'
import type { PageProps } from './routes'

/** ReplayPage shows the facts about a session and plays its recording. */
export default function ReplayPage({ params }: PageProps) {
  const id = params[0] ?? ''
  const watching = useRoute()[1] === 'watch'
  const [session, setSession] = useState<Session | null>(null)
  const [proof, setProof] = useState<Verification | null>(null)
  const [proofError, setProofError] = useState<unknown>(null)
  const [sealed, setSealed] = useState(false)
  const name = useStore(nodes).nodes.find((n) => n.id === session?.target)?.name

  const source = useMemo(() => recordingOf(id), [id])
  const [fromStart, setFromStart] = useState(!watching)
  const [looked, setLooked] = useState(false)
  useEffect(() => {
    findSession(id)
      .then(setSession, () => {
        // The user may be allowed to read the recording but not to list sessions.
      })
      .finally(() => setLooked(true))
  }, [id, sealed])
  useEffect(() => {
    if (sealed) verifyRecording(id).then(setProof, setProofError)
  }, [id, sealed])

  return (
    <SpaceBetween size="m">
      <BreadcrumbGroup
        items={[
          { text: t('nav.sessions'), href: href('sessions', watching ? 'active' : 'history') },
          { text: id, href: href('sessions', watching ? 'watch' : 'replay', id) },
        ]}
        onFollow={follow}
      />
      <Header variant="h1" actions={session?.encrypted === true ? undefined : <ShareButton session={id} />}>
        {name || session?.target || t('replay.recording')}
      </Header>
      {session?.encrypted === true ? (
        <Alert type="info">{t('replay.encrypted')}</Alert>
      ) : (
        looked && (
          <>
            {!fromStart && (
              <Button onClick={() => setFromStart(true)} iconName="play">
                {t('replay.fromStart')}
              </Button>
            )}
            <Player key={`${id} ${fromStart}`} source={source} fromNow={!fromStart} onSealed={setSealed} />
          </>
        )
      )}
      <Container header={<Header variant="h2">{t('common.session')}</Header>}>
        <KeyValuePairs
          columns={4}
          items={[
            {
              label: t('replay.recording'),
              value:
                session?.encrypted === true ? (
                  <StatusIndicator type="stopped">{t('replay.none')}</StatusIndicator>
                ) : !sealed ? (
                  <StatusIndicator type="in-progress">{t('replay.notSealed')}</StatusIndicator>
                ) : proof === null ? (
                  proofError !== null ? (
                    <StatusIndicator type="warning">{t('replay.notVerified')}</StatusIndicator>
                  ) : (
                    <StatusIndicator type="loading">{t('replay.verifying')}</StatusIndicator>
                  )
                ) : proof.Verified ? (
                  <StatusIndicator type="success">{t('replay.sealed')}</StatusIndicator>
                ) : (
                  <StatusIndicator type="error">{t('replay.altered')}</StatusIndicator>
                ),
            },
            { label: t('common.state'), value: session === null ? '–' : <SessionStatus status={session.status} /> },
            {
              label: t('common.owner'),
              value: session === null ? '–' : <span title={session.owner}>{ownerName(session.owner)}</span>,
            },
            { label: t('common.node'), value: session === null ? '–' : <code className="wrap">{session.target}</code> },
            { label: t('common.started'), value: session === null ? '–' : <When at={session.startedAt} /> },
            {
              label: t('common.ended'),
              value: <When at={session?.endedAt ?? 0} />,
            },
            {
              label: t('common.duration'),
              value: session === null || session.endedAt === 0 ? '–' : lasting(session.endedAt - session.startedAt),
            },
            { label: t('common.document'), value: session?.document || '–' },
            ...(session?.reason ? [{ label: t('common.reason'), value: session.reason }] : []),
            ...(session?.details ? [{ label: t('sessions.endedBecause'), value: session.details }] : []),
            ...(proof?.KeyFingerprint
              ? [{ label: t('replay.key'), value: <code className="wrap">{proof.KeyFingerprint}</code> }]
              : []),
          ]}
        />
      </Container>
      {session !== null && <SessionLog session={session} />}
      {proofError !== null && <Refusal error={proofError} what={t('replay.verifyFailed')} />}
      {proof !== null && !proof.Verified && (
        <Alert type="error" header={t('replay.alteredTitle')}>
          {proof.Problem}
        </Alert>
      )}
    </SpaceBetween>
  )
}
