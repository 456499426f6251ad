// The second factor on the spot: a policy requires a recent one, the user shows
// it, and what was denied goes on.

import * as v from 'valibot'
import type { Proof } from './account'
import { answerOf, ceremonySchema, reach, refusal, signedIn } from './api'
import { Store } from './store'

const offerSchema = v.object({ totp: v.boolean(), passkey: v.optional(ceremonySchema) })

/** FactorOffer lists the second factors that the user can show. */
export type FactorOffer = v.InferOutput<typeof offerSchema>

/** wantedFactor is set while the user is asked for a second factor. */
export const wantedFactor = new Store<{ offer: FactorOffer; done: (shown: boolean) => void } | null>(null)

/** showFactor shows a second factor, or without one asks which there are. It returns these, or null if one was accepted. */
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

/** askFactor asks the user for a second factor, once for all who wait. It answers whether one was shown. */
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
