import { describe, expect, it } from 'vitest'
import { nextTurn, refusalOf, windowText } from '../src/start-check'
import { environment, mistakenTag, tagChanges } from '../src/tags'

const at = (iso: string) => Date.parse(iso) / 1000
const night = { From: at('2026-04-15T00:00:01Z'), To: at('2026-04-15T04:00:00Z') }
const next = { From: at('2026-04-16T12:00:00Z'), To: at('2026-04-17T12:00:00Z') }
const plain = (s: string) => s.replaceAll(/[\u202f\u2009]/g, ' ')

describe('windows of a permission', () => {
  it('begin and end in the time zone of the viewer', () => {
    expect(plain(windowText([night], at('2026-04-14T12:00:00Z'), 'Asia/Tokyo', 'en-US'))).toBe(
      'Policy allows it from Apr 15, 2026, 9:00 AM to 1:00 PM (Asia/Tokyo).',
    )
    expect(plain(windowText([night], at('2026-04-15T01:00:00Z'), 'Asia/Tokyo', 'en-US'))).toBe(
      'Policy allows it until Apr 15, 2026, 1:00 PM (Asia/Tokyo).',
    )
    expect(plain(windowText([night, next], at('2026-04-14T12:00:00Z'), 'UTC', 'en-US'))).toBe(
      'Policy allows it from Apr 15, 2026, 12:00 AM to 4:00 AM, ' +
        'then from Apr 16, 2026, 12:00 PM to Apr 17, 2026, 12:00 PM (UTC).',
    )
  })
  it('are not shown when time makes no difference, or after they ended', () => {
    expect(windowText(undefined, 0, 'UTC')).toBe('')
    expect(windowText([], 0, 'UTC')).toBe('')
    expect(windowText([night], at('2026-04-15T04:00:00Z'), 'UTC')).toBe('')
  })
  it('change the answer where they begin and end', () => {
    expect(nextTurn([night, next], at('2026-04-14T00:00:00Z'))).toBe(night.From)
    expect(nextTurn([night, next], night.From)).toBe(night.To)
    expect(nextTurn([night], night.To)).toBe(0)
    expect(nextTurn(undefined, 0)).toBe(0)
  })
})

describe('a refusal', () => {
  it('comes from policy only', () => {
    const check = (Kind: 'Access' | 'Node', Outcome: 'Ready' | 'Failing') => ({
      Ready: false,
      Checks: [{ Kind, Outcome, Text: 'why' }],
    })
    expect(refusalOf(check('Access', 'Failing'))).toBe('The action ssm:StartSession is not allowed on this node.')
    expect(refusalOf({ ...check('Access', 'Failing'), Windows: [night] })).toMatch(
      /not allowed on this node at this time/,
    )
    expect(refusalOf(check('Node', 'Failing'))).toBe('')
    expect(refusalOf(check('Access', 'Ready'))).toBe('')
    expect(refusalOf(null)).toBe('')
  })
})

describe('tags', () => {
  it('are changed with as few calls as possible', () => {
    const before = [
      { key: 'Name', value: '受付サーバー' },
      { key: 'Env', value: 'dev' },
      { key: 'Old', value: '' },
    ]
    const after = [
      { key: 'Name', value: '受付サーバー' },
      { key: 'Env', value: 'prod' },
      { key: 'New', value: 'ü' },
    ]
    expect(tagChanges(before, after)).toEqual({ set: [after[1], after[2]], remove: ['Old'] })
    expect(tagChanges(before, before)).toEqual({ set: [], remove: [] })
  })
  it('are validated', () => {
    const t = (key: string, value = 'v') => ({ key, value })
    expect(mistakenTag(t('', ''), [])).toBe('')
    expect(mistakenTag(t(''), [])).toMatch(/Enter a key/)
    expect(mistakenTag(t('aws:x'), [])).toMatch(/reserved/)
    expect(mistakenTag(t('a'), [t('a')])).toMatch(/twice/)
    expect(mistakenTag(t('名'.repeat(128)), [])).toBe('')
    expect(mistakenTag(t('名'.repeat(129)), [])).toMatch(/128/)
    expect(mistakenTag(t('a', 'x'.repeat(257)), [])).toMatch(/256/)
  })
  it('name the environment', () => {
    const env = (key: string, value: string) => environment([{ key, value }])
    expect(env('Environment', 'Production')).toEqual({ name: 'Production', kind: 'prod' })
    expect(env('env', 'prod')?.kind).toBe('prod')
    expect(env('ENV', 'prod-eu')?.kind).toBe('prod')
    expect(env('Env', 'staging')?.kind).toBe('stage')
    expect(env('Env', 'pre-prod')?.kind).toBe('stage')
    expect(env('Env', 'development')?.kind).toBe('dev')
    expect(env('Env', 'blue')?.kind).toBe('other')
    expect(env('Env', ' ')).toBe(null)
    expect(env('Name', 'prod')).toBe(null)
  })
})
