import type { Grant } from './datachannel'

/** here puts a stream URL's path on the console's own origin. */
export function here(grant: Grant): Grant {
  if (grant.url === '') return grant
  const u = new URL(grant.url)
  const scheme = location.protocol === 'http:' ? 'ws:' : 'wss:'
  return { url: `${scheme}//${location.host}${u.pathname}${u.search}`, token: grant.token }
}
