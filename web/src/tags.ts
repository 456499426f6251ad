// Tags, and what is to be done to turn some into others.

/** Tag is one tag. */
export interface Tag {
  key: string
  value: string
}

/** tagChanges are the tags to be set, and the keys to be removed. */
export function tagChanges(before: Tag[], after: Tag[]): { set: Tag[]; remove: string[] } {
  return {
    set: after.filter((t) => !before.some((b) => b.key === t.key && b.value === t.value)),
    remove: before.filter((b) => !after.some((t) => t.key === b.key)).map((b) => b.key),
  }
}

/** mistakenTag says why a tag cannot be beside those before it; '' when it can. */
export function mistakenTag(t: Tag, others: Tag[]): string {
  if (t.key === '' && t.value === '') return ''
  if (t.key === '') return 'A key is needed'
  if ([...t.key].length > 128) return 'At most 128 characters'
  if ([...t.value].length > 256) return 'The value has more than 256 characters'
  if (/^aws:/i.test(t.key)) return 'Keys that begin with aws: are reserved'
  if (others.some((o) => o.key === t.key)) return 'This key is there twice'
  return ''
}

/** environment is the environment that tags name, for a colour: prod, stage, dev or another one; '' for none. */
export function environment(tags: Tag[]): { name: string; kind: 'prod' | 'stage' | 'dev' | 'other' } | null {
  const tag = tags.find((t) => /^(env|environment|stage)$/i.test(t.key) && t.value.trim() !== '')
  if (tag === undefined) return null
  const name = tag.value.trim()
  if (/^(prod|prd|production|live)\b/i.test(name)) return { name, kind: 'prod' }
  if (/^(stag|stg|pre-?prod|uat|qa|test)/i.test(name)) return { name, kind: 'stage' }
  if (/^(dev|sandbox|local|lab)/i.test(name)) return { name, kind: 'dev' }
  return { name, kind: 'other' }
}
