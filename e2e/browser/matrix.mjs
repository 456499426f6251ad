// Each page of the console as five kinds of user see it, in both languages: one browser, one context
// for each user and language. A page has a heading in its language, no faults, nothing wider than the
// window and no sentence of the other language; a page whose calls are denied says so.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { launch, overflow, PAGES, password, show, url, user } from './setup.mjs'

const PASSWORD = 'Correct-Horse-1'
const USERS = [
  { name: user, secret: password },
  { name: 'auditor', secret: PASSWORD },
  { name: 'oncall', secret: PASSWORD },
  { name: 'minimal', secret: PASSWORD },
  { name: 'nobody', secret: PASSWORD },
]

/** The texts of a catalogue, by key. */
function catalogue(language) {
  const source = readFileSync(`../web/src/i18n/${language}.ts`, 'utf8')
  return new Map(
    [...source.matchAll(/^ {2}'([^']+)':\s+(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"),$/gm)].map(([, key, a, b]) => [
      key,
      (a ?? b).replaceAll(/\\(.)/g, '$1'),
    ]),
  )
}

const english = catalogue('en')
const japanese = catalogue('ja')
/** English sentences that must not appear on a Japanese page: long, without values, and translated. */
const foreign = [...english]
  .filter(([key, text]) => text.length > 20 && !text.includes('{') && japanese.get(key) !== text)
  .map(([, text]) => text)
const kana = /[\u3040-\u30ff\u4e00-\u9fff]/
/** Headings that are names, the same in both languages. */
const names = new Set(['Run Command', 'Quick Setup'])

let browser
before(async () => {
  assert.ok(
    english.size > 700 && english.size === japanese.size && foreign.length > 200,
    'the catalogues were not read',
  )
  browser = await launch()
})
after(() => browser?.close())

for (const language of ['en', 'ja']) {
  for (const { name, secret } of USERS) {
    test(`the pages of ${name === user ? 'the administrator' : name}, ${language}`, async () => {
      const context = await browser.newContext({
        viewport: { width: 1280, height: 900 },
        ignoreHTTPSErrors: true,
        reducedMotion: 'reduce',
        locale: language === 'ja' ? 'ja-JP' : 'en-GB',
        timezoneId: 'Asia/Tokyo',
      })
      const page = await context.newPage()
      const found = {}
      const denied = []
      let path = 'sign-in'
      const fault = (text) => (found[path] ??= []).push(text)
      page.on('pageerror', (err) => fault(`page error: ${err.message}`))
      page.on('console', (m) => {
        if (m.type() === 'error' && !/responded with a status of 4\d\d/.test(m.text())) fault(`console: ${m.text()}`)
      })
      page.on('response', (res) => {
        const operation = res.request().headers()['x-amz-target'] ?? res.request().postData()?.slice(0, 60)
        if (res.status() >= 500) fault(`${res.status()} ${operation}`)
        if (res.status() === 403) denied.push(operation)
      })
      await page.goto(url)
      await page.locator('input[name=username]').fill(name)
      await page.locator('input[name=password]').fill(secret)
      await page.locator('button.primary').click()
      await page.locator('nav').first().waitFor()
      for (path of PAGES) {
        denied.length = 0
        await show(page, path)
        const heading = (await page.locator('h1').first().innerText()).trim()
        if (heading === '') fault('no heading')
        const wide = await overflow(page)
        if (wide > 0) fault(`${wide} pixels too wide`)
        // A page whose calls are denied says so, with the action that is missing.
        if (denied.length > 0 && !/AccessDenied|:[A-Z]\w+/.test(await page.locator('main').innerText()))
          fault(`denied in silence: ${denied}`)
        if (language === 'ja') {
          const text = await page.locator('body').innerText()
          for (const sentence of foreign) if (text.includes(sentence)) fault(`English: ${sentence}`)
          if (!kana.test(await page.locator('nav').first().innerText())) fault('the navigation is not Japanese')
          if (PAGES_WITH_TITLES.has(path) && !kana.test(heading) && !names.has(heading.replace(/ \(\d+\)$/, '')))
            fault(`heading: ${heading}`)
        }
      }
      await context.close()
      assert.deepEqual(found, {})
    })
  }
}

/** Pages whose heading is a title, and not the name of what they show. */
const PAGES_WITH_TITLES = new Set(PAGES.filter((p) => !p.includes('/') || p.startsWith('sessions/')))
