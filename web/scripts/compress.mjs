// Compresses the built files once, so that the server never has to, and checks
// how much a browser loads before the first pages show.
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, constants } from 'node:zlib'

const dist = fileURLToPath(new URL('../dist', import.meta.url))

/**
 * What is loaded for a page, by its modules, and the most it may be, compressed;
 * fonts come after the page. A budget, so that growth is a decision.
 */
const BUDGETS = [
  { page: 'sign-in', most: 150_000, modules: ['src/i18n/en.ts', 'src/sign-in-page.tsx'] },
  {
    page: 'node list',
    most: 300_000,
    modules: [
      'src/i18n/en.ts',
      'src/console.tsx',
      'src/nodes-page.tsx',
      'node_modules/@cloudscape-design/components/i18n/messages/all.en.js',
    ],
  },
]

const sizes = new Map()
for (const name of readdirSync(dist, { recursive: true })) {
  const file = join(dist, name)
  if (!statSync(file).isFile()) continue
  const raw = readFileSync(file)
  sizes.set(name, raw.length)
  if (!/\.(html|js|css|svg)$/.test(name)) continue
  const br = brotliCompressSync(raw, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: 11,
      [constants.BROTLI_PARAM_SIZE_HINT]: raw.length,
    },
  })
  if (br.length >= raw.length) continue
  writeFileSync(`${file}.br`, br)
  sizes.set(name, br.length)
}

const manifestFile = join(dist, '.vite/manifest.json')
const manifest = JSON.parse(readFileSync(manifestFile, 'utf8'))
// It is for this check alone.
rmSync(join(dist, '.vite'), { recursive: true })

/** Adds the files of a chunk, and of all it imports at once. */
function collect(key, files) {
  const chunk = manifest[key]
  if (chunk === undefined) throw new Error(`no chunk ${key}: correct BUDGETS`)
  if (files.has(chunk.file)) return
  files.add(chunk.file)
  for (const css of chunk.css ?? []) files.add(css)
  for (const imported of chunk.imports ?? []) collect(imported, files)
}

for (const { page, most, modules } of BUDGETS) {
  const files = new Set(['index.html'])
  for (const key of ['index.html', ...modules]) collect(key, files)
  const size = [...files].reduce((sum, f) => sum + (sizes.get(f) ?? 0), 0)
  console.log(`${page}: ${Math.round(size / 1000)} kB compressed, of ${most / 1000} kB`)
  if (process.env.SIZES) for (const f of files) console.log(`  ${sizes.get(f)} ${f}`)
  if (size > most) process.exitCode = 1
}
