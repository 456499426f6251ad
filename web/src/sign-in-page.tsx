import Alert from '@cloudscape-design/components/alert'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Container from '@cloudscape-design/components/container'
import Form from '@cloudscape-design/components/form'
import FormField from '@cloudscape-design/components/form-field'
import Input from '@cloudscape-design/components/input'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useEffect, useRef, useState, type FormEvent } from 'react'
import { loadProviders, passkeysPossible, prove, signInBy, signInByPasskey } from './account'
import { signIn, SignInRefused } from './api'

/** The words for how a sign-in at an identity provider ended. */
const FEDERATION: Record<string, string> = {
  refused: 'You were not signed in. The reason is in the audit trail.',
  again: 'That sign-in was not begun in this browser, or too long ago. Try again.',
}

/** SignInPage asks who it is. */
export function SignInPage() {
  const [user, setUser] = useState('')
  const [password, setPassword] = useState('')
  const [code, setCode] = useState('')
  const [codeNeeded, setCodeNeeded] = useState(false)
  const [error, setError] = useState(() => FEDERATION[new URLSearchParams(location.search).get('federation') ?? ''] ?? '')
  const [providers, setProviders] = useState<string[]>([])
  const [busy, setBusy] = useState(false)
  const codeField = useRef<HTMLDivElement>(null)

  useEffect(() => {
    document.title = 'Sign in · Sekisho'
    loadProviders().then(setProviders, () => {})
    if (location.search !== '') history.replaceState(null, '', location.pathname)
  }, [])
  useEffect(() => {
    if (codeNeeded) codeField.current?.querySelector('input')?.focus()
  }, [codeNeeded])

  const attempt = async (how: () => Promise<void>) => {
    if (busy) return
    setBusy(true)
    setError('')
    try {
      await how()
    } catch (err) {
      setError(err instanceof Error ? err.message : String(err))
    } finally {
      setBusy(false)
    }
  }

  const submit = async (ev: FormEvent) => {
    ev.preventDefault()
    if (busy) return
    setBusy(true)
    setError('')
    try {
      await signIn(user.trim(), password, codeNeeded ? code.trim() : '')
    } catch (err) {
      if (err instanceof SignInRefused && err.passkey !== undefined && !codeNeeded) {
        const { passkey } = err
        try {
          await signIn(user.trim(), password, '', await prove(passkey))
          return
        } catch (refused) {
          if (!err.codeNeeded) {
            setError(refused instanceof Error ? refused.message : String(refused))
            return
          }
        }
      }
      if (err instanceof SignInRefused && err.codeNeeded) {
        if (codeNeeded) setError(err.message)
        setCodeNeeded(true)
        setCode('')
      } else {
        setError(err instanceof Error ? err.message : String(err))
      }
    } finally {
      setBusy(false)
    }
  }

  return (
    <main className="sign-in">
      <div className="sign-in-card">
        <div className="sign-in-brand">
          <img src="/console/favicon.svg" alt="" width="44" height="44" />
          <div>
            <div className="sign-in-name">
              Sekisho <span lang="ja">関所</span>
            </div>
            <Box variant="small" color="text-body-secondary">
              A checkpoint on the way to your machines
            </Box>
          </div>
        </div>
        <form onSubmit={(ev) => void submit(ev)}>
          <Container>
            <Form>
              <SpaceBetween size="l">
                {error !== '' && <Alert type="error">{error}</Alert>}
                <FormField label="User name">
                  <Input
                    value={user}
                    name="username"
                    autoComplete="username"
                    autoFocus
                    spellcheck={false}
                    disabled={busy}
                    onChange={(ev) => {
                      setUser(ev.detail.value)
                      setCodeNeeded(false)
                    }}
                  />
                </FormField>
                <FormField label="Password">
                  <Input
                    value={password}
                    type="password"
                    name="password"
                    autoComplete="current-password"
                    disabled={busy}
                    onChange={(ev) => setPassword(ev.detail.value)}
                  />
                </FormField>
                {codeNeeded && (
                  <div ref={codeField}>
                    <FormField label="Code" description="The six digits that your authenticator shows">
                      <Input
                        value={code}
                        name="code"
                        inputMode="numeric"
                        autoComplete="one-time-code"
                        disabled={busy}
                        onChange={(ev) => setCode(ev.detail.value)}
                      />
                    </FormField>
                  </div>
                )}
                <Button variant="primary" formAction="submit" fullWidth loading={busy} disabled={user === '' || password === ''}>
                  Sign in
                </Button>
                {passkeysPossible() && (
                  <Button formAction="none" fullWidth disabled={busy} onClick={() => void attempt(signInByPasskey)}>
                    Sign in with a passkey
                  </Button>
                )}
                {providers.map((name) => (
                  <Button key={name} formAction="none" fullWidth disabled={busy} onClick={() => void attempt(() => signInBy(name))}>
                    Sign in with {name}
                  </Button>
                ))}
              </SpaceBetween>
            </Form>
          </Container>
        </form>
        <div className="sign-in-note">Sessions are recorded.</div>
      </div>
    </main>
  )
}
