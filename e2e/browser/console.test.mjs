// The console in a real browser, from signing in to replaying a session.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import {
  nodes,
  noFaults,
  open,
  overflow as widthOver,
  screen as screenOf,
  sees as seesIn,
  signIn,
  target,
  type as typeIn,
  url,
  user,
} from './setup.mjs'

let page, picture, faults
/** The open data channels, to be cut. */
const channels = new Set()

function cutChannels() {
  for (const { near, far } of channels) {
    near.close()
    far.close()
  }
  channels.clear()
}

const screen = () => screenOf(page)
const sees = (pattern) => seesIn(page, pattern)
const type = (line) => typeIn(page, line)

before(async () => {
  const opened = await open('console', { context: { viewport: { width: 1280, height: 800 } } })
  ;({ page, picture, faults } = opened)
  await opened.context.routeWebSocket(/\/v1\/data-channel\//, (near) => {
    const far = near.connectToServer()
    channels.add({ near, far })
  })
})

test('a wrong password is refused with a message', async () => {
  await page.goto(url)
  await page.getByLabel('User name').fill(user)
  await page.getByLabel('Password').fill('not the password')
  await picture('sign-in')
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText('is incorrect').waitFor()
})

test('signing in shows the nodes, connected', async () => {
  await signIn(page)
  const rows = page.getByRole('row')
  const row = target ? rows.filter({ hasText: target }) : rows.filter({ hasText: 'Connected' })
  // The status is updated without reloading the page.
  await row.first().getByText('Connected', { exact: true }).waitFor()
  await page.getByText('Live: changes appear automatically').waitFor()
  await picture('nodes')
  await row.first().getByRole('radio').click()
  await page.getByText('Agent version').waitFor()
  await picture('node')
})

test('a session: typing, colours, resizing, Ctrl-C, exit', async () => {
  await page.getByRole('button', { name: 'Start session', exact: true }).first().click()
  await page.locator('.xterm-rows').waitFor()
  await sees(/[$#] *$/)
  await type('echo sek$((40+2))')
  await sees(/^sek42/)

  await type('echo first $(stty size)')
  const [, rows, cols] = await sees(/^first (\d+) (\d+)/)
  assert.notEqual(`${rows} ${cols}`, '24 80', 'the size of the window reached the node')
  await page.setViewportSize({ width: 1000, height: 620 })
  await type(`while [ "$(stty size)" = "${rows} ${cols}" ]; do sleep 0.1; done; echo then $(stty size)`)
  const [, rows2, cols2] = await sees(/^then (\d+) (\d+)/)
  assert.ok(Number(rows2) < Number(rows) && Number(cols2) < Number(cols), `${rows} ${cols} became ${rows2} ${cols2}`)
  await page.setViewportSize({ width: 1280, height: 800 })

  await type('printf "\\033[31mred\\033[0m plain \\xe9\\x96\\xa2\\xe6\\x89\\x80\\n"')
  await sees(/^red plain 関所/)
  assert.ok(await page.locator('.xterm-rows .xterm-fg-1', { hasText: 'red' }).count(), 'colour is drawn')

  // Ctrl-C is only sent once the program visibly runs.
  await type("echo run''ning; sleep 600")
  await sees(/^running/)
  await page.keyboard.press('Control+c')
  await type('echo after=$?')
  await sees(/^after=130/)

  await page.evaluate(() => {
    const data = new DataTransfer()
    data.setData('text/plain', 'echo pasted-$((2*3))')
    document
      .querySelector('.xterm-helper-textarea')
      .dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true }))
  })
  await page.keyboard.press('Enter')
  await sees(/^pasted-6/)

  // Output of a node affects nothing beyond the screen: no clipboard,
  // markup, scripts in links, or typed answers.
  await page.evaluate(() => {
    window.written = []
    Object.defineProperty(navigator, 'clipboard', { value: { writeText: async (text) => window.written.push(text) } })
  })
  await type(
    'printf "\\033]52;c;b3duZWQ=\\007\\033]0;<img src=x onerror=window.owned=1>\\rowned\\007' +
      '\\033[21t<script>window.owned=1</script>' +
      '\\033]8;;javascript:window.owned=1\\007link\\033]8;;\\007\\n"; echo sho""wn',
  )
  await sees(/^shown/)
  await page
    .getByText('link', { exact: true })
    .first()
    .click({ force: true, timeout: 2000 })
    .catch(() => {})
  await type('echo still-$((1+1))')
  await sees(/^still-2/)
  assert.deepEqual(await page.evaluate(() => [window.written, window.owned ?? 0]), [[], 0], 'what a node prints acts')
  for (const fact of ['Owner', 'Started', 'Recording'])
    await page.locator('.terminal-bar').getByText(fact, { exact: true }).waitFor()
  await picture('terminal')
})

test('several terminals with their own sessions', async () => {
  const tabs = page.getByRole('tab')
  await nodes(page)
  const row = page
    .getByRole('row')
    .filter({ hasText: target ?? 'Connected' })
    .first()
  await row.getByRole('button', { name: /^Start session/ }).click()
  await sees(/[$#] *$/)
  assert.equal(await tabs.count(), 2)
  await type('echo second-$((1+1))')
  await sees(/^second-2/)
  await tabs.first().click()
  await sees(/^pasted-6/)
  // This time the page ends the session.
  await tabs.nth(1).click()
  await page.getByRole('button', { name: 'End session' }).click()
  await page.getByText(/^Session ended/).waitFor()
  await page.getByRole('button', { name: 'Close', exact: true }).click()
  assert.equal(await tabs.count(), 1)
})

test('a session resumes after its connection drops', async () => {
  await sees(/^pasted-6/)
  await page.locator('.xterm-helper-textarea').first().focus()
  // Without echo, so that input during the output does not appear among
  // the lines.
  await type('stty -echo; for i in 1 2 3; do sleep 1; echo line-$i; done; stty echo')
  await sees(/^line-1/)
  cutChannels()
  await page.getByText(/^Reconnecting/).waitFor()
  await type('echo still-$((6*7))')
  await sees(/^line-2\nline-3\n(.*\n)*still-42/)
  await page.getByText(/^Reconnecting/).waitFor({ state: 'detached' })
})

test('a reloaded page shows its terminals without losing output', async () => {
  const tabs = page.getByRole('tab')
  page.on('dialog', (d) => d.accept()) // leaving the page asks for confirmation
  const ticks = Array.from({ length: 20 }, (_, i) => `tick-${i + 1}\\n`).join('')
  await type(
    'clear; for i in $(seq 20); do echo tick-$i; sleep 0.2; done; echo counted; stty -echo; ' +
      'bash -c \'printf "\\033[c"; IFS= read -rd c answer; echo answered\'; stty echo',
  )
  await sees(/^tick-2/)
  // A second one is shown while the first continues in the background.
  await nodes(page)
  await page
    .getByRole('row')
    .filter({ hasText: target ?? 'Connected' })
    .first()
    .getByRole('button', { name: /^Start session/ })
    .click()
  await sees(/[$#] *$/)
  await type('stty -echo; echo mine-$((3*4)); read word; echo "read <$word>"; stty echo')
  await sees(/^mine-12/)
  await page.keyboard.type('half a ')

  await page.reload()
  await sees(/^mine-12/)
  assert.equal(await tabs.count(), 2)
  assert.equal(await tabs.nth(1).getAttribute('aria-selected'), 'true')
  await page.getByText(/^Reconnecting/).waitFor({ state: 'detached' })
  await page.locator('.xterm-helper-textarea').first().focus()
  await type('word')
  await sees(/^read <half a word>/)
  assert.equal(await page.evaluate(() => sessionStorage.length), 0, 'nothing of it stays in the storage')
  await type('exit')
  await page.getByText(/^Session ended/).waitFor()
  await page.getByRole('button', { name: 'Close', exact: true }).click()

  // Each line appears once and in order, and no answer of the terminal
  // is typed twice.
  await sees(new RegExp(`^${ticks}counted\nanswered`))
  await page.reload()
  await sees(new RegExp(`^${ticks}counted\nanswered`))
  await page.getByText(/^Reconnecting/).waitFor({ state: 'detached' })
  await page.locator('.xterm-helper-textarea').first().focus()
  await type('echo again-$((6*7))')
  await sees(/^again-42/)
  await picture('reloaded')
})

test('exit ends the session and the page shows it', async () => {
  await type('exit')
  await page.getByText(/^Session ended/).waitFor()
  await picture('ended')
})

test('history replays the recording', async () => {
  await page.getByRole('link', { name: 'History' }).click()
  const replay = page.getByRole('link', { name: 'Replay' }).first()
  await replay.waitFor()
  await picture('history')
  // The first in the list may be another terminal: find the one with the
  // output.
  const links = await page
    .getByRole('link', { name: 'Replay' })
    .evaluateAll((els) => els.slice(0, 3).map((e) => e.getAttribute('href')))
  let seen = ''
  for (const link of links) {
    await page.locator(`a[href="${link}"]`).first().click()
    const player = page.getByRole('group', { name: 'Player' })
    await player.getByRole('button', { name: 'Pause' }).waitFor()
    await player.getByRole('button', { name: 'Pause' }).click()
    const position = player.getByRole('slider', { name: 'Position' })
    await page.waitForFunction(() => Number(document.querySelector('.player-seek')?.max) > 0.01)
    await position.evaluate((el) => {
      // Near the end, before the last output.
      Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(el, String(Number(el.max) * 0.999))
      el.dispatchEvent(new Event('input', { bubbles: true }))
    })
    await page.waitForFunction(() => /-\d/.test(document.querySelector('.xterm-rows')?.innerText ?? ''))
    seen += await screen()
    await page.getByText('Sealed and unaltered').waitFor()
    if (/again-42/.test(seen)) break
    await page.getByRole('link', { name: 'History' }).click()
  }
  assert.match(seen, /again-42/)
  await picture('replay')
  await page
    .getByRole('radio', { name: '8×' })
    .or(page.getByRole('button', { name: '8×' }))
    .first()
    .click()
  await page.getByRole('button', { name: 'Play', exact: true }).click()
  await page.waitForFunction(() => {
    const el = document.querySelector('.player-seek')
    return Number(el.value) >= Number(el.max) - 0.01
  }, undefined)
})

test('dark mode at the width of a phone', async () => {
  await page.getByRole('button', { name: 'Switch to dark mode' }).click()
  assert.ok(await page.evaluate(() => document.body.classList.contains('awsui-dark-mode')))
  await picture('replay-dark')
  await page.goto(`${url}nodes`)
  await page.getByText('Live: changes appear automatically').waitFor()
  await picture('nodes-dark')

  await page.setViewportSize({ width: 390, height: 780 })
  await page.goto(`${url}nodes`)
  await page.getByText('Live: changes appear automatically').waitFor()
  const overflow = () => widthOver(page)
  assert.ok((await overflow()) <= 0, 'the list of nodes fits a phone')
  await picture('phone-nodes')
  await page
    .getByRole('button', { name: /^Start session/ })
    .last()
    .scrollIntoViewIfNeeded()
  const card = page
    .getByRole('listitem')
    .filter({ hasText: target ?? 'Connected' })
    .first()
  await card.getByRole('button', { name: /^Start session/ }).click()
  await sees(/[$#] *$/)
  await type('stty size')
  const [, , cols] = await sees(/^(\d+) (\d+) *$/)
  assert.ok(Number(cols) < 70, `${cols} columns on a phone`)
  assert.ok((await overflow()) <= 0, 'the terminal fits a phone')
  await page.getByRole('button', { name: 'Tab', exact: true }).waitFor()
  await picture('phone-terminal')
  await type('exit')
  await page.getByText(/^Session ended/).waitFor()
})

test('signing out', async () => {
  await page.setViewportSize({ width: 1280, height: 800 })
  await page.getByRole('button', { name: new RegExp(user) }).click()
  await page.getByRole('menuitem', { name: 'Sign out' }).click()
  await page.getByLabel('Password').waitFor()
  await picture('signed-out')
  await page.reload()
  await page.getByLabel('Password').waitFor()
})

noFaults(() => faults)
