// What goes wrong while somebody works: the network, the server, the sign-in. A POST to
// SEKISHO_TEST_RESTART kills the server and starts it again.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { fillIn, noFaults, open, password, sees, signIn, target, type, url, user } from './setup.mjs'

const restart = process.env.SEKISHO_TEST_RESTART

let page, context, faults

before(async () => {
  assert.ok(restart, 'SEKISHO_TEST_RESTART must be set')
  ;({ page, context, faults } = await open('trouble'))
  await signIn(page)
})

/** The server refuses a page without its cookie as it refuses one whose sign-in has ended. */
const endSignIn = () => context.clearCookies()

const POLICY = 'arn:aws:iam::aws:policy/AmazonSSMFullAccess'

/** Opens the form for a new policy and types a document that nobody has saved. */
async function draft() {
  await page.goto(`${url}policies`)
  await page.getByRole('button', { name: 'Create policy' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Name').fill('drafted')
  const editor = dialog.locator('textarea').first()
  await editor.fill(
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:DescribeSessions","Resource":"*"}]}',
  )
  return { dialog, editor }
}

test('a sign-in that expires while a policy is edited loses nothing', async () => {
  const { dialog, editor } = await draft()
  const text = await editor.inputValue()
  await endSignIn()
  await dialog.getByRole('button', { name: 'Create', exact: true }).click()
  await page.getByText(`Sign in again as ${user}`).waitFor()
  assert.equal(await page.getByLabel('User name').inputValue(), user)
  assert.equal(await dialog.isVisible(), false, 'nobody reads the page without the sign-in')
  await page.getByLabel('Password', { exact: true }).fill('wrong')
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
  await page.getByRole('alert').waitFor()
  await page.getByLabel('Password', { exact: true }).fill(password)
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
  await dialog.waitFor()
  assert.equal(await editor.inputValue(), text)
  await dialog.getByRole('button', { name: 'Create', exact: true }).click()
  await dialog.waitFor({ state: 'detached' })
  await page.getByText('drafted').first().waitFor()
})

test('somebody else who signs in gets a page of their own', async () => {
  const { dialog } = await draft()
  await endSignIn()
  await dialog.getByRole('button', { name: 'Create', exact: true }).click()
  await page.getByText(`Sign in again as ${user}`).waitFor()
  await fillIn(page, 'other', 'Correct-Horse-1')
  await page.locator('nav').first().waitFor()
  assert.equal(await page.getByRole('dialog').count(), 0)
  assert.equal(await page.locator('textarea').count(), 0)
  await context.clearCookies()
  await signIn(page)
})

test('a page without a network says so, and works again with it', async () => {
  await page.goto(`${url}policies/${encodeURIComponent(POLICY)}`)
  await page.getByText('Default version').waitFor()
  await context.setOffline(true)
  await page.getByRole('link', { name: 'Users', exact: true }).click()
  await page.getByText('The server does not respond.').first().waitFor()
  await context.setOffline(false)
  await page.getByRole('link', { name: 'Roles', exact: true }).click()
  await page.getByRole('link', { name: 'Users', exact: true }).click()
  await page.getByRole('link', { name: user, exact: true }).waitFor()
})

test('a terminal survives a restart of the server', async () => {
  await page.goto(`${url}nodes/${target}`)
  await page.locator('.start-panel').getByRole('button', { name: 'Start session' }).click()
  await sees(page, /[$#] *$/)
  await type(page, 'echo before-$((6*7))')
  await sees(page, /^before-42/)
  assert.equal((await fetch(restart, { method: 'POST' })).status, 200)
  await page.getByText(/^Reconnecting/).waitFor({ state: 'detached' })
  await page.locator('.xterm-helper-textarea').first().focus()
  await type(page, 'echo after-$((6*7))')
  await sees(page, /^after-42/)
  await type(page, 'exit')
  await page.getByText(/^Session ended/).waitFor()
  // The rest of the console knows the server again.
  await page.getByRole('link', { name: 'Nodes', exact: true }).click()
  await page.getByText('Live: changes appear automatically').waitFor()
})

noFaults(() => faults.filter((f) => !/ERR_(INTERNET_DISCONNECTED|CONNECTION|SOCKET|NETWORK)|WebSocket|502|503/.test(f)))
