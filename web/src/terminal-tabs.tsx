// The tabs of the open terminals, and the menu that opens another one.

import Button from '@cloudscape-design/components/button'
import ButtonDropdown from '@cloudscape-design/components/button-dropdown'
import Icon from '@cloudscape-design/components/icon'
import { useState, type KeyboardEvent } from 'react'
import { t } from './i18n'
import type { LiveSession } from './live-session'
import { nodes } from './nodes'
import { navigate } from './router'
import { requestStart } from './start-request'
import { Store, useStore } from './store'
import { MOST_PANES, renameTab, showTab, splitPane, workspace, type Tab } from './workspace'

/** TerminalTabs lists the terminals. */
export function TerminalTabs({ onClose }: { onClose: (tab: Tab) => void }) {
  const { tabs, panes, active } = useStore(workspace)
  // The arrow keys only move between tabs: a tab that is chosen takes the focus to its terminal.
  const onTabKey = (ev: KeyboardEvent, at: number) => {
    const step = ev.key === 'ArrowRight' ? 1 : ev.key === 'ArrowLeft' ? -1 : 0
    if (step !== 0) (ev.currentTarget.parentElement?.children[at + step] as HTMLElement | undefined)?.focus()
  }
  return (
    <div className="terminal-tabs">
      <div className="terminal-tablist" role="tablist" aria-label={t('nav.terminals')}>
        {tabs.map((tab, at) => (
          <TerminalTab
            key={tab.key}
            tab={tab}
            active={tab.key === active}
            shown={panes.includes(tab.key)}
            onKeyDown={(ev) => onTabKey(ev, at)}
            onClose={() => onClose(tab)}
          />
        ))}
      </div>
      <div className="terminal-more">
        <Button
          variant="icon"
          iconName="view-vertical"
          ariaLabel={`${t('terminal.split')} (Ctrl+Shift+E)`}
          disabled={panes.length >= MOST_PANES}
          onClick={splitPane}
        />
        <AnotherTerminal />
      </div>
    </div>
  )
}

/** tabName is the name that the user has given a tab, or that of its node. */
export const tabName = (tab: Tab) => tab.name || tab.target.name || tab.target.id

/** TerminalTab is a tab: renamed by F2 or a double click, closed by Delete or its cross. */
function TerminalTab(props: {
  tab: Tab
  active: boolean
  shown: boolean
  onKeyDown: (ev: KeyboardEvent) => void
  onClose: () => void
}) {
  const { tab, active } = props
  const [renaming, setRenaming] = useState(false)
  if (renaming) return <TabNameInput tab={tab} onDone={() => setRenaming(false)} />
  return (
    <button
      role="tab"
      type="button"
      id={`tab-${tab.key}`}
      className={`terminal-tab${active ? ' active' : ''}${props.shown ? ' shown' : ''}`}
      aria-selected={active}
      aria-controls={props.shown ? `pane-${tab.key}` : undefined}
      tabIndex={active ? 0 : -1}
      title={t('terminal.renameHint')}
      onClick={() => showTab(tab.key)}
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

function TabNameInput({ tab, onDone }: { tab: Tab; onDone: () => void }) {
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
        onDone()
      }}
      onKeyDown={(ev) => {
        if (ev.key === 'Enter') ev.currentTarget.blur()
        if (ev.key === 'Escape') onDone()
      }}
    />
  )
}

/** MOST_OFFERED bounds the menu of nodes; the list of nodes has all of them. */
const MOST_OFFERED = 500

function AnotherTerminal() {
  const connected = useStore(nodes)
    .nodes.filter((n) => n.connection === 'connected')
    .slice(0, MOST_OFFERED)
  return (
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
  )
}

const nothing = new Store(null)

function TabDot({ tab }: { tab: Tab }) {
  const state = useStore<unknown>(tab.live?.state ?? nothing) as ReturnType<LiveSession['state']['get']> | null
  const kind: string = state === null ? tab.phase : state.channel.kind
  return <span className={`dot dot-${kind}`} aria-hidden="true" />
}
