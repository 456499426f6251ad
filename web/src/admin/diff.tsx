// What differs between two texts, line by line.

import { t } from '../i18n'

/** Line is a line of a comparison: in both texts, or in one of them. */
export interface Line {
  kind: 'same' | 'removed' | 'added'
  text: string
}

/** diffLines compares two texts by their longest common subsequence of lines. */
export function diffLines(before: string, after: string): Line[] {
  const a = before.split('\n')
  const b = after.split('\n')
  const width = b.length + 1
  const common = new Uint32Array((a.length + 1) * width)
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      common[i * width + j] =
        a[i] === b[j]
          ? common[(i + 1) * width + j + 1]! + 1
          : Math.max(common[(i + 1) * width + j]!, common[i * width + j + 1]!)
    }
  }
  const lines: Line[] = []
  let [i, j] = [0, 0]
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push({ kind: 'same', text: a[i]! })
      i++
      j++
    } else if (j >= b.length || (i < a.length && common[(i + 1) * width + j]! >= common[i * width + j + 1]!)) {
      lines.push({ kind: 'removed', text: a[i++]! })
    } else lines.push({ kind: 'added', text: b[j++]! })
  }
  return lines
}

const SIGN = { same: ' ', removed: '-', added: '+' }

/** TextDiff shows what differs between two texts. */
export function TextDiff({ before, after }: { before: string; after: string }) {
  if (before === after) return <>{t('versions.same')}</>
  return (
    <pre className="diff" tabIndex={0} aria-label={t('versions.changes')}>
      {diffLines(before, after).map((line, i) => (
        <div key={i} className={line.kind}>
          {SIGN[line.kind]} {line.text}
        </div>
      ))}
    </pre>
  )
}
