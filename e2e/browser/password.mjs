// A user whose password an administrator has set signs in to the console in a
// real browser, and must choose another one first.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { fillIn, noFaults, open, signOut, url } from './setup.mjs'

const user = 'newcomer'
const given = 'Correct-Horse-1'
const own = 'Battery-Staple-2'

let page, picture, faults
const signIn = (password) => fillIn(page, user, password)

async function change(old, next, again = next) {
  await page.getByLabel('Old password').fill(old)
  await page.getByLabel('New password', { exact: true }).fill(next)
  await page.getByLabel('Confirm new password').fill(again)
}

const button = () => page.getByRole('button', { name: 'Change password' })
const heading = () => page.getByRole('heading', { name: 'Change your password' })

before(async () => {
  ;({ page, picture, faults } = await open('password'))
})

test('a password set by an administrator allows only changing it', async () => {
  await page.goto(url)
  await signIn(given)
  await heading().waitFor()
  assert.equal(await page.getByRole('link', { name: 'Nodes', exact: true }).count(), 0)
  await picture('asked')
  await page.reload()
  await heading().waitFor()
})

test('invalid passwords are refused with a reason', async () => {
  await change(given, own, 'something else')
  await page.getByText('The passwords do not match.').waitFor()
  assert.ok(await button().isDisabled())
  await picture('differs')
  await change('Wrong-Horse-9', own)
  await button().click()
  await page.getByText('The old password was incorrect.').waitFor()
  await change(given, given)
  await button().click()
  await page.getByText('The new password must differ').waitFor()
  await picture('refused')
})

test('afterwards the console opens, and the old password is refused', async () => {
  await change(given, own)
  await button().click()
  await page.getByRole('link', { name: 'Nodes', exact: true }).waitFor()
  await picture('changed')
  await signOut(page, user)
  await signIn(given)
  await page.getByText('The user name or password is incorrect.').waitFor()
  await signIn(own)
  await page.getByRole('link', { name: 'Nodes', exact: true }).waitFor()
})

noFaults(() => faults)
