// The second factor on demand: a policy requires a recent one, the user provides
// it, and the denied action continues.

import * as v from 'valibot'
import type { Proof } from './account'
import { answerOf, ceremonySchema, reach, refusal, signedIn } from './api'
import { Store } from './store'

const offerSchema = v.object({ totp: v.boolean(), passkey: v.optional(ceremonySchema) })

/** FactorOffer lists the second factors that the user can show. */
export type FactorOffer = v.InferOutput<typeof offerSchema>

/** wantedFactor is set while the user is asked for a second factor. */
export const wantedFactor = new Store<{ offer: FactorOffer; done: (shown: boolean) => void } | null>(null)

/**
 * showFactor sends a second factor, or asks which ones the user can show. It
 * returns those, or null if the server accepted a factor.
 */
export async function showFactor(shown: { code?: string; passkey?: Proof }): Promise<FactorOffer | null> {
  const res = await reach('/console/api/session/factor', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Sekisho-Csrf': signedIn.get()?.csrf ?? '' },
    body: JSON.stringify(shown),
  })
  if (res.status === 204) return null
  if (!res.ok) throw await refusal(res)
  return answerOf(res, offerSchema)
}

let asking: Promise<boolean> | null = null

/** askFactor asks for a second factor, once for all callers that wait, and returns whether one was shown. */
export function askFactor(): Promise<boolean> {
  asking ??= ask().finally(() => {
    asking = null
    wantedFactor.set(null)
  })
  return asking
}

async function ask(): Promise<boolean> {
  let offer: FactorOffer | null
  try {
    offer = await showFactor({})
  } catch {
    return false // the denial says what is missing
  }
  if (offer === null || (!offer.totp && offer.passkey === undefined)) return false
  const found = offer
  return new Promise((done) => wantedFactor.set({ offer: found, done }))
}
