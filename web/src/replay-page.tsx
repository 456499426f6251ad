// A recording, played like a film: the terminal as its owner saw it.

import '@xterm/xterm/css/xterm.css'
import { Terminal } from '@xterm/xterm'
import Alert from '@cloudscape-design/components/alert'
import Box from '@cloudscape-design/components/box'
import BreadcrumbGroup from '@cloudscape-design/components/breadcrumb-group'
import Button from '@cloudscape-design/components/button'
import Container from '@cloudscape-design/components/container'
import Header from '@cloudscape-design/components/header'
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs'
import SegmentedControl from '@cloudscape-design/components/segmented-control'
import SpaceBetween from '@cloudscape-design/components/space-between'
import StatusIndicator from '@cloudscape-design/components/status-indicator'
import Toggle from '@cloudscape-design/components/toggle'
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from 'react'
import { CallError } from './api'
import { Cast } from './cast'
import { clockTime, lasting, ownerName, when } from './format'
import { nodes } from './nodes'
import { Playback } from './playback'
import { readRecording, verifyRecording, type Verification } from './recordings'
import { Refusal } from './refusal'
import { follow, href } from './router'
import { SessionLog } from './session-log'
import { findSession, type Session } from './sessions'
import { SessionStatus } from './sessions-page'
import { useStore } from './store'
import { FONT, themeFor } from './terminal-look'
import { dark } from './theme'

const POLL_MS = 1000
const LINE = 1.15
/** What stands above and below the screen, in pixels. */
const AROUND_SCREEN = 270
const SPEEDS = ['0.5', '1', '2', '4', '8']

/** ReplayPage shows what is known of a session, and plays its recording. */
export default function ReplayPage({ id }: { id: string }) {
  const [session, setSession] = useState<Session | null>(null)
  const [proof, setProof] = useState<Verification | null>(null)
  const [proofError, setProofError] = useState<unknown>(null)
  const [sealed, setSealed] = useState(false)
  const name = useStore(nodes).nodes.find((n) => n.id === session?.target)?.name

  const [looked, setLooked] = useState(false)
  useEffect(() => {
    findSession(id)
      .then(setSession, () => {
        // The recording may be open to someone who may not list sessions.
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
          { text: 'Sessions', href: href('sessions', 'history') },
          { text: id, href: href('sessions', 'replay', id) },
        ]}
        onFollow={follow}
      />
      <Header variant="h1">{name || session?.target || 'Recording'}</Header>
      {session?.encrypted === true ? (
        <Alert type="info">Encrypted from end to end: the server has no recording of what was shown.</Alert>
      ) : (
        looked && <Player id={id} onSealed={setSealed} />
      )}
      <Container header={<Header variant="h2">Session</Header>}>
        <KeyValuePairs
          columns={4}
          items={[
            {
              label: 'Recording',
              value: session?.encrypted === true ? (
                <StatusIndicator type="stopped">None of what was shown</StatusIndicator>
              ) : !sealed ? (
                <StatusIndicator type="in-progress">Not sealed yet</StatusIndicator>
              ) : proof === null ? (
                proofError !== null ? (
                  <StatusIndicator type="warning">Could not be verified</StatusIndicator>
                ) : (
                  <StatusIndicator type="loading">Verifying</StatusIndicator>
                )
              ) : proof.Verified ? (
                <StatusIndicator type="success">Sealed and unaltered</StatusIndicator>
              ) : (
                <StatusIndicator type="error">Altered</StatusIndicator>
              ),
            },
            { label: 'Status', value: session === null ? '–' : <SessionStatus status={session.status} /> },
            { label: 'Owner', value: session === null ? '–' : <span title={session.owner}>{ownerName(session.owner)}</span> },
            { label: 'Node', value: session === null ? '–' : <code className="wrap">{session.target}</code> },
            { label: 'Started', value: session === null ? '–' : when(session.startedAt) },
            { label: 'Ended', value: session === null || session.endedAt === 0 ? '–' : when(session.endedAt) },
            {
              label: 'Duration',
              value: session === null || session.endedAt === 0 ? '–' : lasting(session.endedAt - session.startedAt),
            },
            { label: 'Document', value: session?.document || '–' },
            ...(session?.reason ? [{ label: 'Reason', value: session.reason }] : []),
            ...(session?.details ? [{ label: 'Ended because', value: session.details }] : []),
            ...(proof?.KeyFingerprint ? [{ label: 'Sealed with key', value: <code className="wrap">{proof.KeyFingerprint}</code> }] : []),
          ]}
        />
      </Container>
      {session !== null && <SessionLog session={session} />}
      {proofError !== null && <Refusal error={proofError} what="The recording could not be verified" />}
      {proof !== null && !proof.Verified && (
        <Alert type="error" header="The recording is not as it was sealed">
          {proof.Problem}
        </Alert>
      )}
    </SpaceBetween>
  )
}

interface Loaded {
  cast: Cast
  pages: Uint8Array<ArrayBuffer>[]
  offset: number
}

function Player({ id, onSealed }: { id: string; onSealed: (sealed: boolean) => void }) {
  const stage = useRef<HTMLDivElement>(null)
  const loaded = useRef<Loaded>({ cast: new Cast(), pages: [], offset: 0 })
  const term = useRef<Terminal>(null)
  const playback = useRef<Playback>(null)
  const frame = useRef<HTMLDivElement>(null)
  const [size, setSize] = useState({ cols: 80, rows: 24 })
  const [ready, setReady] = useState(false)
  const [playing, setPlaying] = useState(false)
  const [position, setPosition] = useState(0)
  const [duration, setDuration] = useState(0)
  const [progress, setProgress] = useState(0)
  const [live, setLive] = useState(false)
  const [speed, setSpeed] = useState('1')
  const [skipIdle, setSkipIdle] = useState(true)
  const [error, setError] = useState<unknown>(null)
  const isDark = useStore(dark)

  // The screen.
  useEffect(() => {
    const t = new Terminal({
      disableStdin: true,
      cursorBlink: false,
      fontFamily: FONT,
      lineHeight: LINE,
      scrollback: 5000,
      theme: themeFor(dark.get()),
    })
    t.open(stage.current!)
    term.current = t
    const p = new Playback(loaded.current.cast, {
      reset: (cols, rows) => {
        t.reset()
        t.resize(cols, rows)
        setSize({ cols, rows })
      },
      resize: (cols, rows) => {
        t.resize(cols, rows)
        setSize({ cols, rows })
      },
      write: (data) => t.write(data),
    })
    playback.current = p
    if (loaded.current.cast.header !== null) p.start()
    return () => {
      playback.current = null
      term.current = null
      t.dispose()
    }
  }, [])
  useEffect(() => {
    if (term.current) term.current.options.theme = themeFor(isDark)
  }, [isDark])

  // Letters as large as let the recorded screen fit.
  useLayoutEffect(() => {
    const fit = () => {
      const box = frame.current
      const t = term.current
      if (!box || !t || box.clientWidth === 0) return
      const byWidth = (box.clientWidth - 34) / (size.cols * 0.605)
      // The controls stay in sight, unless letters would get too small for that.
      const byHeight = Math.max(9, (innerHeight - AROUND_SCREEN) / (size.rows * LINE * 1.18))
      t.options.fontSize = Math.max(7, Math.floor(Math.min(15, byWidth, byHeight) * 2) / 2)
    }
    fit()
    const observer = new ResizeObserver(fit)
    if (frame.current) observer.observe(frame.current)
    addEventListener('resize', fit)
    return () => {
      observer.disconnect()
      removeEventListener('resize', fit)
    }
  }, [size.cols, size.rows])

  // The recording, page by page; a live one is followed.
  useEffect(() => {
    let stopped = false
    let timer: ReturnType<typeof setTimeout> | undefined
    const load = async () => {
      const l = loaded.current
      try {
        const page = await readRecording(id, l.offset, l.offset > 0)
        if (stopped) return
        if (page.bytes.length > 0) {
          l.cast.push(page.bytes)
          l.pages.push(page.bytes)
          l.offset = page.next
        }
        setProgress(page.total === 0 ? 1 : page.next / page.total)
        setDuration(l.cast.duration)
        setLive(page.live)
        if (l.cast.header !== null && playback.current !== null) {
          setReady((before) => {
            if (!before) {
              playback.current?.start()
              setPlaying(true)
            }
            return true
          })
        }
        if (page.complete) {
          onSealed(page.sealed)
          return
        }
        if (page.next < page.total) void load()
        else if (page.live) timer = setTimeout(() => void load(), POLL_MS)
      } catch (err) {
        if (stopped) return
        // A live recording goes on when the server is back.
        if (err instanceof CallError && err.status === 0) timer = setTimeout(() => void load(), 3 * POLL_MS)
        else setError(err)
      }
    }
    void load()
    return () => {
      stopped = true
      clearTimeout(timer)
    }
  }, [id, onSealed])

  // The clock.
  useEffect(() => {
    if (!playing) return
    let last = performance.now()
    let handle = requestAnimationFrame(function tick(now) {
      const p = playback.current
      if (p === null) return
      p.advance(Math.min(1, (now - last) / 1000))
      last = now
      setPosition(p.position)
      if (p.atEnd && !live) setPlaying(false)
      else handle = requestAnimationFrame(tick)
    })
    return () => cancelAnimationFrame(handle)
  }, [playing, live])
  useEffect(() => {
    if (playback.current) {
      playback.current.speed = Number(speed)
      playback.current.skipIdle = skipIdle
    }
  }, [speed, skipIdle, ready])

  const seek = useCallback((to: number) => {
    playback.current?.seek(to)
    setPosition(playback.current?.position ?? 0)
  }, [])
  const toggle = useCallback(() => {
    if (!playing && playback.current?.atEnd) seek(0)
    setPlaying(!playing)
  }, [playing, seek])

  const download = () => {
    const url = URL.createObjectURL(new Blob(loaded.current.pages, { type: 'application/x-asciicast' }))
    const a = document.createElement('a')
    a.href = url
    a.download = `${id}.cast`
    a.click()
    URL.revokeObjectURL(url)
  }

  if (error !== null) return <Refusal error={error} what="The recording cannot be shown" />
  return (
    <div
      className="player"
      ref={frame}
      tabIndex={0}
      role="group"
      aria-label="Player"
      onKeyDown={(ev) => {
        if ((ev.target as HTMLElement).closest('button, label, [role=radio]')) return
        if (ev.key === ' ') toggle()
        else if (ev.key === 'ArrowLeft') seek(position - 5)
        else if (ev.key === 'ArrowRight') seek(position + 5)
        else return
        ev.preventDefault()
      }}
    >
      <div className="player-stage">
        <div ref={stage} className="player-screen" onClick={toggle} />
        {!ready && (
          <div className="player-loading">
            <StatusIndicator type="loading">Loading the recording</StatusIndicator>
          </div>
        )}
        {ready && duration === 0 && !live && <div className="player-loading">Nothing was shown in this session.</div>}
      </div>
      <div className="player-controls">
        <Button
          variant="icon"
          iconName={playing ? 'pause' : 'play'}
          ariaLabel={playing ? 'Pause' : 'Play'}
          disabled={!ready}
          onClick={toggle}
        />
        <span className="player-time">
          {clockTime(position)} <span className="faint">/ {clockTime(duration)}</span>
        </span>
        <input
          className="player-seek"
          type="range"
          aria-label="Position"
          aria-valuetext={`${clockTime(position)} of ${clockTime(duration)}`}
          min={0}
          max={Math.max(duration, 0.001)}
          step="any"
          value={Math.min(position, duration)}
          style={{ '--played': duration === 0 ? '0%' : `${(100 * Math.min(position, duration)) / duration}%` } as React.CSSProperties}
          onChange={(ev) => seek(Number(ev.target.value))}
        />
        {live && <span className="recording"><span className="dot dot-recording" /> Live</span>}
        {progress < 1 && <Box color="text-body-secondary">{Math.floor(progress * 100)} %</Box>}
        <SegmentedControl
          selectedId={speed}
          label="Speed"
          options={SPEEDS.map((s) => ({ id: s, text: `${s}×` }))}
          onChange={(ev) => setSpeed(ev.detail.selectedId)}
        />
        <Toggle checked={skipIdle} onChange={(ev) => setSkipIdle(ev.detail.checked)}>
          Skip pauses
        </Toggle>
        <Button variant="icon" iconName="download" ariaLabel="Download the recording" disabled={progress < 1} onClick={download} />
      </div>
    </div>
  )
}
