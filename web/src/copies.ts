// Files that are copied to and from a node: each copy is a session of its own with the document
// Sekisho-Copy, so that policy, recording and the audit trail apply to it.

import { myRights } from './access'
import { call, IGNORED } from './api'
import { CopyError, Frames, receiveFile, sendFile } from './copy-protocol'
import { DataChannel } from './datachannel'
import { newMessageId } from './frame'
import { t } from './i18n'
import { here } from './stream-url'
import { saveFile } from './save-file'
import { Store } from './store'
import { startedSession, type Target } from './workspace'

/** DOCUMENT is the session document of copies. */
const DOCUMENT = 'Sekisho-Copy'
/** MOST_BYTES bounds a copied file: a download is held in memory. */
export const MOST_BYTES = 512 * 1024 * 1024
/** MOST_COPIES bounds the copies that run at a time; further ones wait. */
const MOST_COPIES = 2
/** MOST_WAITING bounds the copies that are listed. */
export const MOST_WAITING = 100

/** FAREWELL_MS is how long the end of a copy may still be acknowledged. */
const FAREWELL_MS = 2000

/** Copy is one file that is copied. */
export interface Copy {
  key: number
  node: string
  direction: 'upload' | 'download'
  name: string
  size: number
  done: number
  state: 'waiting' | 'running' | 'complete' | 'failed' | 'cancelled'
  error?: unknown
}

interface Work extends Copy {
  path: string
  reason?: string
  file?: File
}

/** copies lists the copies of this page, the newest last. */
export const copies = new Store<readonly Copy[]>([])

let made = 0
const works = new Map<number, Work>()
const cancels = new Map<number, () => void>()

const publish = () =>
  copies.set([...works.values()].map(({ file: _file, path: _path, reason: _reason, ...shown }) => shown))

/** mayCopy asks whether policy allows copies to and from a node. */
export async function mayCopy(node: string): Promise<boolean> {
  const answers = await myRights([
    { Action: 'ssm:StartSession', Target: node },
    { Action: 'ssm:StartSession', DocumentName: DOCUMENT },
  ])
  return answers.every((a) => a.allowed)
}

/** upload copies files into a folder of a node; '' is the home of the session's user. */
export function upload(target: Target, folder: string, files: readonly File[]): void {
  const into = folder.trim() === '' ? './' : folder.trim().replace(/\/*$/, '/')
  for (const file of files) add(target, { direction: 'upload', name: file.name, size: file.size, path: into, file })
}

/** download copies a file of a node to the user's machine. */
export function download(target: Target, path: string): void {
  add(target, { direction: 'download', name: nameOf(path), size: 0, path: path.trim() })
}

/** nameOf is the name of a download: the last part of the path that the user asked for. */
export function nameOf(path: string): string {
  const last = path.trim().replace(/\/+$/, '').split('/').pop() ?? ''
  return last === '' || last === '.' || last === '..' || last === '~' ? 'download' : last
}

function add(target: Target, what: Pick<Work, 'direction' | 'name' | 'size' | 'path' | 'file'>): void {
  if (works.size >= MOST_WAITING) clearFinished()
  const key = ++made
  const work: Work = { key, node: target.id, reason: target.reason, done: 0, state: 'waiting', ...what }
  works.set(key, work)
  if (works.size > MOST_WAITING) finish(work, new CopyError('size', t('copy.tooMany', { most: MOST_WAITING })))
  else if (what.size > MOST_BYTES) finish(work, new CopyError('size', ''))
  publish()
  next()
}

/** cancelCopy stops a copy, or takes back one that waits. */
export function cancelCopy(key: number): void {
  const work = works.get(key)
  if (work?.state === 'waiting') finish(work, new CopyError('cancelled', ''))
  else cancels.get(key)?.()
}

/** clearFinished removes the copies that are over from the list. */
export function clearFinished(): void {
  for (const w of works.values()) if (w.state !== 'waiting' && w.state !== 'running') works.delete(w.key)
  publish()
}

function finish(work: Work, error?: unknown): void {
  if (error === undefined) change(work, { state: 'complete', done: work.size })
  else if (error instanceof CopyError && error.reason === 'cancelled') change(work, { state: 'cancelled' })
  else change(work, { state: 'failed', error })
}

function change(work: Work, to: Partial<Work>): void {
  Object.assign(work, to)
  publish()
}

function next(): void {
  const running = [...works.values()].filter((w) => w.state === 'running').length
  const waiting = [...works.values()].find((w) => w.state === 'waiting')
  if (waiting === undefined || running >= MOST_COPIES) return
  change(waiting, { state: 'running' })
  void run(waiting)
    .then(
      () => finish(waiting),
      (error: unknown) => finish(waiting, error),
    )
    .then(() => {
      cancels.delete(waiting.key)
      next()
    })
  next()
}

async function run(work: Work): Promise<void> {
  const started = await call(
    'AmazonSSM.StartSession',
    {
      Target: work.node,
      Reason: work.reason,
      DocumentName: DOCUMENT,
      Parameters: { direction: [work.direction], path: [work.path] },
    },
    startedSession,
  )
  const frames = new Frames()
  const end = () => call('AmazonSSM.TerminateSession', { SessionId: started.SessionId }, IGNORED, true).catch(() => {})
  let ready: (() => void) | undefined
  const begun = new Promise<void>((resolve) => (ready = resolve))
  const channel: DataChannel = new DataChannel({
    grant: here({ url: started.StreamUrl, token: started.TokenValue }),
    clientId: newMessageId(),
    resume: () => Promise.resolve(null), // a copy that was interrupted is started again
    dial: (url) => new WebSocket(url),
    onOutput: () => {}, // the node's log of the copy, which is in the recording
    onCopy: (data) => frames.push(data),
    onStarted: () => ready?.(),
    onState: (state) => {
      if (state.kind !== 'ended') return
      frames.fail(new CopyError('ended', state.reason))
      ready?.()
    },
  })
  cancels.set(work.key, () => {
    frames.fail(new CopyError('cancelled', ''))
    channel.close()
    void end()
  })
  channel.open()
  try {
    await begun
    if (!channel.copies) throw new CopyError('agent', '')
    const send = (data: Uint8Array) => channel.sendCopy(data)
    let shown = 0
    const progress = (done: number, size = work.size) => {
      if (done < size && done - shown < size / 100) return
      shown = done
      change(work, { done, size })
    }
    if (work.file !== undefined) await sendFile(work.file, send, frames, progress)
    else {
      const parts = await receiveFile(send, frames, MOST_BYTES, progress)
      saveFile(work.name, new Blob(parts, { type: 'application/octet-stream' }))
    }
    channel.finishCopy()
  } catch (error) {
    void end()
    throw error
  } finally {
    setTimeout(() => channel.close(), FAREWELL_MS)
  }
}
