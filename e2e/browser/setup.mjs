// What the console's browser tests share: a browser, a page that is signed in,
// its faults, its pictures and its terminal.
//
//   SEKISHO_CONSOLE_URL, SEKISHO_CONSOLE_USER, SEKISHO_CONSOLE_PASSWORD   where, and who
//   SEKISHO_TARGET    a connected node
//   SCREENSHOT_DIR    where pictures go; none are taken when unset
//   CHROMIUM          the browser; /usr/bin/chromium when unset

import assert from 'node:assert/strict'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { chromium } from 'playwright-core'

const {
  SEKISHO_CONSOLE_URL: url,
  SEKISHO_CONSOLE_USER: user,
  SEKISHO_CONSOLE_PASSWORD: password,
  SEKISHO_TARGET: target,
  SCREENSHOT_DIR: shots,
} = process.env

export { url, user, password, target }

/** How long a page may take; enough for a busy machine. */
export const TIMEOUT = 25_000

// A hook of a test would end with the test. This one ends with the file.
const browsers = []
after(() => Promise.all(browsers.map((b) => b.close())))

const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  // The terminal then renders text that a test can read.
  '--disable-3d-apis',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** launch starts a browser, which ends with the file. */
export async function launch(args = []) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [...ARGUMENTS, ...args],
  })
  browsers.push(browser)
  return browser
}

/** What stands for the segment that follows a path. */
const PARAMS = {
  nodes: target,
  users: user,
  groups: 'operators',
  roles: 'AmazonEC2RunCommandRoleForManagedInstances',
  policies: 'arn:aws:iam::aws:policy/AmazonSSMFullAccess',
  documents: 'AWS-RunShellScript',
  commands: '00000000-0000-4000-8000-000000000000',
  buckets: 'picture-logs',
  'log-groups': '/pictures',
  shared: 'rl-0123456789abcdef',
}

/** PAGES are the addresses of all pages, from the console's own table of routes. */
export const PAGES = [
  ...[...readFileSync('../web/src/routes.tsx', 'utf8').matchAll(/path: '([\w/-]+)',\s*params: (\d)/g)].flatMap(
    ([, path, params]) => {
      if (params === '0') return [path]
      return PARAMS[path] === undefined ? [] : [`${path}/${encodeURIComponent(PARAMS[path])}`]
    },
  ),
  'nowhere',
]
assert.ok(PAGES.length > 25, 'the table of routes was not read')

/** The calls of a page that have no answer yet. */
const pending = new WeakMap()

/** countCalls makes show wait for the calls of a page. */
export function countCalls(page) {
  const calls = new Set()
  pending.set(page, calls)
  page.on('request', (r) => r.url().endsWith('/console/api/events') || calls.add(r))
  page.on('requestfinished', (r) => calls.delete(r))
  page.on('requestfailed', (r) => calls.delete(r))
}

/** show opens a page like a link, without loading the console again. It returns when its calls are answered. */
export async function show(page, path) {
  if (!pending.has(page)) countCalls(page)
  await page.evaluate((to) => {
    history.pushState(null, '', to)
    dispatchEvent(new PopStateEvent('popstate'))
  }, `/console/${path}`)
  await page.locator('h1').first().waitFor()
  // A page may call again when it has an answer: it is quiet after two turns without a call.
  for (let quiet = 0; quiet < 2; quiet = pending.get(page).size === 0 ? quiet + 1 : 0)
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 30))))
}

/**
 * open starts a browser with one page. The names of its pictures begin with
 * the name of the test; arguments and context are further options of the
 * browser and of the page's context.
 */
export async function open(name, { args = [], context: options = {} } = {}) {
  assert.ok(
    url && user && password,
    'SEKISHO_CONSOLE_URL, SEKISHO_CONSOLE_USER and SEKISHO_CONSOLE_PASSWORD must be set',
  )
  if (shots) mkdirSync(shots, { recursive: true })
  const browser = await launch(args)
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    ignoreHTTPSErrors: true,
    reducedMotion: 'reduce',
    locale: 'en-GB',
    ...options,
  })
  context.setDefaultTimeout(TIMEOUT)
  const page = await context.newPage()
  const faults = []
  page.on('pageerror', (err) => faults.push(`page error: ${err.message}`))
  page.on('console', (m) => {
    // A refused request, such as the first one of a signed-out page, is an error
    // to the browser, but not an error of the page.
    if (m.type() === 'error' && !/the server responded with a status of 4\d\d/i.test(m.text())) {
      faults.push(`console: ${m.text()}`)
    }
  })
  let shot = 0
  const picture = async (what, extra = {}) => {
    if (shots)
      await page.screenshot({ path: join(shots, `${name}-${String(++shot).padStart(2, '0')}-${what}.png`), ...extra })
  }
  return { browser, context, page, faults, picture }
}

/** noFaults is the last test of each file. */
export function noFaults(faults) {
  test('the page has no errors', () => assert.deepEqual(faults(), []))
}

/** fillIn enters a name and a password, and presses the button. */
export async function fillIn(page, name = user, secret = password) {
  await page.getByLabel('User name').fill(name)
  await page.getByLabel('Password', { exact: true }).fill(secret)
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
}

/** signIn opens the console as a user, at the list of nodes. */
export async function signIn(page, name = user, secret = password) {
  await page.goto(url)
  await fillIn(page, name, secret)
  await nodes(page)
}

/** nodes goes to the list of nodes. */
export async function nodes(page) {
  await page.getByRole('link', { name: 'Nodes', exact: true }).click()
  await page.getByRole('heading', { name: 'Nodes', level: 1 }).waitFor()
}

/** signOut signs out by the menu. */
export async function signOut(page, name = user) {
  await page
    .getByRole('button', { name: new RegExp(name) })
    .first()
    .click()
  await page.getByRole('menuitem', { name: 'Sign out' }).click()
  await page.getByLabel('User name').waitFor()
}

/** screen is what the terminal shows, row by row. */
export const screen = (page) => page.locator('.xterm-rows').first().innerText()

/** sees waits until the terminal shows what matches, and returns the match. */
export async function sees(page, pattern) {
  try {
    const match = await page.waitForFunction(
      (s) => new RegExp(s, 'm').exec(document.querySelector('.xterm-rows')?.innerText.replaceAll('\u00a0', ' ') ?? ''),
      pattern.source,
    )
    return await match.jsonValue()
  } catch (cause) {
    const shown = await screen(page).catch(() => '(nothing)')
    throw new Error(`the terminal never showed ${pattern}; it shows:\n${shown}`, { cause })
  }
}

/** type enters a line in the terminal. */
export async function type(page, line) {
  await page.keyboard.type(line)
  await page.keyboard.press('Enter')
}

/** overflow is by how many pixels the page is wider than its window. */
export const overflow = (page) =>
  page.evaluate(() =>
    Math.max(
      ...[document.documentElement, ...document.querySelectorAll('.shell-scroll')].map(
        (el) => el.scrollWidth - el.clientWidth,
      ),
    ),
  )
