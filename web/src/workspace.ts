// The open terminals of this page, as tabs.

import * as v from 'valibot'
import { call, IGNORED } from './api'
import type { LiveSession, SavedSession } from './live-session'
import { navigate } from './router'
import { clipboardSchema } from './schemas'
import { Store } from './store'

export const startedSession = v.object({
  SessionId: v.string(),
  TokenValue: v.string(),
  StreamUrl: v.string(),
  ...clipboardSchema,
})

/** StartedSession is the answer of StartSession. */
export type StartedSession = v.InferOutput<typeof startedSession>

/** Target is the node a terminal is for. */
export interface Target {
  id: string
  name: string
  /** The reason for the session, if one is required. */
  reason?: string
}

/** Tab is one terminal: being started, refused, or live. */
export interface Tab {
  key: string
  target: Target
  /** The name that the user has given it. */
  name?: string
  phase: 'starting' | 'refused' | 'live'
  error?: unknown
  live?: LiveSession
}

/** Workspace is the open terminals. Panes are the keys of tabs shown side by side, one of which is active. */
export interface Workspace {
  tabs: Tab[]
  panes: string[]
  active: string
}

/** MOST_PANES is how many terminals are shown side by side. */
export const MOST_PANES = 4

export const workspace = new Store<Workspace>({ tabs: [], panes: [], active: '' })

/** showTab shows a tab: in the pane that has it, or instead of the active one. */
export function showTab(key: string): void {
  const w = workspace.get()
  const panes = w.panes.includes(key) ? w.panes : withPane(w.panes, w.active, key)
  workspace.update({ panes, active: key })
}

const withPane = (panes: string[], active: string, key: string) =>
  panes.includes(active) ? panes.map((p) => (p === active ? key : p)) : [key]

/** splitPane shows another terminal beside the active one: one that is hidden, or else a new one on the same node. */
export function splitPane(): void {
  const w = workspace.get()
  const from = w.tabs.find((t) => t.key === w.active)
  if (from === undefined || w.panes.length >= MOST_PANES) return
  const hidden = w.tabs.find((t) => !w.panes.includes(t.key))
  if (hidden === undefined) {
    openTab(from.target, true)
    return
  }
  workspace.update({ panes: beside(w.panes, w.active, hidden.key), active: hidden.key })
}

const beside = (panes: string[], active: string, key: string) => {
  const at = panes.indexOf(active) + 1
  return [...panes.slice(0, at), key, ...panes.slice(at)]
}

/** hidePane stops showing a terminal beside the others; its session continues in its tab. */
export function hidePane(key: string): void {
  const w = workspace.get()
  const at = w.panes.indexOf(key)
  if (at < 0 || w.panes.length < 2) return
  const panes = w.panes.filter((p) => p !== key)
  workspace.update({ panes, active: w.active === key ? panes[Math.min(at, panes.length - 1)]! : w.active })
}

/** movePane makes the next pane, or the one before, the active one. */
export function movePane(step: 1 | -1): void {
  const w = workspace.get()
  const to = w.panes[(w.panes.indexOf(w.active) + step + w.panes.length) % w.panes.length]
  if (to !== undefined) workspace.update({ active: to })
}

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

/** The font size of the terminals, in pixels. */
export const fontSize = new Store(storedFontSize())

/** setFontSize changes the size in every terminal, and remembers it. */
export function setFontSize(px: number): void {
  const size = Math.min(32, Math.max(8, px))
  fontSize.set(size)
  for (const t of workspace.get().tabs) t.live?.setFontSize(size)
  try {
    localStorage.setItem(FONT_KEY, String(size))
  } catch {
    // Without storage the size lasts as long as the page.
  }
}

let made = 0

function change(key: string, to: Partial<Tab>): void {
  const w = workspace.get()
  workspace.update({ tabs: w.tabs.map((t) => (t.key === key ? { ...t, ...to } : t)) })
}

/** renameTab gives a tab a name; '' for that of its node. */
export function renameTab(key: string, name: string): void {
  change(key, { name: name.trim().slice(0, 60) || undefined })
}

/** startSession opens a tab and starts a session in it. */
export function startSession(target: Target): void {
  openTab(target, false)
  navigate('terminals')
}

function openTab(target: Target, split: boolean): void {
  const key = `t${++made}`
  const w = workspace.get()
  workspace.set({
    tabs: [...w.tabs, { key, target, phase: 'starting' }],
    panes: split ? beside(w.panes, w.active, key) : withPane(w.panes, w.active, key),
    active: key,
  })
  void start(key, target)
}

/** startAgain starts a new session in place of a refused or ended one. */
export function startAgain(tab: Tab): void {
  tab.live?.dispose()
  change(tab.key, { phase: 'starting', error: undefined, live: undefined })
  void start(tab.key, tab.target)
}

async function start(key: string, target: Target): Promise<void> {
  try {
    const loading = import('./live-session')
    const started = await call('AmazonSSM.StartSession', { Target: target.id, Reason: target.reason }, startedSession)
    const { LiveSession } = await loading
    if (!workspace.get().tabs.some((t) => t.key === key)) {
      // The user closed the tab before the session started.
      await call('AmazonSSM.TerminateSession', { SessionId: started.SessionId }, IGNORED)
      return
    }
    change(key, { phase: 'live', live: new LiveSession(started, target.id, fontSize.get()) })
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
  const pane = w.panes.indexOf(key)
  let panes = w.panes.filter((p) => p !== key)
  if (panes.length === 0 && tabs.length > 0) panes = [tabs[Math.min(at, tabs.length - 1)]!.key]
  const active = w.active === key ? (panes[Math.min(Math.max(pane, 0), panes.length - 1)] ?? '') : w.active
  workspace.set({ tabs, panes, active })
}

/** warnBeforeLeaving has the browser ask before it leaves a page with running terminals. */
export function warnBeforeLeaving(): () => void {
  const ask = (ev: BeforeUnloadEvent) => {
    if (workspace.get().tabs.some(isRunning)) ev.preventDefault()
  }
  addEventListener('beforeunload', ask)
  return () => removeEventListener('beforeunload', ask)
}

const KEPT_KEY = 'sekisho-terminals'
/** The maximum output to keep of all terminals together, in bytes. */
const KEPT_OUTPUT = 1024 * 1024

/** Kept are the terminals of a reloaded page. */
interface Kept {
  owner: string
  active: number
  /** The tabs that are shown side by side, by their places. */
  panes?: number[]
  tabs: { target: Target; name?: string; session: SavedSession }[]
}

/**
 * keepOverReload passes the terminals to the reloaded page through the tab's own
 * storage, until that page has read them. It stores no token: the next page
 * requests tokens as the user who is signed in then.
 */
export function keepOverReload(owner: string): () => void {
  const leave = () => {
    const { tabs, panes, active } = workspace.get()
    const running = tabs.filter(isRunning)
    if (running.length === 0) return
    // If the output does not fit, keep the sessions without it.
    for (const output of [Math.floor(KEPT_OUTPUT / running.length), 0]) {
      const kept: Kept = { owner, active: 0, panes: [], tabs: [] }
      for (const t of running) {
        const session = t.live!.save(output)
        if (session === null) continue
        if (t.key === active) kept.active = kept.tabs.length
        if (panes.includes(t.key)) kept.panes!.push(kept.tabs.length)
        kept.tabs.push({ target: t.target, name: t.name, session })
      }
      try {
        sessionStorage.setItem(KEPT_KEY, JSON.stringify(kept))
        return
      } catch {
        // The storage is full or not available.
      }
    }
  }
  // A page that comes back from the cache of the browser resumes its terminals like a reloaded one.
  const back = (ev: PageTransitionEvent) => {
    if (ev.persisted) location.reload()
  }
  addEventListener('pagehide', leave)
  addEventListener('pageshow', back)
  return () => {
    removeEventListener('pagehide', leave)
    removeEventListener('pageshow', back)
  }
}

/** takeUpKept resumes the kept terminals if they belong to owner. */
export async function takeUpKept(owner: string): Promise<void> {
  let kept: Kept
  try {
    const text = sessionStorage.getItem(KEPT_KEY)
    sessionStorage.removeItem(KEPT_KEY)
    if (text === null) return
    kept = JSON.parse(text) as Kept
  } catch {
    return // nothing readable was stored; the sessions time out
  }
  if (kept.owner !== owner || !Array.isArray(kept.tabs) || kept.tabs.length === 0) return
  const tabs: Tab[] = kept.tabs.map((t) => ({ key: `t${++made}`, target: t.target, name: t.name, phase: 'starting' }))
  const active = tabs[kept.active]?.key ?? tabs[0]!.key
  const panes = (kept.panes ?? []).flatMap((i) => tabs[i]?.key ?? []).slice(0, MOST_PANES)
  workspace.set({
    tabs: [...workspace.get().tabs, ...tabs],
    panes: panes.includes(active) ? panes : [active],
    active,
  })
  const { LiveSession } = await import('./live-session')
  kept.tabs.forEach((t, i) => {
    const key = tabs[i]!.key
    if (!workspace.get().tabs.some((x) => x.key === key)) {
      void call('AmazonSSM.TerminateSession', { SessionId: t.session.id }, IGNORED).catch(() => {})
      return
    }
    try {
      change(key, { phase: 'live', live: new LiveSession(t.session, t.session.node, fontSize.get()) })
    } catch (error) {
      change(key, { phase: 'refused', error })
    }
  })
}
