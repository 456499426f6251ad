// Light and dark mode: the system's, until the user chooses one.

import { applyMode, Mode } from '@cloudscape-design/global-styles'
import { Store } from './store'

/** Whether the page is dark. */
export const dark = new Store(false)

const KEY = 'sekisho-theme'
const system = matchMedia('(prefers-color-scheme: dark)')

function chosen(): string | null {
  try {
    return localStorage.getItem(KEY)
  } catch {
    return null
  }
}

function apply(): void {
  const choice = chosen()
  const on = choice === null ? system.matches : choice === 'dark'
  applyMode(on ? Mode.Dark : Mode.Light)
  document.documentElement.style.colorScheme = on ? 'dark' : 'light'
  dark.set(on)
}

/** followSystem applies the theme and follows the system's. */
export function followSystem(): void {
  apply()
  system.addEventListener('change', apply)
}

/** toggleTheme switches between light and dark, and remembers it. */
export function toggleTheme(): void {
  try {
    localStorage.setItem(KEY, dark.get() ? 'light' : 'dark')
  } catch {
    // Private windows may refuse; the choice then lasts as long as the page.
  }
  apply()
}
