// The first run of an account in a real browser, with a software authenticator:
// a second factor by application, a passkey, signing in by it alone and beside
// the password, and the policy simulator.
//
//   SEKISHO_CONSOLE_URL, SEKISHO_CONSOLE_USER, SEKISHO_CONSOLE_PASSWORD   where, and who
//   SCREENSHOT_DIR, CHROMIUM   as in console.test.mjs

import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { chromium } from 'playwright-core'

const { SEKISHO_CONSOLE_USER: user, SEKISHO_CONSOLE_PASSWORD: password } = process.env
// For an address browsers have no passkeys.
const url = process.env.SEKISHO_CONSOLE_URL?.replace('127.0.0.1', 'localhost')
const shots = process.env.SCREENSHOT_DIR
const PATIENCE = 20_000

let browser, page, seed
let shot = 0

async function picture(name) {
  if (shots) await page.screenshot({ path: join(shots, `account-${String(++shot).padStart(2, '0')}-${name}.png`) })
}

/** The code of an authenticator application at a step (RFC 6238). */
function code(step) {
  let bits = ''
  for (const c of seed) bits += 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')
  const key = Buffer.from((bits.match(/.{8}/g) ?? []).map((b) => parseInt(b, 2)))
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(step))
  const mac = createHmac('sha1', key).update(counter).digest()
  const at = mac[19] & 15
  return String((mac.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, '0')
}
const step = () => Math.floor(Date.now() / 30_000)

async function fillPassword() {
  await page.getByLabel('User name').fill(user)
  await page.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
}

async function signOut() {
  await page.getByRole('button', { name: user }).first().click()
  await page.getByRole('menuitem', { name: 'Sign out' }).click()
  await page.getByLabel('User name').waitFor()
}

/** Signed in: the way to the nodes is there, whatever page it is. */
const nodes = () => page.getByRole('link', { name: 'Nodes', exact: true }).waitFor()

before(async () => {
  assert.ok(url && user && password, 'SEKISHO_CONSOLE_URL, SEKISHO_CONSOLE_USER and SEKISHO_CONSOLE_PASSWORD must be set')
  if (shots) mkdirSync(shots, { recursive: true })
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    // Passkeys are only for pages whose certificate is good; the test's is of
    // an authority that no browser knows.
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--ignore-certificate-errors'],
  })
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ignoreHTTPSErrors: true, reducedMotion: 'reduce' })
  context.setDefaultTimeout(PATIENCE)
  page = await context.newPage()
  const devtools = await context.newCDPSession(page)
  await devtools.send('WebAuthn.enable')
  await devtools.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  })
})
after(() => browser?.close())

test('the first run goes on until there is a second factor', async () => {
  await page.goto(url)
  await fillPassword()
  await page.getByRole('heading', { name: 'Protect the account' }).waitFor()
  await picture('first-run')
  await page.reload()
  await page.getByRole('heading', { name: 'Protect the account' }).waitFor()
  await page.getByText('Go on without a second factor').click()
  const decline = page.getByRole('button', { name: 'Decline a second factor' })
  await page.getByLabel('Type these words').fill('no')
  assert.ok(await decline.isDisabled(), 'other words may be sent')

  await page.getByRole('button', { name: 'Add an authenticator app' }).click()
  await page.getByAltText('The key as a QR code').waitFor()
  await picture('qr')
  await page.getByRole('button', { name: 'Show the key as text' }).click()
  seed = await page.locator('code.seed').innerText()
  await page.getByLabel('First code').fill('000000')
  await page.getByLabel('Second code').fill('000001')
  await page.getByRole('button', { name: 'Enrol' }).click()
  await page.getByText('InvalidAuthenticationCode').waitFor()
  const now = step()
  await page.getByLabel('First code').fill(code(now - 1))
  await page.getByLabel('Second code').fill(code(now))
  await page.getByRole('button', { name: 'Enrol' }).click()
  await nodes()
})

test('a passkey is added', async () => {
  await page.getByRole('button', { name: user }).first().click()
  await page.getByRole('menuitem', { name: 'Second factors' }).click()
  await page.getByRole('cell', { name: 'Authenticator app' }).waitFor()
  await page.getByRole('button', { name: 'Add a passkey' }).click()
  await page.getByRole('cell', { name: 'Passkey', exact: true }).waitFor()
  await picture('factors')
})

test('a passkey signs in alone', async () => {
  await signOut()
  await page.getByRole('button', { name: 'Sign in with a passkey' }).click()
  await nodes()
})

test('a passkey is the second factor beside the password', async () => {
  await signOut()
  await fillPassword()
  await nodes()
})

test('the simulator answers', async () => {
  await page.getByRole('link', { name: 'Policy simulator' }).click()
  await page.getByLabel('User', { exact: true }).fill(user)
  await page.getByLabel('Machine', { exact: true }).fill('mi-0123456789abcdef0')
  await page.getByLabel('Address').fill('203.0.113.7')
  await page.getByRole('button', { name: 'Ask' }).click()
  await page.getByText('Yes, at any time in this span').waitFor()
  await picture('simulator')
})
