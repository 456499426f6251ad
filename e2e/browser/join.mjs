// Watching and joining a session in real browsers: the owner sees who watches and
// who can type, and a user without sekisho:JoinSession can only watch.
//
// The user bob can watch and join every session, the user carol can watch.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { noFaults, open, sees, signIn, target, type, url } from './setup.mjs'

const PASSWORD = 'Correct-Horse-1'

let owner, bob, carol

/** What the owner sees about who else is there. */
const others = () => owner.page.locator('.fact').filter({ hasText: 'Also here' }).getByRole('status')

const join = (who) => who.page.getByRole('button', { name: 'Join', exact: true })
const leave = (who) => who.page.getByRole('button', { name: 'Leave', exact: true })

before(async () => {
  assert.ok(target, 'SEKISHO_TARGET must be set')
  owner = await open('join-owner')
  bob = await open('join-bob')
  carol = await open('join-carol')
})

/** watch opens the running session from the list of sessions. */
async function watch(who, name) {
  await signIn(who.page, name, PASSWORD)
  await who.page.getByRole('link', { name: 'Active', exact: true }).click()
  await who.page.getByRole('row').filter({ hasText: target }).getByRole('link', { name: 'Watch', exact: true }).click()
}

test('the owner of a session sees who watches it', async () => {
  await signIn(owner.page)
  await owner.page
    .getByRole('row')
    .filter({ hasText: target })
    .getByRole('button', { name: /^Start session/ })
    .click()
  await sees(owner.page, /[$#] *$/)
  await type(owner.page, "echo before''hand")
  await sees(owner.page, /^beforehand/)
  assert.equal(await others().count(), 0, 'nobody else is here yet')

  await watch(bob, 'bob')
  await sees(bob.page, /^beforehand/) // the current screen
  await others().getByText('bob', { exact: true }).waitFor()
  await owner.picture('watched')
})

test('a user who joins can type, and the owner sees that', async () => {
  await join(bob).click()
  await bob.page.getByText('You can type. The owner sees that you are here.').waitFor()
  await others().getByText('bob (can type)', { exact: true }).waitFor()
  await owner.picture('joined')
  await bob.page.locator('.xterm-helper-textarea').first().focus()
  await type(bob.page, "echo from''bob-$((6*7))")
  await sees(owner.page, /^frombob-42/)
  await sees(bob.page, /^frombob-42/)
  await bob.picture('joined')

  await leave(bob).click()
  await join(bob).waitFor()
  await others().getByText('bob', { exact: true }).waitFor()
  await bob.page.locator('.xterm-screen').first().click()
  await bob.page.keyboard.type('unheard')
  await owner.page.locator('.xterm-helper-textarea').first().focus()
  await type(owner.page, 'echo checked-$((6*8))')
  const shown = await sees(owner.page, /^checked-48/)
  assert.ok(shown)
  assert.doesNotMatch(await owner.page.locator('.xterm-rows').first().innerText(), /unheard/)
})

test('a user without permission to join can only watch', async () => {
  await watch(carol, 'carol')
  await sees(carol.page, /^checked-48/)
  assert.equal(await join(carol).count(), 0)
  await others()
    .getByText(/\bcarol\b/)
    .waitFor()
})

test('the owner sees when the others leave', async () => {
  for (const who of [bob, carol]) await who.page.goto(url)
  await others().waitFor({ state: 'detached', timeout: 60_000 })
  await owner.page.locator('.xterm-helper-textarea').first().focus()
  await type(owner.page, 'exit')
  await owner.page.getByText(/^Session ended/).waitFor()
})

noFaults(() => [owner, bob, carol].flatMap((who) => who.faults))
