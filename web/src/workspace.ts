// The open terminals of this page, as tabs.

import { call } from './api'
import type { LiveSession, StartedSession } from './live-session'
import { navigate } from './router'
import { Store } from './store'

/** Target is the node a terminal is for. */
export interface Target {
  id: string
  name: string
}

/** Tab is one terminal: being started, refused, or live. */
export interface Tab {
  key: string
  target: Target
  phase: 'starting' | 'refused' | 'live'
  error?: unknown
  live?: LiveSession
}

/** The tabs, and which of them is shown. */
export const workspace = new Store<{ tabs: Tab[]; active: string }>({ tabs: [], active: '' })

const FONT_KEY = 'sekisho-font-size'
function storedFontSize(): number {
  try {
    const n = Number(localStorage.getItem(FONT_KEY))
    if (n >= 8 && n <= 32) return n
  } catch {
    // No storage: the default.
  }
  return matchMedia('(max-width: 688px)').matches ? 12 : 14
}

/** The size of the terminals' letters, in pixels. */
export const fontSize = new Store(storedFontSize())

/** setFontSize changes the size in every terminal, and remembers it. */
export function setFontSize(px: number): void {
  const size = Math.min(32, Math.max(8, px))
  fontSize.set(size)
  for (const t of workspace.get().tabs) t.live?.setFontSize(size)
  try {
    localStorage.setItem(FONT_KEY, String(size))
  } catch {
    // It lasts as long as the page.
  }
}

let made = 0

function change(key: string, to: Partial<Tab>): void {
  const w = workspace.get()
  workspace.update({ tabs: w.tabs.map((t) => (t.key === key ? { ...t, ...to } : t)) })
}

/** startSession opens a tab and starts a session in it. */
export function startSession(target: Target): void {
  const key = `t${++made}`
  const w = workspace.get()
  workspace.set({ tabs: [...w.tabs, { key, target, phase: 'starting' }], active: key })
  navigate('terminals')
  void start(key, target)
}

/** startAgain starts a new session in the place of a refused or ended one. */
export function startAgain(tab: Tab): void {
  tab.live?.dispose()
  change(tab.key, { phase: 'starting', error: undefined, live: undefined })
  void start(tab.key, tab.target)
}

async function start(key: string, target: Target): Promise<void> {
  try {
    const loading = import('./live-session')
    const started = await call<StartedSession>('AmazonSSM.StartSession', { Target: target.id })
    const { LiveSession } = await loading
    if (!workspace.get().tabs.some((t) => t.key === key)) {
      // The person closed the tab before the session was there.
      await call('AmazonSSM.TerminateSession', { SessionId: started.SessionId })
      return
    }
    change(key, { phase: 'live', live: new LiveSession(started, fontSize.get()) })
  } catch (error) {
    change(key, { phase: 'refused', error })
  }
}

/** isRunning reports whether a tab's session still runs. */
export function isRunning(tab: Tab): boolean {
  return tab.live !== undefined && tab.live.state.get().channel.kind !== 'ended'
}

/** closeTab closes a tab; a session that still runs is ended. */
export function closeTab(key: string): void {
  const w = workspace.get()
  const at = w.tabs.findIndex((t) => t.key === key)
  const tab = w.tabs[at]
  if (tab === undefined) return
  if (isRunning(tab)) void tab.live!.terminate().catch(() => {})
  tab.live?.dispose()
  const tabs = w.tabs.filter((t) => t.key !== key)
  const active = w.active === key ? (tabs[Math.min(at, tabs.length - 1)]?.key ?? '') : w.active
  workspace.set({ tabs, active })
}

/** warnBeforeLeaving asks before the page, and its terminals with it, goes away. */
export function warnBeforeLeaving(): () => void {
  const ask = (ev: BeforeUnloadEvent) => {
    if (workspace.get().tabs.some(isRunning)) ev.preventDefault()
  }
  addEventListener('beforeunload', ask)
  return () => removeEventListener('beforeunload', ask)
}
