// The entry of the console: it loads the sign-in page or the console itself.

import { lazy, Suspense, useEffect, useState } from 'react'
import { CallError, readSession, signedIn } from './api'
import { language, t } from './i18n'
import { useStore } from './store'

const SignInPage = lazy(() => import('./sign-in-page'))
const Console = lazy(() => import('./console'))
const PasswordPage = lazy(() => import('./password-page'))
const FirstRunPage = lazy(() => import('./first-run-page'))

/** App is the whole console. */
export function App() {
  // Every text below is looked up again when the language changes.
  useStore(language)
  const who = useStore(signedIn)
  const [error, setError] = useState<unknown>(null)
  useEffect(() => {
    readSession().catch(setError)
  }, [])
  if (who === undefined) return error === null ? <Waiting /> : <CannotStart error={error} />
  return (
    <Suspense fallback={<Waiting />}>
      {who === null ? (
        <SignInPage />
      ) : who.passwordReset ? (
        <PasswordPage user={who.user} />
      ) : who.firstRun ? (
        <FirstRunPage user={who.user} />
      ) : (
        <Console who={who} />
      )}
    </Suspense>
  )
}

function Waiting() {
  return (
    <div className="centred" role="status" aria-label={t('common.loading')}>
      <div className="waiting" />
    </div>
  )
}

function CannotStart({ error }: { error: unknown }) {
  const code = error instanceof CallError ? error.code : t('common.error')
  return (
    <main className="centred">
      <div role="alert">
        <h1>{t('error.headed', { what: t('app.cannotStart'), code })}</h1>
        <p>{error instanceof Error ? error.message : String(error)}</p>
      </div>
    </main>
  )
}
