// The router: the path under /console/ in segments, and a way to go elsewhere.

import { Store, useStore } from './store'

const PREFIX = '/console/'

function segments(): string[] {
  const path = location.pathname.startsWith(PREFIX) ? location.pathname.slice(PREFIX.length) : ''
  return path
    .split('/')
    .filter((s) => s !== '')
    .map((s) => {
      try {
        return decodeURIComponent(s)
      } catch {
        return s
      }
    })
}

const route = new Store<string[]>(segments())
addEventListener('popstate', () => route.set(segments()))

/** useRoute returns the path's segments. */
export function useRoute(): string[] {
  return useStore(route)
}

/** href is the address of a place in the console. */
export function href(...parts: string[]): string {
  return PREFIX + parts.map(encodeURIComponent).join('/')
}

/** navigate goes to a place in the console. */
export function navigate(...parts: string[]): void {
  const to = href(...parts)
  if (to !== location.pathname) history.pushState(null, '', to)
  route.set(segments())
}

/** follow makes a Cloudscape link stay inside the page. */
export function follow(event: { preventDefault(): void; detail: { href?: string; external?: boolean } }): void {
  const to = event.detail.href
  if (to === undefined || event.detail.external || !to.startsWith(PREFIX)) return
  event.preventDefault()
  history.pushState(null, '', to)
  route.set(segments())
}
