// Store is a value that React components can watch.

import { useSyncExternalStore } from 'react'

/** Store holds one immutable value and notifies its watchers. */
export class Store<T> {
  private value: T
  private readonly watchers = new Set<() => void>()

  constructor(initial: T) {
    this.value = initial
  }

  readonly get = (): T => this.value

  set(value: T): void {
    if (Object.is(value, this.value)) return
    this.value = value
    for (const w of this.watchers) w()
  }

  update(change: Partial<T>): void {
    this.set({ ...this.value, ...change })
  }

  readonly subscribe = (watcher: () => void): (() => void) => {
    this.watchers.add(watcher)
    return () => {
      this.watchers.delete(watcher)
    }
  }
}

/** useStore watches a store. */
export function useStore<T>(store: Store<T>): T {
  return useSyncExternalStore(store.subscribe, store.get)
}
