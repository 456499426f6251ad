// The account of whoever is signed in: second factors, passkeys, sign-in by
// identity providers, the first run.

import * as v from 'valibot'
import {
  answerOf,
  call,
  ceremonySchema,
  IGNORED,
  queryCall,
  readSession,
  reach,
  refusal,
  signedIn,
  signIn,
} from './api'
import { t } from './i18n'
import { rememberPath } from './router'

/** Factor is an enrolled second factor. */
export interface Factor {
  serial: string
  name: string
  kind: 'passkey' | 'app'
  since: string
}

/** loadFactors lists the second factors of the signed-in user. */
export async function loadFactors(): Promise<Factor[]> {
  const xml = await queryCall('iam', 'ListMFADevices', {})
  return [...xml.querySelectorAll('MFADevices > member')].map((m) => {
    const serial = text(m, 'SerialNumber')
    return {
      serial,
      name: serial.slice(serial.lastIndexOf('/') + 1),
      kind: serial.includes(':u2f/') ? 'passkey' : 'app',
      since: text(m, 'EnableDate'),
    }
  })
}

function text(of: Element | Document, name: string): string {
  return of.querySelector(name)?.textContent ?? ''
}

/**
 * changePassword changes the signed-in user's password, which ends the sign-in,
 * and signs in with the new one. Where that needs a second factor, it is for the
 * sign-in page to ask.
 */
export async function changePassword(user: string, old: string, next: string): Promise<void> {
  await queryCall('iam', 'ChangePassword', { OldPassword: old, NewPassword: next })
  try {
    await signIn(user, next, '')
  } catch {
    signedIn.set(null)
  }
}

/** NewApp is an authenticator application that waits for its first codes. */
export interface NewApp {
  serial: string
  seed: string
  picture: string // data: URL
}

/** createApp makes a virtual device for the signed-in user. */
export async function createApp(user: string): Promise<NewApp> {
  const suffix = [...crypto.getRandomValues(new Uint8Array(4))].map((b) => b.toString(16).padStart(2, '0')).join('')
  const xml = await queryCall('iam', 'CreateVirtualMFADevice', { VirtualMFADeviceName: `${user}-${suffix}` })
  return {
    serial: text(xml, 'SerialNumber'),
    seed: atob(text(xml, 'Base32StringSeed')),
    picture: `data:image/png;base64,${text(xml, 'QRCodePNG')}`,
  }
}

/** enableApp enables the application with two consecutive codes. */
export async function enableApp(user: string, serial: string, code1: string, code2: string): Promise<void> {
  await queryCall('iam', 'EnableMFADevice', {
    UserName: user,
    SerialNumber: serial,
    AuthenticationCode1: code1,
    AuthenticationCode2: code2,
  })
}

/** discardApp deletes a device that was not enabled. */
export async function discardApp(serial: string): Promise<void> {
  await queryCall('iam', 'DeleteVirtualMFADevice', { SerialNumber: serial })
}

/** removeFactor removes a second factor. */
export async function removeFactor(user: string, f: Factor): Promise<void> {
  await queryCall('iam', 'DeactivateMFADevice', { UserName: user, SerialNumber: f.serial })
  if (f.kind === 'app') await discardApp(f.serial)
}

/** Ceremony is the server's challenge for a passkey. */
export type Ceremony = v.InferOutput<typeof ceremonySchema>

const registration = v.object({ Options: ceremonySchema.entries.options, State: v.string() })
const providersSchema = v.object({ providers: v.array(v.string()) })
const addressSchema = v.object({ address: v.string() })

/** Proof is a passkey's answer. */
export interface Proof {
  state: string
  answer: unknown
}

/** passkeysPossible reports whether this page can use passkeys. */
export function passkeysPossible(): boolean {
  return 'credentials' in navigator && 'PublicKeyCredential' in window && !/^[\d.]+$|^\[/.test(location.hostname)
}

const encode = (b: ArrayBuffer): string =>
  btoa(String.fromCharCode(...new Uint8Array(b)))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')

const decode = (s: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(s.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0))

type Descriptor = { id: string; type: 'public-key'; transports?: AuthenticatorTransport[] }
const descriptors = (list: unknown): PublicKeyCredentialDescriptor[] =>
  ((list ?? []) as Descriptor[]).map((d) => ({ ...d, id: decode(d.id) }))

/** addPasskey registers a passkey of this browser for the signed-in user. */
export async function addPasskey(name: string): Promise<void> {
  const begun = await call('Sekisho.BeginPasskeyRegistration', {}, registration)
  const o = begun.Options.publicKey
  const user = o['user'] as { id: string; name: string; displayName: string }
  const made = (await navigator.credentials.create({
    publicKey: {
      ...(o as unknown as PublicKeyCredentialCreationOptions),
      challenge: decode(o['challenge'] as string),
      user: { ...user, id: decode(user.id) },
      excludeCredentials: descriptors(o['excludeCredentials']),
    },
  })) as PublicKeyCredential | null
  if (made === null) throw new Error(t('account.noPasskeyCreated'))
  const r = made.response as AuthenticatorAttestationResponse
  await call(
    'Sekisho.RegisterPasskey',
    {
      Name: name,
      State: begun.State,
      Answer: {
        id: made.id,
        rawId: encode(made.rawId),
        type: made.type,
        clientExtensionResults: {},
        response: {
          clientDataJSON: encode(r.clientDataJSON),
          attestationObject: encode(r.attestationObject),
          transports: r.getTransports?.() ?? [],
        },
      },
    },
    IGNORED,
  )
}

/** prove makes the browser answer a ceremony with a passkey. */
export async function prove(ceremony: Ceremony): Promise<Proof> {
  const o = ceremony.options.publicKey
  const got = (await navigator.credentials.get({
    publicKey: {
      ...(o as unknown as PublicKeyCredentialRequestOptions),
      challenge: decode(o['challenge'] as string),
      allowCredentials: descriptors(o['allowCredentials']),
    },
  })) as PublicKeyCredential | null
  if (got === null) throw new Error(t('account.noPasskeyOffered'))
  const r = got.response as AuthenticatorAssertionResponse
  return {
    state: ceremony.state,
    answer: {
      id: got.id,
      rawId: encode(got.rawId),
      type: got.type,
      clientExtensionResults: {},
      response: {
        clientDataJSON: encode(r.clientDataJSON),
        authenticatorData: encode(r.authenticatorData),
        signature: encode(r.signature),
        userHandle: r.userHandle === null ? undefined : encode(r.userHandle),
      },
    },
  }
}

/** signInByPasskey signs in by a passkey alone. */
export async function signInByPasskey(): Promise<void> {
  const begun = await reach('/console/api/passkey', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: '{}',
  })
  if (!begun.ok) throw await refusal(begun)
  const passkey = await prove(await answerOf(begun, ceremonySchema))
  const res = await reach('/console/api/session', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ passkey }),
  })
  if (!res.ok) throw await refusal(res)
  await readSession()
}

/** loadProviders lists the identity providers to sign in by. */
export async function loadProviders(): Promise<string[]> {
  const res = await reach('/console/api/providers', {})
  if (!res.ok) return []
  return (await answerOf(res, providersSchema)).providers
}

/** signInBy goes to an identity provider. */
export async function signInBy(provider: string): Promise<void> {
  const res = await reach('/console/api/federation', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ provider }),
  })
  if (!res.ok) throw await refusal(res)
  const to = (await answerOf(res, addressSchema)).address
  rememberPath()
  location.assign(to)
}

/** DECLINE is the exact statement that declines a second factor. */
export const DECLINE = 'A password alone opens this account, and I accept that.'

/** finishFirstRun ends the first-run flow. */
export async function finishFirstRun(statement: string): Promise<void> {
  await call('Sekisho.FinishFirstRun', { Statement: statement }, IGNORED)
  await readSession()
}

const answerSchema = v.object({
  Allowed: v.boolean(),
  Decision: v.string(),
  Reason: v.string(),
  Steps: v.array(
    v.object({
      ResourceArn: v.string(),
      DocumentCheck: v.boolean(),
      Decision: v.string(),
      Reason: v.string(),
      Statement: v.optional(v.string(), ''),
    }),
  ),
  /** The aspects that caused a denial. */
  Failed: v.optional(v.array(v.picklist(['Who', 'Where', 'Which', 'When', 'MFA'])), []),
  /** A fresh second factor would turn the denial into an allowed request. */
  SecondFactor: v.optional(v.boolean(), false),
  Notes: v.optional(v.array(v.string()), []),
  Windows: v.optional(v.array(v.object({ From: v.number(), To: v.number() }))),
  /** Policies compare the time as text: short windows may be missing. */
  Sampled: v.optional(v.boolean()),
})

/** Answer says whether a user could do something, and why not. */
export type Answer = v.InferOutput<typeof answerSchema>

/** Question is what the policy simulator asks. */
export interface Question {
  UserName: string
  Action: string
  Target: string
  /** In place of Target, for other resources than nodes and sessions. */
  ResourceArn?: string
  SourceIp: string
  MFA: boolean
  At: number
  From?: number
  To?: number
}

/** explain asks the server. */
export function explain(q: Question): Promise<Answer> {
  return call('Sekisho.ExplainAccess', q, answerSchema)
}

/** loadUsers lists the names of the account's users. */
export async function loadUsers(): Promise<string[]> {
  const xml = await queryCall('iam', 'ListUsers', { MaxItems: '1000' })
  return [...xml.querySelectorAll('Users > member > UserName')].map((u) => u.textContent ?? '')
}
