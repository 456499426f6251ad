import { describe, expect, test } from 'vitest'
import type { CastEvent } from '../src/cast'
import { commandsOf, findText, markersOf, needsReturns, plainText, textOf } from '../src/recording-text'

const out = (time: number, data: string): CastEvent => ({ time, code: 'o', data })
const typed = (time: number, data: string): CastEvent => ({ time, code: 'i', data })

describe('the text of a recording', () => {
  test('is found across events, colours and case', () => {
    const text = textOf([out(1, 'one \x1b[31mErr'), out(2, 'or\x1b[0m two\r\n'), typed(3, 'error'), out(4, 'ERROR')])
    expect(findText(text, 'error')).toEqual([2, 4])
    expect(findText(text, 'one')).toEqual([1])
    expect(findText(text, 'three')).toEqual([])
    expect(findText(text, ' ')).toEqual([])
  })

  test('has the typed lines', () => {
    const events = [typed(1, 'l'), typed(2, 'sx\x7f\r'), typed(3, '\x1b[A'), typed(4, 'nope\x03'), typed(5, 'id\r\r')]
    expect(commandsOf(events)).toEqual([
      { time: 2, text: 'ls' },
      { time: 5, text: 'id' },
    ])
  })

  test('has the markers, without control characters', () => {
    const marker: CastEvent = { time: 3, code: 'm', data: 'uploaded a\u202eb\x07, mode 0644' }
    expect(markersOf([out(1, 'x'), marker])).toEqual([{ time: 3, text: 'uploaded ab, mode 0644' }])
  })

  test('is exported as lines', () => {
    expect(plainText([out(1, '\x1b[1mhello\x1b[0m\r\n'), out(2, 'world\n')])).toBe('hello\nworld\n')
  })

  test('needs carriage returns if all newlines are bare', () => {
    expect(needsReturns([out(1, 'a\nb\n')])).toBe(true)
    expect(needsReturns([out(1, 'a\r\nb\n')])).toBe(false)
    expect(needsReturns([out(1, 'prompt')])).toBe(false)
  })
})
