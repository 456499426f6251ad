// A plugin for Vite that keeps the fonts of the components' styles in files of
// their own: a browser then loads only those that a page uses, after the page.

import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import type { Plugin } from 'vite'

const STYLES = '@cloudscape-design/global-styles/index.css'
const FOLDER = 'node_modules/.cache/sekisho-fonts'

/** fontFiles takes the fonts out of the styles. */
export function fontFiles(): Plugin {
  return {
    name: 'font-files',
    enforce: 'pre',
    transform(code, id) {
      const file = id.split('?')[0]!
      if (!file.endsWith(STYLES)) return null
      mkdirSync(FOLDER, { recursive: true })
      let n = 0
      return code.replace(/url\(["']?data:[^;]+;(?:charset=[^;]+;)?base64,([^)"']+)["']?\)/g, (_, data: string) => {
        const font = join(FOLDER, `open-sans-${++n}.woff2`)
        writeFileSync(font, Buffer.from(data, 'base64'))
        return `url("${relative(dirname(file), join(process.cwd(), font))}")`
      })
    },
  }
}
