// What happens around a session in a real browser: its requirements before it
// starts, the tags of its node, the facts above it, its logs afterwards, and
// what users see who may not start one.
//
// The preferences have a bucket with versions, a log group and a required
// reason. The node's role may not write to them yet. The user watcher may list
// nodes, the user tomorrow may start sessions from tomorrow.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import {
  noFaults,
  open,
  overflow as widthOver,
  sees as seesIn,
  signIn,
  signOut,
  target,
  TIMEOUT,
  url,
} from './setup.mjs'

const NAME = '受付サーバー'

let page, picture, faults

const row = () => page.getByRole('row').filter({ hasText: target }).first()
const list = () => page.getByRole('list', { name: 'Requirements for a session' }).last()

async function select() {
  await row().getByText('Connected', { exact: true }).waitFor()
  await row().getByRole('radio').click()
  await list().waitFor()
}

/** The button beside the list, which is not the one above the table. */
const start = () => page.locator('.start-panel').getByRole('button', { name: 'Start session', exact: true })

/** An S3 call of who is signed in. */
const s3 = (line, body) =>
  page.evaluate(
    async ([request, content]) => {
      const { csrf } = await (await fetch('/console/api/session')).json()
      const res = await fetch('/console/api/s3', {
        method: 'POST',
        body: content,
        headers: { 'X-Sekisho-S3': request, 'X-Sekisho-Csrf': csrf },
      })
      if (!res.ok) throw new Error(await res.text())
    },
    [line, body],
  )

/** A call of IAM of who is signed in. */
const iam = (params) =>
  page.evaluate(async (form) => {
    const { csrf } = await (await fetch('/console/api/session')).json()
    const res = await fetch('/console/api/aws', {
      method: 'POST',
      headers: {
        'Content-Type': 'application/x-www-form-urlencoded',
        'X-Sekisho-Service': 'iam',
        'X-Sekisho-Csrf': csrf,
      },
      body: new URLSearchParams({
        ...form,
        Version: '2010-05-08',
      }).toString(),
    })
    if (!res.ok) throw new Error(await res.text())
  }, params)

const sees = (pattern) => seesIn(page, pattern)

before(async () => {
  assert.ok(target, 'SEKISHO_TARGET must be set')
  ;({ page, picture, faults } = await open('starts', { context: { timezoneId: 'Asia/Tokyo' } }))
})

test('a problem with the log is shown before the session starts', async () => {
  await signIn(page)
  await select()
  await list().getByText('Policy allows the session.').waitFor()
  await list().getByText('The node is connected.').waitFor()
  await list().getByText('The session is recorded.').waitFor()
  await list()
    .getByText(/s3:PutObject on arn:aws:s3:::session-logs\/nodes\//)
    .waitFor()
  assert.equal(await start().getAttribute('aria-disabled'), 'true', 'the button waits for the list')
  await picture('list')
  await page.getByText('Ignore the warnings').click()
  await page.waitForFunction(
    () => document.querySelector('.start-panel button')?.getAttribute('aria-disabled') !== 'true',
  )
  // Starting from a row of the list asks, too.
  await row()
    .getByRole('button', { name: /^Start session on/ })
    .click()
  const dialog = page.getByRole('dialog')
  await dialog.getByText(/s3:PutObject on/).waitFor()
  await dialog.getByRole('button', { name: 'Start anyway' }).waitFor()
  await dialog.getByRole('button', { name: 'Cancel' }).click()
  await dialog.waitFor({ state: 'detached' })
})

test('tags can be edited in any script', async () => {
  await page.getByRole('button', { name: /^(Edit|Add) tags$/ }).click()
  const dialog = page.getByRole('dialog')
  const count = await dialog.getByLabel(/^Key of tag/).count()
  for (const [i, [key, value]] of [
    ['Name', NAME],
    ['Env', 'production'],
    ['Old', 'x'],
  ].entries()) {
    await dialog.getByRole('button', { name: 'Add tag' }).click()
    await dialog.getByLabel(`Key of tag ${count + i + 1}`, { exact: true }).fill(key)
    await dialog.getByLabel(`Value of tag ${count + i + 1}`, { exact: true }).fill(value)
  }
  await picture('tags')
  await dialog.getByRole('button', { name: 'Save tags' }).click()
  await dialog.waitFor({ state: 'detached' })
  await page.locator('.tag', { hasText: NAME }).waitFor()
  await page.getByRole('button', { name: 'Edit tags' }).click()
  await dialog.getByRole('button', { name: 'Remove the tag Old' }).click()
  await dialog.getByRole('button', { name: 'Save tags' }).click()
  await page.locator('.tag', { hasText: 'Old' }).waitFor({ state: 'detached' })
  await page.reload()
  await select()
  await page.locator('.tag', { hasText: NAME }).waitFor()
  await page.getByPlaceholder(/^Find nodes/).fill(NAME)
  await page.keyboard.press('Enter')
  await page.waitForURL(/filter=/)
  await row().waitFor()
})

test('the session starts with a reason once all requirements are met', async () => {
  const Resource = [
    'arn:aws:s3:::session-logs',
    'arn:aws:s3:::session-logs/*',
    'arn:aws:logs:*:*:log-group:/sessions',
    'arn:aws:logs:*:*:log-group:/sessions:*',
  ]
  await iam({
    Action: 'PutRolePolicy',
    RoleName: 'AmazonEC2RunCommandRoleForManagedInstances',
    PolicyName: 'Logs',
    PolicyDocument: JSON.stringify({
      Version: '2012-10-17',
      Statement: [
        {
          Effect: 'Allow',
          Action: ['s3:PutObject', 's3:GetEncryptionConfiguration', 'logs:*'],
          Resource,
        },
      ],
    }),
  })
  await page.reload()
  await select()
  await list()
    .getByText(/can be delivered to s3:\/\/session-logs\/nodes\/SESSION-ID.log and the log group \/sessions/)
    .waitFor()
  await picture('green')
  await start().click()
  const dialog = page.getByRole('dialog')
  const go = dialog.getByRole('button', { name: 'Start session' })
  assert.equal(await go.getAttribute('aria-disabled'), 'true', 'a reason is needed')
  await dialog.getByLabel('Reason').fill('OPS-17 look at the log')
  await picture('reason')
  await go.click()
  await sees(/[$#] *$/)
})

test('the facts above the terminal identify the node', async () => {
  const bar = page.locator('.terminal-bar')
  await bar.getByText('production', { exact: true }).waitFor()
  assert.ok(await bar.evaluate((el) => el.classList.contains('band-prod')), 'production has its colour')
  for (const fact of ['Account', 'OS user', 'Owner', 'Started', 'Session', 'Idle timeout in', 'Recording'])
    await bar.getByText(fact, { exact: true }).waitFor()
  // Twenty minutes, less what has passed.
  await bar.getByText(/^(19 min \d\d s|20 min 00 s)$/).waitFor()
  await page.keyboard.type('echo seen-$((6*7))')
  await page.keyboard.press('Enter')
  await sees(/^seen-42/)
  await picture('terminal')
  await page.keyboard.type('exit')
  await page.keyboard.press('Enter')
  await page.getByText(/^Session ended/).waitFor()
})

test('the page of the session shows its log: the object and the stream', async () => {
  await page.getByRole('button', { name: 'Replay' }).click()
  await page.getByRole('heading', { name: 'Log in the bucket' }).waitFor()
  await page.getByText('OPS-17 look at the log').waitFor()
  // It is delivered when the session ends, so look until it exists.
  const read = page.getByRole('button', { name: /^Read the version from/ })
  await lookUntil('Refresh the versions', () => read.count())
  await read.first().click()
  const text = page.getByRole('group', { name: /^Version from/ })
  await text.getByText('seen-42', { exact: true }).waitFor()
  const stream = page.getByRole('group', { name: 'Session output' })
  await lookUntil('Refresh the log stream', () => stream.getByText('seen-42', { exact: true }).count())
  await picture('logs')
})

/** Presses a button again and again until something is there. */
async function lookUntil(button, there) {
  const end = Date.now() + TIMEOUT
  while (!(await there())) {
    assert.ok(Date.now() < end, `${button}: in vain`)
    const answered = page.waitForResponse(/\/console\/api\/(s3|aws)$/)
    await page.getByRole('button', { name: button }).click()
    await answered
  }
}

test('a log that was replaced shows both versions', async () => {
  const id = page.url().split('/').pop()
  await s3(`PUT /session-logs/nodes/${id}.log`, 'nothing happened here')
  await page.getByRole('button', { name: 'Refresh the versions' }).click()
  await page.getByText('The log was written 2 times').waitFor()
  const read = page.getByRole('button', { name: /^Read the version from/ })
  await read.first().click()
  const text = page.getByRole('group', { name: /^Version from/ })
  await text.getByText('nothing happened here').waitFor()
  await read.last().click()
  await text.getByText('seen-42', { exact: true }).waitFor()
  await page.getByText('The log was written 2 times').scrollIntoViewIfNeeded()
  await picture('versions')
})

test('dark mode at the width of a phone', async () => {
  await page.getByRole('button', { name: 'Switch to dark mode' }).click()
  await picture('dark')
  await page.setViewportSize({ width: 390, height: 780 })
  const overflow = () => widthOver(page)
  assert.ok((await overflow()) <= 0, "the session's page fits a phone")
  await page.getByRole('heading', { name: 'Log in the bucket' }).scrollIntoViewIfNeeded()
  await picture('phone-log')
  await page.goto(`${url}nodes`)
  const card = page.getByRole('listitem').filter({ hasText: target }).first()
  await card.getByRole('button', { name: /^Start session/ }).click()
  await page.getByRole('dialog').getByLabel('Reason').waitFor()
  await picture('phone-start')
  assert.ok((await overflow()) <= 0, 'the question fits a phone')
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click()
  await page.setViewportSize({ width: 1280, height: 900 })
  await page.getByRole('button', { name: /^Switch to light/ }).click()
  await signOut(page)
})

test('a user with read access sees the nodes and the missing action', async () => {
  await signIn(page, 'watcher', 'Correct-Horse-1')
  await select()
  await list()
    .getByText(/is not authorized to perform: ssm:StartSession/)
    .waitFor()
  assert.equal(await start().getAttribute('aria-disabled'), 'true')
  assert.equal(await list().getByRole('listitem').count(), 1, 'nothing else is listed')
  await start().focus()
  // The button shows the reason, and screen readers read it.
  const why = 'The action ssm:StartSession is not allowed on this node.'
  assert.equal(
    await start().evaluate((b) => document.getElementById(b.getAttribute('aria-describedby'))?.textContent),
    why,
  )
  await page.getByText(why).filter({ visible: true }).first().waitFor()
  await page.locator('.tags button[aria-disabled=true]', { hasText: 'Edit tags' }).waitFor()
  await picture('watcher')
  await signOut(page, 'watcher')
})

test('a permission with hours shows when it begins, in the time zone of the viewer', async () => {
  await signIn(page, 'tomorrow', 'Correct-Horse-1')
  await select()
  await list()
    .getByText(/Policy allows it from .* to .* \(Asia\/Tokyo\)\./)
    .waitFor()
  await picture('hours')
})

noFaults(() => faults)
