// The controls of the player: position, speed, search, commands, full screen
// and exports.

import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import ButtonDropdown from '@cloudscape-design/components/button-dropdown'
import Input from '@cloudscape-design/components/input'
import SegmentedControl from '@cloudscape-design/components/segmented-control'
import Toggle from '@cloudscape-design/components/toggle'
import { useEffect, useMemo, useState, type CSSProperties, type RefObject } from 'react'
import type { CastEvent } from './cast'
import { clockTime } from './format'
import { t } from './i18n'
import type { Recording } from './player'
import { commandsOf, findText, markersOf, plainText, textOf, type Command } from './recording-text'
import { saveFile } from './save-file'

const SPEEDS = ['0.5', '1', '2', '4', '8']
/** A match is shown with what came just before it. */
const LEAD = 0.05

interface Props {
  id: string
  frame: RefObject<HTMLDivElement | null>
  recording: Recording
  duration: number
  read: number
  live: boolean
  ready: boolean
  playing: boolean
  position: number
  speed: string
  skipIdle: boolean
  onToggle: () => void
  onSeek: (to: number) => void
  onSpeed: (to: string) => void
  onSkipIdle: (to: boolean) => void
}

/** PlayerControls is displayed below the screen. */
export function PlayerControls(p: Props) {
  const [wanted, setWanted] = useState('')
  const { cast } = p.recording
  // The recording itself is not a new one when it has grown.
  const text = useMemo(() => (wanted === '' || p.duration < 0 ? null : textOf(cast.events)), [cast, p.duration, wanted])
  const found = useMemo(() => (text === null ? [] : findText(text, wanted)), [text, wanted])
  return (
    <>
      <div className="player-controls">
        <Button
          variant="icon"
          iconName={p.playing ? 'pause' : 'play'}
          ariaLabel={p.playing ? t('replay.pause') : t('replay.play')}
          disabled={!p.ready}
          onClick={p.onToggle}
        />
        <span className="player-time">
          {clockTime(p.position)} <span className="faint">/ {clockTime(p.duration)}</span>
        </span>
        <Timeline {...p} found={found} />
        {p.live && (
          <Button variant="inline-link" onClick={() => p.onSeek(p.duration)} ariaLabel={t('replay.goLive')}>
            <span className="recording">
              <span className="dot dot-recording" /> {t('replay.live')}
            </span>
          </Button>
        )}
        {p.read < 1 && <Box color="text-body-secondary">{Math.floor(p.read * 100)} %</Box>}
        <SegmentedControl
          selectedId={p.speed}
          label={t('replay.speed')}
          options={SPEEDS.map((s) => ({ id: s, text: `${s}×` }))}
          onChange={(ev) => p.onSpeed(ev.detail.selectedId)}
        />
        <Toggle checked={p.skipIdle} onChange={(ev) => p.onSkipIdle(ev.detail.checked)}>
          {t('replay.skipPauses')}
        </Toggle>
        <FullScreen frame={p.frame} />
        <Exports {...p} />
      </div>
      <div className="player-controls">
        <Search wanted={wanted} onWanted={setWanted} found={found} position={p.position} onSeek={p.onSeek} />
        <Moments {...p} title={t('replay.commands')} list={commandsOf} />
        <Moments {...p} title={t('replay.events')} list={markersOf} />
      </div>
    </>
  )
}

function Timeline(p: Props & { found: number[] }) {
  const position = Math.min(p.position, p.duration)
  return (
    <span className="player-timeline">
      <input
        className="player-seek"
        type="range"
        aria-label={t('replay.position')}
        aria-valuetext={t('replay.positionOf', { position: clockTime(position), total: clockTime(p.duration) })}
        min={0}
        max={Math.max(p.duration, 0.001)}
        step="any"
        value={position}
        style={{ '--played': p.duration === 0 ? '0%' : `${(100 * position) / p.duration}%` } as CSSProperties}
        onChange={(ev) => p.onSeek(Number(ev.target.value))}
      />
      {p.duration > 0 &&
        p.found.map((time, i) => (
          <span key={i} className="player-mark" style={{ insetInlineStart: `${(100 * time) / p.duration}%` }} />
        ))}
    </span>
  )
}

function Search(props: {
  wanted: string
  onWanted: (text: string) => void
  found: number[]
  position: number
  onSeek: (to: number) => void
}) {
  const { wanted, found } = props
  const [current, setCurrent] = useState(-1)
  useEffect(() => setCurrent(-1), [wanted])
  const go = (step: 1 | -1) => {
    if (found.length === 0) return
    const to = (current + step + found.length) % found.length
    setCurrent(to)
    props.onSeek(found[to]! + LEAD)
  }
  return (
    <span className="player-search">
      <Input
        type="search"
        value={wanted}
        ariaLabel={t('replay.search')}
        placeholder={t('replay.search')}
        onChange={(ev) => props.onWanted(ev.detail.value)}
        onKeyDown={(ev) => {
          if (ev.detail.key === 'Enter') go(ev.detail.shiftKey ? -1 : 1)
        }}
      />
      <span className="player-time" aria-live="polite">
        {wanted === ''
          ? ''
          : found.length === 0
            ? t('replay.foundNone')
            : t('replay.found', { index: current + 1, total: found.length })}
      </span>
      <Button
        variant="icon"
        iconName="angle-up"
        ariaLabel={t('replay.previousMatch')}
        disabled={found.length === 0}
        onClick={() => go(-1)}
      />
      <Button
        variant="icon"
        iconName="angle-down"
        ariaLabel={t('replay.nextMatch')}
        disabled={found.length === 0}
        onClick={() => go(1)}
      />
    </span>
  )
}

/** Moments jumps to a line that was typed, or to an event. */
function Moments({
  recording,
  duration,
  onSeek,
  title,
  list,
}: Props & { title: string; list: (events: readonly CastEvent[]) => Command[] }) {
  // The recording itself is not a new one when it has grown.
  const moments = useMemo(() => (duration < 0 ? [] : list(recording.cast.events)), [recording, duration, list])
  if (moments.length === 0) return null
  return (
    <ButtonDropdown
      expandToViewport
      items={moments.map((m, i) => ({ id: String(i), text: m.text, secondaryText: clockTime(m.time) }))}
      onItemClick={(ev) => onSeek(moments[Number(ev.detail.id)]!.time)}
    >
      {title}
    </ButtonDropdown>
  )
}

function FullScreen({ frame }: { frame: RefObject<HTMLDivElement | null> }) {
  const [full, setFull] = useState(false)
  useEffect(() => {
    const changed = () => setFull(document.fullscreenElement === frame.current)
    document.addEventListener('fullscreenchange', changed)
    return () => document.removeEventListener('fullscreenchange', changed)
  }, [frame])
  return (
    <Button
      variant="icon"
      iconName={full ? 'exit-full-screen' : 'full-screen'}
      ariaLabel={full ? t('replay.leaveFullScreen') : t('replay.fullScreen')}
      onClick={() => void (full ? document.exitFullscreen() : frame.current?.requestFullscreen())}
    />
  )
}

function Exports({ id, recording, read }: Props) {
  return (
    <ButtonDropdown
      variant="icon"
      ariaLabel={t('common.download')}
      expandToViewport
      disabled={read < 1}
      items={[
        { id: 'cast', text: t('replay.download') },
        { id: 'text', text: t('replay.exportText') },
      ]}
      onItemClick={(ev) => {
        if (ev.detail.id === 'cast')
          saveFile(`${id}.cast`, new Blob(recording.pages, { type: 'application/x-asciicast' }))
        else saveFile(`${id}.txt`, new Blob([plainText(recording.cast.events)], { type: 'text/plain' }))
      }}
    />
  )
}
