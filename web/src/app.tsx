// The entry of the console: it loads the sign-in page or the console itself.

import { Suspense, useEffect, useState } from 'react'
import { CallError, lapsed, readSession, signedIn, type SignedIn } from './api'
import { language, t } from './i18n'
import { lazy } from './lazy'
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
  return <Pages who={who} />
}

/**
 * Pages shows the pages of who is signed in. When a sign-in lapses, its user's page stays behind the
 * sign-in page, so that nothing they have entered is lost; somebody else who signs in gets a new one.
 */
function Pages({ who }: { who: SignedIn | null }) {
  const left = useStore(lapsed)
  const shown = who ?? left
  const veiled = who === null
  useEffect(() => {
    // Dialogs are outside of the page's own element.
    document.body.classList.toggle('veil', veiled)
  }, [veiled])
  // Each has a boundary of its own: while the sign-in page loads, the page behind it must stay as it is.
  return (
    <>
      {shown !== null && (
        <div key={shown.arn} className={veiled ? 'veiled' : undefined} inert={veiled}>
          <Suspense fallback={<Waiting />}>
            {shown.passwordReset ? (
              <PasswordPage user={shown.user} />
            ) : shown.firstRun ? (
              <FirstRunPage user={shown.user} />
            ) : (
              <Console who={shown} />
            )}
          </Suspense>
        </div>
      )}
      {veiled && (
        <div className={left === null ? undefined : 'over'}>
          <Suspense fallback={<Waiting />}>
            <SignInPage lapsed={left?.user} />
          </Suspense>
        </div>
      )}
    </>
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
