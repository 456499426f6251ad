import { describe, expect, it } from 'vitest'
import { openNow, whole, type Reachable } from '../src/reach'

const period = { from: 1000.4, to: 2000.4 }
const node = (...spans: [number, number, 'Always' | 'Depends'][]): Reachable => ({
  id: 'mi-00000000000000001',
  name: 'web-1',
  connected: true,
  spans: spans.map(([From, To, Access]) => ({ From, To, Access, DependsOn: [] })),
})

describe('the times in reach', () => {
  it('are the whole period, in whole seconds', () => {
    expect(whole(node([1000, 2000, 'Always']), period)).toBe(true)
    expect(whole(node([1001, 2000, 'Always']), period)).toBe(true)
  })
  it('are not the whole period with a beginning, an end or a condition', () => {
    expect(whole(node([1500, 2000, 'Always']), period)).toBe(false)
    expect(whole(node([1000, 1500, 'Always']), period)).toBe(false)
    expect(whole(node([1000, 2000, 'Depends']), period)).toBe(false)
    expect(whole(node(), period)).toBe(false)
  })
  it('include a moment', () => {
    expect(openNow(node([1000, 1500, 'Depends'], [1600, 2000, 'Always']), 1700)?.Access).toBe('Always')
    expect(openNow(node([1000, 1500, 'Always']), 1500)).toBeUndefined()
  })
})
