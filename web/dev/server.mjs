// A stand-in for the server, to work on the console without one:
//
//   npm run build && npm run fake     then http://localhost:8092/console/
//
// Any user with the password "sekisho" signs in ("mfa" needs the code 000000).
// Node 1 is this machine, and its sessions are real shells; the others show
// the states that a node can be in. Nothing is verified and nothing is safe
// here: it listens on loopback only.

import { spawn, spawnSync } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { WebSocketServer } from 'ws'

const PORT = Number(process.env.PORT ?? 8092)
const dist = fileURLToPath(new URL('../dist', import.meta.url))
const now = () => Date.now() / 1000
const account = '123456789012'
const region = 'eu-central-1'
const arn = (user) => `arn:aws:iam::${account}:user/${user}`

// ── nodes ──────────────────────────────────────────────────────────────────

const base = {
  AgentVersion: '1.0.0',
  PlatformType: 'Linux',
  PlatformName: 'Debian GNU/Linux',
  PlatformVersion: '12',
  ResourceType: 'ManagedInstance',
  IamRole: 'service-role/AmazonEC2RunCommandRoleForManagedInstances',
  RegistrationDate: now() - 86400 * 9,
}
const nodes = process.env.EMPTY
  ? []
  : [
      {
        ...base,
        InstanceId: 'mi-0a1b2c3d4e5f60718',
        Name: 'web-1',
        PingStatus: 'Online',
        IPAddress: '10.0.4.17',
        LastPingDateTime: now() - 4,
        SourceIp: '192.0.2.17',
        Tags: [{ Key: 'env', Value: 'prod' }],
      },
      {
        ...base,
        InstanceId: 'mi-0b2c3d4e5f6071829',
        Name: 'db-primary',
        PingStatus: 'Online',
        IPAddress: '10.0.4.30',
        LastPingDateTime: now() - 55,
        PlatformName: 'Ubuntu',
        PlatformVersion: '24.04',
      },
      {
        ...base,
        InstanceId: 'mi-0c3d4e5f607182930',
        Name: 'build-7',
        PingStatus: 'ConnectionLost',
        IPAddress: '10.0.9.7',
        LastPingDateTime: now() - 86400 * 2.2,
        NotConnectedReason: 'registered, last heard 2 days ago from 10.0.9.7; the connection timed out',
        AgentVersion: '3.3.987.0',
        PlatformName: 'Amazon Linux',
        PlatformVersion: '2023',
      },
      {
        ...base,
        InstanceId: 'mi-0d4e5f60718293a41',
        Name: 'edge-tokyo',
        PingStatus: 'Inactive',
        IPAddress: '',
        AgentVersion: '',
        PlatformName: '',
        PlatformVersion: '',
        PlatformType: '',
      },
    ]
const connected = new Set(['mi-0a1b2c3d4e5f60718', 'mi-0b2c3d4e5f6071829'])

// ── Quick Setup ────────────────────────────────────────────────────────────

const made = new Set()
function quickSetup(apply, chosen = []) {
  const nodesRole = 'AmazonSSMRoleForInstancesQuickSetup'
  const automation = 'AmazonSSMRoleForAutomationAssumeQuickSetup'
  const wanted = [
    ['Role', nodesRole],
    ['Trust', nodesRole],
    ['ManagedPolicy', nodesRole, 'AmazonSSMManagedInstanceCore'],
    ['InstanceProfile', nodesRole],
    ['ProfileRole', nodesRole],
    ['Role', automation],
    ['Trust', automation],
    ['InlinePolicy', automation, 'AttachInstanceRole'],
    ...chosen.map((id) => ['NodeRole', id]),
  ]
  const Steps = wanted.map(([Kind, Resource, Detail]) => {
    const key = `${Kind} ${Resource}`
    const Outcome = made.has(key) ? 'Present' : apply ? 'Made' : 'Missing'
    if (apply) made.add(key)
    if (apply && Kind === 'NodeRole') {
      nodes.find((n) => n.InstanceId === Resource).IamRole = nodesRole
      push('node', Resource)
    }
    return { Kind, Resource, Detail, Outcome, Text: key }
  })
  return {
    Steps,
    Changes: Steps.filter((s) => s.Outcome === 'Made').length,
    Ready: Steps.every((s) => s.Outcome !== 'Missing'),
    Agents: [
      { Architecture: 'amd64', Sha256: '0'.repeat(64), Available: true },
      { Architecture: 'arm64', Available: false },
    ],
  }
}

// ── events ─────────────────────────────────────────────────────────────────

const streams = new Set()
function push(kind, id) {
  for (const res of streams) res.write(`event: ${kind}\ndata: ${JSON.stringify({ id, kind })}\n\n`)
}
setInterval(() => {
  for (const res of streams) res.write(': ping\n\n')
}, 15_000).unref()

// ── frames ─────────────────────────────────────────────────────────────────

function frame(type, seq, payloadType, payload, flags = 0) {
  const body = Buffer.from(payload)
  const b = Buffer.alloc(120 + body.length)
  b.writeUInt32BE(116, 0)
  b.fill(0x20, 4, 36)
  b.write(type, 4, 'ascii')
  b.writeUInt32BE(1, 36)
  b.writeBigUInt64BE(BigInt(Date.now()), 40)
  b.writeBigInt64BE(BigInt(seq), 48)
  b.writeBigUInt64BE(BigInt(flags), 56)
  const id = Buffer.from(randomUUID().replaceAll('-', ''), 'hex')
  id.copy(b, 64, 8, 16)
  id.copy(b, 72, 0, 8)
  createHash('sha256').update(body).digest().copy(b, 80)
  b.writeUInt32BE(payloadType, 112)
  b.writeUInt32BE(body.length, 116)
  body.copy(b, 120)
  return b
}

function parse(b) {
  const id = Buffer.concat([b.subarray(72, 80), b.subarray(64, 72)]).toString('hex')
  return {
    type: b.subarray(4, 36).toString('ascii').trim(),
    seq: Number(b.readBigInt64BE(48)),
    id: id.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'),
    payloadType: b.readUInt32BE(112),
    payload: b.subarray(120),
  }
}

// ── sessions ───────────────────────────────────────────────────────────────

const sessions = new Map()

class Session {
  constructor(owner, target) {
    this.id = `${owner}-${randomUUID().replaceAll('-', '').slice(0, 26)}`
    this.target = target
    this.owner = arn(owner)
    this.start = now()
    this.end = 0
    this.status = 'Connecting'
    this.details = ''
    this.token = randomUUID()
    this.out = 0 // next sequence number to the client
    this.in = 0 // next one expected from it
    this.unacked = new Map()
    this.cast = [
      JSON.stringify({
        version: 3,
        term: { cols: 80, rows: 24, type: 'xterm-256color' },
        timestamp: Math.floor(this.start),
      }) + '\n',
    ]
    this.last = this.start
    sessions.set(this.id, this)
    push('session', this.id)
  }

  record(code, data) {
    const t = now()
    this.cast.push(JSON.stringify([Number((t - this.last).toFixed(6)), code, data]) + '\n')
    this.last = t
  }

  attach(socket) {
    this.socket = socket
    this.status = 'Connected'
    for (const f of this.unacked.values()) socket.send(f)
    if (this.out === 0) {
      this.stream(
        5,
        JSON.stringify({
          AgentVersion: '3.3.0.0',
          RequestedClientActions: [
            { ActionType: 'SessionType', ActionParameters: { SessionType: 'Standard_Stream', Properties: null } },
          ],
        }),
      )
    }
    push('session', this.id)
  }

  stream(payloadType, payload) {
    const f = frame('output_stream_data', this.out, payloadType, payload, this.out === 0 ? 1 : 0)
    this.unacked.set(this.out++, f)
    this.socket?.send(f)
  }

  receive(data) {
    const f = parse(data)
    if (f.type === 'acknowledge') {
      this.unacked.delete(JSON.parse(f.payload).AcknowledgedMessageSequenceNumber)
      return
    }
    if (f.type !== 'input_stream_data' || f.seq > this.in) return
    this.socket.send(
      frame(
        'acknowledge',
        0,
        0,
        JSON.stringify({
          AcknowledgedMessageType: f.type,
          AcknowledgedMessageId: f.id,
          AcknowledgedMessageSequenceNumber: f.seq,
          IsSequentialMessage: true,
        }),
        3,
      ),
    )
    if (f.seq < this.in) return
    this.in++
    if (f.payloadType === 6) {
      this.stream(7, JSON.stringify({ HandshakeTimeToComplete: 1, CustomerMessage: '' }))
    } else if (f.payloadType === 3) {
      const { cols, rows } = JSON.parse(f.payload)
      this.resize(cols, rows)
    } else if (f.payloadType === 1) {
      this.shell?.stdin.write(f.payload)
    }
  }

  resize(cols, rows) {
    this.record('r', `${cols}x${rows}`)
    if (this.shell === undefined) {
      // script(1) gives the shell a terminal; its name comes back first.
      const env = {
        ...process.env,
        TERM: 'xterm-256color',
        PROMPT: '\\[\\e[32m\\]admin@web-1\\[\\e[0m\\]:\\[\\e[34m\\]\\w\\[\\e[0m\\]$ ',
        HISTFILE: '/dev/null',
      }
      this.shell = spawn(
        'script',
        [
          '-qfc',
          `stty cols ${cols} rows ${rows}; tty >&3; export PS1="$PROMPT"; exec bash --norc --noprofile`,
          '/dev/null',
        ],
        { env, cwd: '/tmp', stdio: ['pipe', 'pipe', 'ignore', 'pipe'] },
      )
      this.shell.stdio[3].once('data', (d) => (this.tty = d.toString().trim()))
      this.shell.stdout.on('data', (d) => {
        this.record('o', d.toString())
        for (let i = 0; i < d.length; i += 1024) this.stream(1, d.subarray(i, i + 1024))
      })
      this.shell.on('exit', () => this.close(''))
    } else if (this.tty) {
      spawnSync('stty', ['-F', this.tty, 'cols', cols, 'rows', rows])
    }
  }

  close(reason) {
    if (this.end !== 0) return
    this.end = now()
    this.status = 'Terminated'
    this.details = reason
    this.record('x', '0')
    this.shell?.kill('SIGKILL')
    this.socket?.send(
      frame(
        'channel_closed',
        0,
        0,
        JSON.stringify({
          MessageId: randomUUID(),
          CreatedDate: new Date().toISOString(),
          SessionId: this.id,
          MessageType: 'channel_closed',
          SchemaVersion: 1,
          Output: reason,
        }),
      ),
    )
    this.socket?.close()
    push('session', this.id)
  }

  describe() {
    return {
      SessionId: this.id,
      Target: this.target,
      Status: this.status,
      StartDate: this.start,
      ...(this.end ? { EndDate: this.end } : {}),
      Owner: this.owner,
      DocumentName: 'SSM-SessionManagerRunShell',
      Details: this.details,
    }
  }
}

// Something to see in the history from the start.
if (!process.env.EMPTY) {
  for (const [owner, target, age, length, status, details] of [
    ['alice', 'mi-0b2c3d4e5f6071829', 86400, 1264, 'Terminated', ''],
    ['bob', 'mi-0a1b2c3d4e5f60718', 5400, 1200, 'Terminated', 'Idle for 20 minutes.'],
    ['bob', 'mi-0c3d4e5f607182930', 86400 * 2.5, 12, 'Failed', 'The node did not answer within 30 seconds.'],
  ]) {
    const s = new Session(owner, target)
    Object.assign(s, { start: now() - age, end: now() - age + length, status, details })
    s.last = s.start
    s.cast = [JSON.stringify({ version: 3, term: { cols: 96, rows: 28 }, timestamp: Math.floor(s.start) }) + '\n']
    let t = 0.4
    const say = (text) => {
      s.cast.push(JSON.stringify([Number(t.toFixed(3)), 'o', text]) + '\n')
      t = 0.05 + Math.random() * 0.08
    }
    const prompt = `\x1b[32m${owner}@db-primary\x1b[0m:\x1b[34m~\x1b[0m$ `
    for (const [cmd, out] of [
      ['uptime', ' 12:41:07 up 41 days,  3:22,  1 user,  load average: 0.42, 0.31, 0.27\r\n'],
      [
        'df -h / /var',
        'Filesystem      Size  Used Avail Use% Mounted on\r\n' +
          '/dev/vda1        40G   11G   27G  29% /\r\n' +
          '/dev/vdb1       200G  131G   59G  \x1b[33m70%\x1b[0m /var\r\n',
      ],
      ['systemctl is-active postgresql', '\x1b[32mactive\x1b[0m\r\n'],
      [
        'tail -2 /var/log/postgresql/main.log',
        '2026-11-22 12:38:02 UTC [8123] LOG:  checkpoint starting: time\r\n' +
          '2026-11-22 12:38:31 UTC [8123] LOG:  checkpoint complete: wrote 291 buffers (1.8%)\r\n',
      ],
      ['exit', 'logout\r\n'],
    ]) {
      say(prompt)
      t = 1.2
      for (const c of cmd) say(c)
      t = 0.4
      say('\r\n' + out)
      t = 4
    }
  }
}

// ── calls ──────────────────────────────────────────────────────────────────

class Refused extends Error {
  constructor(code, message) {
    super(message)
    this.code = code
  }
}

const operations = {
  'AmazonSSM.DescribeInstanceProperties': (i) => {
    const ids = i.InstancePropertyFilterList?.find((f) => f.key === 'InstanceIds')?.valueSet
    return { InstanceProperties: nodes.filter((n) => !ids || ids.includes(n.InstanceId)) }
  },
  'AmazonSSM.GetConnectionStatus': (i) => ({
    Target: i.Target,
    Status: connected.has(i.Target) ? 'connected' : 'notconnected',
  }),
  'AmazonSSM.StartSession': (i, user) => {
    const n = nodes.find((m) => m.InstanceId === i.Target)
    if (i.Target === 'mi-0b2c3d4e5f6071829') {
      throw new Refused(
        'AccessDeniedException',
        `User: ${arn(user)} is not authorized to perform: ssm:StartSession ` +
          `on resource: arn:aws:ssm:${region}:${account}:managed-instance/${i.Target} ` +
          'because no identity-based policy allows the ssm:StartSession action',
      )
    }
    if (!connected.has(i.Target)) {
      const heard = n?.LastPingDateTime
        ? `, last heard at ${new Date(n.LastPingDateTime * 1000).toISOString()}`
        : ', but was never heard from'
      throw new Refused('TargetNotConnected', `${i.Target} is not connected: it is registered${heard}.`)
    }
    const s = new Session(user, i.Target)
    return {
      SessionId: s.id,
      TokenValue: s.token,
      StreamUrl: `wss://sekisho.invalid/v1/data-channel/${s.id}?role=publish_subscribe`,
    }
  },
  'AmazonSSM.ResumeSession': (i) => {
    const s = sessions.get(i.SessionId)
    if (!s || s.end !== 0)
      throw new Refused('DoesNotExistException', `Session ${i.SessionId} does not exist, or is over.`)
    s.token = randomUUID()
    return {
      SessionId: s.id,
      TokenValue: s.token,
      StreamUrl: `wss://sekisho.invalid/v1/data-channel/${s.id}?role=publish_subscribe`,
    }
  },
  'AmazonSSM.TerminateSession': (i) => {
    sessions.get(i.SessionId)?.close('Terminated by its owner.')
    return { SessionId: i.SessionId }
  },
  'AmazonSSM.DescribeSessions': (i) => {
    const id = i.Filters?.find((f) => f.key === 'SessionId')?.value
    return {
      Sessions: [...sessions.values()]
        .filter((s) => (i.State === 'Active') === (s.end === 0) && (!id || s.id === id))
        .map((s) => s.describe()),
    }
  },
  'AmazonSSM.CreateActivation': () => ({
    ActivationId: randomUUID(),
    ActivationCode: randomUUID().replaceAll('-', '').slice(0, 20),
  }),
  'Sekisho.DescribeQuickSetup': () => quickSetup(false),
  'Sekisho.ApplyQuickSetup': (i) => quickSetup(true, i.InstanceIds),
  'Sekisho.CreateInstallCommand': (i) => {
    const line =
      `{ echo SEKISHO_ACTIVATION_ID=${randomUUID()}; echo SEKISHO_ACTIVATION_CODE=not-a-code; ` +
      `curl -fsSL 'https://sekisho.invalid/install/agent.sh'; } | sudo sh`
    return {
      ActivationId: randomUUID(),
      ExpirationDate: i.ExpirationDate,
      RegistrationLimit: i.RegistrationLimit,
      Command: line,
      UserData: `#cloud-config\nruncmd:\n  - ['sh', '-c', '${line.replaceAll("'", "''")}']\n`,
      UninstallCommand: `${line} -s -- --uninstall`,
    }
  },
  'Sekisho.GetSessionRecording': (i) => {
    const s = sessions.get(i.SessionId)
    if (!s) throw new Refused('ResourceNotFoundException', `There is no recording of session ${i.SessionId}.`)
    const all = Buffer.from(s.cast.join(''))
    const data = all.subarray(i.StartOffset ?? 0, (i.StartOffset ?? 0) + 1048576)
    const next = (i.StartOffset ?? 0) + data.length
    return {
      SessionId: s.id,
      Data: data.toString('base64'),
      NextOffset: next,
      TotalBytes: all.length,
      Complete: next === all.length && s.end !== 0,
      Sealed: s.end !== 0,
      Live: s.end === 0,
    }
  },
  'Sekisho.VerifySessionRecording': (i) => ({
    SessionId: i.SessionId,
    Verified: true,
    Problem: '',
    Sealed: true,
    Live: false,
    KeyFingerprint: 'SHA256:2jmj7l5rSw0yVb/vlWAYkK/YBwkYm0s4Hq2ApOUXm9U',
  }),
}

// ── the server ─────────────────────────────────────────────────────────────

const signIns = new Map()
const types = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
}
const CSP =
  "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
  "font-src 'self' data:; connect-src 'self' ws://localhost:*; object-src 'none'; base-uri 'none'; " +
  "form-action 'self'; frame-ancestors 'none'"

const server = createServer(async (req, res) => {
  const path = new URL(req.url, 'http://x').pathname
  const answer = (status, body, headers = {}) => {
    res.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store', ...headers })
    res.end(body === undefined ? undefined : JSON.stringify(body))
  }
  const token = /__Host-sekisho=([^;]+)/.exec(req.headers.cookie ?? '')?.[1]
  const user = signIns.get(token)
  const who = (u) => ({
    user: u,
    arn: arn(u),
    account,
    region,
    csrf: 'csrf',
    expires: new Date(Date.now() + 43_200_000).toISOString(),
    ...(nodes[0] ? { target: nodes[0].InstanceId } : {}),
  })
  let body = ''
  for await (const chunk of req) body += chunk

  if (path === '/') return res.writeHead(302, { Location: '/console/' }).end()
  if (path === '/console/api/session') {
    if (req.method === 'POST') {
      const i = JSON.parse(body)
      if (i.password !== 'sekisho') return answer(401, { message: 'The user name or password is incorrect.' })
      if (i.user === 'mfa' && i.code !== '000000')
        return answer(401, {
          message: i.code
            ? 'The code is incorrect. Wait for the next one and try again.'
            : 'Enter the code that your authenticator shows.',
          mfaRequired: true,
        })
      const t = randomUUID()
      signIns.set(t, i.user)
      return answer(200, who(i.user), {
        'Set-Cookie': `__Host-sekisho=${t}; Path=/; Secure; HttpOnly; SameSite=Strict`,
      })
    }
    if (req.method === 'DELETE') {
      signIns.delete(token)
      return answer(204)
    }
    return user ? answer(200, who(user)) : answer(401, { message: 'You are not signed in.' })
  }
  if (path === '/console/api/events') {
    if (!user) return answer(401, {})
    res.writeHead(200, { 'Content-Type': 'text/event-stream' })
    res.write('retry: 2000\n\n')
    streams.add(res)
    req.on('close', () => streams.delete(res))
    res.on('close', () => streams.delete(res))
    return
  }
  if (path === '/console/api/aws') {
    const requestId = randomUUID()
    const refuse = (status, code, message) =>
      answer(status, { __type: code, message }, { 'x-amzn-RequestId': requestId })
    if (!user) return refuse(401, 'ExpiredTokenException', 'You are not signed in.')
    const op = operations[req.headers['x-amz-target']]
    if (!op) return refuse(400, 'UnknownOperationException', `${req.headers['x-amz-target']} is not implemented.`)
    try {
      return answer(200, op(JSON.parse(body), user), { 'x-amzn-RequestId': requestId })
    } catch (err) {
      return refuse(400, err.code ?? 'InternalServerError', err.message)
    }
  }
  // For tests: flip a node's connection, or cut every data channel.
  if (path === '/fake/flip') {
    const id = nodes[2].InstanceId
    if (!connected.delete(id)) connected.add(id)
    Object.assign(
      nodes[2],
      connected.has(id) ? { PingStatus: 'Online', LastPingDateTime: now() } : { PingStatus: 'ConnectionLost' },
    )
    push('node', id)
    return answer(204)
  }
  if (path === '/fake/cut') {
    for (const s of sessions.values()) s.socket?.terminate()
    return answer(204)
  }
  if (path.startsWith('/console')) {
    let file = join(dist, path.slice('/console/'.length))
    if (extname(file) === '' || !existsSync(file)) file = join(dist, 'index.html')
    res.writeHead(200, {
      'Content-Type': types[extname(file)] ?? 'application/octet-stream',
      'Content-Security-Policy': CSP,
    })
    return res.end(readFileSync(file))
  }
  answer(404, {})
})

const sockets = new WebSocketServer({ noServer: true })
server.on('upgrade', (req, socket, head) => {
  const s = sessions.get(decodeURIComponent(/^\/v1\/data-channel\/([^?]+)/.exec(req.url)?.[1] ?? ''))
  if (!s) return socket.destroy()
  sockets.handleUpgrade(req, socket, head, (ws) => {
    ws.once('message', (first) => {
      if (JSON.parse(first).TokenValue !== s.token) return ws.close(1008, 'the token is not valid')
      s.attach(ws)
      ws.on('message', (data) => s.receive(data))
    })
  })
})
server.listen(PORT, '127.0.0.1', () => console.log(`http://localhost:${PORT}/console/`))
