// Schemas that several responses share.

import * as v from 'valibot'

/** awsTime is a time as the API sends it: seconds since 1970, or text; undefined if missing. */
export const awsTime = v.optional(v.union([v.number(), v.string()]))

/** text is a string, '' if missing. */
export const text = v.optional(v.string(), '')

/** tags are tags as the SSM API sends them. */
export const tags = v.optional(v.array(v.object({ Key: v.string(), Value: v.string() })), [])

/** clipboardSchema is what session preferences keep the console's terminal from doing. */
export const clipboardSchema = {
  DisableCopy: v.optional(v.boolean(), false),
  DisablePaste: v.optional(v.boolean(), false),
}
