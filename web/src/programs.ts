// Sign-ins of programs, which the signed-in user approves.

import * as v from 'valibot'
import { answerOf, reach, refusal, signedIn } from './api'

const programSchema = v.object({
  name: v.string(),
  source: v.string(),
  same: v.boolean(),
  local: v.boolean(),
  created: v.string(),
})

/** Program is a program that waits for approval. */
export type Program = v.InferOutput<typeof programSchema>

async function post(path: string, body: unknown): Promise<Response> {
  const res = await reach(`/console/api/programs/${path}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Sekisho-Csrf': signedIn.get()?.csrf ?? '' },
    body: JSON.stringify(body),
  })
  if (!res.ok) throw await refusal(res)
  return res
}

/** showProgram returns the program that shows a code. */
export async function showProgram(code: string): Promise<Program> {
  return answerOf(await post('show', { code }), programSchema)
}

/** decideProgram approves or refuses a program. It returns the address to which the browser goes next, or ''. */
export async function decideProgram(code: string, approve: boolean): Promise<string> {
  const res = await post('approve', { code, approve })
  return (await answerOf(res, v.object({ redirect: v.string() }))).redirect
}
