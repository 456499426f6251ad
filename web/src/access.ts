// What the signed-in user may do, as the server says.

import { call } from './api'

/** Question is one action on one resource; none is "*". */
export interface Question {
  Action: string
  ResourceArn?: string
  Target?: string
  DocumentName?: string
}

/** Right is the answer to a question. */
export interface Right {
  action: string
  allowed: boolean
  /** What an attempt would be told. */
  message: string
}

/** myRights asks what the signed-in user may do, in the order of the questions. */
export async function myRights(questions: Question[]): Promise<Right[]> {
  const r = await call<{ Answers: { Action: string; Allowed: boolean; Message?: string }[] }>(
    'Sekisho.DescribeMyAccess',
    { Questions: questions },
    true,
  )
  return r.Answers.map((a) => ({ action: a.Action, allowed: a.Allowed, message: a.Message ?? '' }))
}
