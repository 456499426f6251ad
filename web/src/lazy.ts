// Parts of the console that are loaded when they are shown.

import { lazy as reactLazy } from 'react'
import { reach } from './api'
import { Store } from './store'

/** unreachable is set while a part cannot be loaded because the server does not respond. */
export const unreachable = new Store(false)

const RETRY_MS = 2000

/** Waits for the network, or a moment. */
const pause = () =>
  new Promise<void>((done) => {
    const go = () => {
      removeEventListener('online', go)
      clearTimeout(timer)
      done()
    }
    const timer = setTimeout(go, RETRY_MS)
    addEventListener('online', go)
  })

/** reliably loads a module; while the server does not respond it tries again. */
export async function reliably<T>(load: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      const loaded = await load()
      unreachable.set(false)
      return loaded
    } catch (error) {
      // A server that responds has no such file: it is of another version.
      const responds = await reach('/console/api/session', {}).then(
        () => true,
        () => false,
      )
      if (responds) {
        return load().catch(() => {
          throw error
        })
      }
      unreachable.set(true)
      await pause()
    }
  }
}

/** lazy is React's, over a network that may be down. */
export const lazy: typeof reactLazy = (load) => reactLazy(() => reliably(load))
