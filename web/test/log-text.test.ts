import { expect, it } from 'vitest'
import { bytes, plainLines, readable } from '../src/log-text'
import { objectOf, streamOf } from '../src/sessions'

it('a log is the text that the terminal showed', () => {
  expect(plainLines('\x1b]0;title\x07\x1b[32mok\x1b[0m\r\n関所\tx\r\nlast')).toEqual(['ok', '関所\tx', 'last'])
  expect(plainLines('10%\r20%\r100%\r\nlx\b\bls\r\n')).toEqual(['100%', 'ls'])
  expect(plainLines('\x1b[?2004hsh$ \x07exit\n')).toEqual(['sh$ exit'])
  expect(plainLines('')).toEqual([])
})

it('a stream is one text, however its events are split', () => {
  expect(
    readable([
      { at: 1, message: 'on' },
      { at: 2, message: 'e\ntwo\n' },
    ]),
  ).toEqual([{ text: 'one' }, { text: 'two' }])
  const record = (eventTime: string, ...sessionData: string[]) => ({
    at: 5,
    message: JSON.stringify({ eventVersion: '1.0', eventTime, sessionData }),
  })
  expect(
    readable([record('2026-01-01T00:00:01Z', 'a', 'b'), record('nonsense', 'c'), { at: 6, message: '{"not":"ours"}' }]),
  ).toEqual([
    { at: Date.parse('2026-01-01T00:00:01Z'), text: 'a' },
    { at: Date.parse('2026-01-01T00:00:01Z'), text: 'b' },
    { at: 5, text: 'c' },
    { text: '{"not":"ours"}' },
  ])
})

it('sizes', () => {
  expect([0, 1023, 1024, 15 * 1024, 3.5 * 2 ** 20].map(bytes)).toEqual([
    '0 B',
    '1023 B',
    '1.0 KiB',
    '15 KiB',
    '3.5 MiB',
  ])
})

it('destinations of logs', () => {
  expect(objectOf('s3://logs/a/b.log')).toEqual({ bucket: 'logs', key: 'a/b.log' })
  expect(objectOf(undefined)).toBe(null)
  expect(objectOf('https://elsewhere/')).toBe(null)
  expect(streamOf('arn:aws:logs:r:1:log-group:/a/b:log-stream:alice-x')).toEqual({ group: '/a/b', stream: 'alice-x' })
  expect(streamOf('')).toBe(null)
})
