// One terminal: its facts, its tools, its screen and its state.

import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import SpaceBetween from '@cloudscape-design/components/space-between'
import Spinner from '@cloudscape-design/components/spinner'
import StatusIndicator from '@cloudscape-design/components/status-indicator'
import { useCallback, useEffect, useRef, useState } from 'react'
import { t } from './i18n'
import type { LiveSession } from './live-session'
import { Refusal } from './refusal'
import { navigate } from './router'
import { SessionFacts, useEnvironment } from './session-facts'
import { useStore } from './store'
import { DropZone, Files, useMayCopy } from './terminal-files'
import { Find } from './terminal-find'
import { KeyBar } from './terminal-keys'
import { fontSize, hidePane, setFontSize, startAgain, workspace, type Tab } from './workspace'

interface PaneProps {
  tab: Tab
  owner: string
  active: boolean
  /** It is the only one that is shown. */
  alone: boolean
  onClose: () => void
}

/** TerminalPane is a terminal that is shown, alone or beside others. */
export function TerminalPane(props: PaneProps) {
  const { tab } = props
  return (
    <div
      className={props.active && !props.alone ? 'terminal-pane active' : 'terminal-pane'}
      role="tabpanel"
      id={`pane-${tab.key}`}
      aria-labelledby={`tab-${tab.key}`}
      onFocusCapture={() => !props.active && workspace.update({ active: tab.key })}
    >
      {tab.phase === 'starting' && (
        <div className="terminal-wait">
          <Spinner size="large" />
          <Box color="text-body-secondary">{t('terminal.starting', { node: tab.target.name || tab.target.id })}</Box>
        </div>
      )}
      {tab.phase === 'refused' && (
        <div className="terminal-refused">
          <Refusal
            error={tab.error}
            what={t('terminal.notStarted')}
            action={
              <SpaceBetween direction="horizontal" size="xs">
                <Button onClick={() => startAgain(tab)}>{t('common.tryAgain')}</Button>
                <Button onClick={props.onClose}>{t('common.close')}</Button>
              </SpaceBetween>
            }
          />
        </div>
      )}
      {tab.phase === 'live' && <LivePane key={tab.live!.id} {...props} live={tab.live!} />}
    </div>
  )
}

function LivePane({ tab, live, owner, active, alone, onClose }: PaneProps & { live: LiveSession }) {
  const state = useStore(live.state)
  const place = useRef<HTMLDivElement>(null)
  const [searching, setSearching] = useState(false)
  const [files, setFiles] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const ended = state.channel.kind === 'ended'
  const env = useEnvironment(tab.target.id)
  const mayCopy = useMayCopy(tab.target.id)

  useEffect(() => (place.current ? live.attach(place.current) : undefined), [live])
  useEffect(() => {
    if (active) live.term.focus()
  }, [active, live])
  const find = useCallback(() => setSearching(true), [])
  useFindKey(active, find)

  return (
    <>
      <div className={env === null ? 'terminal-bar' : `terminal-bar band band-${env.kind}`}>
        <SessionFacts target={tab.target} live={live} owner={owner} />
        <Tools
          live={live}
          ended={ended}
          alone={alone}
          onFind={() => setSearching(!searching)}
          onFiles={mayCopy === false ? undefined : () => setFiles(true)}
          onHide={() => hidePane(tab.key)}
          onError={setError}
        />
      </div>
      {searching && <Find live={live} onClose={() => setSearching(false)} />}
      {error !== null && <Refusal error={error} what={t('terminal.notEnded')} />}
      {state.message !== '' && <div className="terminal-notice">{state.message}</div>}
      <DropZone target={tab.target} allowed={mayCopy}>
        <div className="terminal-place" ref={place} />
      </DropZone>
      {files && <Files target={tab.target} onClose={() => setFiles(false)} />}
      <KeyBar live={live} hidden={ended} />
      <Status tab={tab} live={live} onClose={onClose} />
    </>
  )
}

/** useFindKey calls onFind for Ctrl+Shift+F while a terminal is the active one. */
function useFindKey(active: boolean, onFind: () => void) {
  useEffect(() => {
    if (!active) return
    const onKey = (ev: KeyboardEvent) => {
      if (!(ev.ctrlKey || ev.metaKey) || !ev.shiftKey || ev.code !== 'KeyF') return
      ev.preventDefault()
      onFind()
    }
    addEventListener('keydown', onKey, true)
    return () => removeEventListener('keydown', onKey, true)
  }, [active, onFind])
}

function Tools(props: {
  live: LiveSession
  ended: boolean
  alone: boolean
  onFind: () => void
  onFiles?: () => void
  onHide: () => void
  onError: (error: unknown) => void
}) {
  const size = useStore(fontSize)
  const [ending, setEnding] = useState(false)
  const end = async () => {
    setEnding(true)
    props.onError(null)
    await props.live.terminate().catch(props.onError)
    setEnding(false)
  }
  return (
    <div className="terminal-tools">
      <Button
        variant="icon"
        iconName="search"
        ariaLabel={`${t('terminal.find')} (Ctrl+Shift+F)`}
        onClick={props.onFind}
      />
      {props.onFiles !== undefined && (
        <Button variant="icon" iconName="upload-download" ariaLabel={t('copy.title')} onClick={props.onFiles} />
      )}
      <span className="terminal-zoom">
        <Button
          variant="icon"
          iconName="zoom-out"
          ariaLabel={t('terminal.smaller')}
          onClick={() => setFontSize(size - 1)}
        />
        <Button
          variant="icon"
          iconName="zoom-in"
          ariaLabel={t('terminal.larger')}
          onClick={() => setFontSize(size + 1)}
        />
      </span>
      {!props.alone && (
        <Button variant="icon" iconName="view-full" ariaLabel={t('terminal.hidePane')} onClick={props.onHide} />
      )}
      {!props.ended && (
        <Button loading={ending} onClick={() => void end()}>
          {t('sessions.endSession')}
        </Button>
      )}
    </div>
  )
}

function Status({ tab, live, onClose }: { tab: Tab; live: LiveSession; onClose: () => void }) {
  const { channel, stalled, exitCode, encrypted, refused } = useStore(live.state)
  return (
    <div className="terminal-status" aria-live="polite">
      {refused !== null && channel.kind !== 'ended' && (
        <StatusIndicator type="warning">
          {refused === 'copy' ? t('terminal.copyDisabled') : t('terminal.pasteDisabled')}
        </StatusIndicator>
      )}
      {channel.kind === 'connecting' && (
        <StatusIndicator type="in-progress">{t('terminal.connecting')}</StatusIndicator>
      )}
      {channel.kind === 'open' && stalled && <StatusIndicator type="warning">{t('terminal.stalled')}</StatusIndicator>}
      {channel.kind === 'reconnecting' && (
        <>
          <StatusIndicator type="in-progress">
            {channel.attempt > 1 ? t('terminal.attempt', { count: channel.attempt }) : t('terminal.reconnecting')}{' '}
            {channel.because}
          </StatusIndicator>
          <Button variant="inline-link" onClick={() => live.retryNow()}>
            {t('terminal.tryNow')}
          </Button>
        </>
      )}
      {channel.kind === 'ended' && (
        <>
          <StatusIndicator type={channel.clean ? 'stopped' : 'warning'}>
            {endText(channel.reason, exitCode)}
          </StatusIndicator>
          <SpaceBetween direction="horizontal" size="xs">
            <Button onClick={() => startAgain(tab)}>{t('terminal.startAgain')}</Button>
            {!encrypted && (
              <Button onClick={() => navigate('sessions', 'replay', live.id)}>{t('sessions.replay')}</Button>
            )}
            <Button onClick={onClose}>{t('common.close')}</Button>
          </SpaceBetween>
        </>
      )}
    </div>
  )
}

/** endText says that a session has ended, and why where that is known. */
function endText(reason: string, code: number | null): string {
  if (code === null) return reason === '' ? t('terminal.ended') : t('terminal.endedBecause', { reason })
  return reason === '' ? t('terminal.endedExit', { code }) : t('terminal.endedBecauseExit', { reason, code })
}
