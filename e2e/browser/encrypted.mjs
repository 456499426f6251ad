// Sessions that are encrypted end to end, in a real browser: the server cannot
// read what it relays, and the page can. The preferences name a KMS key.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { noFaults, open, sees as seesIn, signIn, target } from './setup.mjs'

let page, picture, faults
/** What went over the data channels, either way. */
let wire = ''

const sees = (pattern) => seesIn(page, pattern)

before(async () => {
  ;({ page, picture, faults } = await open('encrypted'))
  page.on('websocket', (ws) => {
    for (const event of ['framereceived', 'framesent']) {
      ws.on(event, (f) => (wire += Buffer.from(f.payload).toString('latin1')))
    }
  })
  page.on('dialog', (d) => d.accept())
})

test('an encrypted session survives a reload', async () => {
  await signIn(page)
  await page
    .getByRole('row')
    .filter({ hasText: target })
    .getByRole('button', { name: /^Start session/ })
    .click()
  await sees(/[$#] *$/)
  await page.locator('.terminal-bar').getByText('Encrypted', { exact: true }).waitFor()
  assert.equal(await page.locator('.terminal-bar').getByText('Recording').count(), 0)
  await page.keyboard.type("echo secret''word-$((6*7))")
  await page.keyboard.press('Enter')
  await sees(/^secretword-42/)
  await picture('terminal')

  await page.reload()
  await page.getByText(/^Reconnecting/).waitFor({ state: 'detached' })
  await page.locator('.terminal-bar').getByText('Encrypted', { exact: true }).waitFor()
  await page.locator('.xterm-helper-textarea').first().focus()
  await page.keyboard.type("echo another''word-$((6*8))")
  await page.keyboard.press('Enter')
  await sees(/^anotherword-48/)
  await page.keyboard.type('exit')
  await page.keyboard.press('Enter')
  await page.getByText(/^Session ended/).waitFor()
  assert.equal(await page.getByRole('button', { name: 'Replay' }).count(), 0)

  assert.match(wire, /output_stream_data/, 'the test heard the channel')
  assert.doesNotMatch(wire, /secretword|anotherword|echo/)
})

noFaults(() => faults)
