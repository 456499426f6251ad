// First-run setup of an account in a real browser, with a software
// authenticator: an authenticator app as the second factor, a passkey, sign-in
// with the passkey alone and with the password, and the policy simulator.

import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { before, test } from 'node:test'
import { fillIn, noFaults, open, signOut, url as address, user } from './setup.mjs'

// Browsers do not support passkeys for IP addresses.
const url = address?.replace('127.0.0.1', 'localhost')

let page, picture, faults, seed

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

/** Signed in: the way to the nodes is there, whatever page it is. */
const nodes = () => page.getByRole('link', { name: 'Nodes', exact: true }).waitFor()

before(async () => {
  // Passkeys need a certificate that the browser trusts, and the test's
  // authority is unknown to it.
  const opened = await open('account', { args: ['--ignore-certificate-errors'] })
  ;({ page, picture, faults } = opened)
  const devtools = await opened.context.newCDPSession(page)
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

test('first-run setup ends with a second factor', async () => {
  await page.goto(url)
  await fillIn(page)
  await page.getByRole('heading', { name: 'Protect the account' }).waitFor()
  await picture('first-run')
  await page.reload()
  await page.getByRole('heading', { name: 'Protect the account' }).waitFor()
  await page.getByText('Continue without a second factor').click()
  const decline = page.getByRole('button', { name: 'Decline a second factor' })
  await page.getByLabel('Type this sentence').fill('no')
  assert.ok(await decline.isDisabled(), 'other words may be sent')

  await page.getByRole('button', { name: 'Add an authenticator app' }).click()
  await page.getByAltText('The key as a QR code').waitFor()
  await picture('qr')
  await page.getByRole('button', { name: 'Show the key as text' }).click()
  seed = await page.locator('code.seed').innerText()
  await page.getByLabel('First code').fill('000000')
  await page.getByLabel('Second code').fill('000001')
  await page.getByRole('button', { name: 'Add' }).click()
  await page.getByText('InvalidAuthenticationCode').waitFor()
  const now = step()
  await page.getByLabel('First code').fill(code(now - 1))
  await page.getByLabel('Second code').fill(code(now))
  await page.getByRole('button', { name: 'Add' }).click()
  await nodes()
})

test('a passkey is added', async () => {
  await page.getByRole('button', { name: user }).first().click()
  await page.getByRole('menuitem', { name: 'MFA devices' }).click()
  await page.getByRole('cell', { name: 'Authenticator app' }).waitFor()
  await page.getByRole('button', { name: 'Add a passkey' }).click()
  await page.getByRole('cell', { name: 'Passkey', exact: true }).waitFor()
  await picture('factors')
})

test('a passkey signs in alone', async () => {
  await signOut(page)
  await page.getByRole('button', { name: 'Sign in with a passkey' }).click()
  await nodes()
})

test('a passkey is the second factor after the password', async () => {
  await signOut(page)
  await fillIn(page)
  await nodes()
})

test('the simulator refuses a node that does not exist', async () => {
  await page.getByRole('link', { name: 'Policy simulator' }).click()
  await page.getByLabel('User', { exact: true }).fill(user)
  await page.getByLabel('Node, session or ARN', { exact: true }).fill('mi-0123456789abcdef0')
  await page.getByLabel('Source IP address').fill('203.0.113.7')
  await page.getByRole('button', { name: 'Simulate' }).click()
  await page.getByText('Unknown node').first().waitFor()
  await picture('simulator')
})

noFaults(() => faults)
