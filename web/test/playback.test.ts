import { describe, expect, it } from 'vitest'
import { Cast, CastError } from '../src/cast'
import { IDLE_LIMIT, Playback } from '../src/playback'

const bytes = (s: string) => new TextEncoder().encode(s)

const v3 = [
  '{"version":3,"term":{"cols":100,"rows":30,"type":"xterm-256color"},"timestamp":1795433852}',
  '# a comment',
  '[0.5,"o","$ "]',
  '[1.0,"o","é関\\u001b[0m"]',
  '[0.25,"r","120x40"]',
  '[10,"o","late"]',
  '[0,"x","0"]',
  '',
].join('\n')

function read(text: string, step = text.length): Cast {
  const cast = new Cast()
  const all = bytes(text)
  for (let i = 0; i < all.length; i += step) cast.push(all.subarray(i, i + step))
  return cast
}

describe('cast', () => {
  it('reports that a session was encrypted', () => {
    const label = 'encrypted end to end: the server cannot see or record content from here on'
    expect(read(v3).encrypted).toBe(false)
    expect(read(`${v3}[1,"m","${label}"]\n`).encrypted).toBe(true)
  })

  it('reads version 3, whose times are relative to the previous event', () => {
    const cast = read(v3)
    expect(cast.header).toEqual({ version: 3, cols: 100, rows: 30, startedAt: 1795433852000 })
    expect(cast.events.map((e) => [e.time, e.code, e.data])).toEqual([
      [0.5, 'o', '$ '],
      [1.5, 'o', 'é関\u001b[0m'],
      [1.75, 'r', '120x40'],
      [11.75, 'o', 'late'],
      [11.75, 'x', '0'],
    ])
    expect(cast.duration).toBe(11.75)
  })

  it.each([1, 2, 3, 7, 64])('does not care where pages of %d bytes cut', (step) => {
    expect(read(v3, step).events).toEqual(read(v3).events)
  })

  it('reads version 2, whose times are relative to the start', () => {
    const cast = read('{"version":2,"width":80,"height":24}\n[1,"o","a"]\n[2.5,"o","b"]\n')
    expect(cast.header).toMatchObject({ cols: 80, rows: 24 })
    expect(cast.events.map((e) => e.time)).toEqual([1, 2.5])
  })

  it('holds back an incomplete last line', () => {
    const cast = read(v3 + '[1,"o","unfin')
    expect(cast.events).toHaveLength(5)
  })

  it.each([
    ['another format', '{"version":1}\n'],
    ['no JSON', v3 + 'nonsense\n'],
    ['a header twice', v3 + '{"version":3}\n'],
    ['a negative time', v3 + '[-1,"o","x"]\n'],
  ])('refuses %s', (_, text) => {
    expect(() => read(text)).toThrow(CastError)
  })

  it('limits absurd sizes', () => {
    expect(read('{"version":3,"term":{"cols":1e9,"rows":-4}}\n').header).toMatchObject({ cols: 1000, rows: 24 })
  })
})

function play(text = v3) {
  const log: string[] = []
  const playback = new Playback(read(text), {
    reset: (c, r) => log.push(`reset ${c}x${r}`),
    resize: (c, r) => log.push(`resize ${c}x${r}`),
    write: (d) => log.push(d),
  })
  playback.start()
  return { playback, log }
}

describe('playback', () => {
  it('draws each event when its time has come', () => {
    const { playback, log } = play()
    playback.skipIdle = false
    playback.advance(0.4)
    expect(log).toEqual(['reset 100x30'])
    playback.advance(0.1)
    expect(log.slice(1)).toEqual(['$ '])
    playback.advance(1.5)
    expect(log.slice(2)).toEqual(['é関\u001b[0m', 'resize 120x40'])
    playback.advance(9.7)
    expect(log).toHaveLength(4)
    expect(playback.atEnd).toBe(false)
    playback.advance(1)
    expect(log.at(-1)).toBe('late')
    expect(playback.atEnd).toBe(true)
    expect(playback.position).toBe(11.75)
  })

  it('plays faster', () => {
    const { playback, log } = play()
    playback.skipIdle = false
    playback.speed = 4
    playback.advance(0.4)
    expect(log.slice(1)).toEqual(['$ ', 'é関\u001b[0m'])
  })

  it('shortens pauses', () => {
    const { playback, log } = play()
    playback.advance(1.75)
    playback.advance(IDLE_LIMIT - 0.1)
    expect(log.at(-1)).toBe('resize 120x40')
    playback.advance(0.2)
    expect(log.at(-1)).toBe('late')
  })

  it('seeks forward from the current position, and backward from the start', () => {
    const { playback, log } = play()
    playback.seek(5)
    expect(log).toEqual(['reset 100x30', '$ é関\u001b[0m', 'resize 120x40'])
    playback.seek(11.75)
    expect(log.slice(3)).toEqual(['late'])
    playback.seek(1)
    expect(log.slice(4)).toEqual(['reset 100x30', '$ '])
    playback.seek(-3)
    expect(playback.position).toBe(0)
    playback.seek(99)
    expect(playback.position).toBe(11.75)
  })
})
