// The keys that a phone's keyboard lacks.

import type { LiveSession } from './live-session'
import { useStore } from './store'

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
export function KeyBar({ live, hidden }: { live: LiveSession; hidden: boolean }) {
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
