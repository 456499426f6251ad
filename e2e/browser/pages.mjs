// Every page of the console in a real browser: no serious finding of axe, no
// error of the page, nothing wider than the window. With SCREENSHOT_DIR each
// page is captured at three widths, in both languages and both colour schemes.

import assert from 'node:assert/strict'
import { mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { fillIn, noFaults, open, overflow, PAGES, sees, show as showPage, target, type, url } from './setup.mjs'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const shots = process.env.SCREENSHOT_DIR

let page, faults

before(async () => {
  ;({ page, faults } = await open('pages', { context: { bypassCSP: true } }))
  if (shots) mkdirSync(join(shots, 'pages'), { recursive: true })
})

/** The findings of axe that keep somebody from using the page. */
async function findings() {
  await page.evaluate(axe)
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }))
  return violations
    .filter((v) => v.impact === 'serious' || v.impact === 'critical')
    .flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.html.slice(0, 200)}`))
}

const show = (path) => showPage(page, path)

test('the sign-in page has no findings', async () => {
  await page.goto(url)
  await page.getByLabel('User name').waitFor()
  assert.deepEqual(await findings(), [])
  await fillIn(page)
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor()
})

for (const width of [1440, 1024, 390]) {
  test(`pages have no findings and fit at ${width} pixels`, async () => {
    await page.setViewportSize({ width, height: width < 500 ? 844 : 900 })
    const found = {}
    for (const path of PAGES) {
      await show(path)
      const here = await findings()
      const wide = await overflow(page)
      if (wide > 0) here.push(`${wide} pixels too wide`)
      if (here.length > 0) found[path] = here
    }
    assert.deepEqual(found, {})
  })
}

test('a terminal has no findings at any width', async () => {
  await show(`nodes/${target}`)
  await page.locator('.start-panel').getByRole('button', { name: 'Start session' }).click()
  await page.locator('.xterm-rows').waitFor()
  for (const width of [1440, 1024, 390]) {
    await page.setViewportSize({ width, height: 844 })
    assert.deepEqual(await findings(), [], `at ${width} pixels`)
  }
})

test('tabs can be renamed, and matches are counted', async () => {
  await page.setViewportSize({ width: 1280, height: 900 })
  await page.locator('.xterm-helper-textarea').first().focus()
  await type(page, 'echo needle needle')
  await sees(page, /^needle needle/)
  await page.getByRole('tab').focus()
  await page.keyboard.press('F2')
  await page.getByLabel('Name of the tab').fill('deployment')
  await page.keyboard.press('Enter')
  await page.getByRole('tab', { name: 'deployment' }).waitFor()
  await page.keyboard.press('Control+Shift+F')
  await page.getByLabel('Find', { exact: true }).fill('needle')
  await page.getByText('4 of 4').waitFor()
  await page.getByRole('button', { name: 'End session' }).click()
  await page.getByText(/^Session ended/).waitFor()
})

test('the skip link leads to the page', async () => {
  await page.setViewportSize({ width: 1280, height: 900 })
  await page.goto(`${url}home`)
  await page.locator('h1').first().waitFor()
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'main')
})

test('the language is switched, remembered, and followed by every page', async () => {
  await show('home')
  await page.getByRole('button', { name: /English/ }).click()
  await page.getByRole('menuitem', { name: '日本語' }).click()
  await page.getByRole('heading', { level: 1, name: '概要' }).waitFor()
  assert.equal(await page.evaluate(() => document.documentElement.lang), 'ja')
  await show('nodes')
  await page.getByRole('heading', { level: 1, name: /^ノード/ }).waitFor()
})

if (shots && process.env.PICTURES) {
  for (const language of ['en', 'ja']) {
    for (const scheme of ['light', 'dark']) {
      test(`pictures, ${language}, ${scheme}`, { timeout: 600_000 }, async () => {
        await page.emulateMedia({ colorScheme: scheme })
        await page.evaluate((l) => localStorage.setItem('sekisho-language', l), language)
        await page.reload()
        await page.locator('h1').first().waitFor()
        for (const width of [1440, 1024, 390]) {
          await page.setViewportSize({ width, height: width < 500 ? 844 : 900 })
          for (const path of PAGES) {
            await show(path)
            const name = `${path.replaceAll(/[^\w-]+/g, '_')}-${width}-${language}-${scheme}.png`
            await page.screenshot({ path: join(shots, 'pages', name) })
          }
        }
      })
    }
  }
}

noFaults(() => faults)
