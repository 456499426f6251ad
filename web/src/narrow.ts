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
