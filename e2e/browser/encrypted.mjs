// Sessions that are encrypted from end to end, in a real browser: what the
// server passes on cannot be read, and the page can.
//
//   SEKISHO_CONSOLE_URL, SEKISHO_CONSOLE_USER, SEKISHO_CONSOLE_PASSWORD   where, and who
//   SEKISHO_TARGET   a connected node; the preferences name a key of KMS
//   SCREENSHOT_DIR, CHROMIUM   as in console.test.mjs

import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { chromium } from 'playwright-core'

const { SEKISHO_CONSOLE_URL: url, SEKISHO_CONSOLE_USER: user, SEKISHO_CONSOLE_PASSWORD: password, SEKISHO_TARGET: target } = process.env
const shots = process.env.SCREENSHOT_DIR
const PATIENCE = 20_000

let browser, page
const faults = []
/** What went over the data channels, either way. */
let wire = ''

async function sees(pattern) {
  await page.waitForFunction((s) => new RegExp(s, 'm').test(document.querySelector('.xterm-rows')?.innerText.replaceAll('\u00a0', ' ') ?? ''), pattern.source)
}

before(async () => {
  assert.ok(url && user && password && target, 'the variables above must be set')
  if (shots) mkdirSync(shots, { recursive: true })
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-3d-apis', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  })
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ignoreHTTPSErrors: true, reducedMotion: 'reduce' })
  context.setDefaultTimeout(PATIENCE)
  page = await context.newPage()
  page.on('websocket', (ws) => {
    for (const event of ['framereceived', 'framesent']) ws.on(event, (f) => (wire += Buffer.from(f.payload).toString('latin1')))
  })
  page.on('dialog', (d) => d.accept())
  page.on('pageerror', (err) => faults.push(`page error: ${err.message}`))
  page.on('console', (m) => {
    if (m.type() === 'error' && !/status of 401/.test(m.text())) faults.push(`console: ${m.text()}`)
  })
})
after(() => browser?.close())

test('an encrypted session, over a reload too', async () => {
  await page.goto(url)
  await page.getByLabel('User name').fill(user)
  await page.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('row').filter({ hasText: target }).getByRole('button', { name: /^Start session/ }).click()
  await sees(/[$#] *$/)
  await page.locator('.terminal-bar').getByText('Encrypted', { exact: true }).waitFor()
  assert.equal(await page.locator('.terminal-bar').getByText('Recording').count(), 0)
  await page.keyboard.type("echo secret''word-$((6*7))")
  await page.keyboard.press('Enter')
  await sees(/^secretword-42/)
  if (shots) await page.screenshot({ path: join(shots, 'encrypted.png') })

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

test('the page had no faults', () => assert.deepEqual(faults, []))
