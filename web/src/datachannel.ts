// DataChannel is the client leg of a session's data channel: it carries a
// person's keystrokes to the node and the node's output back, in order and
// without loss, across reconnects.
//
// Both directions are numbered from 0, and the numbering lasts as long as the session: a
// new WebSocket after ResumeSession continues where the last one broke. Every stream frame
// is acknowledged after it has been processed, a duplicate is acknowledged again, and our
// unacknowledged frames are resent, oldest first.

import { fromBase64, toBase64 } from './base64'
import { decode, encode, FrameError, MessageType, newMessageId, PayloadType, type Frame } from './frame'
import type { Cipher } from './seal'

/** Grant is the result of StartSession and ResumeSession. */
export interface Grant {
  url: string
  token: string
}

/** Size is a terminal's size in character cells. */
export interface Size {
  cols: number
  rows: number
}

/** ChannelState is the state of the channel that the user sees. */
export type ChannelState =
  | { kind: 'connecting' }
  | { kind: 'open' }
  | { kind: 'reconnecting'; attempt: number; because: string; retryAt: number }
  | { kind: 'ended'; reason: string; clean: boolean }

/** GoneError, thrown by `resume`, means that retrying is pointless. */
export class GoneError extends Error {
  override name = 'GoneError'
}

/** WireSocket is the part of WebSocket that the channel uses. */
export interface WireSocket {
  binaryType: string
  onopen: ((ev: Event) => void) | null
  onmessage: ((ev: MessageEvent) => void) | null
  onclose: ((ev: CloseEvent) => void) | null
  onerror: ((ev: Event) => void) | null
  send(data: string | Uint8Array<ArrayBuffer>): void
  close(code?: number, reason?: string): void
}

/** ChannelOptions connects a channel with its surroundings. */
export interface ChannelOptions {
  grant: Grant
  clientId: string
  /** Requests a new token; null if the session has ended. */
  resume(): Promise<Grant | null>
  dial(url: string): WireSocket
  /**
   * Processes output of the node. It is acknowledged when the function returns, or, if the function
   * returns a promise, when that is fulfilled: until then the node sends at most a window more.
   */
  onOutput(data: Uint8Array): void | Promise<void>
  onState(state: ChannelState): void
  /** The node has stopped acknowledging input, or has resumed. */
  onStall?(stalled: boolean): void
  /** The administrator's message, shown when the session starts. */
  onMessage?(text: string): void
  onExitCode?(code: number): void
  /** The OS user that the program runs as, where the agent reports it. */
  onOSUser?(name: string): void
  /** The node takes input. */
  onStarted?(): void
  /** Processes the node's side of a copy of files. */
  onCopy?(data: Uint8Array): void | Promise<void>
  /**
   * Makes a key for a session that is encrypted end to end, under a key
   * of KMS: the cipher, and the key as the node gets it, in Base64. Without
   * this such sessions are refused.
   */
  encrypt?(keyId: string): Promise<{ cipher: Cipher; wrapped: string }>
  /** A message arrived that the node cannot have sent; the channel has ended. */
  onForged?(): void
}

/**
 * Saved is what a channel needs to resume in another page: the position of each
 * direction, and unacknowledged frames in Base64. It contains no token: the next
 * page requests one.
 */
export interface Saved {
  clientId: string
  nextIn: number
  nextOut: number
  started: boolean
  sentSize: string
  /** Frames of the node that arrived early and were acknowledged. */
  early: string[]
  /** Frames of the person that the node has not acknowledged. */
  unacked: [seq: number, frame: string][]
  /** Input that is not in a frame yet. */
  waiting: [payloadType: number, payload: string][]
  /** The session's key as KMS encrypted it; empty when the session is not encrypted. */
  wrapped: string
}

interface Unacknowledged {
  frame: Uint8Array<ArrayBuffer>
  sentAt: number
  firstSentAt: number
}

const CLIENT_VERSION = 'sekisho-console'
// A client that names a version gets the handshake; the field must look like one.
const HANDSHAKE_VERSION = '1.3.0.0'
const MAX_PAYLOAD = 1024
/** The largest payloads between Sekisho's agent and this channel, in bytes. */
const LARGE_PAYLOAD = 60 * 1024
/** What the channel announces to Sekisho's agent. */
const ABILITIES = ['large-frames']
/** The ability by which Sekisho's agent is known, and that it takes large payloads. */
const JUMBO_FRAMES = 'jumbo-frames'
const MAX_REORDER = 4096
const WINDOW = 256
const RESEND_SCAN_MS = 100
const RTO_START_MS = 200
const RTO_MAX_MS = 1000
const STALL_MS = 3000
const DEAD_MS = 20_000
const DIAL_TIMEOUT_MS = 15_000
const RETRY_FIRST_MS = 150
const RETRY_MAX_MS = 5000

const ACTION_SUCCESS = 1
const ACTION_FAILED = 2
const ACTION_UNSUPPORTED = 3
/** Payload types that the node encrypts in an encrypted session. */
const SEALED = new Set<number>([PayloadType.output, PayloadType.stderr, PayloadType.exitCode, PayloadType.copy])
const SHELL_TYPES = new Set(['Standard_Stream', 'InteractiveCommands', 'NonInteractiveCommands'])

/** Action is something that the node asks for in its handshake. */
interface Action {
  ActionType?: unknown
  ActionParameters?: { SessionType?: unknown; KMSKeyId?: unknown; Properties?: unknown } | null
}

const utf8 = new TextEncoder()
/** The flag that ends a connection; the session then ends by itself. */
const DISCONNECT = Uint8Array.of(0, 0, 0, 1)
const text = (b: Uint8Array) => new TextDecoder().decode(b)

/** DataChannel is one session's client leg. */
export class DataChannel {
  private readonly opts: ChannelOptions
  private grant: Grant
  private socket: WireSocket | null = null
  private state: ChannelState = { kind: 'connecting' }

  private nextIn = 0
  private readonly early = new Map<number, Frame>()

  private nextOut = 0
  private readonly unacked = new Map<number, Unacknowledged>()
  private waiting: { payloadType: number; payload: Uint8Array }[] = []

  private cipher: Cipher | null = null
  private wrapped = ''
  /** The frame of number nextIn is being decrypted. */
  private opening = false
  /** Frames that were processed and are acknowledged later, by their numbers. */
  private readonly owed = new Set<number>()
  /** The agent is Sekisho's. */
  private ours = false
  private sentWaiters: (() => void)[] = []
  /** Payloads that are being encrypted one after the other, oldest first. */
  private sealing: { payloadType: number; payload: Uint8Array }[] = []
  private rtt = 100
  private rttVar = 0
  private rto = RTO_START_MS
  private stalled = false

  /** The node accepts input: the handshake has completed or was skipped. */
  private started = false
  private size: Size = { cols: 80, rows: 24 }
  private sentSize = ''

  private attempt = 0
  private scanTimer: ReturnType<typeof setInterval> | undefined
  private retryTimer: ReturnType<typeof setTimeout> | undefined
  private dialTimer: ReturnType<typeof setTimeout> | undefined

  /** With the state that another page saved, it resumes where that one stopped. */
  constructor(opts: ChannelOptions, saved?: Saved) {
    this.opts = opts
    this.grant = opts.grant
    if (saved === undefined) return
    this.nextIn = saved.nextIn
    this.nextOut = saved.nextOut
    this.started = saved.started
    this.sentSize = saved.sentSize
    this.wrapped = saved.wrapped
    for (const encoded of saved.early) {
      const frame = decode(fromBase64(encoded))
      this.early.set(frame.sequenceNumber, frame)
    }
    for (const [seq, encoded] of saved.unacked)
      this.unacked.set(seq, { frame: fromBase64(encoded), sentAt: 0, firstSentAt: 0 })
    this.waiting = saved.waiting.map(([payloadType, encoded]) => ({ payloadType, payload: fromBase64(encoded) }))
  }

  /** sealWith is for a session that was taken up and is encrypted. */
  sealWith(cipher: Cipher): void {
    this.cipher = cipher
  }

  /** takeUp resumes a session: it requests a token and connects. */
  takeUp(): void {
    this.setState({ kind: 'reconnecting', attempt: 0, because: 'the page was reloaded', retryAt: Date.now() })
    void this.resume()
  }

  /**
   * save is called when the page is about to close. The channel then accepts no more
   * frames, so that the next page receives them. It returns null if there is nothing to
   * resume.
   */
  save(): Saved | null {
    if (this.state.kind === 'ended') return null
    if (this.socket !== null) this.socket.onmessage = null
    return {
      clientId: this.opts.clientId,
      nextIn: this.nextIn,
      nextOut: this.nextOut,
      started: this.started,
      sentSize: this.sentSize,
      early: [...this.early.values()].map((f) => toBase64(encode(f))),
      unacked: [...this.unacked].map(([seq, u]) => [seq, toBase64(u.frame)]),
      wrapped: this.wrapped,
      waiting: [...this.sealing, ...this.waiting].map((w) => [w.payloadType, toBase64(w.payload)]),
    }
  }

  /** open dials for the first time. */
  open(): void {
    this.dial()
  }

  /** send queues what a person typed or pasted. */
  send(data: string | Uint8Array): void {
    if (this.state.kind === 'ended') return
    const bytes = typeof data === 'string' ? utf8.encode(data) : data
    for (let i = 0; i < bytes.length; i += MAX_PAYLOAD) {
      this.waiting.push({ payloadType: PayloadType.output, payload: bytes.slice(i, i + MAX_PAYLOAD) })
    }
    this.flush()
  }

  /** copies reports whether the agent takes copies of files, once the handshake has completed. */
  get copies(): boolean {
    return this.ours && this.started
  }

  /** sendCopy sends a part of a copy, and returns when little of it still waits for the network. */
  async sendCopy(data: Uint8Array): Promise<void> {
    for (let i = 0; i < data.length; i += LARGE_PAYLOAD) {
      if (this.state.kind === 'ended') throw new GoneError(this.state.reason)
      this.waiting.push({ payloadType: PayloadType.copy, payload: data.slice(i, i + LARGE_PAYLOAD) })
      this.flush()
      while (this.waiting.length > 0 && this.live()) await new Promise<void>((done) => this.sentWaiters.push(done))
    }
  }

  private live(): boolean {
    return this.state.kind !== 'ended'
  }

  /** finishCopy says that the copy is over on this side. */
  finishCopy(): void {
    if (this.live()) this.transmit(PayloadType.flag, DISCONNECT)
  }

  /** resize tells the node the size of the terminal, once it is listening. */
  resize(size: Size): void {
    this.size = size
    if (this.started) this.sendSize()
  }

  /** retryNow reconnects without waiting any longer. */
  retryNow(): void {
    if (this.retryTimer === undefined) return
    clearTimeout(this.retryTimer)
    this.retryTimer = undefined
    void this.resume()
  }

  /** close drops the channel without ending the session on the server. */
  close(reason = 'closed'): void {
    this.end(reason, true)
  }

  // ── the socket ───────────────────────────────────────────────────────────

  private dial(): void {
    let socket: WireSocket
    try {
      socket = this.opts.dial(this.grant.url)
    } catch (err) {
      this.lost(err instanceof Error ? err.message : String(err))
      return
    }
    this.socket = socket
    socket.binaryType = 'arraybuffer'
    this.dialTimer = setTimeout(() => this.abandon(socket, 'the server does not answer'), DIAL_TIMEOUT_MS)
    socket.onopen = () => {
      clearTimeout(this.dialTimer)
      socket.send(
        JSON.stringify({
          MessageSchemaVersion: '1.0',
          RequestId: newMessageId(),
          TokenValue: this.grant.token,
          ClientId: this.opts.clientId,
          ClientVersion: CLIENT_VERSION,
        }),
      )
      this.setState({ kind: 'open' })
      const now = Date.now()
      for (const u of this.unacked.values()) {
        u.sentAt = now
        u.firstSentAt = now
        socket.send(u.frame)
      }
      this.scanTimer ??= setInterval(() => this.scan(), RESEND_SCAN_MS)
      this.flush()
    }
    socket.onmessage = (ev) => {
      if (socket === this.socket) this.receive(ev.data)
    }
    socket.onclose = (ev) => {
      if (socket === this.socket) this.lost(ev.reason || 'the connection was lost')
    }
    socket.onerror = () => {}
  }

  /** abandon drops a socket without waiting for its closing handshake. */
  private abandon(socket: WireSocket, because: string): void {
    if (socket !== this.socket) return
    socket.onclose = null
    socket.onmessage = null
    socket.onopen = null
    try {
      socket.close()
    } catch {
      // It was never open.
    }
    this.lost(because)
  }

  private lost(because: string): void {
    if (this.state.kind === 'ended') return
    this.socket = null
    clearTimeout(this.dialTimer)
    clearInterval(this.scanTimer)
    this.scanTimer = undefined
    this.setStalled(false)
    this.attempt++
    const steps = Math.min(this.attempt - 1, 6)
    const delay = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** steps) * (0.8 + Math.random() * 0.4)
    this.setState({ kind: 'reconnecting', attempt: this.attempt, because, retryAt: Date.now() + delay })
    this.retryTimer = setTimeout(() => {
      this.retryTimer = undefined
      void this.resume()
    }, delay)
  }

  private async resume(): Promise<void> {
    let grant: Grant | null
    try {
      grant = await this.opts.resume()
    } catch (err) {
      const message = err instanceof Error ? err.message : String(err)
      if (err instanceof GoneError) this.end(message, false)
      else this.lost(message)
      return
    }
    if (this.state.kind === 'ended') return
    if (grant === null) {
      this.end('The session timed out.', false)
      return
    }
    // The first stream URL stays valid for the life of the session.
    this.grant = { url: grant.url || this.grant.url, token: grant.token }
    this.dial()
  }

  private end(reason: string, clean: boolean): void {
    if (this.state.kind === 'ended') return
    clearTimeout(this.retryTimer)
    clearTimeout(this.dialTimer)
    clearInterval(this.scanTimer)
    this.retryTimer = undefined
    this.scanTimer = undefined
    const socket = this.socket
    this.socket = null
    this.unacked.clear()
    this.early.clear()
    this.waiting = []
    this.sealing = []
    this.setStalled(false)
    this.setState({ kind: 'ended', reason, clean })
    this.wakeSenders()
    try {
      socket?.close(1000)
    } catch {
      // Already closing.
    }
  }

  private setState(state: ChannelState): void {
    this.state = state
    this.opts.onState(state)
  }

  private setStalled(stalled: boolean): void {
    if (stalled === this.stalled) return
    this.stalled = stalled
    this.opts.onStall?.(stalled)
  }

  // ── receiving ────────────────────────────────────────────────────────────

  private receive(data: unknown): void {
    const bytes =
      data instanceof ArrayBuffer ? new Uint8Array(data) : typeof data === 'string' ? utf8.encode(data) : null
    if (bytes === null) return
    let frame: Frame
    try {
      frame = decode(bytes)
    } catch (err) {
      // The peer resends the frame if it was damaged in transit; unknown frames are
      // ignored.
      console.warn('data channel: dropped a frame:', err instanceof FrameError ? err.message : err)
      return
    }
    // A peer that sends a frame has accepted the token: reset the backoff.
    this.attempt = 0
    switch (frame.messageType) {
      case MessageType.output:
        this.receiveStream(frame)
        return
      case MessageType.acknowledge:
        this.receiveAcknowledge(frame)
        return
      case MessageType.channelClosed:
        this.receiveClosed(frame)
        return
    }
  }

  private receiveStream(frame: Frame): void {
    if (frame.sequenceNumber < this.nextIn) {
      if (!this.owed.has(frame.sequenceNumber)) this.acknowledge(frame)
      return
    }
    if (frame.sequenceNumber > this.nextIn) {
      if (this.early.size < MAX_REORDER || this.early.has(frame.sequenceNumber)) {
        this.early.set(frame.sequenceNumber, frame)
        this.acknowledge(frame)
      }
      return
    }
    if (this.opening || !this.take(frame, true)) return
    this.takeEarly()
  }

  private takeEarly(): void {
    for (;;) {
      const next = this.early.get(this.nextIn)
      if (next === undefined || !this.take(next, false)) return
    }
  }

  /**
   * take processes the next frame in order, and then acknowledges it unless that was done
   * before. It returns false while the frame is being decrypted and later ones wait.
   */
  private take(frame: Frame, acknowledge: boolean): boolean {
    const done = (payload: Uint8Array) => {
      this.early.delete(frame.sequenceNumber)
      const processed = this.process(frame.payloadType, payload)
      this.nextIn++
      if (acknowledge) this.acknowledgeAfter(processed, frame)
      this.afterProcess(frame)
    }
    if (this.cipher === null || !SEALED.has(frame.payloadType)) {
      done(frame.payload)
      return true
    }
    this.opening = true
    this.cipher.open(frame.payload).then(
      (payload) => {
        this.opening = false
        if (this.state.kind === 'ended') return
        done(payload)
        this.takeEarly()
      },
      () =>
        this.forged('What the node sent does not decrypt: it was changed on the way, or encrypted with another key.'),
    )
    return false
  }

  private forged(reason: string): void {
    if (this.state.kind === 'ended') return
    this.end(reason, false)
    this.opts.onForged?.()
  }

  private acknowledgeAfter(processed: void | Promise<void>, frame: Frame): void {
    if (processed === undefined) {
      this.acknowledge(frame)
      return
    }
    this.owed.add(frame.sequenceNumber)
    void processed.then(() => {
      this.owed.delete(frame.sequenceNumber)
      this.acknowledge(frame)
    })
  }

  private process(payloadType: number, payload: Uint8Array): void | Promise<void> {
    switch (payloadType) {
      case PayloadType.output:
      case PayloadType.stderr:
        return this.opts.onOutput(payload)
      case PayloadType.copy:
        return this.opts.onCopy?.(payload)
      case PayloadType.exitCode: {
        const code = /^EXIT_CODE: (-?\d+)/.exec(text(payload))
        if (code) this.opts.onExitCode?.(Number(code[1]))
        return
      }
    }
  }

  /** Answers that must follow the acknowledgement of what they answer. */
  private afterProcess(frame: Frame): void {
    switch (frame.payloadType) {
      case PayloadType.handshakeRequest:
        this.answerHandshake(frame)
        return
      case PayloadType.encryptionChallenge:
        void this.answerChallenge(frame)
        return
      case PayloadType.handshakeComplete: {
        const body = parseJSON(frame.payload) as { CustomerMessage?: unknown } | null
        if (typeof body?.CustomerMessage === 'string' && body.CustomerMessage !== '') {
          this.opts.onMessage?.(body.CustomerMessage)
        }
        this.start()
        return
      }
      case PayloadType.output:
        // Some agents skip the handshake; their first output says they are ready.
        this.start()
        return
    }
  }

  private answerHandshake(frame: Frame): void {
    const body = parseJSON(frame.payload) as { RequestedClientActions?: unknown; Sekisho?: unknown } | null
    this.ours = Array.isArray(body?.Sekisho) && body.Sekisho.includes(JUMBO_FRAMES)
    const actions = Array.isArray(body?.RequestedClientActions) ? body.RequestedClientActions : []
    const answers = actions.map((action: unknown) => this.answerAction((action ?? {}) as Action))
    const send = (processed: unknown[]) =>
      this.transmit(
        PayloadType.handshakeResponse,
        utf8.encode(
          JSON.stringify({ ClientVersion: HANDSHAKE_VERSION, ProcessedClientActions: processed, Errors: null }),
        ),
      )
    if (answers.some((a) => a instanceof Promise)) void Promise.all(answers).then(send)
    else send(answers)
  }

  private answerAction(a: Action): object | Promise<object> {
    const type = String(a.ActionType ?? '')
    const answer = (ActionStatus: number, ActionResult: unknown, Error = '') => ({
      ActionType: type,
      ActionStatus,
      ActionResult,
      Error,
    })
    if (type === 'SessionType') {
      const session = String(a.ActionParameters?.SessionType ?? '')
      const properties = a.ActionParameters?.Properties as { osUser?: unknown } | null | undefined
      if (typeof properties?.osUser === 'string') this.opts.onOSUser?.(properties.osUser)
      return SHELL_TYPES.has(session)
        ? answer(ACTION_SUCCESS, this.ours ? { sekisho: ABILITIES } : null)
        : answer(ACTION_FAILED, null, `A browser cannot open a session of type ${session}.`)
    }
    if (type === 'KMSEncryption' && this.opts.encrypt !== undefined) {
      return this.opts.encrypt(String(a.ActionParameters?.KMSKeyId ?? '')).then(
        ({ cipher, wrapped }) => {
          this.cipher = cipher
          this.wrapped = wrapped
          return answer(ACTION_SUCCESS, { KMSCipherTextKey: wrapped, KMSCipherTextHash: null })
        },
        (err: unknown) =>
          answer(
            ACTION_FAILED,
            null,
            `There is no key to encrypt the session with: ${err instanceof Error ? err.message : String(err)}`,
          ),
      )
    }
    return answer(ACTION_UNSUPPORTED, null, `The console does not support ${type}.`)
  }

  /** Proves to the node that this end holds the key. */
  private async answerChallenge(frame: Frame): Promise<void> {
    const body = parseJSON(frame.payload) as { Challenge?: unknown } | null
    try {
      if (this.cipher === null) throw new Error('no encryption was agreed')
      const sealed = await this.cipher.seal(await this.cipher.open(fromBase64(String(body?.Challenge ?? ''))))
      this.transmit(PayloadType.encryptionAnswer, utf8.encode(JSON.stringify({ Challenge: toBase64(sealed) })))
    } catch {
      this.forged('The node did not show that it has the key of the session.')
    }
  }

  private start(): void {
    if (this.started) return
    this.started = true
    if (this.opts.onCopy === undefined) this.sendSize() // a copy has no terminal
    this.flush()
    this.opts.onStarted?.()
  }

  private receiveAcknowledge(frame: Frame): void {
    const body = parseJSON(frame.payload) as { AcknowledgedMessageSequenceNumber?: unknown } | null
    const seq = body?.AcknowledgedMessageSequenceNumber
    if (typeof seq !== 'number') return
    const u = this.unacked.get(seq)
    if (u === undefined) return
    this.unacked.delete(seq)
    const sample = Date.now() - u.sentAt
    this.rttVar = 0.75 * this.rttVar + 0.25 * Math.abs(sample - this.rtt)
    this.rtt = 0.875 * this.rtt + 0.125 * sample
    this.rto = Math.min(RTO_MAX_MS, this.rtt + Math.max(10, 4 * this.rttVar))
    if (this.stalled) this.checkStall()
    this.flush()
  }

  private receiveClosed(frame: Frame): void {
    const body = parseJSON(frame.payload) as { Output?: unknown } | null
    const reason = typeof body?.Output === 'string' ? body.Output : ''
    this.end(reason, reason === '')
  }

  private acknowledge(frame: Frame): void {
    this.socketSend(
      encode({
        messageType: MessageType.acknowledge,
        schemaVersion: 1,
        createdDate: Date.now(),
        sequenceNumber: 0,
        flags: 3,
        messageId: newMessageId(),
        payloadType: PayloadType.none,
        payload: utf8.encode(
          JSON.stringify({
            AcknowledgedMessageType: frame.messageType,
            AcknowledgedMessageId: frame.messageId,
            AcknowledgedMessageSequenceNumber: frame.sequenceNumber,
            IsSequentialMessage: true,
          }),
        ),
      }),
    )
  }

  // ── sending ──────────────────────────────────────────────────────────────

  private sendSize(): void {
    const body = JSON.stringify({ cols: this.size.cols, rows: this.size.rows })
    if (body === this.sentSize || this.state.kind === 'ended') return
    this.sentSize = body
    this.transmit(PayloadType.size, utf8.encode(body))
  }

  private flush(): void {
    if (!this.started || this.socket === null || this.state.kind !== 'open') return
    while (this.waiting.length > 0 && this.unacked.size + this.sealing.length < WINDOW) {
      const next = this.waiting.shift()!
      if (this.cipher === null) this.transmit(next.payloadType, next.payload)
      else if (this.sealing.push(next) === 1) void this.sealAll(this.cipher)
    }
    if (this.waiting.length === 0) this.wakeSenders()
  }

  private wakeSenders(): void {
    const waiters = this.sentWaiters
    this.sentWaiters = []
    for (const wake of waiters) wake()
  }

  /** sealAll encrypts and sends queued data in order. */
  private async sealAll(cipher: Cipher): Promise<void> {
    for (let next = this.sealing[0]; next !== undefined; next = this.sealing[0]) {
      const sealed = await cipher.seal(next.payload)
      if (this.state.kind === 'ended') return
      this.transmit(next.payloadType, sealed)
      this.sealing.shift()
    }
  }

  /** transmit numbers a payload and sends it; it is kept until acknowledged. */
  private transmit(payloadType: number, payload: Uint8Array): void {
    const seq = this.nextOut++
    const frame = encode({
      messageType: MessageType.input,
      schemaVersion: 1,
      createdDate: Date.now(),
      sequenceNumber: seq,
      flags: 0,
      messageId: newMessageId(),
      payloadType,
      payload,
    })
    const now = Date.now()
    this.unacked.set(seq, { frame, sentAt: now, firstSentAt: now })
    this.socketSend(frame)
  }

  private socketSend(frame: Uint8Array<ArrayBuffer>): void {
    if (this.state.kind === 'open') this.socket?.send(frame)
  }

  /** scan resends the oldest unacknowledged frame when it is overdue. */
  private scan(): void {
    const oldest = this.unacked.values().next().value
    if (oldest === undefined || this.socket === null) {
      this.setStalled(false)
      return
    }
    const now = Date.now()
    if (now - oldest.firstSentAt > DEAD_MS) {
      this.abandon(this.socket, 'the server went silent')
      return
    }
    this.checkStall()
    if (now - oldest.sentAt > this.rto) {
      oldest.sentAt = now
      this.socket.send(oldest.frame)
    }
  }

  private checkStall(): void {
    const oldest = this.unacked.values().next().value
    this.setStalled(oldest !== undefined && Date.now() - oldest.firstSentAt > STALL_MS)
  }
}

function parseJSON(payload: Uint8Array): unknown {
  try {
    return JSON.parse(text(payload))
  } catch {
    return null
  }
}
