// How times, names and durations are written, in the chosen language.

import { useEffect, useState } from 'react'
import { count, language, t } from './i18n'

/** AwsTime is a time as the API sends it: seconds since 1970, or text. */
export type AwsTime = number | string | undefined

/** millis is a time in milliseconds; 0 for none. */
export function millis(time: AwsTime): number {
  if (time === undefined || time === '') return 0
  const ms = typeof time === 'number' ? time * 1000 : Date.parse(time)
  return Number.isFinite(ms) ? ms : 0
}

const formats = new Map<string, Intl.DateTimeFormat>()

/** formatTime writes a time with Intl, in the chosen language. */
export function formatTime(ms: number, options: Intl.DateTimeFormatOptions): string {
  const key = `${language.get()} ${JSON.stringify(options)}`
  let format = formats.get(key)
  if (format === undefined) {
    // The viewer's own variant of the language, such as en-GB, where there is one.
    const own = globalThis.navigator?.languages.find((l) => l.split('-')[0] === language.get()) ?? language.get()
    format = new Intl.DateTimeFormat(own, options)
    formats.set(key, format)
  }
  return format.format(ms)
}

/** when writes a time in the viewer's time zone. */
export function when(ms: number): string {
  return ms === 0 ? '–' : formatTime(ms, { dateStyle: 'medium', timeStyle: 'medium' })
}

/** utc writes a time in UTC. */
export function utc(ms: number): string {
  return ms === 0 ? '' : `${new Date(ms).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

/** timeOfDay writes the hour and the minute. */
export function timeOfDay(ms: number): string {
  return formatTime(ms, { timeStyle: 'short' })
}

const UNITS = [
  [86400, 'time.days'],
  [3600, 'time.hours'],
  [60, 'time.minutes'],
] as const

/** ago says how long a time has passed. */
export function ago(ms: number, now: number): string {
  if (ms === 0) return t('time.never')
  const s = Math.max(0, Math.round((now - ms) / 1000))
  if (s < 10) return t('time.justNow')
  for (const [size, key] of UNITS) {
    if (s >= size) return count(key, Math.floor(s / size))
  }
  return count('time.seconds', s)
}

const two = (n: number) => String(n).padStart(2, '0')

/** lasting writes a duration: 1 h 02 min, 3 min 20 s, 8 s. */
export function lasting(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000))
  if (s >= 3600) return t('time.hm', { hours: Math.floor(s / 3600), minutes: two(Math.floor((s % 3600) / 60)) })
  if (s >= 60) return t('time.ms', { minutes: Math.floor(s / 60), seconds: two(s % 60) })
  return t('time.s', { seconds: s })
}

/** clockTime writes a position in a recording: 1:02:03 or 2:03. */
export function clockTime(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds))
  const h = Math.floor(s / 3600)
  return h > 0 ? `${h}:${two(Math.floor((s % 3600) / 60))}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`
}

/** ownerName is the end of an owner's ARN, which is what people know. */
export function ownerName(arn: string): string {
  const resource = arn.split(':').slice(5).join(':')
  return resource === '' ? arn : resource.replace(/^(user|assumed-role|federated-user)\//, '')
}

/** byName compares names as people sort them: vm-2 comes before vm-10. */
export const byName = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' }).compare

/** useNow is the time, renewed every so many milliseconds. */
export function useNow(every = 10_000): number {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every)
    return () => clearInterval(timer)
  }, [every])
  return now
}

/** formatNumber writes a number in the chosen language. */
export const formatNumber = (n: number) => new Intl.NumberFormat(language.get()).format(n)
