import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import * as v from 'valibot'
import { call, CallError, onSecondFactor } from '../src/api'
import { askFactor, showFactor, wantedFactor } from '../src/step-up'

const json = (status: number, body: object) =>
  new Response(JSON.stringify(body), { status, headers: { 'Content-Type': 'application/json' } })
const denied = () =>
  json(400, {
    __type: 'AccessDeniedException',
    message: 'User: alice is not authorized',
    Reason: 'SecondFactorRequired',
  })
const schema = v.object({ Value: v.number() })

describe('a policy that requires a second factor', () => {
  const asked: string[] = []
  let answers: Record<string, (() => Response)[]> = {}
  beforeEach(() => {
    asked.length = 0
    vi.stubGlobal('fetch', async (path: string) => {
      asked.push(path)
      return answers[path]!.shift()!()
    })
    onSecondFactor(askFactor)
  })
  afterEach(() => vi.unstubAllGlobals())

  test('is satisfied on demand, and the call continues', async () => {
    answers = {
      '/console/api/aws': [denied, () => json(200, { Value: 7 })],
      '/console/api/session/factor': [() => json(200, { totp: true }), () => new Response(null, { status: 204 })],
    }
    const done = call('AmazonSSM.StartSession', {}, schema)
    await vi.waitFor(() => expect(wantedFactor.get()).not.toBeNull())
    expect(wantedFactor.get()!.offer.totp).toBe(true)
    expect(await showFactor({ code: '123456' })).toBeNull()
    wantedFactor.get()!.done(true)
    expect(await done).toEqual({ Value: 7 })
    expect(wantedFactor.get()).toBeNull()
    expect(asked.filter((p) => p === '/console/api/aws')).toHaveLength(2)
  })

  test('denies the call when the user cancels', async () => {
    answers = { '/console/api/aws': [denied], '/console/api/session/factor': [() => json(200, { totp: true })] }
    const done = call('AmazonSSM.StartSession', {}, schema).catch((err: unknown) => err)
    await vi.waitFor(() => expect(wantedFactor.get()).not.toBeNull())
    wantedFactor.get()!.done(false)
    expect(await done).toMatchObject({ code: 'AccessDeniedException', reason: 'SecondFactorRequired' })
  })

  test('does not ask for background calls, or if the user has no factor', async () => {
    answers = {
      '/console/api/aws': [denied, denied],
      '/console/api/session/factor': [() => json(200, { totp: false })],
    }
    await expect(call('AmazonSSM.DescribeSessions', {}, schema, true)).rejects.toBeInstanceOf(CallError)
    expect(asked).toEqual(['/console/api/aws'])
    await expect(call('AmazonSSM.StartSession', {}, schema)).rejects.toBeInstanceOf(CallError)
    expect(wantedFactor.get()).toBeNull()
  })
})
