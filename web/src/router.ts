// The router: the path under /console/ in segments, the query, and navigation.

import { Store, useStore } from './store'

const PREFIX = '/console/'

/** Place is an address in the console. */
export interface Place {
  segments: string[]
  query: string
}

function here(): Place {
  const path = location.pathname.startsWith(PREFIX) ? location.pathname.slice(PREFIX.length) : ''
  const segments = path
    .split('/')
    .filter((s) => s !== '')
    .map((s) => {
      try {
        return decodeURIComponent(s)
      } catch {
        return s
      }
    })
  return { segments, query: location.search }
}

const place = new Store<Place>(here())
addEventListener('popstate', () => place.set(here()))

/** useRoute returns the path's segments. */
export function useRoute(): string[] {
  return useStore(place).segments
}

/** useQuery returns the parameters of the query, and a function that changes some of them in place. */
export function useQuery(): [URLSearchParams, (change: Record<string, string>) => void] {
  return [new URLSearchParams(useStore(place).query), changeQuery]
}

/** changeQuery sets parameters of the query; an empty value removes one. */
function changeQuery(change: Record<string, string>): void {
  const query = new URLSearchParams(location.search)
  for (const [name, value] of Object.entries(change)) {
    if (value === '') query.delete(name)
    else query.set(name, value)
  }
  const text = query.toString()
  history.replaceState(null, '', location.pathname + (text === '' ? '' : `?${text}`))
  place.set(here())
}

/** href is the address of a place in the console. */
export function href(...parts: string[]): string {
  return PREFIX + parts.map(encodeURIComponent).join('/')
}

/** navigate goes to a place in the console. */
export function navigate(...parts: string[]): void {
  go(href(...parts))
}

const RETURN_TO = 'sekisho-return-to'

/** rememberPath keeps the path, and the token of a recording link, while the browser is at an identity provider. */
export function rememberPath(): void {
  sessionStorage.setItem(RETURN_TO, location.pathname + location.hash)
}

/** returnToPath goes to the remembered path, once. */
export function returnToPath(): void {
  const path = sessionStorage.getItem(RETURN_TO) ?? ''
  sessionStorage.removeItem(RETURN_TO)
  if (path.startsWith(PREFIX)) go(path)
}

function go(to: string): void {
  if (to !== location.pathname + location.search) history.pushState(null, '', to)
  place.set(here())
}

/** follow makes a Cloudscape link stay inside the page. */
export function follow(event: { preventDefault(): void; detail: { href?: string; external?: boolean } }): void {
  const to = event.detail.href
  if (to === undefined || event.detail.external || !to.startsWith(PREFIX)) return
  event.preventDefault()
  go(to)
}
