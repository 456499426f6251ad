// Who can reach which node, and when, in a real browser: the grant form,
// access requests and their approval, the second factor on demand, reach in
// both directions, and the policy simulator.
//
// The administrator is signed in by setup. ann can request access, bob can
// approve it, and the rule "prod" needs one approval. stella can start
// sessions for 15 minutes after a second factor; she adds an authenticator app
// first.

import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { fillIn, noFaults, open, overflow, sees, signIn, target, type, url, user } from './setup.mjs'

const shots = process.env.SCREENSHOT_DIR
const PASSWORD = 'Correct-Horse-1'

let page, picture, faults

before(async () => {
  ;({ page, picture, faults } = await open('access', { context: { viewport: { width: 1440, height: 900 } } }))
})

const visit = async (path, heading) => {
  await page.goto(`${url}${path}`)
  await page.getByRole('heading', { name: heading, level: 1 }).first().waitFor()
}

/** Signs in as another user. */
async function become(name) {
  await page.context().clearCookies()
  await page.goto(url)
  await fillIn(page, name, PASSWORD)
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor()
}

/** Takes a picture of the page at hand, which is not always the first one. */
const shoot = (name) =>
  shots ? page.screenshot({ path: join(shots, `access-${name}.png`), fullPage: true }) : Promise.resolve()

/** Takes pictures of a page as wide as a screen and a phone. */
async function pictures(name) {
  await shoot(name)
  await page.setViewportSize({ width: 390, height: 844 })
  assert.ok((await overflow(page)) <= 0, `${name} fits a phone`)
  await shoot(`${name}-phone`)
  await page.setViewportSize({ width: 1440, height: 900 })
}

const field = (label) => page.getByLabel(label, { exact: true })

test('the grant form prints the policy of every field', async () => {
  await signIn(page)
  await visit('grant', 'Grant access')
  await field('Name').fill('carol')
  await field('Source IP addresses').fill('203.0.113.0/24, 127.0.0.1')
  await field('Nodes').fill(`${target} tag:Env=prod`)
  await field('Documents').fill('SSM-SessionManagerRunShell AWS-StartSSHSession')
  await field('Weekdays').fill('mon-fri')
  await field('From').fill('22:00')
  await field('To').fill('06:00')
  await field('Time zone').fill('Asia/Tokyo')
  await field('Only during calendars').fill('on-call')
  await field('Not during calendars').fill('holidays')
  await field('Permission begins').fill('2026-04-15T00:00')
  await field('Permission ends').fill('2036-04-15T00:00')
  await page.getByText('Require MFA').click()
  await page.getByRole('button', { name: 'Show the policy' }).click()
  const text = page.locator('pre', { hasText: 'StartSession' })
  await text.waitFor()
  const policy = JSON.parse(await text.innerText())
  const starts = policy.Statement.filter((s) => s.Action.includes('ssm:StartSession'))
  // Two windows, since it crosses midnight, for a node, for a tag and
  // for the documents.
  assert.equal(starts.length, 6)
  const c = starts[0].Condition
  assert.deepEqual(c.StringEquals['sekisho:Weekday/Asia/Tokyo'], ['Mon', 'Tue', 'Wed', 'Thu', 'Fri'])
  assert.equal(c.DateGreaterThanEquals['sekisho:TimeOfDay/Asia/Tokyo'], '22:00')
  assert.deepEqual(c.IpAddress['aws:SourceIp'], ['203.0.113.0/24', '127.0.0.1'])
  assert.equal(c.Bool['sekisho:Calendar/on-call'], 'true')
  assert.equal(c.Bool['sekisho:Calendar/holidays'], 'false')
  assert.equal(c.Bool['aws:MultiFactorAuthPresent'], 'true')
  assert.ok(c.DateGreaterThanEquals['aws:CurrentTime'] && c.DateLessThan['aws:CurrentTime'])
  assert.ok(starts.some((s) => s.Resource.some((r) => r.endsWith('document/AWS-StartSSHSession'))))
  await pictures('grant')
})

test('the form reports an invalid field', async () => {
  await field('Time zone').fill('Asia/Tokio')
  await page.getByRole('button', { name: 'Show the policy' }).click()
  await page.getByText('Asia/Tokio').first().waitFor()
  await picture('grant-refused')
})

test('it attaches the policy to a user', async () => {
  await visit('grant', 'Grant access')
  await field('Name').fill('carol')
  await field('Nodes').fill(target)
  await field('Policy name').fill('from-the-form')
  await page.getByRole('button', { name: 'Attach', exact: true }).click()
  await page.getByText('Policy from-the-form is attached to carol.').waitFor()
  await visit('users/carol', 'carol')
  await page.getByText('from-the-form').first().waitFor()
})

test('the reach of a user and of a node', async () => {
  await page.getByText('What this user can reach').click()
  await page.getByRole('cell', { name: new RegExp(target) }).waitFor()
  await pictures('reach-user')
  await page.goto(`${url}nodes/${target}`)
  await page.getByText('Who can reach this node').click()
  const carol = page.getByRole('row', { name: /user\/carol/ })
  await carol.waitFor()
  await carol.getByText('Nothing', { exact: true }).waitFor()
  // stella's second factor is only known when she is asked for it.
  await page
    .getByRole('row', { name: /user\/stella/ })
    .getByText(/aws:MultiFactorAuthAge/)
    .waitFor()
  await pictures('reach-node')
})

test('the simulator shows the deciding statement of any action', async () => {
  await visit('simulator', 'Policy simulator')
  const ask = async (name, action, resource) => {
    await field('User').fill(name)
    await field('Action').fill(action)
    await field('Node, session or ARN').fill(resource)
    await page.keyboard.press('Escape')
    await page.getByRole('button', { name: 'Simulate' }).click()
    await page.getByRole('heading', { name: 'Result' }).waitFor()
  }
  await ask('carol', 'ssm:StartSession', target)
  await page.getByText('Allowed during the whole period').waitFor()
  await page
    .getByText(/from-the-form/)
    .first()
    .waitFor()
  await ask('carol', 's3:GetObject', 'arn:aws:s3:::bucket/key')
  await page.getByText('Denied during the whole period').waitFor()
  await page.getByText('Not satisfied: who').waitFor()
  await ask('stella', 'ssm:StartSession', target)
  await page.getByText('Not satisfied: MFA').waitFor()
  await page.getByText('A fresh second factor would satisfy it.').waitFor()
  await pictures('simulator')
})

test('a user requests access', async () => {
  await become('ann')
  await page.goto(`${url}requests`)
  await page.getByRole('button', { name: 'Request access' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Nodes').fill(target)
  await dialog.getByLabel('Reason').fill('ticket 4711')
  await picture('request')
  await dialog.getByRole('button', { name: 'Request access' }).click()
  await dialog.waitFor({ state: 'detached' })
  await page
    .getByRole('row', { name: /ticket 4711/ })
    .getByText('Pending')
    .waitFor()
})

/** Decides about the request as who is signed in. */
async function decide(action, reason) {
  await page
    .getByRole('row', { name: /ticket 4711/ })
    .getByRole('radio')
    .click()
  await page.getByRole('button', { name: action, exact: true }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Reason').fill(reason)
  await dialog.getByRole('button', { name: action, exact: true }).click()
  return dialog
}

test('requesters cannot approve their own requests', async () => {
  const dialog = await decide('Approve', 'mine')
  await dialog
    .getByText(/AccessDenied/)
    .first()
    .waitFor()
  await picture('own')
  await dialog.getByRole('button', { name: 'Cancel' }).click()
})

test('another user approves it', async () => {
  await become('bob')
  await page.goto(`${url}requests`)
  const dialog = await decide('Approve', 'agreed by phone')
  await dialog.waitFor({ state: 'detached' })
  await page
    .getByRole('row', { name: /ticket 4711/ })
    .getByText('Approved', { exact: true })
    .waitFor()
  await pictures('approved')
})

test('then the session starts, and revoking the access ends it', async () => {
  await become('ann')
  await page.getByLabel('Node ID, name or tag').fill(target)
  await page.getByRole('button', { name: 'Start session' }).click()
  await sees(page, /[$#] *$/)
  await type(page, 'echo lent-$((6*7))')
  await sees(page, /^lent-42/)
  await picture('lent')
  const second = await page.context().browser().newContext({ ignoreHTTPSErrors: true, locale: 'en-GB' })
  const bob = await second.newPage()
  await bob.goto(url)
  await fillIn(bob, 'bob', PASSWORD)
  await bob.getByRole('heading', { level: 1, name: 'Overview' }).waitFor()
  await bob.goto(`${url}requests`)
  await bob
    .getByRole('row', { name: /ticket 4711/ })
    .getByRole('radio')
    .click()
  await bob.getByRole('button', { name: 'Revoke', exact: true }).click()
  await bob.getByRole('dialog').getByLabel('Reason').fill('done')
  await bob.getByRole('dialog').getByRole('button', { name: 'Revoke', exact: true }).click()
  await page.getByText(/^Session ended/).waitFor()
  await picture('revoked')
  await second.close()
})

/** The code of an authenticator application at a step (RFC 6238). */
function code(seed, step) {
  let bits = ''
  for (const c of seed) bits += 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')
  const key = Buffer.from((bits.match(/.{8}/g) ?? []).map((b) => parseInt(b, 2)))
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(step))
  const mac = createHmac('sha1', key).update(counter).digest()
  const at = mac[19] & 15
  return String((mac.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, '0')
}

test('the console asks for the second factor, and the session starts', async () => {
  await become('stella')
  await page
    .getByRole('button', { name: /stella/ })
    .first()
    .click()
  await page.getByRole('menuitem', { name: 'MFA devices' }).click()
  await page.getByRole('button', { name: 'Add an authenticator app' }).click()
  await page.getByRole('button', { name: 'Show the key as text' }).click()
  const seed = await page.locator('code.seed').innerText()
  const step = Math.floor(Date.now() / 30_000)
  await page.getByLabel('First code').fill(code(seed, step - 1))
  await page.getByLabel('Second code').fill(code(seed, step))
  await page.getByRole('button', { name: 'Add', exact: true }).click()
  await page.getByRole('cell', { name: 'Authenticator app' }).waitFor()
  await page.goto(`${url}home`)
  await page.getByLabel('Node ID, name or tag').fill(target)
  await page.getByRole('button', { name: 'Start session' }).click()
  const dialog = page.getByRole('dialog', { name: 'Second factor required' })
  await dialog.waitFor()
  await dialog.getByLabel('Code of your authenticator app').fill('000000')
  await dialog.getByRole('button', { name: 'Continue' }).click()
  await dialog
    .getByText(/The code is incorrect/)
    .first()
    .waitFor()
  await picture('step-up')
  await dialog.getByLabel('Code of your authenticator app').fill(code(seed, Math.floor(Date.now() / 30_000) + 1))
  await dialog.getByRole('button', { name: 'Continue' }).click()
  await sees(page, /[$#] *$/)
  await picture('stepped-up')
  await type(page, 'exit')
  await page.getByText(/^Session ended/).waitFor()
})

test('the pages are in Japanese', async () => {
  const context = await page
    .context()
    .browser()
    .newContext({
      ignoreHTTPSErrors: true,
      locale: 'ja-JP',
      viewport: { width: 1440, height: 900 },
    })
  const previous = page
  page = await context.newPage()
  await page.goto(url)
  await page.getByLabel('ユーザー名').fill(user)
  await page.getByLabel('パスワード', { exact: true }).fill(process.env.SEKISHO_CONSOLE_PASSWORD)
  await page.getByRole('button', { name: 'サインイン', exact: true }).click()
  await page.getByRole('navigation').first().waitFor()
  for (const [path, heading] of [
    ['grant', 'アクセスの付与'],
    ['requests', 'アクセスリクエスト'],
    ['simulator', 'ポリシーシミュレーター'],
  ]) {
    await visit(path, heading)
    await pictures(`ja-${path}`)
  }
  await page.goto(`${url}nodes/${target}`)
  await page.getByText('このノードにアクセスできるユーザー').click()
  await page.getByRole('row', { name: /user\/carol/ }).waitFor()
  await pictures('ja-reach-node')
  page = previous
  await context.close()
})

noFaults(() => faults)
