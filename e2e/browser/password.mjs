// Somebody whose password an administrator has chosen signs in to the console
// in a real browser, and has to choose another before anything else.
//
//   SEKISHO_CONSOLE_URL   where; the user and the password are those below
//   SCREENSHOT_DIR, CHROMIUM   as in console.test.mjs

import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { chromium } from 'playwright-core'

const { SEKISHO_CONSOLE_URL: url, SCREENSHOT_DIR: shots } = process.env
const user = 'newcomer'
const given = 'Correct-Horse-1'
const own = 'Battery-Staple-2'
const PATIENCE = 20_000

let browser, page
let shot = 0

async function picture(name) {
  if (shots) await page.screenshot({ path: join(shots, `password-${String(++shot).padStart(2, '0')}-${name}.png`) })
}

async function signIn(password) {
  await page.getByLabel('User name').fill(user)
  await page.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
}

async function change(old, next, again = next) {
  await page.getByLabel('Old password').fill(old)
  await page.getByLabel('New password', { exact: true }).fill(next)
  await page.getByLabel('New password again').fill(again)
}

const button = () => page.getByRole('button', { name: 'Change password' })
const heading = () => page.getByRole('heading', { name: 'Change your password' })

before(async () => {
  assert.ok(url, 'SEKISHO_CONSOLE_URL must be set')
  if (shots) mkdirSync(shots, { recursive: true })
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
  })
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ignoreHTTPSErrors: true, reducedMotion: 'reduce' })
  context.setDefaultTimeout(PATIENCE)
  page = await context.newPage()
})

after(() => browser?.close())

test('a given password opens nothing but its own change', async () => {
  await page.goto(url)
  await signIn(given)
  await heading().waitFor()
  assert.equal(await page.getByRole('link', { name: 'Nodes', exact: true }).count(), 0)
  await picture('asked')
  await page.reload()
  await heading().waitFor()
})

test('what is wrong is said', async () => {
  await change(given, own, 'something else')
  await page.getByText('The two are not the same.').waitFor()
  assert.ok(await button().isDisabled())
  await picture('differs')
  await change('Wrong-Horse-9', own)
  await button().click()
  await page.getByText('The old password was incorrect.').waitFor()
  await change(given, given)
  await button().click()
  await page.getByText('it has to be another').waitFor()
  await picture('refused')
})

test('afterwards the console is there, and the old password is worth nothing', async () => {
  await change(given, own)
  await button().click()
  await page.getByRole('link', { name: 'Nodes', exact: true }).waitFor()
  await picture('changed')
  await page.getByRole('button', { name: user }).first().click()
  await page.getByRole('menuitem', { name: 'Sign out' }).click()
  await page.getByLabel('User name').waitFor()
  await signIn(given)
  await page.getByText('The user name or the password is not right.').waitFor()
  await signIn(own)
  await page.getByRole('link', { name: 'Nodes', exact: true }).waitFor()
})
