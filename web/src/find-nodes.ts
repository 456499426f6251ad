// The nodes that a text names: an ID, a name, or a tag as KEY=VALUE or tag:KEY=VALUE.

import { matching, nodes } from './nodes'
import { listReach } from './reach'
import { t } from './i18n'

const NODE_ID = /^m?i-[0-9a-f]{17}$/

/** Named is a node with its name; '' if that is unknown. */
export interface Named {
  id: string
  name: string
}

/** findNodes finds the nodes that a text names, among those that the user may list, or else those in reach. */
export async function findNodes(text: string): Promise<Named[]> {
  const wanted = text.trim().replace(/^tag:(?=.*=)/, '')
  const { nodes: list, denied } = nodes.get()
  const found = matching(list, wanted)
  if (found.length > 0) return found
  if (NODE_ID.test(wanted)) return [{ id: wanted, name: '' }]
  return denied ? (await listReach(wanted)).nodes : []
}

/** nodeIds are the IDs of the nodes that words name; a name must be that of one node, a tag may be that of many. */
export async function nodeIds(words: string[]): Promise<string[]> {
  const ids: string[] = []
  for (const word of words) {
    const found = await findNodes(word)
    if (found.length === 0) throw new Error(t('nodes.connectNone', { value: word }))
    if (found.length > 1 && !word.includes('='))
      throw new Error(t('nodes.ambiguous', { value: word, count: found.length }))
    ids.push(...found.map((n) => n.id))
  }
  return [...new Set(ids)]
}
