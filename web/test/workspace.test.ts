import { beforeEach, describe, expect, test, vi } from 'vitest'

vi.stubGlobal('matchMedia', () => ({ matches: false, addEventListener: () => {} }))
vi.stubGlobal('location', { pathname: '/console/terminals', search: '', hash: '' })
vi.stubGlobal('addEventListener', () => {})
vi.stubGlobal('history', { pushState: () => {} })
vi.stubGlobal('fetch', () => new Promise(() => {}))

const { closeTab, hidePane, MOST_PANES, movePane, showTab, splitPane, startSession, workspace } =
  await import('../src/workspace')

const target = { id: 'mi-1', name: 'web-1' }
const shape = () => {
  const { tabs, panes, active } = workspace.get()
  const at = (key: string) => tabs.findIndex((x) => x.key === key)
  return { tabs: tabs.length, panes: panes.map(at), active: at(active) }
}
const key = (n: number) => workspace.get().tabs[n]!.key

describe('panes', () => {
  beforeEach(() => {
    workspace.set({ tabs: [], panes: [], active: '' })
    startSession(target)
    startSession(target)
  })

  test('a new terminal takes the place of the active one', () => {
    expect(shape()).toEqual({ tabs: 2, panes: [1], active: 1 })
    showTab(key(0))
    expect(shape()).toEqual({ tabs: 2, panes: [0], active: 0 })
  })

  test('a split shows a hidden terminal, then opens new ones, up to the limit', () => {
    splitPane()
    expect(shape()).toEqual({ tabs: 2, panes: [1, 0], active: 0 })
    splitPane()
    expect(shape()).toEqual({ tabs: 3, panes: [1, 0, 2], active: 2 })
    for (let i = 0; i < 5; i++) splitPane()
    expect(shape().panes.length).toBe(MOST_PANES)
  })

  test('a tab that is shown becomes active where it is', () => {
    splitPane()
    showTab(key(1))
    expect(shape()).toEqual({ tabs: 2, panes: [1, 0], active: 1 })
    movePane(1)
    expect(shape().active).toBe(0)
    movePane(1)
    expect(shape().active).toBe(1)
  })

  test('hiding a pane keeps its tab, and the last pane stays', () => {
    splitPane()
    hidePane(key(0))
    expect(shape()).toEqual({ tabs: 2, panes: [1], active: 1 })
    hidePane(key(1))
    expect(shape().panes).toEqual([1])
  })

  test('closing a tab closes its pane', () => {
    splitPane()
    closeTab(key(0))
    expect(shape()).toEqual({ tabs: 1, panes: [0], active: 0 })
    closeTab(key(0))
    expect(shape()).toEqual({ tabs: 0, panes: [], active: -1 })
  })
})
