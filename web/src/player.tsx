// The player of a recording.

import '@xterm/xterm/css/xterm.css'
import { Terminal } from '@xterm/xterm'
import Alert from '@cloudscape-design/components/alert'
import Button from '@cloudscape-design/components/button'
import SpaceBetween from '@cloudscape-design/components/space-between'
import StatusIndicator from '@cloudscape-design/components/status-indicator'
import { useCallback, useEffect, useLayoutEffect, useRef, useState, type KeyboardEvent, type RefObject } from 'react'
import { rights } from './access'
import { CallError } from './api'
import { Cast } from './cast'
import { t } from './i18n'
import { Playback } from './playback'
import { PlayerControls } from './player-controls'
import { needsReturns } from './recording-text'
import { joinSession, leaveSession, NOW, typing, type Source } from './recordings'
import { Refusal } from './refusal'
import { useStore } from './store'
import { FONT, themeFor } from './terminal-look'
import { dark } from './theme'

const POLL_MS = 1000
const LINE = 1.15
/** Height of the elements above and below the screen, in pixels. */
const AROUND_SCREEN = 270
/** The sizes of letters, in pixels: a large terminal is scaled to fit. */
const SMALLEST = 4
const LARGEST = 15

/** Recording is what has been read of a recording. */
export interface Recording {
  cast: Cast
  pages: Uint8Array<ArrayBuffer>[]
}

interface Progress {
  duration: number
  /** The part that has been read, from 0 to 1. */
  read: number
  live: boolean
  /** There is something to show. */
  ready: boolean
  error: unknown
}

/** useRecording reads a recording page by page and follows a live one, from its end if fromNow is true. */
function useRecording(source: Source, fromNow: boolean, onSealed: (sealed: boolean) => void): [Recording, Progress] {
  const [recording] = useState<Recording>(() => ({ cast: new Cast(), pages: [] }))
  const [progress, setProgress] = useState<Progress>({ duration: 0, read: 0, live: false, ready: false, error: null })
  useEffect(() => {
    const { cast, pages } = recording
    let stopped = false
    let offset = pages.reduce((sum, p) => sum + p.length, 0)
    let timer: ReturnType<typeof setTimeout> | undefined
    let position = fromNow && offset === 0 ? NOW : ''
    /** follow reads new events, and waits for them on the server. */
    const follow = async () => {
      try {
        const page = await source.readFrom(position)
        if (stopped) return
        if (page.position === '') {
          position = ''
          void load()
          return
        }
        position = page.position
        if (page.bytes.length > 0) {
          cast.push(page.bytes)
          pages.push(page.bytes)
        }
        setProgress({ duration: cast.duration, read: 1, live: page.live, ready: cast.header !== null, error: null })
        if (page.live || page.bytes.length > 0) void follow()
        else onSealed(page.sealed)
      } catch (error) {
        if (stopped) return
        if (error instanceof CallError && error.status === 0) timer = setTimeout(() => void follow(), 3 * POLL_MS)
        else setProgress((p) => ({ ...p, error }))
      }
    }
    const load = async () => {
      try {
        const page = await source.read(offset, offset > 0)
        if (stopped) return
        if (page.bytes.length > 0) {
          cast.push(page.bytes)
          pages.push(page.bytes)
          offset = page.next
        }
        setProgress({
          duration: cast.duration,
          read: page.total === 0 ? 1 : page.next / page.total,
          live: page.live,
          ready: cast.header !== null,
          error: null,
        })
        if (page.complete) onSealed(page.sealed)
        else if (page.next < page.total) void load()
        else if (page.live) timer = setTimeout(() => void load(), POLL_MS)
      } catch (error) {
        if (stopped) return
        // A live recording continues when the server is back.
        if (error instanceof CallError && error.status === 0) timer = setTimeout(() => void load(), 3 * POLL_MS)
        else setProgress((p) => ({ ...p, error }))
      }
    }
    if (position === '') void load()
    else void follow()
    return () => {
      stopped = true
      clearTimeout(timer)
    }
  }, [source, fromNow, recording, onSealed])
  return [recording, progress]
}

/** useScreen draws a recording on a terminal whose letters are as large as fits. */
function useScreen(
  recording: Recording,
  frame: RefObject<HTMLDivElement | null>,
  stage: RefObject<HTMLDivElement | null>,
) {
  const term = useRef<Terminal>(null)
  const playback = useRef<Playback>(null)
  const [size, setSize] = useState({ cols: 80, rows: 24 })
  const isDark = useStore(dark)
  useEffect(() => {
    const terminal = new Terminal({
      disableStdin: true,
      cursorBlink: false,
      fontFamily: FONT,
      fontSize: 14,
      lineHeight: LINE,
      scrollback: 5000,
      theme: themeFor(dark.get()),
    })
    terminal.open(stage.current!)
    term.current = terminal
    const resize = (cols: number, rows: number) => {
      terminal.resize(cols, rows)
      setSize({ cols, rows })
    }
    playback.current = new Playback(recording.cast, {
      reset: (cols, rows) => {
        terminal.reset()
        terminal.options.convertEol = needsReturns(recording.cast.events)
        resize(cols, rows)
      },
      resize,
      write: (data) => terminal.write(data),
    })
    if (recording.cast.header !== null) playback.current.start()
    return () => {
      playback.current = null
      term.current = null
      terminal.dispose()
    }
  }, [recording, stage])
  useEffect(() => {
    if (term.current) term.current.options.theme = themeFor(isDark)
  }, [isDark])
  useLayoutEffect(() => {
    const fit = () => {
      const box = frame.current
      if (!box || !term.current || box.clientWidth === 0) return
      const byWidth = (box.clientWidth - 34) / (size.cols * 0.605)
      const around = document.fullscreenElement === box ? 120 : AROUND_SCREEN
      // The controls stay in sight, unless letters would get too small for that.
      const byHeight = Math.max(9, (innerHeight - around) / (size.rows * LINE * 1.18))
      const largest = document.fullscreenElement === box ? 3 * LARGEST : LARGEST
      term.current.options.fontSize = Math.max(SMALLEST, Math.floor(Math.min(largest, byWidth, byHeight) * 2) / 2)
    }
    fit()
    const observer = new ResizeObserver(fit)
    if (frame.current) observer.observe(frame.current)
    addEventListener('resize', fit)
    return () => {
      observer.disconnect()
      removeEventListener('resize', fit)
    }
  }, [size.cols, size.rows, frame])
  /** takeKeys sends what is typed, until the returned function is called. */
  const takeKeys = useCallback((send: (data: string) => void) => {
    const terminal = term.current
    if (terminal === null) return () => {}
    terminal.options.disableStdin = false
    terminal.focus()
    const listener = terminal.onData(send)
    return () => {
      listener.dispose()
      terminal.options.disableStdin = true
    }
  }, [])
  return { playback, takeKeys }
}

/** useKeyboard sends what is typed on the terminal while the user has joined the session. */
function useKeyboard(id: string, takeKeys: (send: (data: string) => void) => () => void, live: boolean) {
  const [joined, setJoined] = useState(false)
  const [error, setError] = useState<unknown>(null)
  useEffect(() => {
    if (!joined || !live) return
    const stop = takeKeys(
      typing(id, (err) => {
        setError(err)
        setJoined(false)
      }),
    )
    return () => {
      stop()
      leaveSession(id).catch(() => {}) // the server notices without it
    }
  }, [id, takeKeys, joined, live])
  const join = useCallback(() => {
    setError(null)
    joinSession(id).then(() => setJoined(true), setError)
  }, [id])
  const leave = useCallback(() => setJoined(false), [])
  return { joined: joined && live, error, join, leave }
}

/** useClock moves a playback on while it plays. */
function useClock(playback: RefObject<Playback | null>, playing: boolean, live: boolean, onEnd: () => void) {
  const [position, setPosition] = useState(0)
  useEffect(() => {
    if (!playing) return
    let last = performance.now()
    let handle = requestAnimationFrame(function tick(now) {
      const p = playback.current
      if (p === null) return
      p.advance(Math.min(1, (now - last) / 1000))
      last = now
      setPosition(p.position)
      if (p.atEnd && !live) onEnd()
      else handle = requestAnimationFrame(tick)
    })
    return () => cancelAnimationFrame(handle)
  }, [playback, playing, live, onEnd])
  const seek = useCallback(
    (to: number) => {
      playback.current?.seek(to)
      setPosition(playback.current?.position ?? 0)
    },
    [playback],
  )
  return { position, seek }
}

/** Player plays the recording of a session. For a running session it starts at the current moment. */
export function Player({
  source,
  fromNow,
  joinable = true,
  onSealed,
}: {
  source: Source
  fromNow: boolean
  /** The session may be joined by users who have permission. */
  joinable?: boolean
  onSealed: (sealed: boolean) => void
}) {
  const { id } = source
  const frame = useRef<HTMLDivElement>(null)
  const stage = useRef<HTMLDivElement>(null)
  const [recording, progress] = useRecording(source, fromNow, onSealed)
  const { playback, takeKeys } = useScreen(recording, frame, stage)
  const [playing, setPlaying] = useState(false)
  const [begun, setBegun] = useState(false)
  const [speed, setSpeed] = useState('1')
  const [skipIdle, setSkipIdle] = useState(true)
  const end = useCallback(() => setPlaying(false), [])
  const { position, seek } = useClock(playback, playing, progress.live, end)

  useEffect(() => {
    if (begun || !progress.ready || playback.current === null) return
    // All of a live recording is read before it is shown.
    if (progress.live && progress.read < 1) return
    setBegun(true)
    playback.current.start()
    if (progress.live) seek(progress.duration)
    setPlaying(true)
  }, [begun, progress, playback, seek])
  useEffect(() => {
    playback.current?.pace(Number(speed), skipIdle)
  }, [playback, speed, skipIdle, begun])

  const keyboard = useKeyboard(id, takeKeys, progress.live)
  const joinRight = useStore(rights).get('sekisho:JoinSession')?.allowed === true
  const mayJoin = joinable && joinRight
  const shownUntil = useRef(0)
  useEffect(() => {
    // A viewer at the end sees new output immediately.
    const atEnd = position >= shownUntil.current
    shownUntil.current = progress.duration
    if (begun && progress.live && playing && atEnd) seek(progress.duration)
    // oxlint-disable-next-line react-hooks/exhaustive-deps -- only when something new has come
  }, [progress.duration])

  const toggle = () => {
    if (!playing && playback.current?.atEnd && !progress.live) seek(0)
    setPlaying(!playing)
  }
  const onKey = (ev: KeyboardEvent) => {
    if (keyboard.joined) return
    if ((ev.target as HTMLElement).closest('button, label, input, [role=radio]')) return
    if (ev.key === ' ') toggle()
    else if (ev.key === 'ArrowLeft') seek(position - 5)
    else if (ev.key === 'ArrowRight') seek(position + 5)
    else return
    ev.preventDefault()
  }

  if (progress.error !== null) return <Unavailable error={progress.error} />
  return (
    <div className="player" ref={frame} tabIndex={0} role="group" aria-label={t('replay.player')} onKeyDown={onKey}>
      <div className="player-stage">
        <div ref={stage} className="player-screen" />
        {!begun && (
          <div className="player-loading">
            <StatusIndicator type="loading">{t('replay.loading')}</StatusIndicator>
          </div>
        )}
        {begun && recording.cast.encrypted && (
          <div className="player-loading">
            <Alert type="info">{t('replay.encrypted')}</Alert>
          </div>
        )}
        {begun && progress.duration === 0 && !progress.live && (
          <div className="player-loading">{t('replay.empty')}</div>
        )}
      </div>
      {progress.live && mayJoin && !recording.cast.encrypted && (
        <SpaceBetween direction="horizontal" size="xs">
          <Button onClick={keyboard.joined ? keyboard.leave : keyboard.join}>
            {keyboard.joined ? t('replay.leave') : t('replay.join')}
          </Button>
          {keyboard.joined && <StatusIndicator type="in-progress">{t('replay.joined')}</StatusIndicator>}
        </SpaceBetween>
      )}
      {keyboard.error !== null && <Refusal error={keyboard.error} what={t('replay.joinFailed')} />}
      <PlayerControls
        id={id}
        frame={frame}
        recording={recording}
        duration={progress.duration}
        read={progress.read}
        live={progress.live}
        ready={begun}
        playing={playing}
        position={position}
        speed={speed}
        skipIdle={skipIdle}
        onToggle={toggle}
        onSeek={seek}
        onSpeed={setSpeed}
        onSkipIdle={setSkipIdle}
      />
    </div>
  )
}

function Unavailable({ error }: { error: unknown }) {
  if (error instanceof CallError && error.code === 'ResourceNotFoundException') {
    return (
      <Alert type="info" header={t('replay.missing')}>
        {t('replay.missingHint')}
      </Alert>
    )
  }
  return <Refusal error={error} what={t('replay.showFailed')} />
}
