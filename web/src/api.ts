// Calls to the server: signing in and out, and AWS calls on behalf of the
// signed-in user. What the server answers is validated here, before a page
// relies on it.

import { Store } from './store'
import * as v from 'valibot'
import { t } from './i18n'

const signedInSchema = v.object({
  user: v.string(),
  arn: v.string(),
  account: v.string(),
  region: v.string(),
  csrf: v.string(),
  accessKeyId: v.optional(v.string(), ''),
  expires: v.string(),
  target: v.optional(v.string()),
  firstRun: v.optional(v.boolean()),
  passwordReset: v.optional(v.boolean()),
})

/** SignedIn is the signed-in user, as the server reports it. */
export type SignedIn = v.InferOutput<typeof signedInSchema>

/** undefined: not asked yet; null: signed out. */
export const signedIn = new Store<SignedIn | null | undefined>(undefined)

/** lapsed is the user whose sign-in has ended by itself: the page keeps what they were doing. */
export const lapsed = new Store<SignedIn | null>(null)

/** signInEnded notes that the server no longer accepts the sign-in. */
export function signInEnded(): void {
  const who = signedIn.get()
  if (who) lapsed.set(who)
  signedIn.set(null)
}

function signedInAs(who: SignedIn): void {
  lapsed.set(null)
  signedIn.set(who)
}

/** CallError is a refusal, with the server's code and message. */
export class CallError extends Error {
  override name = 'CallError'
  constructor(
    readonly code: string,
    message: string,
    readonly status: number,
    readonly requestId: string,
    /** The reason as a code for programs; '' if the server gives none. */
    readonly reason = '',
  ) {
    super(message)
  }
}

/**
 * SignInRefused is a refused sign-in. codeNeeded: the code of an application is
 * wanted; passkey: what a passkey may answer instead.
 */
export class SignInRefused extends Error {
  override name = 'SignInRefused'
  constructor(
    message: string,
    readonly codeNeeded: boolean,
    readonly passkey?: { options: { publicKey: Record<string, unknown> }; state: string },
  ) {
    super(message)
  }
}

/** What a passkey can answer, as the browser's own interface defines it. */
export const ceremonySchema = v.object({
  options: v.object({ publicKey: v.record(v.string(), v.unknown()) }),
  state: v.string(),
})

const refusedSignIn = v.object({
  message: v.optional(v.string()),
  mfaRequired: v.optional(v.boolean()),
  totp: v.optional(v.boolean()),
  passkey: v.optional(ceremonySchema),
})

const SESSION = '/console/api/session'
const JSON_TYPE = 'application/x-amz-json-1.1'

/** reach is fetch for this server. */
export async function reach(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, { ...init, credentials: 'same-origin', cache: 'no-store' })
  } catch {
    throw new CallError('Unreachable', t('error.unreachable'), 0, '')
  }
}

/** IGNORED is the schema of an ignored response. */
export const IGNORED = v.unknown()

/** answerOf reads an answer, which must have the shape that the schema describes. */
export async function answerOf<S extends v.GenericSchema>(res: Response, schema: S): Promise<v.InferOutput<S>> {
  const parsed = v.safeParse(schema, await res.json().catch(() => null))
  if (parsed.success) return parsed.output
  const at = v.getDotPath(parsed.issues[0]) ?? ''
  const what = `${at === '' ? '' : `${at}: `}${parsed.issues[0].message}`
  throw new CallError('UnexpectedAnswer', t('error.unexpected', { what }), res.status, requestIdOf(res))
}

const requestIdOf = (res: Response) => res.headers.get('X-Amzn-Requestid') ?? ''

/** readSession asks who is signed in. */
export async function readSession(): Promise<void> {
  const res = await reach(SESSION, {})
  if (res.status === 401) {
    signInEnded()
    return
  }
  if (!res.ok) throw await refusal(res)
  signedInAs(await answerOf(res, signedInSchema))
}

/** signIn signs in, or throws SignInRefused. */
export async function signIn(
  user: string,
  password: string,
  code: string,
  passkey?: { state: string; answer: unknown },
): Promise<void> {
  const res = await reach(SESSION, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ user, password, code: code === '' ? undefined : code, passkey }),
  })
  if (res.ok) {
    signedInAs(await answerOf(res, signedInSchema))
    return
  }
  const body = v.parse(refusedSignIn, await res.json().catch(() => ({})))
  const wait = Number(res.headers.get('Retry-After'))
  const message = body.message ?? t('error.status', { status: res.status })
  throw new SignInRefused(
    wait > 0 ? `${message} (${wait} s)` : message,
    body.mfaRequired === true && body.totp !== false,
    body.passkey,
  )
}

/** signOut ends the sign-in, here and on the server. */
export async function signOut(): Promise<void> {
  await reach(SESSION, { method: 'DELETE', headers: { 'X-Sekisho-Csrf': signedIn.get()?.csrf ?? '' } })
  lapsed.set(null)
  signedIn.set(null)
}

/** SECOND_FACTOR is the reason of a denial that a recent second factor would lift. */
const SECOND_FACTOR = 'SecondFactorRequired'

let askFactor: (() => Promise<boolean>) | null = null

/** onSecondFactor sets the function that asks the user for a second factor when a policy requires one. */
export function onSecondFactor(ask: () => Promise<boolean>): void {
  askFactor = ask
}

/** shownFor asks for a second factor if that would lift a denial, and answers whether one was shown. */
async function shownFor(reason: string): Promise<boolean> {
  return reason === SECOND_FACTOR && askFactor !== null && askFactor()
}

/**
 * call makes a JSON call such as `AmazonSSM.DescribeSessions`. A background call is one
 * that no user action caused.
 */
export async function call<S extends v.GenericSchema>(
  target: string,
  input: object,
  schema: S,
  background = false,
): Promise<v.InferOutput<S>> {
  const headers: Record<string, string> = {
    'Content-Type': JSON_TYPE,
    'X-Amz-Target': target,
    'X-Sekisho-Csrf': signedIn.get()?.csrf ?? '',
  }
  if (background) headers['X-Sekisho-Background'] = '1'
  const send = () => reach('/console/api/aws', { method: 'POST', headers, body: JSON.stringify(input) })
  let res = await send()
  if (res.ok) return answerOf(res, schema)
  let err = await refusal(res)
  if (!background && (await shownFor(err.reason))) {
    res = await send()
    if (res.ok) return answerOf(res, schema)
    err = await refusal(res)
  }
  if (res.status === 401) signInEnded()
  throw err
}

/** queryCall makes a call of a query-protocol service, such as iam. */
export async function queryCall(service: 'iam', action: string, params: Record<string, string>): Promise<Document> {
  const send = () =>
    reach('/console/api/aws', {
      method: 'POST',
      headers: {
        'Content-Type': 'application/x-www-form-urlencoded',
        'X-Sekisho-Service': service,
        'X-Sekisho-Csrf': signedIn.get()?.csrf ?? '',
      },
      body: new URLSearchParams({ ...params, Action: action, Version: '2010-05-08' }).toString(),
    })
  let res = await send()
  if (!res.ok) {
    let err = await refusal(res)
    if (await shownFor(err.reason)) {
      res = await send()
      if (res.ok) return new DOMParser().parseFromString(await res.text(), 'text/xml')
      err = await refusal(res)
    }
    if (res.status === 401) signInEnded()
    throw err
  }
  return new DOMParser().parseFromString(await res.text(), 'text/xml')
}

/** refusal reads an error in the shape of either protocol. */
export async function refusal(res: Response): Promise<CallError> {
  if (res.headers.get('Content-Type')?.includes('xml')) {
    const xml = new DOMParser().parseFromString(await res.text(), 'text/xml')
    const of = (name: string) => xml.querySelector(name)?.textContent ?? ''
    return new CallError(of('Code'), of('Message'), res.status, of('RequestId'), of('Reason'))
  }
  const body = ((await res.json().catch(() => null)) ?? {}) as Record<string, unknown>
  const type = String(body['__type'] ?? res.headers.get('X-Amzn-Errortype') ?? `HTTP ${res.status}`)
  const message = body['message'] ?? body['Message'] ?? t('error.status', { status: res.status })
  return new CallError(
    type.slice(type.lastIndexOf('#') + 1).split(':')[0]!,
    String(message),
    res.status,
    requestIdOf(res),
    typeof body['Reason'] === 'string' ? body['Reason'] : '',
  )
}

const KEEP_ALIVE_MS = 4 * 60_000

/**
 * keepAlive tells the server that the person is active: typing in a terminal
 * makes no calls, and would otherwise count as idle.
 */
export function keepAlive(): () => void {
  let last = Date.now()
  const active = () => {
    if (Date.now() - last < KEEP_ALIVE_MS || !signedIn.get()) return
    last = Date.now()
    void readSession().catch(() => {})
  }
  addEventListener('keydown', active, { capture: true, passive: true })
  addEventListener('pointerdown', active, { capture: true, passive: true })
  return () => {
    removeEventListener('keydown', active, { capture: true })
    removeEventListener('pointerdown', active, { capture: true })
  }
}
