// Pages and buttons for users with some permissions, the policy editor, usage and health.
//
// reader can list users and policies, and edit none. The preferences name a bucket for session
// logs.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { fillIn, noFaults, open, signIn, signOut, target, url } from './setup.mjs'

const PASSWORD = 'Correct-Horse-1'

let page, picture, faults

before(async () => {
  ;({ page, picture, faults } = await open('policies', { context: { viewport: { width: 1280, height: 900 } } }))
})

const editor = () => page.locator('.code-editor').last()
/** The issue codes that the editor shows, once the document is checked. */
async function issues() {
  await page.locator('[data-checked=true]').last().waitFor()
  return page.locator('[data-issue]').evaluateAll((all) => all.map((x) => x.dataset.issue))
}

test('the editor shows what IAM says, and warns of nodes that can overwrite logs', async () => {
  await signIn(page)
  await page.goto(`${url}policies`)
  await page.getByRole('button', { name: 'Create policy' }).click()
  await editor().fill('{"Version": "2012-10-17"}')
  await page.locator('[data-issue=MalformedPolicyDocument]').waitFor()
  assert.deepEqual(await issues(), ['MalformedPolicyDocument'])
  const document = (statement) => JSON.stringify({ Version: '2012-10-17', Statement: [statement] }, null, 2)
  await editor().fill(document({ Effect: 'Allow', Action: 's3:PutObject', Resource: 'arn:aws:s3:::session-logs/*' }))
  await page.locator('[data-issue=LOGS_CAN_BE_OVERWRITTEN]').waitFor()
  assert.deepEqual(await issues(), ['LOGS_CAN_BE_OVERWRITTEN'])
  await picture('warning')
  await editor().fill(document({ Effect: 'Allow', Action: 'ssm:StartSession', Resource: '*' }))
  await page.locator('[data-issue]').waitFor({ state: 'detached' })
  assert.deepEqual(await issues(), [])
})

test('Tab completes what is typed', async () => {
  await editor().fill('')
  await editor().pressSequentially('{"Ver')
  await page.keyboard.press('Tab')
  await editor().pressSequentially('": "2012-10-17", "Statement": [{"Eff')
  await page.keyboard.press('Tab')
  await editor().pressSequentially('": "All')
  await page.keyboard.press('Tab')
  await editor().pressSequentially('", "Action": "ssm:StartSes')
  await page.keyboard.press('Tab')
  await editor().pressSequentially('", "Resource": "*"}]}')
  assert.deepEqual(JSON.parse(await editor().inputValue()), {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: 'ssm:StartSession', Resource: '*' }],
  })
  await page.getByRole('button', { name: 'Cancel' }).click()
})

test('usage is added up by person and by node', async () => {
  await page.goto(`${url}usage?by=node`)
  await page.getByRole('heading', { level: 1, name: /^Usage/ }).waitFor()
  await page
    .getByText('No sessions in these days.')
    .or(page.getByRole('row', { name: new RegExp(target) }))
    .first()
    .waitFor()
  await picture('usage')
})

test('health shows the state of the server', async () => {
  await page.goto(`${url}health`)
  await page.getByText('Healthy', { exact: true }).waitFor()
  await page.getByText('Recordings can be stored', { exact: true }).waitFor()
  await picture('health')
})

test('a user with read access sees which action a button needs', async () => {
  await page.goto(`${url}home`)
  await signOut(page)
  await fillIn(page, 'reader', PASSWORD)
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor()
  await page.goto(`${url}users`)
  await page.getByRole('row', { name: /reader/ }).waitFor()
  const create = page.getByRole('button', { name: 'Create user' })
  await page.waitForFunction(() =>
    [...globalThis.document.querySelectorAll('button')].some(
      (b) => b.getAttribute('aria-disabled') === 'true' && b.innerText === 'Create user',
    ),
  )
  await create.hover()
  // The reason is the button's description, and is shown when it is pointed at.
  assert.match(
    await create.evaluate((b) => document.getElementById(b.getAttribute('aria-describedby'))?.textContent ?? ''),
    /iam:CreateUser/,
  )
  await picture('reader')
  // Creating groups is allowed for some names: the button is there.
  await page.goto(`${url}groups`)
  await page.getByRole('button', { name: 'Create user group' }).click()
  await page.getByRole('dialog').getByLabel('Name').fill('team-a')
  await page.getByRole('dialog').getByRole('button', { name: 'Create', exact: true }).click()
  await page.getByRole('link', { name: 'team-a', exact: true }).waitFor()
})

test('a list that cannot be loaded does not say that it is empty', async () => {
  await page.goto(`${url}roles`)
  await page.getByText('Not loaded').waitFor()
  assert.equal(await page.getByText('None', { exact: true }).count(), 0)
})

noFaults(() => faults)
