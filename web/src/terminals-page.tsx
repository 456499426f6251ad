// The open terminals, one tab each.

import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import ButtonDropdown from '@cloudscape-design/components/button-dropdown'
import Icon from '@cloudscape-design/components/icon'
import Input from '@cloudscape-design/components/input'
import Modal from '@cloudscape-design/components/modal'
import SpaceBetween from '@cloudscape-design/components/space-between'
import Spinner from '@cloudscape-design/components/spinner'
import StatusIndicator from '@cloudscape-design/components/status-indicator'
import { useEffect, useLayoutEffect, useRef, useState, type KeyboardEvent } from 'react'
import type { LiveSession } from './live-session'
import { nodes } from './nodes'
import { Refusal } from './refusal'
import { navigate } from './router'
import { SessionFacts, useEnvironment } from './session-facts'
import { requestStart } from './start-request'
import { Store, useStore } from './store'
import { closeTab, fontSize, isRunning, renameTab, setFontSize, startAgain, workspace, type Tab } from './workspace'
import { rich, t } from './i18n'
import type { PageProps } from './routes'

const nothing = new Store(null)

/** TerminalsPage shows the terminals of this page. */
export default function TerminalsPage({ who }: PageProps) {
  const owner = who.arn
  const { tabs, active } = useStore(workspace)
  const [closing, setClosing] = useState<Tab | null>(null)
  const page = useRef<HTMLDivElement>(null)

  // The terminal fills the window below the bars.
  useLayoutEffect(() => {
    const measure = () => {
      const el = page.current
      if (el) el.style.setProperty('--above', `${Math.round(el.getBoundingClientRect().top + scrollY)}px`)
    }
    measure()
    const observer = new ResizeObserver(measure)
    observer.observe(document.body)
    return () => observer.disconnect()
  }, [])

  const shown = tabs.find((x) => x.key === active)
  const close = (tab: Tab) => (isRunning(tab) ? setClosing(tab) : closeTab(tab.key))
  const onTabKey = (ev: KeyboardEvent, at: number) => {
    const step = ev.key === 'ArrowRight' ? 1 : ev.key === 'ArrowLeft' ? -1 : 0
    const to = tabs[at + step]
    if (step !== 0 && to) {
      workspace.update({ active: to.key })
      ;(ev.currentTarget.parentElement?.children[at + step] as HTMLElement | undefined)?.focus()
    }
  }

  return (
    <div className="terminals" ref={page}>
      {tabs.length === 0 ? (
        <NoTerminals />
      ) : (
        <>
          <div className="terminal-tabs">
            <div className="terminal-tablist" role="tablist" aria-label={t('nav.terminals')}>
              {tabs.map((tab, at) => (
                <TerminalTab
                  key={tab.key}
                  tab={tab}
                  active={tab.key === active}
                  onKeyDown={(ev) => onTabKey(ev, at)}
                  onClose={() => close(tab)}
                />
              ))}
            </div>
            <AnotherTerminal />
          </div>

          {shown !== undefined && (
            <TabBody key={shown.key + (shown.live?.id ?? '')} tab={shown} owner={owner} onClose={() => close(shown)} />
          )}
        </>
      )}
      {closing !== null && (
        <Modal
          visible
          header={t('sessions.endQuestion')}
          onDismiss={() => setClosing(null)}
          footer={
            <Box float="right">
              <SpaceBetween direction="horizontal" size="xs">
                <Button variant="link" onClick={() => setClosing(null)}>
                  {t('sessions.keep')}
                </Button>
                <Button
                  variant="primary"
                  onClick={() => {
                    closeTab(closing.key)
                    setClosing(null)
                  }}
                >
                  {t('sessions.endSession')}
                </Button>
              </SpaceBetween>
            </Box>
          }
        >
          {rich('terminal.closeHint', { node: <b>{closing.target.name || closing.target.id}</b> })}
        </Modal>
      )}
    </div>
  )
}

function NoTerminals() {
  return (
    <Box textAlign="center" padding="xxxl" color="inherit">
      <SpaceBetween size="m">
        <Box variant="h1">{t('terminal.none')}</Box>
        <Box color="text-body-secondary">{t('terminal.noneHint')}</Box>
        <Button variant="primary" onClick={() => navigate('nodes')}>
          {t('nodes.choose')}
        </Button>
      </SpaceBetween>
    </Box>
  )
}

/** tabName is the name that the user has given a tab, or that of its node. */
const tabName = (tab: Tab) => tab.name || tab.target.name || tab.target.id

/** TerminalTab is a tab: renamed by F2 or a double click, closed by Delete or its cross. */
function TerminalTab(props: {
  tab: Tab
  active: boolean
  onKeyDown: (ev: KeyboardEvent) => void
  onClose: () => void
}) {
  const { tab, active } = props
  const [renaming, setRenaming] = useState(false)
  if (renaming) {
    return (
      <input
        className="terminal-tab-input"
        role="tab"
        aria-label={t('terminal.tabName')}
        defaultValue={tabName(tab)}
        autoFocus
        onFocus={(ev) => ev.target.select()}
        onBlur={(ev) => {
          renameTab(tab.key, ev.target.value)
          setRenaming(false)
        }}
        onKeyDown={(ev) => {
          if (ev.key === 'Enter') ev.currentTarget.blur()
          if (ev.key === 'Escape') setRenaming(false)
        }}
      />
    )
  }
  return (
    <button
      role="tab"
      type="button"
      className={active ? 'terminal-tab active' : 'terminal-tab'}
      aria-selected={active}
      tabIndex={active ? 0 : -1}
      title={t('terminal.renameHint')}
      onClick={() => workspace.update({ active: tab.key })}
      onDoubleClick={() => setRenaming(true)}
      onKeyDown={(ev) => {
        if (ev.key === 'F2') setRenaming(true)
        else if (ev.key === 'Delete') props.onClose()
        else props.onKeyDown(ev)
      }}
      onAuxClick={(ev) => ev.button === 1 && props.onClose()}
    >
      <TabDot tab={tab} />
      <span className="terminal-tab-name">{tabName(tab)}</span>
      {/* A tab may contain no other control: the keyboard has Delete. */}
      {/* oxlint-disable-next-line jsx-a11y/click-events-have-key-events, jsx-a11y/no-static-element-interactions */}
      <span
        className="terminal-tab-close"
        title={t('terminal.close', { name: tabName(tab) })}
        onClick={(ev) => {
          ev.stopPropagation()
          props.onClose()
        }}
      >
        <Icon name="close" size="small" />
      </span>
    </button>
  )
}

function AnotherTerminal() {
  const connected = useStore(nodes)
    .nodes.filter((n) => n.connection === 'connected')
    .slice(0, 500)
  return (
    <div className="terminal-more">
      <ButtonDropdown
        variant="icon"
        ariaLabel={t('terminal.another')}
        filteringType="auto"
        filteringPlaceholder={t('admin.find')}
        filteringAriaLabel={t('admin.find')}
        expandToViewport
        items={[
          ...connected.map((n) => ({ id: n.id, text: n.name || n.id, description: n.id })),
          { id: '', text: t('terminal.allNodes') },
        ]}
        onItemClick={(ev) => {
          const n = connected.find((c) => c.id === ev.detail.id)
          if (n === undefined) navigate('nodes')
          else void requestStart({ id: n.id, name: n.name })
        }}
      />
    </div>
  )
}

function TabDot({ tab }: { tab: Tab }) {
  const state = useStore<unknown>(tab.live?.state ?? nothing) as ReturnType<LiveSession['state']['get']> | null
  let kind = tab.phase as string
  if (state !== null) kind = state.channel.kind
  return <span className={`dot dot-${kind}`} aria-hidden="true" />
}

function TabBody({ tab, owner, onClose }: { tab: Tab; owner: string; onClose: () => void }) {
  switch (tab.phase) {
    case 'starting':
      return (
        <div className="terminal-wait">
          <Spinner size="large" />
          <Box color="text-body-secondary">{t('terminal.starting', { node: tab.target.name || tab.target.id })}</Box>
        </div>
      )
    case 'refused':
      return (
        <div className="terminal-refused">
          <Refusal
            error={tab.error}
            what={t('terminal.notStarted')}
            action={
              <SpaceBetween direction="horizontal" size="xs">
                <Button onClick={() => startAgain(tab)}>{t('common.tryAgain')}</Button>
                <Button onClick={onClose}>{t('common.close')}</Button>
              </SpaceBetween>
            }
          />
        </div>
      )
    case 'live':
      return <LiveTab tab={tab} live={tab.live!} owner={owner} onClose={onClose} />
  }
}

function LiveTab({ tab, live, owner, onClose }: { tab: Tab; live: LiveSession; owner: string; onClose: () => void }) {
  const state = useStore(live.state)
  const size = useStore(fontSize)
  const place = useRef<HTMLDivElement>(null)
  const [searching, setSearching] = useState(false)
  const [ending, setEnding] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const channel = state.channel
  const ended = channel.kind === 'ended'
  const env = useEnvironment(tab.target.id)

  useEffect(() => (place.current ? live.attach(place.current) : undefined), [live])
  useEffect(() => {
    const onKey = (ev: globalThis.KeyboardEvent) => {
      if (!(ev.ctrlKey || ev.metaKey) || !ev.shiftKey || ev.code !== 'KeyF') return
      ev.preventDefault()
      setSearching(true)
    }
    addEventListener('keydown', onKey, true)
    return () => removeEventListener('keydown', onKey, true)
  }, [])

  const end = async () => {
    setEnding(true)
    setError(null)
    try {
      await live.terminate()
    } catch (err) {
      setError(err)
    }
    setEnding(false)
  }

  return (
    <div className="terminal-pane" role="tabpanel">
      <div className={env === null ? 'terminal-bar' : `terminal-bar band band-${env.kind}`}>
        <SessionFacts target={tab.target} live={live} owner={owner} />
        <div className="terminal-tools">
          <Button
            variant="icon"
            iconName="search"
            ariaLabel={`${t('terminal.find')} (Ctrl+Shift+F)`}
            onClick={() => setSearching(!searching)}
          />
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
          {!ended && (
            <Button loading={ending} onClick={() => void end()}>
              {t('sessions.endSession')}
            </Button>
          )}
        </div>
      </div>
      {searching && <Find live={live} onClose={() => setSearching(false)} />}
      {error !== null && <Refusal error={error} what={t('terminal.notEnded')} />}
      {state.message !== '' && <div className="terminal-notice">{state.message}</div>}
      <div className="terminal-place" ref={place} />
      <KeyBar live={live} hidden={ended} />
      <div className="terminal-status" aria-live="polite">
        {channel.kind === 'connecting' && (
          <StatusIndicator type="in-progress">{t('terminal.connecting')}</StatusIndicator>
        )}
        {channel.kind === 'open' && state.stalled && (
          <StatusIndicator type="warning">{t('terminal.stalled')}</StatusIndicator>
        )}
        {channel.kind === 'reconnecting' && (
          <>
            <StatusIndicator type="in-progress">
              {attemptText(channel.attempt)} {channel.because}
            </StatusIndicator>
            <Button variant="inline-link" onClick={() => live.retryNow()}>
              {t('terminal.tryNow')}
            </Button>
          </>
        )}
        {ended && (
          <>
            <StatusIndicator type={channel.clean ? 'stopped' : 'warning'}>
              {endText(channel.reason, state.exitCode)}
            </StatusIndicator>
            <SpaceBetween direction="horizontal" size="xs">
              <Button onClick={() => startAgain(tab)}>{t('terminal.startAgain')}</Button>
              {!state.encrypted && (
                <Button onClick={() => navigate('sessions', 'replay', live.id)}>{t('sessions.replay')}</Button>
              )}
              <Button onClick={onClose}>{t('common.close')}</Button>
            </SpaceBetween>
          </>
        )}
      </div>
    </div>
  )
}

const attemptText = (attempt: number) =>
  attempt > 1 ? t('terminal.attempt', { count: attempt }) : t('terminal.reconnecting')

/** endText says that a session has ended, and why where that is known. */
function endText(reason: string, code: number | null): string {
  if (code === null) return reason === '' ? t('terminal.ended') : t('terminal.endedBecause', { reason })
  return reason === '' ? t('terminal.endedExit', { code }) : t('terminal.endedBecauseExit', { reason, code })
}

/** FOUND has the decorations of all matches and of the current one. */
const FOUND = {
  decorations: {
    matchOverviewRuler: '#c77700',
    activeMatchColorOverviewRuler: '#d13212',
    matchBackground: '#5b4a12',
    activeMatchBackground: '#b2620a',
  },
}

function Find({ live, onClose }: { live: LiveSession; onClose: () => void }) {
  const [text, setText] = useState('')
  const [found, setFound] = useState<{ index: number; total: number } | null>(null)
  const field = useRef<HTMLDivElement>(null)
  useEffect(() => {
    field.current?.querySelector('input')?.focus()
    const stop = live.search.onDidChangeResults((r) => setFound({ index: r.resultIndex + 1, total: r.resultCount }))
    return () => {
      stop.dispose()
      live.search.clearDecorations()
    }
  }, [live])
  const leave = () => {
    onClose()
    live.term.focus()
  }
  return (
    <div className="terminal-find" ref={field}>
      <Input
        type="search"
        value={text}
        placeholder={t('terminal.findPlaceholder')}
        ariaLabel={t('terminal.findLabel')}
        onChange={(ev) => {
          setText(ev.detail.value)
          live.search.findPrevious(ev.detail.value, { ...FOUND, incremental: true })
        }}
        onKeyDown={(ev) => {
          if (ev.detail.key === 'Escape') leave()
          if (ev.detail.key === 'Enter') {
            if (ev.detail.shiftKey) live.search.findNext(text, FOUND)
            else live.search.findPrevious(text, FOUND)
          }
        }}
      />
      <span className="player-time" aria-live="polite">
        {text === '' || found === null
          ? ''
          : found.total === 0
            ? t('terminal.noMatches')
            : t('terminal.matches', { index: found.index, total: found.total })}
      </span>
      <Button
        variant="icon"
        iconName="angle-up"
        ariaLabel={t('terminal.findPrevious')}
        onClick={() => live.search.findPrevious(text, FOUND)}
      />
      <Button
        variant="icon"
        iconName="angle-down"
        ariaLabel={t('terminal.findNext')}
        onClick={() => live.search.findNext(text, FOUND)}
      />
      <Button variant="icon" iconName="close" ariaLabel={t('terminal.findClose')} onClick={leave} />
    </div>
  )
}

const KEYS: [string, string][] = [
  ['Esc', '\x1b'],
  ['Tab', '\t'],
  ['↑', '\x1b[A'],
  ['↓', '\x1b[B'],
  ['←', '\x1b[D'],
  ['→', '\x1b[C'],
  ['^C', '\x03'],
  ['^D', '\x04'],
  ['|', '|'],
  ['~', '~'],
  ['/', '/'],
  ['-', '-'],
]

/** KeyBar has the keys that a phone's keyboard lacks. */
function KeyBar({ live, hidden }: { live: LiveSession; hidden: boolean }) {
  const ctrl = useStore(live.ctrl)
  if (hidden) return null
  return (
    // Pressing a key here must not take the focus, or the phone's keyboard goes away.
    <div className="key-bar" onPointerDown={(ev) => ev.preventDefault()}>
      <button type="button" aria-pressed={ctrl} onClick={() => live.ctrl.set(!ctrl)}>
        Ctrl
      </button>
      {KEYS.map(([label, data]) => (
        <button key={label} type="button" onClick={() => live.type(data)}>
          {label}
        </button>
      ))}
    </div>
  )
}
