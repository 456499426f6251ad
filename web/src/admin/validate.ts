// The check of a policy document by the server, while it is typed.

import * as v from 'valibot'
import { call } from '../api'

const finding = v.object({
  FindingType: v.picklist(['ERROR', 'SECURITY_WARNING']),
  IssueCode: v.string(),
  FindingDetails: v.string(),
})

/** Finding is an error with which IAM would refuse a document, or a warning. */
export type Finding = v.InferOutput<typeof finding>

const answer = v.object({ Findings: v.array(finding) })

/** PolicyType is what a document is for. */
export type PolicyType = 'IDENTITY_POLICY' | 'RESOURCE_POLICY' | 'TRUST_POLICY'

/** validatePolicy returns the findings on a policy document. */
export async function validatePolicy(text: string, type: PolicyType): Promise<Finding[]> {
  return (await call('Sekisho.ValidatePolicy', { PolicyDocument: text, PolicyType: type }, answer, true)).Findings
}
