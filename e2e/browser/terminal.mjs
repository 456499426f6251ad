// What a terminal does beside typing: panes side by side, files, the copy and paste policy, a flood of
// output, and the link to a recording.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { before, test } from 'node:test'
import { fillIn, noFaults, open, sees, signIn, target, TIMEOUT, type, url } from './setup.mjs'

const PASSWORD = 'Correct-Horse-1'
/** The bytes of the flood; make console-flood asks for 100 MB and prints how long a keystroke takes. */
const FLOOD = Number(process.env.SEKISHO_FLOOD_BYTES ?? 8_000_000)

let page, browser, faults, picture

before(async () => {
  ;({ page, browser, faults, picture } = await open('terminal', { context: { acceptDownloads: true } }))
  page.on('dialog', (d) => d.accept()) // leaving the page is asked about
  await signIn(page)
})

async function start(on = page) {
  await on.goto(`${url}nodes/${target}`)
  await on.locator('.start-panel').getByRole('button', { name: 'Start session' }).click()
  await sees(on, /[$#] *$/)
}

const pane = (n) => page.getByRole('tabpanel').nth(n)
const rows = (n) => pane(n).locator('.xterm-rows')
const shows = (n, text) => rows(n).getByText(text).first().waitFor()

test('terminals side by side, each with its own keyboard', async () => {
  await start()
  await page.getByText(/^OS user/).waitFor()
  await page.keyboard.press('Control+Shift+E')
  await pane(1).locator('.xterm-rows').waitFor()
  await page.waitForFunction(() => /[$#]/.test(document.querySelectorAll('.xterm-rows')[1]?.innerText ?? ''))
  await page.keyboard.type('echo right-$((1+1))')
  await page.keyboard.press('Enter')
  await shows(1, 'right-2')
  await page.keyboard.press('Control+Shift+ArrowLeft')
  await page.keyboard.type('echo left-$((1+1))')
  await page.keyboard.press('Enter')
  await shows(0, 'left-2')
  assert.equal(await rows(0).getByText('right-2').count(), 0)
  await picture('panes')
  const boxes = await Promise.all([0, 1].map((n) => pane(n).boundingBox()))
  assert.ok(boxes[0].x + boxes[0].width <= boxes[1].x + 1, 'they stand side by side')
  await page.reload()
  await shows(0, 'left-2')
  await shows(1, 'right-2')
  assert.equal(await page.getByRole('tabpanel').count(), 2, 'a reload keeps the panes')
  await pane(1)
    .getByRole('button', { name: /^Hide this terminal/ })
    .click()
  assert.equal(await page.getByRole('tabpanel').count(), 1)
  assert.equal(await page.getByRole('tab').count(), 2, 'the session keeps its tab')
})

test('the header names the OS user and the credentials', async () => {
  await page.locator('.xterm-helper-textarea').first().focus()
  await type(page, 'clear; echo "i am <$(id -un)>"')
  const [, name] = await sees(page, /^i am <(.+)>/)
  const shown = await page.locator('.fact', { hasText: 'OS user' }).first().innerText()
  assert.equal(shown.replace(/^OS user\s*/, ''), name)
  await page.locator('.fact', { hasText: 'Credentials' }).getByText('This sign-in').waitFor()
})

test('a file is uploaded by dropping it, and downloaded again', async () => {
  const text = 'dropped '.repeat(40_000)
  await page
    .locator('.terminal-drop')
    .first()
    .evaluate((el, content) => {
      const data = new DataTransfer()
      data.items.add(new File([content], 'dropped file.txt', { type: 'text/plain' }))
      for (const kind of ['dragover', 'drop'])
        el.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }))
    }, text)
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Folder on the node').fill('/tmp')
  await dialog.getByRole('button', { name: 'Upload', exact: true }).click()
  await dialog
    .getByText('Complete')
    .or(dialog.getByText(/was not copied/))
    .first()
    .waitFor()
  await dialog.getByLabel('File on the node').fill('/tmp/dropped file.txt')
  const arrived = page.waitForEvent('download')
  await dialog.getByRole('button', { name: 'Download', exact: true }).click()
  const download = await arrived
  assert.equal(download.suggestedFilename(), 'dropped file.txt')
  const sum = (bytes) => createHash('sha256').update(bytes).digest('hex')
  assert.equal(sum(await readFile(await download.path())), sum(text))
  await picture('files')
})

test('what cannot be copied says why', async () => {
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('File on the node').fill('/tmp')
  await dialog.getByRole('button', { name: 'Download', exact: true }).click()
  await dialog.getByText('Use sekisho cp to copy folders.').waitFor()
  await dialog.getByLabel('File on the node').fill('/nonexistent')
  await dialog.getByRole('button', { name: 'Download', exact: true }).click()
  await dialog.getByText(/^On the node: .*nonexistent/).waitFor()
  await dialog.getByRole('button', { name: 'Close' }).last().click()
})

test('a flood of output leaves room for keys', async () => {
  // Counts what the page processes between two frames, and what arrives between a key and its sending.
  await page.addInitScript(() => {
    const counts = { frame: 0, mostInFrame: 0, total: 0, keys: 0, waits: [] }
    globalThis.counts = counts
    const add = WebSocket.prototype
    const message = Object.getOwnPropertyDescriptor(add, 'onmessage')
    Object.defineProperty(add, 'onmessage', {
      ...message,
      set(handler) {
        message.set.call(this, (ev) => {
          counts.frame += ev.data.byteLength ?? 0
          counts.total += ev.data.byteLength ?? 0
          handler(ev)
        })
      },
    })
    const tick = () => {
      counts.mostInFrame = Math.max(counts.mostInFrame, counts.frame)
      counts.frame = 0
      requestAnimationFrame(tick)
    }
    requestAnimationFrame(tick)
    addEventListener('keydown', (ev) => counts.waits.push(performance.now() - ev.timeStamp), true)
  })
  await start()
  await type(
    page,
    `stty -echo; head -c ${FLOOD} /dev/zero | tr '\\0' x | fold -w 100; echo; ` +
      'echo flood-over; read -r word; echo "got <$word>"',
  )
  await page.waitForFunction(() => globalThis.counts.total > 200_000)
  // Keys during the flood: each is handled before the flood is over.
  for (let i = 0; i < 20; i++) await page.keyboard.press('k')
  const during = await page.evaluate(() => ({ ...globalThis.counts }))
  await page.waitForFunction(
    () => /^flood-over/m.test(document.querySelector('.xterm-rows')?.innerText ?? ''),
    undefined,
    { timeout: TIMEOUT + FLOOD / 500 },
  )
  const after = await page.evaluate(() => ({ ...globalThis.counts }))
  assert.ok(after.total >= FLOOD, `${after.total} bytes arrived`)
  if (FLOOD >= 8_000_000) assert.ok(during.total < after.total, 'the keys were handled during the flood')
  // Acknowledgements bound what the node sends before the terminal has parsed it: a window of the agent
  // and what the page lets wait.
  assert.ok(after.mostInFrame <= 4 << 20, `${after.mostInFrame} bytes were processed between two frames`)
  await page.keyboard.press('Enter')
  await sees(page, /^got <k{20}>/)
  if (process.env.SEKISHO_FLOOD_BYTES) {
    const waits = after.waits.toSorted((a, b) => a - b)
    console.log(
      `flood: ${FLOOD} bytes, ${waits.length} keys, handled after at most ${waits.at(-1).toFixed(1)} ms,` +
        ` median ${waits[waits.length >> 1].toFixed(1)} ms, at most ${after.mostInFrame} bytes between two frames`,
    )
    assert.ok(waits.at(-1) < 100, 'a keystroke is handled within 100 ms')
  }
})

test('a link to a recording opens for a user without permission, until it is revoked', async () => {
  await type(page, 'exit')
  await page.getByText(/^Session ended/).waitFor()
  await page.getByRole('button', { name: 'Replay' }).click()
  await page.getByText('Sealed and unaltered').waitFor()
  await page.getByRole('button', { name: 'Share', exact: true }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByRole('button', { name: 'Create link' }).click()
  const address = await dialog.locator('code').first().innerText()
  assert.match(address, /\/console\/shared\/rl-[0-9a-f]{16}#[\w-]{43}$/)
  await picture('share')

  const second = await browser.newContext({ ignoreHTTPSErrors: true, locale: 'en-GB' })
  const viewer = await second.newPage()
  const sent = []
  viewer.on('request', (r) => sent.push(r.url()))
  await viewer.goto(address)
  await fillIn(viewer, 'viewer', PASSWORD)
  await viewer
    .getByRole('group', { name: 'Player' })
    .getByRole('button', { name: /^(Pause|Play)$/ })
    .waitFor()
  assert.ok(!sent.some((u) => u.includes(address.split('#')[1])), 'the token is in no request line')
  assert.equal(await viewer.getByRole('button', { name: 'Share' }).count(), 0)

  await dialog
    .getByRole('button', { name: /^Revoke the link/ })
    .first()
    .click()
  await dialog.getByText('Links to this recording').waitFor({ state: 'detached' })
  await viewer.reload()
  await viewer.getByText('The link to the recording was revoked.').waitFor()
  await second.close()
  await dialog.getByRole('button', { name: 'Close' }).last().click()
})

test('preferences keep the terminal from copying and pasting', async () => {
  await page.goto(`${url}preferences`)
  await page.getByText('Do not allow copying from the terminal').click()
  await page.getByText('Do not allow pasting into the terminal').click()
  await page.getByRole('button', { name: 'Save', exact: true }).click()
  await page.getByText(/^Saved\./).waitFor()
  await start()
  await page.evaluate(() => {
    const data = new DataTransfer()
    data.setData('text/plain', 'echo pasted')
    document
      .querySelector('.xterm-helper-textarea')
      .dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }))
  })
  await page.getByText('The session preferences do not allow pasting.').waitFor()
  await page.keyboard.press('Enter')
  await type(page, 'echo typed-$((6*7))')
  await sees(page, /^typed-42/)
  assert.equal(await page.locator('.xterm-rows').getByText('pasted').count(), 0)
  await page.keyboard.press('Control+Shift+C')
  await page.getByText('The session preferences do not allow copying.').waitFor()
  // Nothing stays selected, so that there is nothing to drag or to paste with the middle button.
  await page
    .locator('.xterm-screen')
    .first()
    .dblclick({ position: { x: 20, y: 10 } })
  await page.waitForFunction(() => document.querySelectorAll('.xterm-selection div').length === 0)
  await type(page, 'exit')
})

noFaults(() => faults)
