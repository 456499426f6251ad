// The session preferences in a real browser: saved, refused with remedies,
// compared, and viewed by looker, who has read permission only.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { noFaults, open, overflow as widthOver, signIn, signOut } from './setup.mjs'

let page, picture, faults

async function openPreferences() {
  await page.getByRole('link', { name: 'Preferences', exact: true }).click()
  await page.getByRole('heading', { name: 'Session preferences' }).waitFor()
}

const save = () => page.getByRole('button', { name: 'Save', exact: true }).click()
const saved = () => page.getByText('The preferences apply to new sessions').waitFor()
const value = (label) => page.getByLabel(label, { exact: true }).inputValue()

before(async () => {
  ;({ page, picture, faults } = await open('preferences'))
})

test('the defaults apply until preferences are saved', async () => {
  await signIn(page)
  await openPreferences()
  await page.getByText('No preferences are saved. The defaults apply.').waitFor()
  assert.equal(await value('Idle timeout'), '')
  assert.equal(await page.getByRole('button', { name: /^Save \d/ }).count(), 0, 'nothing was changed')
  await picture('none', { fullPage: true })
})

test('a missing bucket is refused, and a button creates it', async () => {
  await page.getByLabel('Idle timeout').fill('61')
  await page.getByText('Enter a whole number from 1 to 60, or leave it empty.').waitFor()
  await page.getByLabel('Idle timeout').fill('30')
  await page.getByLabel('Bucket', { exact: true }).fill('browser-logs')
  await page.getByText('This bucket does not exist').waitFor()
  await page.getByLabel('Key prefix').fill('sessions')
  await save()
  await page.getByText('Not saved: InvalidDocumentContent').waitFor()
  await page.getByRole('button', { name: 'Clear the bucket' }).waitFor()
  await picture('refused', { fullPage: true })
  await page.getByRole('button', { name: 'Create the bucket browser-logs' }).click()
  await saved()
  await page.getByText('Version 1, saved by').waitFor()
  await page.getByText('Bucket exists; versioning is on').waitFor()
})

test('a test log is delivered and shown', async () => {
  await page.getByRole('button', { name: 'Send a test log' }).click()
  await page.getByText('The test log was delivered').waitFor()
  await page.getByText(/^s3:\/\/browser-logs\/sessions\/sekisho-test-\w+\.log$/).waitFor()
  await page.getByText(/version [\w-]+, encrypted with AES256, read back unchanged/).waitFor()
  await picture('test-log', { fullPage: true })
})

test('an encryption check box that contradicts the log group is refused, with a button for each remedy', async () => {
  await page.getByLabel('Log group', { exact: true }).fill('/browser/sessions')
  await page.getByText('This log group does not exist').waitFor()
  await save()
  await page.getByRole('button', { name: 'Create the log group /browser/sessions' }).click()
  await saved()
  await page.getByText('Log group exists, without a KMS key').waitFor()

  await page.getByText('Require an encrypted log group').click()
  await save()
  await page.getByText(/but cloudWatchEncryptionEnabled/).waitFor()
  await page.getByRole('button', { name: 'Turn on encryption' }).waitFor()
  await picture('mismatch', { fullPage: true })
  // With the check box cleared there is nothing to save.
  await page.getByRole('button', { name: 'Clear this check box' }).click()
  await page.getByText(/but cloudWatchEncryptionEnabled/).waitFor({ state: 'detached' })
  assert.equal(await page.getByLabel('Require an encrypted log group').isChecked(), false)

  await page.getByText('Require an encrypted log group').click()
  await save()
  await page.getByRole('button', { name: 'Turn on encryption' }).click()
  await saved()
  await page.getByText('Version 3, saved by').waitFor()
})

test('versions are compared, and an earlier one becomes the default', async () => {
  const row = (setting) => page.getByRole('row').filter({ hasText: setting })
  await row('cloudWatchEncryptionEnabled').getByText('true').waitFor()
  await page.getByRole('button', { name: 'Show the changes in version 2' }).click()
  await row('cloudWatchLogGroupName').getByText('/browser/sessions').waitFor()
  await picture('versions', { fullPage: true })
  await page.getByRole('button', { name: 'Make version 1 the default' }).click()
  await page.getByText('Version 1, saved by').waitFor()
  await page.waitForFunction(() => document.querySelector('input[aria-label="Log group"]')?.value === '')
  assert.equal(await value('Bucket'), 'browser-logs')
})

test('every preference can be set, and is kept after a reload', async () => {
  await page.getByLabel('Maximum session duration').fill('240')
  await page.getByLabel('Sessions per user').fill('5')
  await page.getByText('Require a reason').click()
  await page.getByLabel('Reason pattern').fill('OPS-[0-9]+.*')
  await page.getByText("Run sessions as the user's own OS user").click()
  await page.getByLabel('Default OS user').fill('deploy')
  await page.getByLabel('Banner').fill('Mind the gap')
  await page.getByLabel('Shell profile, Linux').fill('export EDITOR=vi')
  await page.getByText('Record input').click()
  await page.getByRole('button', { name: /^Save \d+ changes$/ }).click()
  await saved()
  await page.reload()
  await page.getByText('Version 4, saved by').waitFor()
  assert.deepEqual(
    [
      await value('Maximum session duration'),
      await value('Sessions per user'),
      await value('Reason pattern'),
      await value('Default OS user'),
      await value('Banner'),
      await value('Shell profile, Linux'),
    ],
    ['240', '5', 'OPS-[0-9]+.*', 'deploy', 'Mind the gap', 'export EDITOR=vi'],
  )
  assert.equal(await page.getByLabel('Record input').isChecked(), false)
  await picture('all', { fullPage: true })
})

test('a bucket without versioning causes a warning, and a button turns it on', async () => {
  await page.evaluate(async () => {
    const csrf = (await (await fetch('/console/api/session')).json()).csrf
    const res = await fetch('/console/api/s3', {
      method: 'POST',
      headers: {
        'X-Sekisho-S3': 'PUT /forgetful-logs',
        'X-Sekisho-Csrf': csrf,
      },
    })
    if (!res.ok) throw new Error(await res.text())
  })
  await page.getByLabel('Bucket', { exact: true }).fill('forgetful-logs')
  await page.getByText('forgetful-logs does not keep old versions').waitFor()
  await picture('versioning', { fullPage: true })
  await page.getByRole('button', { name: 'Turn on versioning' }).click()
  await page.getByText('Bucket exists; versioning is on').waitFor()
  await page.getByText('forgetful-logs does not keep old versions').waitFor({ state: 'detached' })
  await page.getByRole('button', { name: 'Undo' }).click()
  assert.equal(await value('Bucket'), 'browser-logs')
})

test('dark mode at the width of a phone', async () => {
  await page.getByRole('button', { name: 'Switch to dark mode' }).click()
  await picture('dark', { fullPage: true })
  await page.setViewportSize({ width: 390, height: 780 })
  await page.reload()
  await page.getByText('Version 4, saved by').waitFor()
  const overflow = await widthOver(page)
  assert.ok(overflow <= 0, `the page is ${overflow} pixels too wide`)
  await picture('phone', { fullPage: true })
  await page.setViewportSize({ width: 1280, height: 900 })
})

test('a user who can only read preferences sees which action is missing', async () => {
  await signOut(page)
  await signIn(page, 'looker', 'Correct-Horse-1')
  await openPreferences()
  await page.getByText('You can view these preferences but not change them').waitFor()
  await page.getByText('ssm:UpdateDocument', { exact: true }).waitFor()
  assert.equal(await value('Maximum session duration'), '240')
  assert.equal(await page.getByLabel('Maximum session duration').getAttribute('readonly'), '')
  assert.equal(await page.getByRole('button', { name: /^Save/ }).count(), 0)
  await page
    .getByText(/Not verified: .*not authorized/)
    .first()
    .waitFor()
  await picture('looker', { fullPage: true })
})

noFaults(() => faults)
