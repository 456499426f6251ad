// LiveSession is one terminal and its data channel. It lives outside React: the
// page can hide and show it while the session continues.

import '@xterm/xterm/css/xterm.css'
import { FitAddon } from '@xterm/addon-fit'
import { SearchAddon } from '@xterm/addon-search'
import { WebLinksAddon } from '@xterm/addon-web-links'
import { Terminal } from '@xterm/xterm'
import * as v from 'valibot'
import { call, CallError, IGNORED } from './api'
import { fromBase64, toBase64 } from './base64'
import { guardClipboard, type Clipboard } from './clipboard'
import { DataChannel, GoneError, type ChannelState, type Grant, type Saved } from './datachannel'
import { newMessageId } from './frame'
import { OutputFlow } from './output-flow'
import { cipherOf, type Cipher } from './seal'
import { here } from './stream-url'
import { Scrollback } from './scrollback'
import { Store } from './store'
import { clipboardSchema } from './schemas'
import type { StartedSession } from './workspace'
import { FONT, quicken, themeFor } from './terminal-look'
import { dark } from './theme'
import { t } from './i18n'

const dataKey = v.object({ CiphertextBlob: v.string(), Plaintext: v.string() })
const plaintext = v.object({ Plaintext: v.string() })
const resumed = v.object({
  SessionId: v.optional(v.string()),
  TokenValue: v.optional(v.string()),
  StreamUrl: v.optional(v.string()),
  ...clipboardSchema,
})

/** SavedSession is what a session needs to resume in another page. It has no token. */
export interface SavedSession {
  id: string
  node: string
  /** The URL of its stream; the channel's token is requested again. */
  url: string
  startedAt: number
  cols: number
  rows: number
  title: string
  message: string
  exitCode: number | null
  osUser: string
  clipboard: Clipboard
  channel: Saved
  /** The last of the output, to show it again. Nothing of an encrypted session. */
  output: string
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
  /** Only this page and the node can read it. */
  encrypted: boolean
  /** The OS user, where the agent reports it. */
  osUser: string
  /** What the session preferences keep the terminal from doing. */
  clipboard: Clipboard
  /** What was last refused for that reason. */
  refused: 'copy' | 'paste' | null
}

/** Errors that a retry does not fix. */
const FINAL = new Set(['AccessDeniedException', 'AccessDenied', 'DoesNotExistException', 'ValidationException'])

/** USER_NAME is what the name of an OS user looks like. */
const USER_NAME = /^[!-~]{1,64}$/

/** How much of the output is kept to be shown again, in bytes. */
const KEPT_OUTPUT = 256 * 1024

/** LiveSession is one open session. */
export class LiveSession {
  readonly id: string
  readonly startedAt: number
  readonly state: Store<LiveState>
  readonly term: Terminal
  readonly search = new SearchAddon()
  private readonly fit = new FitAddon()
  private readonly channel: DataChannel
  private readonly host = document.createElement('div')
  private readonly observer: ResizeObserver
  private readonly stops: (() => void)[] = []
  private readonly url: string
  private readonly shown = new Scrollback(KEPT_OUTPUT)
  private readonly flow = new OutputFlow((data, parsed) => this.term.write(data, parsed))
  /** The key of a session that was taken up, which KMS has to decrypt first. */
  private locked = ''
  /** Old output is being drawn: the terminal's answers to it were already sent. */
  private redrawing = false
  private opened = false
  /** The next key is pressed with Ctrl, as the key bar of a phone has it. */
  readonly ctrl = new Store(false)

  constructor(
    started: StartedSession | SavedSession,
    private readonly node: string,
    fontSize: number,
  ) {
    const saved = 'channel' in started ? started : undefined
    this.id = 'channel' in started ? started.id : started.SessionId
    this.url = 'channel' in started ? started.url : started.StreamUrl
    this.startedAt = saved?.startedAt ?? Date.now()
    this.host.className = 'terminal-host'
    this.term = new Terminal({
      allowProposedApi: true, // the marks of the search
      cursorBlink: true,
      fontFamily: FONT,
      fontSize,
      ...(saved === undefined ? {} : { cols: saved.cols, rows: saved.rows }),
      lineHeight: 1.15,
      scrollback: 10_000,
      macOptionIsMeta: true,
      rightClickSelectsWord: true,
      theme: themeFor(dark.get()),
    })
    this.state = new Store<LiveState>({
      channel: { kind: 'connecting' },
      stalled: false,
      exitCode: saved?.exitCode ?? null,
      message: saved?.message ?? '',
      title: saved?.title ?? '',
      cols: this.term.cols,
      rows: this.term.rows,
      endedAt: 0,
      encrypted: saved !== undefined && saved.channel.wrapped !== '',
      osUser: saved?.osUser ?? '',
      clipboard:
        'channel' in started
          ? started.clipboard
          : { disableCopy: started.DisableCopy, disablePaste: started.DisablePaste },
      refused: null,
    })
    this.term.loadAddon(this.fit)
    this.term.loadAddon(this.search)
    this.term.loadAddon(new WebLinksAddon())

    const options = {
      grant: here({ url: this.url, token: 'channel' in started ? '' : started.TokenValue }),
      clientId: saved?.channel.clientId ?? newMessageId(),
      resume: () => this.resume(),
      encrypt: (keyId: string) => this.encrypt(keyId),
      onForged: () => void this.terminate().catch(() => {}),
      dial: (url: string) => new WebSocket(url),
      onOutput: (data: Uint8Array) => {
        this.shown.push(data)
        return this.flow.push(data)
      },
      onOSUser: (osUser: string) => this.state.update({ osUser: USER_NAME.test(osUser) ? osUser : '' }),
      onState: (channel: ChannelState) => {
        this.state.update({ channel, endedAt: channel.kind === 'ended' ? Date.now() : 0 })
        if (channel.kind === 'ended') {
          this.term.write('\x1b[?25l')
          this.term.options.disableStdin = true
        }
      },
      onStall: (stalled: boolean) => this.state.update({ stalled }),
      onMessage: (message: string) => this.state.update({ message }),
      onExitCode: (exitCode: number) => this.state.update({ exitCode }),
    }
    this.channel = new DataChannel(options, saved?.channel)

    this.term.onData((data) => this.redrawing || this.type(data))
    this.term.onBinary((data) => this.redrawing || this.channel.send(Uint8Array.from(data, (c) => c.charCodeAt(0))))
    this.term.onResize((size) => {
      this.channel.resize(size)
      this.state.update(size)
    })
    this.term.onTitleChange((title) => this.state.update({ title: title.slice(0, 120) }))
    this.term.attachCustomKeyEventHandler((ev) => this.shortcut(ev))
    this.observer = new ResizeObserver(() => this.refit())
    this.stops.push(dark.subscribe(() => (this.term.options.theme = themeFor(dark.get()))))
    this.stops.push(
      guardClipboard(
        this.host,
        this.term,
        () => this.state.get().clipboard,
        (refused) => this.state.update({ refused }),
      ),
    )
    const hurry = () => this.channel.retryNow()
    addEventListener('online', hurry)
    this.stops.push(() => removeEventListener('online', hurry))
    if (saved !== undefined) this.takeUp(saved)
  }

  /** takeUp restores the screen and resumes at once, because the node is waiting. */
  private takeUp(saved: SavedSession): void {
    this.locked = saved.channel.wrapped
    const output = fromBase64(saved.output)
    this.shown.push(output)
    this.redrawing = true
    this.term.write(output, () => (this.redrawing = false))
    this.opened = true
    this.channel.takeUp()
  }

  /**
   * save is for the last moment of a page; see DataChannel.save. At most so
   * many bytes of output are saved with it.
   */
  save(output: number): SavedSession | null {
    const channel = this.channel.save()
    if (channel === null || !this.opened) return null
    const { cols, rows, title, message, exitCode, osUser, clipboard } = this.state.get()
    return {
      id: this.id,
      node: this.node,
      url: this.url,
      startedAt: this.startedAt,
      cols,
      rows,
      title,
      message,
      exitCode,
      osUser,
      clipboard,
      channel,
      output: channel.wrapped === '' ? toBase64(this.shown.bytes(output)) : '',
    }
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

  /** terminate ends the session on the server; the channel then reports it. */
  async terminate(): Promise<void> {
    await call('AmazonSSM.TerminateSession', { SessionId: this.id }, IGNORED)
  }

  /** dispose releases the terminal; the session itself continues. */
  dispose(): void {
    this.channel.close()
    this.observer.disconnect()
    for (const stop of this.stops) stop()
    this.term.dispose()
    this.host.remove()
  }

  private refit(): void {
    // A hidden terminal has no size, and must not report one.
    if (this.host.clientWidth < 20 || this.host.clientHeight < 20) return
    this.fit.fit()
  }

  /** Copies and pastes with Ctrl+Shift, so that Ctrl+C and Ctrl+V reach the node. */
  private shortcut(ev: KeyboardEvent): boolean {
    if (ev.type !== 'keydown' || !ev.ctrlKey || ev.altKey || ev.metaKey) return true
    if (ev.shiftKey && ev.code === 'KeyC') {
      ev.preventDefault()
      const selected = this.term.getSelection()
      if (this.state.get().clipboard.disableCopy) this.state.update({ refused: 'copy' })
      else if (selected !== '') void navigator.clipboard.writeText(selected).catch(() => {})
      return false
    }
    // The browser's own paste event brings the text.
    return !(ev.shiftKey && ev.code === 'KeyV')
  }

  /** What a key of this session is bound to. */
  private get context() {
    return { 'aws:ssm:SessionId': this.id, 'aws:ssm:TargetId': this.node }
  }

  /** encrypt has KMS make a key for this session, as whoever is signed in. */
  private async encrypt(keyId: string): Promise<{ cipher: Cipher; wrapped: string }> {
    const made = await call(
      'TrentService.GenerateDataKey',
      {
        KeyId: keyId,
        NumberOfBytes: 64,
        EncryptionContext: this.context,
      },
      dataKey,
    )
    const cipher = await cipherOf(fromBase64(made.Plaintext))
    this.state.update({ encrypted: true })
    return { cipher, wrapped: made.CiphertextBlob }
  }

  /** unlock gets the key of a session that was taken up. */
  private async unlock(): Promise<void> {
    const key = await call(
      'TrentService.Decrypt',
      { CiphertextBlob: this.locked, EncryptionContext: this.context },
      plaintext,
      true,
    ).catch((err: unknown) => {
      if (!(err instanceof CallError) || ![400, 403].includes(err.status)) throw err // a retry may succeed
      throw new GoneError(t('live.keyLost', { message: err.message }))
    })
    this.channel.sealWith(await cipherOf(fromBase64(key.Plaintext)))
    this.locked = ''
  }

  private async resume(): Promise<Grant | null> {
    try {
      if (this.locked !== '') await this.unlock()
      const r = await call('AmazonSSM.ResumeSession', { SessionId: this.id }, resumed, true)
      this.state.update({ clipboard: { disableCopy: r.DisableCopy, disablePaste: r.DisablePaste } })
      if (!r.TokenValue) return null
      return here({ url: r.StreamUrl ?? '', token: r.TokenValue })
    } catch (err) {
      if (err instanceof CallError && FINAL.has(err.code)) throw new GoneError(`${err.code}: ${err.message}`)
      throw err
    }
  }
}
