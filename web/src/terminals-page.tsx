// The open terminals, one tab each; up to four are shown side by side.

import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Modal from '@cloudscape-design/components/modal'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useEffect, useLayoutEffect, useRef, useState } from 'react'
import { rich, t } from './i18n'
import { navigate } from './router'
import type { PageProps } from './routes'
import { useStore } from './store'
import { TerminalPane } from './terminal-pane'
import { TerminalTabs } from './terminal-tabs'
import { closeTab, isRunning, movePane, splitPane, workspace, type Tab } from './workspace'

/** TerminalsPage shows the terminals of this page. */
export default function TerminalsPage({ who }: PageProps) {
  const { tabs, panes, active } = useStore(workspace)
  const [closing, setClosing] = useState<Tab | null>(null)
  const page = useRef<HTMLDivElement>(null)
  useHeight(page)
  usePaneKeys()
  const close = (tab: Tab) => (isRunning(tab) ? setClosing(tab) : closeTab(tab.key))
  const shown = panes.flatMap((key) => tabs.find((x) => x.key === key) ?? [])
  return (
    <div className="terminals" ref={page}>
      {tabs.length === 0 ? (
        <NoTerminals />
      ) : (
        <>
          <h1 className="unseen">{t('nav.terminals')}</h1>
          <TerminalTabs onClose={close} />
          <div className={`terminal-panes panes-${shown.length}`}>
            {shown.map((tab) => (
              <TerminalPane
                key={tab.key}
                tab={tab}
                owner={who.arn}
                active={tab.key === active}
                alone={shown.length === 1}
                onClose={() => close(tab)}
              />
            ))}
          </div>
        </>
      )}
      {closing !== null && <CloseModal tab={closing} onDone={() => setClosing(null)} />}
    </div>
  )
}

/** useHeight makes the terminals fill the window below the bars. */
function useHeight(page: React.RefObject<HTMLDivElement | null>) {
  useLayoutEffect(() => {
    const measure = () => {
      const el = page.current
      if (el) el.style.setProperty('--above', `${Math.round(el.getBoundingClientRect().top + scrollY)}px`)
    }
    measure()
    const observer = new ResizeObserver(measure)
    observer.observe(document.body)
    return () => observer.disconnect()
  }, [page])
}

/** usePaneKeys splits the view and moves between panes. */
function usePaneKeys() {
  useEffect(() => {
    const onKey = (ev: KeyboardEvent) => {
      if (!ev.ctrlKey || !ev.shiftKey || ev.altKey || ev.metaKey) return
      if (ev.code === 'KeyE') splitPane()
      else if (ev.code === 'ArrowRight') movePane(1)
      else if (ev.code === 'ArrowLeft') movePane(-1)
      else if (ev.code === 'ArrowUp') document.getElementById(`tab-${workspace.get().active}`)?.focus()
      else return
      ev.preventDefault()
      ev.stopPropagation()
    }
    addEventListener('keydown', onKey, true)
    return () => removeEventListener('keydown', onKey, true)
  }, [])
}

function CloseModal({ tab, onDone }: { tab: Tab; onDone: () => void }) {
  return (
    <Modal
      visible
      header={t('sessions.endQuestion')}
      onDismiss={onDone}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={onDone}>
              {t('sessions.keep')}
            </Button>
            <Button
              variant="primary"
              onClick={() => {
                closeTab(tab.key)
                onDone()
              }}
            >
              {t('sessions.endSession')}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      {rich('terminal.closeHint', { node: <b>{tab.target.name || tab.target.id}</b> })}
    </Modal>
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
