// Tags: validation, the changes from one set to another, and environments.

import { t } from './i18n'

/** Tag is one tag. */
export interface Tag {
  key: string
  value: string
}

/** tagChanges returns the tags to set and the keys to remove. */
export function tagChanges(before: Tag[], after: Tag[]): { set: Tag[]; remove: string[] } {
  return {
    set: after.filter((a) => !before.some((b) => b.key === a.key && b.value === a.value)),
    remove: before.filter((b) => !after.some((a) => a.key === b.key)).map((b) => b.key),
  }
}

/** mistakenTag says why a tag is invalid next to the others; '' if it is valid. */
export function mistakenTag(tag: Tag, others: Tag[]): string {
  if (tag.key === '' && tag.value === '') return ''
  if (tag.key === '') return t('tags.keyNeeded')
  if ([...tag.key].length > 128) return t('tags.keyLong')
  if ([...tag.value].length > 256) return t('tags.valueLong')
  if (/^aws:/i.test(tag.key)) return t('tags.reserved')
  if (others.some((o) => o.key === tag.key)) return t('tags.duplicate')
  return ''
}

/** environment returns the environment that tags name, and its kind, which has a colour; null for none. */
export function environment(tags: Tag[]): { name: string; kind: 'prod' | 'stage' | 'dev' | 'other' } | null {
  const tag = tags.find((x) => /^(env|environment|stage)$/i.test(x.key) && x.value.trim() !== '')
  if (tag === undefined) return null
  const name = tag.value.trim()
  if (/^(prod|prd|production|live)\b/i.test(name)) return { name, kind: 'prod' }
  if (/^(stag|stg|pre-?prod|uat|qa|test)/i.test(name)) return { name, kind: 'stage' }
  if (/^(dev|sandbox|local|lab)/i.test(name)) return { name, kind: 'dev' }
  return { name, kind: 'other' }
}
