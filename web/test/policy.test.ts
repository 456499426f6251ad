import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { completions, NAMES } from '../src/admin/policy-words'

const offers = (before: string) => completions(before).offers

describe('completion in a policy document', () => {
  test.each([
    ['the document', '{ "', ['Version', 'Id', 'Statement']],
    ['a statement', '{"Statement": [{"Ef', ['Effect']],
    ['the second statement', '{"Statement": [{"Effect": "Allow"}, {"NotA', ['NotAction']],
    ['an effect', '{"Statement": [{"Effect": "', ['Allow', 'Deny']],
    ['an action', '{"Statement": [{"Action": "ssm:StartSes', ['ssm:StartSession']],
    ['an action of a list', '{"Statement": [{"Action": ["ssm:x", "ssm:StartSes', ['ssm:StartSession']],
    ['an action without its service', '{"Statement": [{"NotAction": ["startsess', ['ssm:StartSession']],
    ['an operator', '{"Statement": {"Condition": {"IpA', ['IpAddress', 'NotIpAddress']],
    ['a condition key', '{"Statement": {"Condition": {"IpAddress": {"aws:SourceI', ['aws:SourceIp']],
    ['a resource', '{"Statement": {"Resource": "ss', []],
    ['between strings', '{"Statement": {"Resource": "x" ', []],
    ['a quoted quote', '{"Statement": {"Sid": "a\\"b', []],
    ['everything', '{"Statement": {"Action": "', []],
  ])('of %s', (_, before, want) => {
    expect(offers(before)).toEqual(want)
  })
  test('replaces only what was typed', () => {
    expect(completions('{"Statement": [{"Action": "ssm:StartSes').length).toBe('ssm:StartSes'.length)
  })
  test('knows the actions of every operation that the server has', () => {
    let service = ''
    const missing: string[] = []
    for (const line of readFileSync(join(import.meta.dirname, '../../docs/operations.md'), 'utf8').split('\n')) {
      service = /^## `(\w+)`/.exec(line)?.[1] ?? service
      const operation = /^\| `(\w+)` \| (?:full|partial)/.exec(line)?.[1]
      // The actions of S3 have other names than its operations.
      if (operation === undefined || service === 's3') continue
      if (!NAMES.includes(`${service}:${operation}`)) missing.push(`${service}:${operation}`)
    }
    expect(missing).toEqual([])
  })
})
