// The copy and paste policy of a session, as far as a page can enforce it: it keeps the browser's own
// copy and paste from the terminal. What is on the screen can still be photographed or retyped.

import type { Terminal } from '@xterm/xterm'

/** Clipboard is what the session preferences keep the terminal from doing. */
export interface Clipboard {
  disableCopy: boolean
  disablePaste: boolean
}

const PASTED = new Set(['insertFromPaste', 'insertFromDrop', 'insertFromYank', 'insertFromPasteAsQuotation'])

/** guardClipboard applies a policy to a terminal. It calls refused when it stops something. */
export function guardClipboard(
  host: HTMLElement,
  term: Pick<Terminal, 'onSelectionChange' | 'clearSelection' | 'hasSelection'>,
  policy: () => Clipboard,
  refused: (what: 'copy' | 'paste') => void,
): () => void {
  const stop = (what: 'copy' | 'paste', ev: Event) => {
    ev.preventDefault()
    ev.stopImmediatePropagation()
    refused(what)
  }
  const onCopy = (ev: Event) => policy().disableCopy && stop('copy', ev)
  const onPaste = (ev: Event) => policy().disablePaste && stop('paste', ev)
  const onInput = (ev: InputEvent) => policy().disablePaste && PASTED.has(ev.inputType) && stop('paste', ev)
  const onDrop = (ev: DragEvent) => {
    if (policy().disablePaste && !ev.dataTransfer?.types.includes('Files')) stop('paste', ev)
  }
  // On Linux a selection alone is a copy: middle clicks paste it in other programs.
  const selection = term.onSelectionChange(() => {
    if (policy().disableCopy && term.hasSelection()) term.clearSelection()
  })
  host.addEventListener('copy', onCopy, true)
  host.addEventListener('cut', onCopy, true)
  host.addEventListener('paste', onPaste, true)
  host.addEventListener('beforeinput', onInput, true)
  host.addEventListener('drop', onDrop, true)
  return () => {
    selection.dispose()
    host.removeEventListener('copy', onCopy, true)
    host.removeEventListener('cut', onCopy, true)
    host.removeEventListener('paste', onPaste, true)
    host.removeEventListener('beforeinput', onInput, true)
    host.removeEventListener('drop', onDrop, true)
  }
}
