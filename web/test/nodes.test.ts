import { describe, expect, it } from 'vitest'
import { matching, type Node } from '../src/nodes'

const node = (id: string, givenNames: string[], computerName: string): Node =>
  ({ id, name: givenNames[0] ?? computerName, givenNames, computerName, tags: [{ key: 'Env', value: 'prod' }] }) as Node

describe('the node that a query selects', () => {
  const web = node('mi-00000000000000001', ['frontend', 'web-1'], 'vm-7')
  const rogue = node('mi-00000000000000002', [], 'web-1')
  const plain = node('mi-00000000000000003', [], 'db-1')
  const all = [rogue, web, plain]
  it('is the one with this name from administrators, whatever another machine reports', () => {
    expect(matching(all, 'web-1')).toEqual([web])
    expect(matching(all, 'frontend')).toEqual([web])
  })
  it('is the one that reports the name if administrators named none', () => {
    expect(matching(all, 'db-1')).toEqual([plain])
  })
  it('is found by ID and by tag', () => {
    expect(matching(all, rogue.id)).toEqual([rogue])
    expect(matching(all, 'Env=prod')).toEqual(all)
    expect(matching(all, '')).toEqual([])
  })
})
