import { afterEach, expect, test, vi } from 'vitest'
import { showLanguage } from '../src/i18n'
import { bucketVersioning } from '../src/s3'

afterEach(async () => {
  vi.unstubAllGlobals()
  await showLanguage('en')
})

test('versioning is read from the response in every language', async () => {
  vi.stubGlobal('fetch', async () => new Response('<Status>Enabled</Status>'))
  vi.stubGlobal(
    'DOMParser',
    class {
      parseFromString(xml: string) {
        return { querySelector: (name: string) => (xml.includes(`<${name}>`) ? { textContent: 'Enabled' } : null) }
      }
    },
  )
  await showLanguage('ja')
  expect(await bucketVersioning('logs')).toBe('Enabled')
})
