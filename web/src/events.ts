// The server's push notifications about changed nodes and sessions.

import * as v from 'valibot'
import { readSession, signInEnded } from './api'
import { Store } from './store'

/** Whether changes arrive by themselves at the moment. */
export const pushing = new Store(false)

/** Change is what changed; "all" after an interruption. */
export type Change = { kind: 'node' | 'session'; id: string } | { kind: 'all' }

const listeners = new Set<(c: Change) => void>()

/** onChange calls the listener on changes until the returned function is called. */
export function onChange(listener: (c: Change) => void): () => void {
  listeners.add(listener)
  return () => {
    listeners.delete(listener)
  }
}

function tell(c: Change): void {
  for (const l of listeners) l(c)
}

const RETRY_MS = 3000
const changeSchema = v.object({ id: v.string() })

/** listen opens the stream of events, and reopens it when it breaks. */
export function listen(): () => void {
  let source: EventSource | null = null
  let timer: ReturnType<typeof setTimeout> | undefined
  let interrupted = false
  let stopped = false

  const open = () => {
    source = new EventSource('/console/api/events')
    source.onopen = () => {
      pushing.set(true)
      // Changes during the interruption were missed.
      if (interrupted) tell({ kind: 'all' })
      interrupted = false
    }
    for (const kind of ['node', 'session'] as const) {
      source.addEventListener(kind, (ev) => {
        const change = v.safeParse(changeSchema, JSON.parse((ev as MessageEvent<string>).data))
        if (change.success) tell({ kind, id: change.output.id })
      })
    }
    source.addEventListener('signedout', signInEnded)
    source.onerror = () => {
      pushing.set(false)
      interrupted = true
      if (source?.readyState !== EventSource.CLOSED) return
      source.close()
      if (stopped) return
      timer = setTimeout(() => {
        // A refusal closes the stream permanently: check whether the user is still signed
        // in.
        readSession().catch(() => {})
        open()
      }, RETRY_MS)
    }
  }
  open()
  return () => {
    stopped = true
    clearTimeout(timer)
    source?.close()
    pushing.set(false)
  }
}
