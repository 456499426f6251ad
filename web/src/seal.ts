// The encryption of a session between this page and the node: AES-256-GCM with
// a data key of KMS, whose first half is for output of the node and whose second
// half is for input of the user. Each message is nonce, ciphertext and tag.

const KEY_BYTES = 64
const NONCE_BYTES = 12

/** Cipher encrypts what is sent and decrypts what is received. */
export interface Cipher {
  seal(plain: Uint8Array): Promise<Uint8Array<ArrayBuffer>>
  open(sealed: Uint8Array): Promise<Uint8Array<ArrayBuffer>>
}

/** cipherOf makes the cipher of a data key. The key cannot be read back from it. */
export async function cipherOf(key: Uint8Array<ArrayBuffer>): Promise<Cipher> {
  if (key.length !== KEY_BYTES) throw new Error(`The data key has ${key.length} bytes, not ${KEY_BYTES}.`)
  const half = (from: number, usage: KeyUsage) =>
    crypto.subtle.importKey('raw', key.slice(from, from + KEY_BYTES / 2), 'AES-GCM', false, [usage])
  const [incoming, outgoing] = await Promise.all([half(0, 'decrypt'), half(KEY_BYTES / 2, 'encrypt')])
  return {
    async seal(plain) {
      const iv = crypto.getRandomValues(new Uint8Array(NONCE_BYTES))
      const body = await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, outgoing, Uint8Array.from(plain))
      const out = new Uint8Array(NONCE_BYTES + body.byteLength)
      out.set(iv)
      out.set(new Uint8Array(body), NONCE_BYTES)
      return out
    },
    async open(sealed) {
      const bytes = Uint8Array.from(sealed)
      const iv = bytes.slice(0, NONCE_BYTES)
      return new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-GCM', iv }, incoming, bytes.slice(NONCE_BYTES)))
    },
  }
}
