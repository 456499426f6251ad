// The search in a terminal's output.

import Button from '@cloudscape-design/components/button'
import Input from '@cloudscape-design/components/input'
import { useEffect, useRef, useState } from 'react'
import { t } from './i18n'
import type { LiveSession } from './live-session'

/** FOUND has the decorations of all matches and of the current one. */
const FOUND = {
  decorations: {
    matchOverviewRuler: '#c77700',
    activeMatchColorOverviewRuler: '#d13212',
    matchBackground: '#5b4a12',
    activeMatchBackground: '#b2620a',
  },
}

/** Find is the bar that searches a terminal. */
export function Find({ live, onClose }: { live: LiveSession; onClose: () => void }) {
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
