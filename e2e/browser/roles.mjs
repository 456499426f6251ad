// The console for users with few permissions: minimal may start a session on
// one node and nothing else, nobody may do nothing at all.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { fillIn, noFaults, open, sees, signOut, target, type, url } from './setup.mjs'

const PASSWORD = 'Correct-Horse-1'

let page, picture, faults
/** The calls that were refused, by their operation. */
const refused = []

before(async () => {
  ;({ page, picture, faults } = await open('roles'))
  page.on('response', (res) => {
    if (res.url().endsWith('/console/api/aws') && res.status() >= 400) {
      refused.push(res.request().headers()['x-amz-target'] ?? res.request().postData())
    }
  })
})

async function enter(name) {
  await page.goto(url)
  await fillIn(page, name, PASSWORD)
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor()
}

/** The name of the node in reach, from the page that lists it. */
async function ownName() {
  await page.getByRole('link', { name: 'Machines I can reach', exact: true }).click()
  const row = page.getByRole('row', { name: new RegExp(target) })
  await row.getByText('At any time', { exact: true }).waitFor()
  assert.equal(await page.getByRole('row').count(), 2, 'the only node in reach')
  const name = await row.getByRole('link').innerText()
  await page.getByRole('link', { name: 'Overview', exact: true }).click()
  await page.getByLabel('Node ID, name or tag').waitFor()
  return name
}

/** The links of the navigation. */
const links = () => page.getByRole('navigation').getByRole('link').allInnerTexts()

test('a user who may start a session on one node can do that, and is offered nothing else', async () => {
  await enter('minimal')
  await page.getByLabel('Node ID, name or tag').waitFor()
  const shown = await links()
  assert.deepEqual(
    shown.map((text) => text.trim()),
    ['Overview', 'Nodes', 'Machines I can reach', 'Terminals'],
    'other pages are hidden',
  )
  await picture('minimal')
  const start = async (text) => {
    await page.getByLabel('Node ID, name or tag').fill(text)
    await page.getByRole('button', { name: 'Start session', exact: true }).click()
  }
  await start('no-such-machine')
  await page.getByText('No node matches no-such-machine.').waitFor()
  await start(await ownName())
  await sees(page, /[$#] *$/)
  await type(page, 'echo mine-$((6*7))')
  await sees(page, /^mine-42/)
  await picture('minimal-terminal')
  await type(page, 'exit')
  await page.getByText(/^Session ended/).waitFor()
})

test('the list of nodes says which action is missing, and offers no registration', async () => {
  await page.getByRole('link', { name: 'Nodes', exact: true }).click()
  await page.getByText(/ssm:DescribeInstanceInformation/).waitFor()
  await page.getByRole('row', { name: new RegExp(target) }).waitFor()
  assert.equal(await page.getByText('No nodes yet').count(), 0)
  assert.equal(await page.getByRole('button', { name: 'Register a node' }).count(), 0)
  await picture('minimal-nodes')
})

test('a link to a node starts a session on it', async () => {
  await page.goto(`${url}nodes/${target}`)
  await page.locator('.start-panel').getByText('Policy allows the session.').waitFor()
  await page.locator('.start-panel').getByRole('button', { name: 'Start session' }).click()
  await sees(page, /[$#] *$/)
  await type(page, 'exit')
  await page.getByText(/^Session ended/).waitFor()
})

test('a user without permissions sees a message, and the console sends no calls', async () => {
  await signOut(page, 'minimal')
  refused.length = 0
  await enter('nobody')
  await page.goto(`${url}reach`)
  await page.getByRole('heading', { level: 1, name: /^Machines I can reach/ }).waitFor()
  await page.getByText('No policy lets you start a session on any node in the next week.').waitFor()
  await page.goto(`${url}nodes/${target}`)
  await page.locator('.start-panel').getByText('Policy denies the session.').waitFor()
  assert.equal(
    await page.locator('.start-panel').getByRole('button', { name: 'Start session' }).getAttribute('aria-disabled'),
    'true',
  )
  await picture('nobody')
  assert.deepEqual(refused, [], 'the console makes no call that policy denies')
})

noFaults(() => faults)
