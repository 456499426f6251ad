import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  DataChannel,
  GoneError,
  type ChannelOptions,
  type ChannelState,
  type Grant,
  type Saved,
  type WireSocket,
} from '../src/datachannel'
import { cipherOf, type Cipher } from '../src/seal'
import { decode, encode, newMessageId, type Frame } from '../src/frame'

const str = (b: Uint8Array) => Buffer.from(b).toString()

class FakeSocket implements WireSocket {
  binaryType = ''
  onopen: ((ev: Event) => void) | null = null
  onmessage: ((ev: MessageEvent) => void) | null = null
  onclose: ((ev: CloseEvent) => void) | null = null
  onerror: ((ev: Event) => void) | null = null
  text: string[] = []
  frames: Frame[] = []
  closed = false
  constructor(readonly url: string) {}

  send(data: string | Uint8Array) {
    if (typeof data === 'string') this.text.push(data)
    else this.frames.push(decode(data))
  }
  close() {
    this.closed = true
  }

  accept() {
    this.onopen?.({} as Event)
  }
  drop(reason = '') {
    this.onclose?.({ reason } as CloseEvent)
  }
  deliver(f: Frame) {
    const bytes = encode(f)
    this.onmessage?.({ data: bytes.buffer } as MessageEvent)
    return f
  }
  deliverRaw(bytes: Uint8Array) {
    this.onmessage?.({ data: Uint8Array.from(bytes).buffer } as MessageEvent)
  }
  output(seq: number, payload: string, payloadType = 1) {
    return this.deliver(frame('output_stream_data', seq, payloadType, payload))
  }
  acknowledge(seq: number) {
    this.deliver(
      frame(
        'acknowledge',
        0,
        0,
        JSON.stringify({
          AcknowledgedMessageType: 'input_stream_data',
          AcknowledgedMessageSequenceNumber: seq,
          IsSequentialMessage: true,
        }),
      ),
    )
  }

  get stream() {
    return this.frames.filter((f) => f.messageType === 'input_stream_data')
  }
  get acks() {
    return this.frames
      .filter((f) => f.messageType === 'acknowledge')
      .map(
        (f) =>
          JSON.parse(str(f.payload)) as { AcknowledgedMessageSequenceNumber: number; AcknowledgedMessageId: string },
      )
  }
  get ackedSeqs() {
    return this.acks.map((a) => a.AcknowledgedMessageSequenceNumber)
  }
}

function frame(messageType: string, sequenceNumber: number, payloadType: number, payload: string): Frame {
  return {
    messageType,
    schemaVersion: 1,
    createdDate: Date.now(),
    sequenceNumber,
    flags: sequenceNumber === 0 ? 1 : 0,
    messageId: newMessageId(),
    payloadType,
    payload: Buffer.from(payload),
  }
}

// Handshake bodies as the agent sends them for a shell.
const handshakeRequest = (sessionType = 'Standard_Stream', extra: object[] = []) =>
  JSON.stringify({
    AgentVersion: '3.3.0.0',
    RequestedClientActions: [
      { ActionType: 'SessionType', ActionParameters: { SessionType: sessionType, Properties: null } },
      ...extra,
    ],
  })
const handshakeComplete = (message = '') =>
  JSON.stringify({ HandshakeTimeToComplete: 20712449, CustomerMessage: message })

function open(overrides: Partial<ChannelOptions> = {}, saved?: Saved) {
  const sockets: FakeSocket[] = []
  const states: ChannelState[] = []
  let out = ''
  const channel = new DataChannel(
    {
      grant: { url: 'wss://host/v1/data-channel/s-1?role=publish_subscribe', token: 'token-1' },
      clientId: '43da3921-93fe-4a00-8000-000000000000',
      resume: () => Promise.resolve<Grant | null>({ url: '', token: 'token-2' }),
      dial: (url) => {
        const s = new FakeSocket(url)
        sockets.push(s)
        return s
      },
      onOutput: (b) => {
        out += str(b)
      },
      onState: (s) => states.push(s),
      ...overrides,
    },
    saved,
  )
  channel.resize({ cols: 120, rows: 33 })
  if (saved === undefined) channel.open()
  else channel.takeUp()
  return {
    channel,
    sockets,
    states,
    get socket() {
      return sockets.at(-1)!
    },
    get out() {
      return out
    },
    get state() {
      return states.at(-1)
    },
  }
}

beforeEach(() => {
  vi.useFakeTimers()
  vi.spyOn(console, 'warn').mockImplementation(() => {})
})
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

describe('opening', () => {
  it('sends OpenDataChannel as text first', () => {
    const t = open()
    expect(t.socket.url).toBe('wss://host/v1/data-channel/s-1?role=publish_subscribe')
    expect(t.socket.text).toEqual([])
    t.socket.accept()
    expect(JSON.parse(t.socket.text[0]!)).toEqual({
      MessageSchemaVersion: '1.0',
      RequestId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
      TokenValue: 'token-1',
      ClientId: '43da3921-93fe-4a00-8000-000000000000',
      ClientVersion: 'sekisho-console',
    })
    expect(t.state).toEqual({ kind: 'open' })
  })

  it('completes the handshake, then sends the size, then the input so far', () => {
    const t = open()
    t.socket.accept()
    t.channel.send('early')
    expect(t.socket.stream).toEqual([])
    t.socket.output(0, handshakeRequest(), 5)
    expect(t.socket.ackedSeqs).toEqual([0])
    expect(t.socket.stream).toHaveLength(1)
    const response = t.socket.stream[0]!
    expect([response.sequenceNumber, response.payloadType]).toEqual([0, 6])
    expect(JSON.parse(str(response.payload))).toEqual({
      ClientVersion: '1.3.0.0',
      ProcessedClientActions: [{ ActionType: 'SessionType', ActionStatus: 1, ActionResult: null, Error: '' }],
      Errors: null,
    })
    t.socket.output(1, handshakeComplete(), 7)
    expect(t.socket.stream.slice(1).map((f) => [f.sequenceNumber, f.payloadType, str(f.payload)])).toEqual([
      [1, 3, '{"cols":120,"rows":33}'],
      [2, 1, 'early'],
    ])
  })

  it('starts at the first output of an agent that skips the handshake', () => {
    const t = open()
    t.socket.accept()
    t.socket.output(0, '$ ')
    expect(t.out).toBe('$ ')
    expect(t.socket.stream.map((f) => [f.sequenceNumber, f.payloadType])).toEqual([[0, 3]])
  })

  it('shows the message of the administrator', () => {
    const onMessage = vi.fn()
    const t = open({ onMessage })
    t.socket.accept()
    t.socket.output(0, handshakeRequest(), 5)
    t.socket.output(1, handshakeComplete('Be kind.'), 7)
    expect(onMessage).toHaveBeenCalledWith('Be kind.')
  })

  it.each([
    ['a port session', handshakeRequest('Port'), [2]],
    [
      'encryption',
      handshakeRequest('Standard_Stream', [{ ActionType: 'KMSEncryption', ActionParameters: {} }]),
      [1, 3],
    ],
  ])('refuses %s and says so', (_, request, statuses) => {
    const t = open()
    t.socket.accept()
    t.socket.output(0, request, 5)
    const body = JSON.parse(str(t.socket.stream[0]!.payload)) as {
      ProcessedClientActions: { ActionStatus: number; Error: string }[]
    }
    expect(body.ProcessedClientActions.map((a) => a.ActionStatus)).toEqual(statuses)
    expect(body.ProcessedClientActions.at(-1)!.Error).not.toBe('')
  })
})

describe('receiving', () => {
  it('acknowledges output late while the terminal is behind, and a repetition not at all until then', async () => {
    let release = () => {}
    const t = open({ onOutput: () => new Promise<void>((done) => (release = done)) })
    t.socket.accept()
    const f = t.socket.output(0, 'a')
    t.socket.deliver(f)
    expect(t.socket.ackedSeqs).toEqual([])
    release()
    await vi.advanceTimersByTimeAsync(0)
    expect(t.socket.ackedSeqs).toEqual([0])
    t.socket.deliver(f)
    expect(t.socket.ackedSeqs).toEqual([0, 0])
  })

  it('tells the OS user that the agent reports, and takes large frames from it', () => {
    const users: string[] = []
    const t = open({ onOSUser: (name) => users.push(name) })
    t.socket.accept()
    t.socket.output(
      0,
      JSON.stringify({
        AgentVersion: '4.0.0.0',
        Sekisho: ['jumbo-frames'],
        RequestedClientActions: [
          {
            ActionType: 'SessionType',
            ActionParameters: { SessionType: 'Standard_Stream', Properties: { osUser: 'ops' } },
          },
        ],
      }),
      5,
    )
    expect(users).toEqual(['ops'])
    const answer = JSON.parse(str(t.socket.stream[0]!.payload)) as {
      ProcessedClientActions: { ActionResult: unknown }[]
    }
    expect(answer.ProcessedClientActions[0]!.ActionResult).toEqual({ sekisho: ['large-frames'] })
  })

  it('processes a frame, then acknowledges it with its UUID and number', () => {
    const order: string[] = []
    const t = open({ onOutput: () => void order.push(`out, ${t.socket.acks.length} acks`) })
    t.socket.accept()
    const f = t.socket.output(0, 'a')
    expect(order).toEqual(['out, 0 acks'])
    expect(t.socket.acks[0]).toMatchObject({
      AcknowledgedMessageType: 'output_stream_data',
      AcknowledgedMessageId: f.messageId,
      AcknowledgedMessageSequenceNumber: 0,
      IsSequentialMessage: true,
    })
  })

  it('puts frames back in order', () => {
    const t = open()
    t.socket.accept()
    t.socket.output(2, 'c')
    t.socket.output(1, 'b')
    expect(t.out).toBe('')
    t.socket.output(0, 'a')
    t.socket.output(3, 'd')
    expect(t.out).toBe('abcd')
    expect(t.socket.ackedSeqs).toEqual([2, 1, 0, 3])
  })

  it('acknowledges duplicates again and shows them once', () => {
    const t = open()
    t.socket.accept()
    const f = t.socket.output(0, 'a')
    t.socket.deliver(f)
    t.socket.deliver(f)
    expect(t.out).toBe('a')
    expect(t.socket.ackedSeqs).toEqual([0, 0, 0])
  })

  it('does not acknowledge output that could not be shown', () => {
    let broken = true
    const t = open({
      onOutput: () => {
        if (broken) throw new Error('terminal is gone')
      },
    })
    t.socket.accept()
    expect(() => t.socket.output(0, 'a')).toThrow('terminal is gone')
    expect(t.socket.ackedSeqs).toEqual([])
    broken = false
    t.socket.output(0, 'a')
    expect(t.socket.ackedSeqs).toEqual([0])
  })

  it('drops damaged frames and continues', () => {
    const t = open()
    t.socket.accept()
    const bad = encode(frame('output_stream_data', 0, 1, 'a'))
    bad[bad.length - 1]! ^= 1
    t.socket.deliverRaw(bad)
    expect(t.out).toBe('')
    expect(t.socket.ackedSeqs).toEqual([])
    t.socket.output(0, 'a')
    expect(t.out).toBe('a')
  })

  it('reports the exit code', () => {
    const onExitCode = vi.fn()
    const t = open({ onExitCode })
    t.socket.accept()
    t.socket.output(0, 'EXIT_CODE: 3', 12)
    expect(onExitCode).toHaveBeenCalledWith(3)
    expect(t.out).toBe('')
  })

  it.each([
    ['', true],
    ['Session ended: idle for 20 minutes.', false],
  ])('ends on channel_closed with output %j', (output, clean) => {
    const t = open()
    t.socket.accept()
    t.socket.deliver(
      frame(
        'channel_closed',
        0,
        0,
        JSON.stringify({ MessageType: 'channel_closed', SchemaVersion: 1, Output: output }),
      ),
    )
    expect(t.state).toEqual({ kind: 'ended', reason: output, clean })
    expect(t.socket.closed).toBe(true)
    t.socket.drop()
    vi.advanceTimersByTime(60_000)
    expect(t.sockets).toHaveLength(1)
  })
})

describe('sending', () => {
  function started(overrides: Partial<ChannelOptions> = {}) {
    const t = open(overrides)
    t.socket.accept()
    t.socket.output(0, '$ ')
    t.socket.acknowledge(0)
    t.socket.frames.length = 0
    return t
  }

  it('cuts input into payloads of at most 1024 bytes', () => {
    const t = started()
    t.channel.send('é'.repeat(1000))
    expect(t.socket.stream.map((f) => f.payload.length)).toEqual([1024, 976])
    expect(str(Buffer.concat(t.socket.stream.map((f) => f.payload)))).toBe('é'.repeat(1000))
  })

  it('sends the size only when it changes', () => {
    const t = started()
    t.channel.resize({ cols: 120, rows: 33 })
    t.channel.resize({ cols: 90, rows: 20 })
    t.channel.resize({ cols: 90, rows: 20 })
    expect(t.socket.stream.map((f) => str(f.payload))).toEqual(['{"cols":90,"rows":20}'])
  })

  it('sends the oldest unacknowledged frame again until it is acknowledged', () => {
    const t = started()
    t.channel.send('a')
    t.channel.send('b')
    vi.advanceTimersByTime(2000)
    const again = t.socket.stream.slice(2)
    expect(again.length).toBeGreaterThanOrEqual(1)
    expect(new Set(again.map((f) => f.sequenceNumber))).toEqual(new Set([1]))
    t.socket.acknowledge(1)
    t.socket.acknowledge(2)
    t.socket.frames.length = 0
    vi.advanceTimersByTime(5000)
    expect(t.socket.stream).toEqual([])
  })

  it('holds back input beyond its window', () => {
    const t = started()
    t.channel.send(new Uint8Array(400 * 1024))
    expect(t.socket.stream).toHaveLength(256)
    for (let seq = 1; seq <= 256; seq++) t.socket.acknowledge(seq)
    expect(t.socket.stream).toHaveLength(400)
  })

  it('reports when the node stops responding, and when it responds again', () => {
    const onStall = vi.fn()
    const t = started({ onStall })
    t.channel.send('a')
    vi.advanceTimersByTime(4000)
    expect(onStall.mock.calls).toEqual([[true]])
    t.socket.acknowledge(1)
    expect(onStall.mock.calls).toEqual([[true], [false]])
  })
})

describe('reconnecting', () => {
  it('resumes with a new token, continues the sequence, resends unacknowledged frames', async () => {
    const t = open()
    t.socket.accept()
    t.socket.output(0, '$ ')
    t.socket.acknowledge(0)
    t.channel.send('lost')
    t.socket.drop('')
    expect(t.state).toMatchObject({ kind: 'reconnecting', attempt: 1 })
    t.channel.send('typed meanwhile')
    await vi.advanceTimersByTimeAsync(1000)
    expect(t.sockets).toHaveLength(2)
    expect(t.socket.url).toBe('wss://host/v1/data-channel/s-1?role=publish_subscribe')
    t.socket.accept()
    expect(JSON.parse(t.socket.text[0]!)).toMatchObject({ TokenValue: 'token-2' })
    expect(t.socket.stream.map((f) => [f.sequenceNumber, str(f.payload)])).toEqual([
      [1, 'lost'],
      [2, 'typed meanwhile'],
    ])
    t.socket.output(0, '$ ')
    t.socket.output(1, 'more')
    expect(t.out).toBe('$ more')
  })

  it('does not repeat the handshake', async () => {
    const t = open()
    t.socket.accept()
    t.socket.output(0, handshakeRequest(), 5)
    t.socket.acknowledge(0)
    t.socket.drop()
    await vi.advanceTimersByTimeAsync(1000)
    t.socket.accept()
    t.socket.output(0, handshakeRequest(), 5)
    expect(t.socket.ackedSeqs).toEqual([0])
    expect(t.socket.stream).toEqual([])
  })

  it('retries while the server is down', async () => {
    let calls = 0
    const t = open({
      resume: () =>
        ++calls < 4 ? Promise.reject(new Error('fetch failed')) : Promise.resolve({ url: '', token: 't' }),
    })
    t.socket.accept()
    t.socket.drop()
    await vi.advanceTimersByTimeAsync(10_000)
    expect(calls).toBe(4)
    expect(t.sockets).toHaveLength(2)
  })

  it('ends when the session has ended, or the server refuses permanently', async () => {
    const over = open({ resume: () => Promise.resolve(null) })
    over.socket.accept()
    over.socket.drop()
    await vi.advanceTimersByTimeAsync(1000)
    expect(over.state).toEqual({ kind: 'ended', reason: 'The session timed out.', clean: false })

    const refused = open({ resume: () => Promise.reject(new GoneError('AccessDeniedException: no')) })
    refused.socket.accept()
    refused.socket.drop()
    await vi.advanceTimersByTimeAsync(1000)
    expect(refused.state).toEqual({ kind: 'ended', reason: 'AccessDeniedException: no', clean: false })
  })

  it('closes a connection that went silent', async () => {
    const t = open()
    t.socket.accept()
    t.socket.output(0, '$ ')
    await vi.advanceTimersByTimeAsync(22_000)
    expect(t.sockets.length).toBeGreaterThan(1)
    expect(t.sockets[0]!.closed).toBe(true)
  })

  it('retries at once on request', async () => {
    const t = open()
    t.socket.accept()
    t.socket.drop()
    t.channel.retryNow()
    await vi.advanceTimersByTimeAsync(0)
    expect(t.sockets).toHaveLength(2)
    await vi.advanceTimersByTimeAsync(1000)
    expect(t.sockets).toHaveLength(2)
  })
})

describe('a reloaded page', () => {
  /** What a page leaves, as its storage gives it back. */
  const left = (t: ReturnType<typeof open>) => JSON.parse(JSON.stringify(t.channel.save())) as Saved

  it('continues where the last one stopped, without loss or repetition', async () => {
    const before = open()
    before.socket.accept()
    before.socket.output(0, handshakeRequest(), 5)
    before.socket.output(1, handshakeComplete(), 7)
    before.socket.acknowledge(0)
    before.socket.acknowledge(1)
    before.socket.output(2, 'seen ')
    before.socket.output(4, 'early ') // acknowledged, though it waits for its turn
    before.channel.send('typed')
    const saved = left(before)
    expect(JSON.stringify(saved)).not.toContain('token')
    before.socket.output(3, 'too late ') // nobody would show it
    expect([before.out, before.socket.ackedSeqs]).toEqual(['seen ', [0, 1, 2, 4]])

    const after = open({}, saved)
    await vi.advanceTimersByTimeAsync(0)
    after.socket.accept()
    expect(JSON.parse(after.socket.text[0]!)).toMatchObject({ TokenValue: 'token-2', ClientId: saved.clientId })
    expect(after.socket.stream.map((f) => [f.sequenceNumber, str(f.payload)])).toEqual([[2, 'typed']])
    after.socket.output(2, 'seen ') // again
    after.socket.output(3, 'missing ')
    expect(after.out).toBe('missing early ')
    expect(after.socket.ackedSeqs).toEqual([2, 3])
    after.channel.send('more')
    expect(after.socket.stream.at(-1)).toMatchObject({ sequenceNumber: 3 })
  })

  it('sends the new size of its window once', async () => {
    const before = open()
    before.socket.accept()
    before.socket.output(0, '$ ')
    before.socket.acknowledge(0)
    const after = open({}, left(before))
    await vi.advanceTimersByTimeAsync(0)
    after.socket.accept()
    expect(after.socket.stream).toEqual([])
    after.channel.resize({ cols: 80, rows: 20 })
    expect(after.socket.stream.map((f) => str(f.payload))).toEqual(['{"cols":80,"rows":20}'])
  })

  it('keeps input from before the node was ready', async () => {
    const before = open()
    before.channel.send('ls')
    const after = open({}, left(before))
    await vi.advanceTimersByTimeAsync(0)
    after.socket.accept()
    after.socket.output(0, '$ ')
    expect(after.socket.stream.map((f) => str(f.payload))).toEqual(['{"cols":120,"rows":33}', 'ls'])
  })

  it('learns that the session has ended', async () => {
    const before = open()
    before.socket.accept()
    const after = open({ resume: () => Promise.resolve(null) }, left(before))
    await vi.advanceTimersByTimeAsync(0)
    expect(after.state).toMatchObject({ kind: 'ended' })
  })

  it('gets no state of a session that has ended', () => {
    const t = open()
    t.socket.accept()
    t.channel.close()
    expect(t.channel.save()).toBeNull()
  })
})

describe('an encrypted session', { timeout: 30_000 }, () => {
  const soon = (check: () => void) => vi.waitFor(check, { timeout: 20_000 })
  const wrapped = 'd3JhcHBlZA=='
  const key = Uint8Array.from({ length: 64 }, (_, i) => i)
  const b64 = (b: Uint8Array) => Buffer.from(b).toString('base64')
  const kms = { ActionType: 'KMSEncryption', ActionParameters: { KMSKeyId: 'alias/sessions', Challenge: '' } }
  let node: Cipher // the other end: its halves are the other way round
  beforeEach(async () => {
    vi.useRealTimers()
    node = await cipherOf(Uint8Array.from([...key.slice(32), ...key.slice(0, 32)]))
  })
  const encrypt = async (keyId: string) => {
    expect(keyId).toBe('alias/sessions')
    return { cipher: await cipherOf(key), wrapped }
  }
  const body = (f: Frame) => JSON.parse(str(f.payload)) as Record<string, unknown>
  const raw = (t: ReturnType<typeof open>, seq: number, payload: Uint8Array, payloadType = 1) =>
    t.socket.deliver({ ...frame('output_stream_data', seq, payloadType, ''), payload })

  async function opened(overrides: Partial<ChannelOptions> = {}) {
    const t = open({ encrypt, ...overrides })
    t.socket.accept()
    t.socket.output(0, handshakeRequest('Standard_Stream', [kms]), 5)
    await soon(() => expect(t.socket.stream).toHaveLength(1))
    expect(body(t.socket.stream[0]!)['ProcessedClientActions']).toEqual([
      { ActionType: 'SessionType', ActionStatus: 1, ActionResult: null, Error: '' },
      {
        ActionType: 'KMSEncryption',
        ActionStatus: 1,
        ActionResult: { KMSCipherTextKey: wrapped, KMSCipherTextHash: null },
        Error: '',
      },
    ])
    const secret = Uint8Array.from([1, 2, 3])
    t.socket.output(1, JSON.stringify({ Challenge: b64(await node.seal(secret)) }), 8)
    await soon(() => expect(t.socket.stream).toHaveLength(2))
    const answer = t.socket.stream[1]!
    expect(answer.payloadType).toBe(9)
    expect(await node.open(Buffer.from(String(body(answer)['Challenge']), 'base64'))).toEqual(secret)
    t.socket.output(2, handshakeComplete(), 7)
    return t
  }

  it('proves that it has the key, then encrypts input and decrypts output', async () => {
    const t = await opened()
    for (const word of ['one ', 'two ', 'three ']) t.channel.send(word)
    await soon(() => expect(t.socket.stream).toHaveLength(6))
    const typed = t.socket.stream.slice(3)
    expect(typed.map((f) => f.sequenceNumber)).toEqual([3, 4, 5])
    expect(typed.some((f) => /one|two|three/.test(str(f.payload)))).toBe(false)
    expect(await Promise.all(typed.map(async (f) => str(await node.open(f.payload))))).toEqual([
      'one ',
      'two ',
      'three ',
    ])

    // The second comes first, and the first again while it is being opened.
    const [a, b] = [await node.seal(Buffer.from('A')), await node.seal(Buffer.from('B'))]
    raw(t, 4, b)
    raw(t, 3, a)
    raw(t, 3, a)
    await soon(() => expect(t.out).toBe('AB'))
    expect(t.socket.ackedSeqs).toEqual([0, 1, 2, 4, 3])
    raw(t, 3, a)
    expect(t.socket.ackedSeqs).toEqual([0, 1, 2, 4, 3, 3])
  })

  it('acknowledges output only once it is decrypted', async () => {
    const t = await opened()
    raw(t, 3, await node.seal(Buffer.from('A')))
    const saved = t.channel.save()!
    expect([saved.nextIn, saved.wrapped, t.socket.ackedSeqs.includes(3)]).toEqual([3, wrapped, false])
  })

  it('saves input that is being encrypted', async () => {
    const t = await opened()
    t.channel.send('half')
    expect(t.channel.save()!.waiting).toEqual([[1, b64(Buffer.from('half'))]])
  })

  it.each([
    ['in the clear', () => Promise.resolve(Buffer.from('$ '))],
    ['of another key', async () => (await cipherOf(new Uint8Array(64))).seal(Buffer.from('$ '))],
  ])('ends when something comes %s', async (_, payload) => {
    const onForged = vi.fn()
    const t = await opened({ onForged })
    raw(t, 3, await payload())
    await soon(() => expect(onForged).toHaveBeenCalledOnce())
    expect(t.state).toMatchObject({ kind: 'ended', clean: false })
    expect(t.out).toBe('')
  })

  it('ends when the node does not have the key', async () => {
    const onForged = vi.fn()
    const t = open({ encrypt, onForged })
    t.socket.accept()
    t.socket.output(0, handshakeRequest('Standard_Stream', [kms]), 5)
    await soon(() => expect(t.socket.stream).toHaveLength(1))
    t.socket.output(1, JSON.stringify({ Challenge: b64(new Uint8Array(80)) }), 8)
    await soon(() => expect(onForged).toHaveBeenCalledOnce())
  })

  it('reports to the node why there is no key', async () => {
    const t = open({ encrypt: () => Promise.reject(new Error('not authorized to perform: kms:GenerateDataKey')) })
    t.socket.accept()
    t.socket.output(0, handshakeRequest('Standard_Stream', [kms]), 5)
    await soon(() => expect(t.socket.stream).toHaveLength(1))
    const answers = body(t.socket.stream[0]!)['ProcessedClientActions'] as { ActionStatus: number; Error: string }[]
    expect([answers[1]!.ActionStatus, answers[1]!.Error]).toEqual([2, expect.stringContaining('kms:GenerateDataKey')])
  })
})
