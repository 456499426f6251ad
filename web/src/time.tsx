// Times on a page: in the viewer's time zone, with UTC as the tooltip.

import { ago, timeOfDay, useNow, utc, when } from './format'
import { t } from './i18n'

/** When shows a time. */
export function When({ at }: { at: number }) {
  if (at === 0 || !Number.isFinite(at)) return <>–</>
  return (
    <time dateTime={new Date(at).toISOString()} title={utc(at)}>
      {when(at)}
    </time>
  )
}

/** Ago shows how long ago a time was, and the time as the tooltip. */
export function Ago({ at }: { at: number }) {
  const now = useNow()
  if (at === 0) return <>{t('time.never')}</>
  return (
    <time dateTime={new Date(at).toISOString()} title={`${when(at)}\n${utc(at)}`}>
      {ago(at, now)}
    </time>
  )
}

/** Recent shows a time of today without its date. */
export function Recent({ at }: { at: number }) {
  const now = useNow(60_000)
  if (at === 0) return <>–</>
  const today = new Date(at).toDateString() === new Date(now).toDateString()
  return (
    <time dateTime={new Date(at).toISOString()} title={`${when(at)}\n${utc(at)}`}>
      {today ? t('time.today', { time: timeOfDay(at) }) : when(at)}
    </time>
  )
}
