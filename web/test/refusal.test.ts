import { afterAll, describe, expect, test } from 'vitest'
import { CallError, refusal } from '../src/api'
import { showLanguage } from '../src/i18n'
import { ja } from '../src/i18n/ja'
import { errorText, knownText } from '../src/refusal-text'

describe('an error in the chosen language', () => {
  afterAll(() => showLanguage('en'))

  test('is known by its reason first, then by its code; others keep the words of the server', async () => {
    await showLanguage('ja')
    const error = (code: string, reason = '') => new CallError(code, 'The words of the server.', 400, '', reason)
    expect(errorText(error('ValidationException', 'BucketMissing'))).toBe(ja['refusal.BucketMissing'])
    expect(errorText(error('AccessDeniedException'))).toBe(ja['refusal.AccessDenied'])
    expect(errorText(error('AccessDeniedException', 'Unheard'))).toBe(ja['refusal.AccessDenied'])
    expect(knownText(error('Unheard'))).toBeNull()
    expect(errorText(error('Unheard'))).toBe('The words of the server.')
    expect(errorText(new Error('Not from the server.'))).toBe('Not from the server.')
  })
})

describe('an answer that is no error of the server', () => {
  test.each(['null', '"text"', '[]', '7', '<html>'])('%s becomes an error with the status', async (body) => {
    const error = await refusal(new Response(body, { status: 502 }))
    expect(error.status).toBe(502)
    expect(error.code).toBe('HTTP 502')
  })
})
