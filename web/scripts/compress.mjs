// Compresses the built files once, so that the server never has to.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, constants } from 'node:zlib'

const dist = fileURLToPath(new URL('../dist', import.meta.url))
// What a browser must load before the first page shows; a budget, so that
// growth is a decision.
const FIRST_PAGE_BUDGET = 620_000

let firstPage = 0
const index = readFileSync(join(dist, 'index.html'), 'utf8')
for (const name of readdirSync(dist, { recursive: true })) {
  const file = join(dist, name)
  if (!/\.(html|js|css|svg)$/.test(name) || !statSync(file).isFile()) continue
  const raw = readFileSync(file)
  const br = brotliCompressSync(raw, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: 11,
      [constants.BROTLI_PARAM_SIZE_HINT]: raw.length,
    },
  })
  const smaller = br.length < raw.length
  if (smaller) writeFileSync(`${file}.br`, br)
  if (name === 'index.html' || index.includes(name.replaceAll('\\', '/'))) firstPage += smaller ? br.length : raw.length
}
console.log(`first page: ${Math.round(firstPage / 1000)} kB compressed`)
if (firstPage > FIRST_PAGE_BUDGET) {
  console.error(`over the budget of ${FIRST_PAGE_BUDGET / 1000} kB`)
  process.exit(1)
}
