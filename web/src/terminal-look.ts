// How terminals look, live or replayed.

import type { ITheme, Terminal } from '@xterm/xterm'

/** FONT lists the monospaced fonts of common systems. */
export const FONT = [
  'ui-monospace',
  '"Cascadia Mono"',
  '"SF Mono"',
  'Menlo',
  'Consolas',
  '"DejaVu Sans Mono"',
  '"Liberation Mono"',
  '"Noto Sans Mono CJK JP"',
  'monospace',
].join(', ')

const night: ITheme = {
  background: '#0f1720',
  foreground: '#d6dee7',
  cursor: '#f4b95d',
  cursorAccent: '#0f1720',
  selectionBackground: '#34506b',
  black: '#1b2733',
  red: '#f47b7b',
  green: '#7fd190',
  yellow: '#f0c674',
  blue: '#74b3f0',
  magenta: '#c79bf2',
  cyan: '#6ed0cf',
  white: '#ccd6e0',
  brightBlack: '#66788a',
  brightRed: '#ff9d9d',
  brightGreen: '#a0e8ae',
  brightYellow: '#ffdc9a',
  brightBlue: '#9ccbff',
  brightMagenta: '#dcbcff',
  brightCyan: '#97e8e6',
  brightWhite: '#ffffff',
}

const day: ITheme = {
  background: '#fbfcfd',
  foreground: '#1d2b38',
  cursor: '#b2620a',
  cursorAccent: '#fbfcfd',
  selectionBackground: '#bcd7f2',
  black: '#1d2b38',
  red: '#b3261e',
  green: '#1f7a3a',
  yellow: '#8a5a00',
  blue: '#0b5cad',
  magenta: '#7a3fa8',
  cyan: '#00707a',
  white: '#5a6b7b',
  brightBlack: '#6f8192',
  brightRed: '#cc3d33',
  brightGreen: '#2b8f49',
  brightYellow: '#a06a00',
  brightBlue: '#1b71ca',
  brightMagenta: '#9354c4',
  brightCyan: '#00848f',
  brightWhite: '#2b3a48',
}

/** themeFor is the terminal's palette for a dark or a light page. */
export function themeFor(isDark: boolean): ITheme {
  return isDark ? night : day
}

/** quicken draws with WebGL where that works, and falls back when it stops working. */
export async function quicken(term: Terminal): Promise<void> {
  const probe = document.createElement('canvas').getContext('webgl2')
  if (probe === null) return
  probe.getExtension('WEBGL_lose_context')?.loseContext()
  try {
    const { WebglAddon } = await import('@xterm/addon-webgl')
    if (term.element === undefined) return
    const webgl = new WebglAddon()
    webgl.onContextLoss(() => webgl.dispose())
    term.loadAddon(webgl)
  } catch (err) {
    console.info('terminal: drawing without WebGL:', err)
  }
}
