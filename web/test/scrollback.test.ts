import { describe, expect, it } from 'vitest'
import { fromBase64, toBase64 } from '../src/base64'
import { Scrollback } from '../src/scrollback'

const bytes = (s: string) => new TextEncoder().encode(s)
const text = (b: Uint8Array) => new TextDecoder().decode(b)

describe('Scrollback', () => {
  it('keeps everything that fits', () => {
    const s = new Scrollback(10)
    s.push(bytes('one\n'))
    s.push(bytes('two\nxy'))
    expect(text(s.bytes())).toBe('one\ntwo\nxy')
  })

  it('keeps the last complete lines of longer output', () => {
    const s = new Scrollback(10)
    for (let i = 0; i < 1000; i++) s.push(bytes(`line ${i}\n`))
    expect(text(s.bytes())).toBe('line 999\n')
    s.push(bytes('$ '))
    expect(text(s.bytes())).toBe('$ ')
  })

  it('truncates one large piece', () => {
    const s = new Scrollback(10)
    s.push(bytes(`${'x'.repeat(100)}\nabc\ndef`))
    expect(text(s.bytes())).toBe('abc\ndef')
    expect(text(s.bytes(5))).toBe('def')
    expect(text(s.bytes(0))).toBe('')
  })
})

describe('Base64', () => {
  it('encodes and decodes any number of bytes', () => {
    const all = Uint8Array.from({ length: 100_000 }, (_, i) => (i * 7) & 0xff)
    expect(fromBase64(toBase64(all))).toEqual(all)
    expect(toBase64(bytes('sekisho'))).toBe('c2VraXNobw==')
  })
})
