// Quick Setup in a real browser: the state, a run, a second run that changes
// nothing, and a machine that appears by the command of the page.
//
//   SEKISHO_BIN      the folder of sekisho-agent
//   SSL_CERT_FILE    the server's CA

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { noFaults, open, overflow as widthOver, signIn, target, url } from './setup.mjs'

const { SEKISHO_BIN: bin, SSL_CERT_FILE: ca, AWS_REGION: region } = process.env

let page, picture, faults, agent, state

/** The rows of the steps, as text. */
const steps = () => page.getByRole('table', { name: 'Quick Setup steps' }).getByRole('row')

before(async () => {
  assert.ok(target && bin && ca, 'the variables above must be set')
  const opened = await open('quick-setup', { context: { viewport: { width: 1280, height: 1500 } } })
  ;({ page, picture, faults } = opened)
  await opened.context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: new URL(url).origin })
})
after(() => {
  if (agent?.pid) process.kill(-agent.pid, 'SIGKILL')
  if (state) rmSync(state, { recursive: true, force: true })
})

test('the page shows what is missing', async () => {
  await signIn(page)
  await page.getByRole('link', { name: 'Quick Setup' }).click()
  await page.getByRole('heading', { name: 'Quick Setup' }).waitFor()
  await page.getByText('8 missing').waitFor()
  assert.equal(await steps().filter({ hasText: 'Missing' }).count(), 8)
  assert.ok(await page.getByRole('button', { name: 'Create the command' }).isDisabled(), 'the roles come first')
  await picture('missing')
})

test('a run creates the roles and assigns them to the chosen machines', async () => {
  await page.getByRole('button', { name: 'Choose', exact: true }).click()
  assert.ok(await page.getByRole('button', { name: 'Run Quick Setup' }).isDisabled(), 'nothing is chosen')
  await page.getByRole('row').filter({ hasText: target }).getByRole('checkbox').check({ force: true })
  await page.getByRole('button', { name: 'Run Quick Setup' }).click()
  await page.getByText('9 resources were changed.').waitFor()
  assert.equal(await steps().filter({ hasText: 'Created' }).count(), 9)
  await steps().filter({ hasText: target }).waitFor()
  // The list of machines updates by itself.
  await page
    .getByRole('table', { name: 'Machines' })
    .getByRole('row')
    .filter({ hasText: target })
    .getByText('Has the role')
    .waitFor()
  await picture('made')
})

test('a second run changes nothing, and the page says so', async () => {
  await page.getByRole('button', { name: 'By tag' }).click()
  await page.getByLabel('Key', { exact: true }).fill('Hostname')
  await page.getByRole('heading', { name: 'Machines', exact: true }).click()
  await page.getByText('No machine has this tag').waitFor()
  assert.ok(await page.getByRole('button', { name: 'Run Quick Setup' }).isDisabled(), 'no machine has the tag')
  await page.getByRole('button', { name: 'Choose', exact: true }).click()
  await page.getByRole('button', { name: 'Run Quick Setup' }).click()
  await page.getByText('Everything was already set up. Nothing was changed.').waitFor()
  assert.equal(await steps().filter({ hasText: 'Created' }).count(), 0)
  await page.reload()
  await page.getByText('Everything is set up').waitFor()
})

test('the command adds a machine, which appears by itself', async () => {
  await page.getByText('amd64: available').waitFor()
  await page.getByText('arm64: not available from this server').waitFor()
  await page.getByLabel(/^Name/).fill('fresh')
  await page.getByRole('button', { name: 'Add the Hostname tag' }).click()
  assert.equal(await page.getByLabel('Value of tag 1').inputValue(), 'fresh')
  await page.getByRole('button', { name: 'Node ID type' }).click()
  await page.getByRole('option', { name: /^i-/ }).click()
  await page.getByLabel('Number of machines').fill('0')
  await page.getByText('Enter a number from 1 to 1000.').waitFor()
  assert.ok(await page.getByRole('button', { name: 'Create the command' }).isDisabled())
  await page.getByLabel('Number of machines').fill('2')
  await picture('order')
  await page.getByRole('button', { name: 'Create the command' }).click()
  await page.getByText('Waiting for the machine').waitFor()
  await page.getByRole('button', { name: 'Copy the command' }).click()
  await page.getByText('Copied').waitFor()
  const line = await page.evaluate(() => navigator.clipboard.readText())
  assert.match(line, /^ca=\$\(mktemp\) .*\/install\/agent\.sh'; \} \| sudo sh$/)
  await picture('command')
  await page.getByRole('tab', { name: 'cloud-init' }).click()
  await page.getByText('#cloud-config').waitFor()
  await page.getByRole('tab', { name: 'Remove' }).click()
  await page.getByText('--uninstall').last().waitFor()

  // Does what the command does, without installing anything on this
  // machine.
  state = mkdtempSync(join(tmpdir(), 'sekisho-quick-setup-'))
  const [, id] = /SEKISHO_ACTIVATION_ID=([^;]+);/.exec(line)
  const [, code] = /SEKISHO_ACTIVATION_CODE=([^;]+);/.exec(line)
  const program = join(bin, 'sekisho-agent')
  const registered = spawnSync(
    program,
    [
      'register',
      '--state',
      state,
      '--endpoint',
      new URL(url).origin,
      '--region',
      region,
      '--ca',
      ca,
      '--activation-id',
      id,
      '--activation-code',
      '-',
    ],
    { input: `${code}\n`, encoding: 'utf8' },
  )
  const node = registered.stdout.trim()
  assert.match(node, /^i-[0-9a-f]{17}$/, registered.stderr)
  await page.getByText('Registered machines (1 of 2)').waitFor()
  agent = spawn(program, ['run', '--state', state], {
    detached: true,
    stdio: 'ignore',
  })
  const arrival = page.locator('.arrival').filter({ hasText: node })
  await arrival.getByText('Connected', { exact: true }).waitFor()
  await page.getByText('Waiting for more machines').waitFor()
  await picture('arrived')
  await arrival.getByRole('button', { name: 'Start session on fresh' }).click()
  await page.locator('.xterm-rows').waitFor()
})

test('dark mode at the width of a phone', async () => {
  await page.getByRole('link', { name: 'Quick Setup' }).first().click()
  await page.getByText('Everything is set up').waitFor()
  await page.getByRole('button', { name: 'Switch to dark mode' }).click()
  await picture('dark')
  await page.setViewportSize({ width: 390, height: 2400 })
  await page.getByRole('heading', { name: 'Add machines' }).waitFor()
  const overflow = await widthOver(page)
  assert.ok(overflow <= 0, 'the page fits a phone')
  await picture('phone')
})

noFaults(() => faults)
