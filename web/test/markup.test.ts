import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

/** What turns text into markup or code, or leads to another site. */
const FORBIDDEN = [
  /dangerouslySetInnerHTML|\.(inner|outer)HTML\b|insertAdjacentHTML|createContextualFragment|document\.write/,
  /\beval\(|new Function\(|javascript:/,
  /parseFromString\([^)]*text\/html/,
  /(?<!\w)<(iframe|object|embed|base)\b/, // not a type argument
]

test('nothing that a node or a user sends can become markup', () => {
  const found: string[] = []
  for (const f of readdirSync(join(import.meta.dirname, '../src'), { recursive: true, withFileTypes: true })) {
    if (!f.isFile() || !/\.tsx?$/.test(f.name)) continue
    const file = join(f.parentPath, f.name)
    readFileSync(file, 'utf8')
      .split('\n')
      .forEach((line, i) => {
        if (FORBIDDEN.some((pattern) => pattern.test(line))) found.push(`${file}:${i + 1}: ${line.trim()}`)
      })
  }
  expect(found).toEqual([])
})

test('the page itself has no inline script, style or handler', () => {
  const page = readFileSync(join(import.meta.dirname, '../index.html'), 'utf8')
  expect(page).not.toMatch(/<script(?![^>]*\bsrc=)|<style|\son\w+=/)
})
