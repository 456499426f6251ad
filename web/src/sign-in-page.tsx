// Signing in. The page is plain HTML: a library of components would take longer
// to load than the page is looked at.

import { useEffect, useRef, useState, type FormEvent } from 'react'
import { loadProviders, passkeysPossible, prove, signInBy, signInByPasskey } from './account'
import { signIn, SignInRefused } from './api'
import { chooseLanguage, language, LANGUAGES, t } from './i18n'
import { useStore } from './store'

/** Messages for how a sign-in at an identity provider ended. */
const FEDERATION = (): Record<string, string> => ({
  refused: t('signIn.refused'),
  again: t('signIn.again'),
})

const said = (err: unknown) => (err instanceof Error ? err.message : String(err))

/** useSignIn signs in with what the user enters, and reports what is missing. */
function useSignIn() {
  const [codeNeeded, setCodeNeeded] = useState(false)
  const [error, setError] = useState(
    () => FEDERATION()[new URLSearchParams(location.search).get('federation') ?? ''] ?? '',
  )
  const [busy, setBusy] = useState(false)

  const attempt = async (how: () => Promise<void>) => {
    if (busy) return
    setBusy(true)
    setError('')
    try {
      await how()
    } catch (err) {
      setError(said(err))
    } finally {
      setBusy(false)
    }
  }

  const withPassword = (user: string, password: string, code: string) =>
    attempt(async () => {
      try {
        await signIn(user, password, codeNeeded ? code : '')
      } catch (err) {
        if (!(err instanceof SignInRefused)) throw err
        if (err.passkey !== undefined && !codeNeeded) {
          try {
            await signIn(user, password, '', await prove(err.passkey))
            return
          } catch (refused) {
            if (!err.codeNeeded) throw refused
          }
        }
        if (!err.codeNeeded) throw err
        setCodeNeeded(true)
        if (codeNeeded) throw err
      }
    })
  return { codeNeeded, setCodeNeeded, error, busy, attempt, withPassword }
}

/** SignInPage asks the user to sign in. */
export default function SignInPage({ lapsed }: { lapsed?: string }) {
  const [user, setUser] = useState(lapsed ?? '')
  const [password, setPassword] = useState('')
  const [code, setCode] = useState('')
  const [providers, setProviders] = useState<string[]>([])
  const { codeNeeded, setCodeNeeded, error, busy, attempt, withPassword } = useSignIn()
  const codeField = useRef<HTMLInputElement>(null)
  const shown = useStore(language)

  useEffect(() => {
    const before = document.title
    document.title = `${t('signIn.title')} · Sekisho`
    return () => {
      document.title = before
    }
  }, [shown])
  useEffect(() => {
    loadProviders().then(setProviders, () => {})
    if (lapsed === undefined && location.search !== '') history.replaceState(null, '', location.pathname)
  }, [lapsed])
  useEffect(() => {
    if (codeNeeded) codeField.current?.focus()
  }, [codeNeeded])

  const submit = (ev: FormEvent) => {
    ev.preventDefault()
    void withPassword(user.trim(), password, code.trim())
    if (codeNeeded) setCode('')
  }

  return (
    <main className="sign-in">
      <div className="sign-in-card">
        <div className="sign-in-brand">
          <img src="/console/favicon.svg" alt="" width="44" height="44" />
          <div>
            <h1 className="sign-in-name">
              Sekisho <span lang="ja">関所</span>
            </h1>
            <div className="faint">{t('signIn.tagline')}</div>
          </div>
        </div>
        <form className="sign-in-form" onSubmit={submit}>
          {lapsed !== undefined && error === '' && <div role="status">{t('signIn.lapsed', { user: lapsed })}</div>}
          {error !== '' && (
            <div className="sign-in-error" role="alert">
              {error}
            </div>
          )}
          <label>
            {t('signIn.user')}
            <input
              value={user}
              name="username"
              autoComplete="username"
              autoCapitalize="none"
              autoFocus
              spellCheck={false}
              readOnly={busy}
              onChange={(ev) => {
                setUser(ev.target.value)
                setCodeNeeded(false)
              }}
            />
          </label>
          <label>
            {t('signIn.password')}
            <input
              value={password}
              type="password"
              name="password"
              autoComplete="current-password"
              readOnly={busy}
              onChange={(ev) => setPassword(ev.target.value)}
            />
          </label>
          {codeNeeded && (
            <label>
              {t('signIn.code')}
              <input
                ref={codeField}
                value={code}
                name="code"
                inputMode="numeric"
                autoComplete="one-time-code"
                readOnly={busy}
                aria-describedby="code-hint"
                onChange={(ev) => setCode(ev.target.value)}
              />
              <span id="code-hint" className="faint">
                {t('signIn.codeHint')}
              </span>
            </label>
          )}
          <button type="submit" className="primary" disabled={busy || user === '' || password === ''}>
            {t('signIn.title')}
          </button>
          {passkeysPossible() && (
            <button type="button" disabled={busy} onClick={() => void attempt(signInByPasskey)}>
              {t('signIn.withPasskey')}
            </button>
          )}
          {providers.map((name) => (
            <button key={name} type="button" disabled={busy} onClick={() => void attempt(() => signInBy(name))}>
              {t('signIn.with', { provider: name })}
            </button>
          ))}
        </form>
        <SignInFooter />
      </div>
    </main>
  )
}

function SignInFooter() {
  const shown = useStore(language)
  return (
    <div className="sign-in-note">
      {t('signIn.recorded')}
      <div role="group" aria-label={t('app.language')} className="sign-in-languages">
        {LANGUAGES.map((l) => (
          <button
            key={l.id}
            type="button"
            lang={l.id}
            aria-pressed={l.id === shown}
            onClick={() => void chooseLanguage(l.id)}
          >
            {l.text}
          </button>
        ))}
      </div>
    </div>
  )
}
