// The session preferences in a real browser: saved, refused with a way out,
// compared; and what who may not sees of them.
//
//   SEKISHO_CONSOLE_URL, SEKISHO_CONSOLE_USER, SEKISHO_CONSOLE_PASSWORD   where, and who; looker may read them, and no more
//   SCREENSHOT_DIR, CHROMIUM   as in console.test.mjs

import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { chromium } from 'playwright-core'

const { SEKISHO_CONSOLE_URL: url, SEKISHO_CONSOLE_USER: user, SEKISHO_CONSOLE_PASSWORD: password } = process.env
const shots = process.env.SCREENSHOT_DIR
const PATIENCE = 45_000

let browser, context, page
const faults = []
let shot = 0

async function picture(name) {
  if (shots) await page.screenshot({ path: join(shots, `preferences-${String(++shot).padStart(2, '0')}-${name}.png`), fullPage: true })
}

async function signIn(name, secret) {
  await page.goto(url)
  await page.getByLabel('User name').fill(name)
  await page.getByLabel('Password').fill(secret)
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
  await page.getByRole('link', { name: 'Nodes', exact: true }).waitFor()
}

async function open() {
  await page.getByRole('link', { name: 'Preferences', exact: true }).click()
  await page.getByRole('heading', { name: 'Session preferences' }).waitFor()
}

const save = () => page.getByRole('button', { name: 'Save', exact: true }).click()
const saved = () => page.getByText('sessions that start from now on follow them').waitFor()
const value = (label) => page.getByLabel(label, { exact: true }).inputValue()

before(async () => {
  assert.ok(url && user && password, 'SEKISHO_CONSOLE_URL, SEKISHO_CONSOLE_USER and SEKISHO_CONSOLE_PASSWORD must be set')
  if (shots) mkdirSync(shots, { recursive: true })
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
  })
  context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ignoreHTTPSErrors: true, reducedMotion: 'reduce' })
  context.setDefaultTimeout(PATIENCE)
  page = await context.newPage()
  page.on('pageerror', (err) => faults.push(`page error: ${err.message}`))
})
after(() => browser?.close())

test('before any are saved, the defaults apply', async () => {
  await signIn(user, password)
  await open()
  await page.getByText('No preferences are saved yet: the defaults apply.').waitFor()
  assert.equal(await value('Idle timeout'), '')
  assert.equal(await page.getByRole('button', { name: /^Save \d/ }).count(), 0, 'nothing was changed')
  await picture('none')
})

test('a bucket that is not there is refused, and made by a button', async () => {
  await page.getByLabel('Idle timeout').fill('61')
  await page.getByText('A whole number from 1 to 60, or nothing').waitFor()
  await page.getByLabel('Idle timeout').fill('30')
  await page.getByLabel('Bucket', { exact: true }).fill('browser-logs')
  await page.getByText('There is no such bucket').waitFor()
  await page.getByLabel('Key prefix').fill('sessions')
  await save()
  await page.getByText('Not saved: InvalidDocumentContent').waitFor()
  await page.getByRole('button', { name: 'Clear the bucket' }).waitFor()
  await picture('refused')
  await page.getByRole('button', { name: 'Create the bucket browser-logs' }).click()
  await saved()
  await page.getByText('Version 1, saved by').waitFor()
  await page.getByText('It is there, and keeps old versions').waitFor()
})

test('a test log arrives, and is shown', async () => {
  await page.getByRole('button', { name: 'Send a test log' }).click()
  await page.getByText('The test log arrived').waitFor()
  await page.getByText(/^s3:\/\/browser-logs\/sessions\/sekisho-test-\w+\.log$/).waitFor()
  await page.getByText(/version [\w-]+, encrypted with AES256, read back as it was sent/).waitFor()
  await picture('test-log')
})

test('a box that does not match the log group is refused, with a button for each way out', async () => {
  await page.getByLabel('Log group', { exact: true }).fill('/browser/sessions')
  await page.getByText('There is no such log group').waitFor()
  await save()
  await page.getByRole('button', { name: 'Create the log group /browser/sessions' }).click()
  await saved()
  await page.getByText('It is there, without a key').waitFor()

  await page.getByText('Only to a group with a key').click()
  await save()
  await page.getByText('cloudWatchEncryptionEnabled demands one').waitFor()
  await page.getByRole('button', { name: 'Turn encryption on' }).waitFor()
  await picture('mismatch')
  // Without the box there is nothing to save.
  await page.getByRole('button', { name: 'Clear this box' }).click()
  await page.getByText('cloudWatchEncryptionEnabled demands one').waitFor({ state: 'detached' })
  assert.equal(await page.getByLabel('Only to a group with a key').isChecked(), false)

  await page.getByText('Only to a group with a key').click()
  await save()
  await page.getByRole('button', { name: 'Turn encryption on' }).click()
  await saved()
  await page.getByText('Version 3, saved by').waitFor()
})

test('versions are compared, and an earlier one is put in force', async () => {
  const row = (setting) => page.getByRole('row').filter({ hasText: setting })
  await row('cloudWatchEncryptionEnabled').getByText('true').waitFor()
  await page.getByRole('button', { name: 'Show what version 2 changed' }).click()
  await row('cloudWatchLogGroupName').getByText('/browser/sessions').waitFor()
  await picture('versions')
  await page.getByRole('button', { name: 'Put version 1 in force again' }).click()
  await page.getByText('Version 1, saved by').waitFor()
  await page.waitForFunction(() => document.querySelector('input[aria-label="Log group"]')?.value === '')
  assert.equal(await value('Bucket'), 'browser-logs')
})

test('everything there is can be set, and is there after a reload', async () => {
  await page.getByLabel('Longest session').fill('240')
  await page.getByLabel('Sessions per person').fill('5')
  await page.getByText('A reason must be given').click()
  await page.getByLabel('What a reason must look like').fill('OPS-[0-9]+.*')
  await page.getByText('As the OS user of the person').click()
  await page.getByLabel('Default OS user').fill('deploy')
  await page.getByLabel('Banner').fill('Mind the gap')
  await page.getByLabel('Shell profile, Linux').fill('export EDITOR=vi')
  await page.getByText('Record what is typed, too').click()
  await page.getByRole('button', { name: /^Save \d+ changes$/ }).click()
  await saved()
  await page.reload()
  await page.getByText('Version 4, saved by').waitFor()
  assert.deepEqual(
    [await value('Longest session'), await value('Sessions per person'), await value('What a reason must look like'), await value('Default OS user'), await value('Banner'), await value('Shell profile, Linux')],
    ['240', '5', 'OPS-[0-9]+.*', 'deploy', 'Mind the gap', 'export EDITOR=vi'],
  )
  assert.equal(await page.getByLabel('Record what is typed, too').isChecked(), false)
  await picture('all')
})

test('a bucket without versions is warned of, and a button turns them on', async () => {
  await page.evaluate(async () => {
    const csrf = (await (await fetch('/console/api/session')).json()).csrf
    const res = await fetch('/console/api/s3', { method: 'POST', headers: { 'X-Sekisho-S3': 'PUT /forgetful-logs', 'X-Sekisho-Csrf': csrf } })
    if (!res.ok) throw new Error(await res.text())
  })
  await page.getByLabel('Bucket', { exact: true }).fill('forgetful-logs')
  await page.getByText('forgetful-logs does not keep old versions').waitFor()
  await picture('versioning')
  await page.getByRole('button', { name: 'Turn versioning on' }).click()
  await page.getByText('It is there, and keeps old versions').waitFor()
  await page.getByText('forgetful-logs does not keep old versions').waitFor({ state: 'detached' })
  await page.getByRole('button', { name: 'Undo' }).click()
  assert.equal(await value('Bucket'), 'browser-logs')
})

test('dark, and as wide as a phone', async () => {
  await page.getByRole('button', { name: 'Switch to dark colours' }).click()
  await picture('dark')
  await page.setViewportSize({ width: 390, height: 780 })
  await page.reload()
  await page.getByText('Version 4, saved by').waitFor()
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
  assert.ok(overflow <= 0, `the page is ${overflow} pixels too wide`)
  await picture('phone')
  await page.setViewportSize({ width: 1280, height: 900 })
})

test('who may only read them is told which action is missing', async () => {
  await page.getByRole('button', { name: user }).first().click()
  await page.getByRole('menuitem', { name: 'Sign out' }).click()
  await page.getByLabel('User name').waitFor()
  await signIn('looker', 'Correct-Horse-1')
  await open()
  await page.getByText('You may look, and not change').waitFor()
  await page.getByText('ssm:UpdateDocument', { exact: true }).waitFor()
  assert.equal(await value('Longest session'), '240')
  assert.equal(await page.getByLabel('Longest session').getAttribute('readonly'), '')
  assert.equal(await page.getByRole('button', { name: /^Save/ }).count(), 0)
  await page.getByText(/Not verified: .*not authorized/).first().waitFor()
  await picture('looker')
})

test('the page had no faults', () => assert.deepEqual(faults, []))
