// LiveSession is one terminal and its data channel. It lives outside React:
// the page may show it, hide it and show it again, and the session goes on.

import '@xterm/xterm/css/xterm.css'
import { FitAddon } from '@xterm/addon-fit'
import { SearchAddon } from '@xterm/addon-search'
import { WebLinksAddon } from '@xterm/addon-web-links'
import { Terminal } from '@xterm/xterm'
import { call, CallError } from './api'
import { DataChannel, GoneError, type ChannelState, type Grant } from './datachannel'
import { newMessageId } from './frame'
import { Store } from './store'
import { FONT, quicken, themeFor } from './terminal-look'
import { dark } from './theme'

/** StartedSession is the answer of StartSession. */
export interface StartedSession {
  SessionId: string
  TokenValue: string
  StreamUrl: string
}

/** LiveState is what the page shows of a session. */
export interface LiveState {
  channel: ChannelState
  stalled: boolean
  exitCode: number | null
  message: string
  title: string
  cols: number
  rows: number
  endedAt: number
}

/** Refusals that trying again does not mend. */
const FINAL = new Set(['AccessDeniedException', 'AccessDenied', 'DoesNotExistException', 'ValidationException'])

/** LiveSession is one open session. */
export class LiveSession {
  readonly id: string
  readonly startedAt = Date.now()
  readonly state: Store<LiveState>
  readonly term: Terminal
  readonly search = new SearchAddon()
  private readonly fit = new FitAddon()
  private readonly channel: DataChannel
  private readonly host = document.createElement('div')
  private readonly observer: ResizeObserver
  private readonly stops: (() => void)[] = []
  private opened = false
  /** The next key is pressed with Ctrl, as the key bar of a phone has it. */
  readonly ctrl = new Store(false)

  constructor(started: StartedSession, fontSize: number) {
    this.id = started.SessionId
    this.host.className = 'terminal-host'
    this.term = new Terminal({
      allowProposedApi: false,
      cursorBlink: true,
      fontFamily: FONT,
      fontSize,
      lineHeight: 1.15,
      scrollback: 10_000,
      macOptionIsMeta: true,
      rightClickSelectsWord: true,
      theme: themeFor(dark.get()),
    })
    this.state = new Store<LiveState>({
      channel: { kind: 'connecting' },
      stalled: false,
      exitCode: null,
      message: '',
      title: '',
      cols: this.term.cols,
      rows: this.term.rows,
      endedAt: 0,
    })
    this.term.loadAddon(this.fit)
    this.term.loadAddon(this.search)
    this.term.loadAddon(new WebLinksAddon())

    this.channel = new DataChannel({
      grant: here({ url: started.StreamUrl, token: started.TokenValue }),
      clientId: newMessageId(),
      resume: () => this.resume(),
      dial: (url) => new WebSocket(url),
      onOutput: (data) => this.term.write(data),
      onState: (channel) => {
        this.state.update({ channel, endedAt: channel.kind === 'ended' ? Date.now() : 0 })
        if (channel.kind === 'ended') {
          this.term.write('\x1b[?25l')
          this.term.options.disableStdin = true
        }
      },
      onStall: (stalled) => this.state.update({ stalled }),
      onMessage: (message) => this.state.update({ message }),
      onExitCode: (exitCode) => this.state.update({ exitCode }),
    })

    this.term.onData((data) => this.type(data))
    this.term.onBinary((data) => this.channel.send(Uint8Array.from(data, (c) => c.charCodeAt(0))))
    this.term.onResize((size) => {
      this.channel.resize(size)
      this.state.update(size)
    })
    this.term.onTitleChange((title) => this.state.update({ title: title.slice(0, 120) }))
    this.term.attachCustomKeyEventHandler((ev) => this.shortcut(ev))
    this.observer = new ResizeObserver(() => this.refit())
    this.stops.push(dark.subscribe(() => (this.term.options.theme = themeFor(dark.get()))))
    const hurry = () => this.channel.retryNow()
    addEventListener('online', hurry)
    this.stops.push(() => removeEventListener('online', hurry))
  }

  /** attach shows the terminal in an element of the page. */
  attach(parent: HTMLElement): () => void {
    parent.append(this.host)
    if (this.term.element === undefined) {
      this.term.open(this.host)
      void quicken(this.term)
    }
    this.observer.observe(this.host)
    this.refit()
    if (!this.opened) {
      this.opened = true
      this.channel.resize({ cols: this.term.cols, rows: this.term.rows })
      this.channel.open()
    }
    this.term.focus()
    return () => {
      this.observer.disconnect()
      this.host.remove()
    }
  }

  /** type sends what was typed, as a keyboard or the key bar has it. */
  type(data: string): void {
    if (this.ctrl.get() && data.length === 1) {
      this.ctrl.set(false)
      const code = data.toUpperCase().charCodeAt(0)
      if (code >= 0x40 && code < 0x60) data = String.fromCharCode(code & 0x1f)
    }
    this.channel.send(data)
  }

  setFontSize(px: number): void {
    this.term.options.fontSize = px
    this.refit()
  }

  retryNow(): void {
    this.channel.retryNow()
  }

  /** terminate ends the session on the server; the channel then says so. */
  async terminate(): Promise<void> {
    await call('AmazonSSM.TerminateSession', { SessionId: this.id })
  }

  /** dispose forgets the terminal; the session itself is not touched. */
  dispose(): void {
    this.channel.close()
    this.observer.disconnect()
    for (const stop of this.stops) stop()
    this.term.dispose()
    this.host.remove()
  }

  private refit(): void {
    // A hidden terminal has no size, and must not tell one.
    if (this.host.clientWidth < 20 || this.host.clientHeight < 20) return
    this.fit.fit()
  }

  /** Copies and pastes with Ctrl+Shift, so that Ctrl+C and Ctrl+V reach the node. */
  private shortcut(ev: KeyboardEvent): boolean {
    if (ev.type !== 'keydown' || !ev.ctrlKey || ev.altKey || ev.metaKey) return true
    if (ev.shiftKey && ev.code === 'KeyC') {
      ev.preventDefault()
      const selected = this.term.getSelection()
      if (selected !== '') void navigator.clipboard.writeText(selected).catch(() => {})
      return false
    }
    // The browser's own paste event brings the text.
    return !(ev.shiftKey && ev.code === 'KeyV')
  }

  private async resume(): Promise<Grant | null> {
    try {
      const r = await call<Partial<StartedSession>>('AmazonSSM.ResumeSession', { SessionId: this.id }, true)
      if (!r.TokenValue) return null
      return here({ url: r.StreamUrl ?? '', token: r.TokenValue })
    } catch (err) {
      if (err instanceof CallError && FINAL.has(err.code)) throw new GoneError(`${err.code}: ${err.message}`)
      throw err
    }
  }
}

/** here puts a stream URL's path on the console's own origin. */
function here(grant: Grant): Grant {
  if (grant.url === '') return grant
  const u = new URL(grant.url)
  const scheme = location.protocol === 'http:' ? 'ws:' : 'wss:'
  return { url: `${scheme}//${location.host}${u.pathname}${u.search}`, token: grant.token }
}
