// How times, names and durations are written.

import { useEffect, useState } from 'react'

/** AwsTime is a time as the API sends it: seconds since 1970, or text. */
export type AwsTime = number | string | undefined

/** millis is a time in milliseconds; 0 for none. */
export function millis(t: AwsTime): number {
  if (t === undefined || t === '') return 0
  const ms = typeof t === 'number' ? t * 1000 : Date.parse(t)
  return Number.isFinite(ms) ? ms : 0
}

const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' })

/** when writes a time out. */
export function when(ms: number): string {
  return ms === 0 ? '–' : absolute.format(ms)
}

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' })

/** timeOfDay writes the hour and the minute. */
export function timeOfDay(ms: number): string {
  return clock.format(ms)
}

/** ago says how long a time has passed. */
export function ago(ms: number, now: number): string {
  if (ms === 0) return 'never'
  const s = Math.max(0, Math.round((now - ms) / 1000))
  if (s < 10) return 'just now'
  if (s < 60) return `${s} seconds ago`
  const units: [number, string][] = [
    [86400, 'day'],
    [3600, 'hour'],
    [60, 'minute'],
  ]
  for (const [size, name] of units) {
    const n = Math.floor(s / size)
    if (n >= 1) return `${n} ${name}${n === 1 ? '' : 's'} ago`
  }
  return when(ms)
}

/** lasting writes a duration: 1 h 02 min, 3 min 20 s, 8 s. */
export function lasting(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000))
  const two = (n: number) => String(n).padStart(2, '0')
  if (s >= 3600) return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`
  if (s >= 60) return `${Math.floor(s / 60)} min ${two(s % 60)} s`
  return `${s} s`
}

/** clockTime writes a position in a recording: 1:02:03 or 2:03. */
export function clockTime(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds))
  const two = (n: number) => String(n).padStart(2, '0')
  const h = Math.floor(s / 3600)
  return h > 0 ? `${h}:${two(Math.floor((s % 3600) / 60))}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`
}

/** ownerName is the end of an owner's ARN, which is what people know. */
export function ownerName(arn: string): string {
  const resource = arn.split(':').slice(5).join(':')
  return resource === '' ? arn : resource.replace(/^(user|assumed-role|federated-user)\//, '')
}

/** useNow is the time, renewed every so many milliseconds. */
export function useNow(every = 10_000): number {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every)
    return () => clearInterval(timer)
  }, [every])
  return now
}
