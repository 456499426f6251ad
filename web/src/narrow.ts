import { useSyncExternalStore } from 'react'

const query = matchMedia('(max-width: 688px)')

/** useNarrow is true on a phone's screen. */
export function useNarrow(): boolean {
  return useSyncExternalStore(
    (watch) => {
      query.addEventListener('change', watch)
      return () => query.removeEventListener('change', watch)
    },
    () => query.matches,
  )
}

/** STICKY_OFFSET undoes the distance to the top that a table has inside of the component library's own layout. */
export const STICKY_OFFSET = -12
