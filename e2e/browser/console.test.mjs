// The console in a real browser, against a running server:
//
//   SEKISHO_CONSOLE_URL, SEKISHO_CONSOLE_USER, SEKISHO_CONSOLE_PASSWORD   where, and who
//   SEKISHO_TARGET    the node to use; the first connected one when unset
//   SCREENSHOT_DIR    where pictures go; none are taken when unset
//   CHROMIUM          the browser; /usr/bin/chromium when unset

import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { chromium } from 'playwright-core'

const { SEKISHO_CONSOLE_URL: url, SEKISHO_CONSOLE_USER: user, SEKISHO_CONSOLE_PASSWORD: password } = process.env
const target = process.env.SEKISHO_TARGET
const shots = process.env.SCREENSHOT_DIR
const PATIENCE = 20_000

let browser, context, page
/** The open data channels, to be cut. */
const channels = new Set()

function cutChannels() {
  for (const { near, far } of channels) {
    near.close()
    far.close()
  }
  channels.clear()
}
const faults = []
let shot = 0

async function picture(name) {
  if (shots) await page.screenshot({ path: join(shots, `${String(++shot).padStart(2, '0')}-${name}.png`) })
}

/** What the terminal shows, row by row. */
const screen = () => page.locator('.xterm-rows').first().innerText()

/** Waits until the terminal shows what matches, and returns the match. */
async function sees(pattern) {
  try {
    const match = await page.waitForFunction(
      (s) => new RegExp(s, 'm').exec(document.querySelector('.xterm-rows')?.innerText.replaceAll('\u00a0', ' ') ?? ''),
      pattern.source,
      { timeout: PATIENCE },
    )
    return await match.jsonValue()
  } catch (cause) {
    throw new Error(`the terminal never showed ${pattern}; it shows:\n${await screen().catch(() => '(nothing)')}`, { cause })
  }
}

async function type(line) {
  await page.keyboard.type(line)
  await page.keyboard.press('Enter')
}

async function signIn() {
  await page.goto(url)
  await page.getByLabel('User name').fill(user)
  await page.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('heading', { name: 'Nodes' }).first().waitFor()
}

before(async () => {
  assert.ok(url && user && password, 'SEKISHO_CONSOLE_URL, SEKISHO_CONSOLE_USER and SEKISHO_CONSOLE_PASSWORD must be set')
  if (shots) mkdirSync(shots, { recursive: true })
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      // The terminal then draws text that a test can read.
      '--disable-3d-apis',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
  context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ignoreHTTPSErrors: true, reducedMotion: 'reduce' })
  context.setDefaultTimeout(PATIENCE)
  await context.routeWebSocket(/\/v1\/data-channel\//, (near) => {
    const far = near.connectToServer()
    channels.add({ near, far })
  })
  page = await context.newPage()
  page.on('pageerror', (err) => faults.push(`page error: ${err.message}`))
  page.on('console', (m) => {
    // A signed-out page asks who it is and is told 401: that is no fault.
    if (m.type() === 'error' && !/status of 401/.test(m.text())) faults.push(`console: ${m.text()}`)
  })
})
after(() => browser?.close())

test('a wrong password is refused in words', async () => {
  await page.goto(url)
  await page.getByLabel('User name').fill(user)
  await page.getByLabel('Password').fill('not the password')
  await picture('sign-in')
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText('is not right').waitFor()
})

test('signing in shows the nodes, connected', async () => {
  await signIn()
  const rows = page.getByRole('row')
  const row = target ? rows.filter({ hasText: target }) : rows.filter({ hasText: 'Connected' })
  // The status is pushed or asked for: no reload.
  await row.first().getByText('Connected', { exact: true }).waitFor()
  await page.getByText('Live: changes appear by themselves').waitFor()
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

  // Only what is seen to run can be interrupted.
  await type("echo run''ning; sleep 600")
  await sees(/^running/)
  await page.keyboard.press('Control+c')
  await type('echo after=$?')
  await sees(/^after=130/)

  await page.evaluate(() => {
    const data = new DataTransfer()
    data.setData('text/plain', 'echo pasted-$((2*3))')
    document.querySelector('.xterm-helper-textarea').dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true }))
  })
  await page.keyboard.press('Enter')
  await sees(/^pasted-6/)
  for (const fact of ['Owner', 'Started', 'Recording']) await page.locator('.terminal-bar').getByText(fact, { exact: true }).waitFor()
  await picture('terminal')
})

test('several terminals, each its own', async () => {
  const tabs = page.getByRole('tab')
  await page.getByRole('link', { name: /^Nodes/ }).first().click()
  const row = page.getByRole('row').filter({ hasText: target ?? 'Connected' }).first()
  await row.getByRole('button', { name: /^Start session/ }).click()
  await sees(/[$#] *$/)
  assert.equal(await tabs.count(), 2)
  await type('echo second-$((1+1))')
  await sees(/^second-2/)
  await tabs.first().click()
  await sees(/^pasted-6/)
  // Ended from the page this time.
  await tabs.nth(1).click()
  await page.getByRole('button', { name: 'End session' }).click()
  await page.getByText(/^Session ended/).waitFor()
  await page.getByRole('button', { name: 'Close', exact: true }).click()
  assert.equal(await tabs.count(), 1)
})

test('a dropped connection is picked up where it broke', async () => {
  await sees(/^pasted-6/)
  await page.locator('.xterm-helper-textarea').first().focus()
  // Without echo: what is typed meanwhile must not stand among the lines.
  await type('stty -echo; for i in 1 2 3; do sleep 1; echo line-$i; done; stty echo')
  await sees(/^line-1/)
  cutChannels()
  await page.getByText(/^Reconnecting/).waitFor()
  await type('echo still-$((6*7))')
  await sees(/^line-2\nline-3\n(.*\n)*still-42/)
  await page.getByText(/^Reconnecting/).waitFor({ state: 'detached' })
})

test('a page that is loaded anew has its terminals, and no byte is lost', async () => {
  const tabs = page.getByRole('tab')
  page.on('dialog', (d) => d.accept()) // leaving the page is asked about
  const ticks = Array.from({ length: 20 }, (_, i) => `tick-${i + 1}\\n`).join('')
  await type('clear; for i in $(seq 20); do echo tick-$i; sleep 0.2; done; echo counted; stty -echo; bash -c \'printf "\\033[c"; IFS= read -rd c answer; echo answered\'; stty echo')
  await sees(/^tick-2/)
  // A second one, which is shown, while the first goes on behind it.
  await page.getByRole('link', { name: /^Nodes/ }).first().click()
  await page.getByRole('row').filter({ hasText: target ?? 'Connected' }).first().getByRole('button', { name: /^Start session/ }).click()
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

  // Each line once, in their order, and no answer of the terminal typed twice.
  await sees(new RegExp(`^${ticks}counted\nanswered`))
  await page.reload()
  await sees(new RegExp(`^${ticks}counted\nanswered`))
  await page.getByText(/^Reconnecting/).waitFor({ state: 'detached' })
  await page.locator('.xterm-helper-textarea').first().focus()
  await type('echo again-$((6*7))')
  await sees(/^again-42/)
  await picture('loaded-anew')
})

test('exit ends it, and says so', async () => {
  await type('exit')
  await page.getByText(/^Session ended/).waitFor()
  await picture('ended')
})

test('history replays the recording', async () => {
  await page.getByRole('link', { name: 'History' }).click()
  const replay = page.getByRole('link', { name: 'Replay' }).first()
  await replay.waitFor()
  await picture('history')
  // The first in the list may be another terminal: take the one that saw it.
  const links = await page.getByRole('link', { name: 'Replay' }).evaluateAll((els) => els.slice(0, 3).map((e) => e.getAttribute('href')))
  let seen = ''
  for (const link of links) {
    await page.locator(`a[href="${link}"]`).first().click()
    const player = page.getByRole('group', { name: 'Player' })
    await player.getByRole('button', { name: 'Pause' }).waitFor()
    await player.getByRole('button', { name: 'Pause' }).click()
    const position = player.getByRole('slider', { name: 'Position' })
    await page.waitForFunction(() => Number(document.querySelector('.player-seek')?.max) > 0.01)
    await position.evaluate((el) => {
      // Near the end, before the last words.
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
  await page.getByRole('radio', { name: '8×' }).or(page.getByRole('button', { name: '8×' })).first().click()
  await page.getByRole('button', { name: 'Play', exact: true }).click()
  await page.waitForFunction(() => {
    const el = document.querySelector('.player-seek')
    return Number(el.value) >= Number(el.max) - 0.01
  }, undefined, { timeout: PATIENCE })
})

test('dark, and as wide as a phone', async () => {
  await page.getByRole('button', { name: 'Switch to dark colours' }).click()
  assert.ok(await page.evaluate(() => document.body.classList.contains('awsui-dark-mode')))
  await picture('replay-dark')
  await page.goto(url)
  await page.getByText('Live: changes appear by themselves').waitFor()
  await picture('nodes-dark')

  await page.setViewportSize({ width: 390, height: 780 })
  await page.goto(url)
  await page.getByText('Live: changes appear by themselves').waitFor()
  const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
  assert.ok((await overflow()) <= 0, 'the list of nodes fits a phone')
  await picture('phone-nodes')
  await page.getByRole('button', { name: /^Start session/ }).last().scrollIntoViewIfNeeded()
  const card = page.getByRole('listitem').filter({ hasText: target ?? 'Connected' }).first()
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

test('the page had no faults', () => assert.deepEqual(faults, []))
