import Alert from '@cloudscape-design/components/alert'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Container from '@cloudscape-design/components/container'
import Form from '@cloudscape-design/components/form'
import FormField from '@cloudscape-design/components/form-field'
import Header from '@cloudscape-design/components/header'
import Input from '@cloudscape-design/components/input'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useEffect, useState, type FormEvent } from 'react'
import { changePassword } from './account'
import { signOut } from './api'
import { Refusal } from './refusal'
import { t } from './i18n'

/**
 * PasswordPage is the page that a user sees whose password was set by an administrator,
 * until they choose another. The server rejects all other calls until then.
 */
export default function PasswordPage({ user }: { user: string }) {
  const [old, setOld] = useState('')
  const [next, setNext] = useState('')
  const [again, setAgain] = useState('')
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)
  useEffect(() => {
    document.title = `${t('password.title')} · Sekisho`
  }, [])

  const differs = again !== '' && again !== next
  const submit = (ev: FormEvent) => {
    ev.preventDefault()
    if (busy || old === '' || next === '' || again !== next) return
    setBusy(true)
    setError(null)
    changePassword(user, old, next)
      .catch(setError)
      .finally(() => setBusy(false))
  }
  return (
    <main className="sign-in">
      <div className="first-run">
        <form onSubmit={submit}>
          {/* Password managers want to know whose password it is. */}
          <input type="text" name="username" autoComplete="username" value={user} readOnly hidden />
          <Container
            header={
              <Header variant="h1" description={t('password.signedInAs', { user })}>
                {t('password.title')}
              </Header>
            }
          >
            <Form
              actions={
                <SpaceBetween direction="horizontal" size="xs">
                  <Button formAction="none" variant="link" onClick={() => void signOut()}>
                    {t('app.signOut')}
                  </Button>
                  <Button
                    variant="primary"
                    formAction="submit"
                    loading={busy}
                    disabled={old === '' || next === '' || again !== next}
                  >
                    {t('password.change')}
                  </Button>
                </SpaceBetween>
              }
            >
              <SpaceBetween size="l">
                <Alert>{t('password.why')}</Alert>
                {error !== null && <Refusal error={error} what={t('password.notChanged')} />}
                <FormField label={t('password.old')}>
                  <Input
                    value={old}
                    type="password"
                    name="old"
                    autoComplete="current-password"
                    autoFocus
                    disabled={busy}
                    onChange={(ev) => setOld(ev.detail.value)}
                  />
                </FormField>
                <FormField label={t('password.new')} constraintText={t('password.rules')}>
                  <Input
                    value={next}
                    type="password"
                    name="new"
                    autoComplete="new-password"
                    disabled={busy}
                    onChange={(ev) => setNext(ev.detail.value)}
                  />
                </FormField>
                <FormField label={t('password.again')} errorText={differs ? t('password.differ') : undefined}>
                  <Input
                    value={again}
                    type="password"
                    name="again"
                    autoComplete="new-password"
                    disabled={busy}
                    invalid={differs}
                    onChange={(ev) => setAgain(ev.detail.value)}
                  />
                </FormField>
                <Box variant="small" color="text-body-secondary">
                  {t('password.mfaAgain')}
                </Box>
              </SpaceBetween>
            </Form>
          </Container>
        </form>
      </div>
    </main>
  )
}
