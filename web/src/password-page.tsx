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

/**
 * PasswordPage is what somebody sees whose password an administrator has chosen,
 * until there is another. The server answers nothing else before.
 */
export default function PasswordPage({ user }: { user: string }) {
  const [old, setOld] = useState('')
  const [next, setNext] = useState('')
  const [again, setAgain] = useState('')
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)
  useEffect(() => {
    document.title = 'Change your password · Sekisho'
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
              <Header variant="h1" description={`You are signed in as ${user}.`}>
                Change your password
              </Header>
            }
          >
            <Form
              actions={
                <SpaceBetween direction="horizontal" size="xs">
                  <Button formAction="none" variant="link" onClick={() => void signOut()}>
                    Sign out
                  </Button>
                  <Button
                    variant="primary"
                    formAction="submit"
                    loading={busy}
                    disabled={old === '' || next === '' || again !== next}
                  >
                    Change password
                  </Button>
                </SpaceBetween>
              }
            >
              <SpaceBetween size="l">
                <Alert>Your administrator wants you to choose a password of your own before you go on.</Alert>
                {error !== null && <Refusal error={error} what="The password was not changed" />}
                <FormField label="Old password">
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
                <FormField
                  label="New password"
                  constraintText="8 to 128 characters of at least three kinds: upper case, lower case, digits, symbols."
                >
                  <Input
                    value={next}
                    type="password"
                    name="new"
                    autoComplete="new-password"
                    disabled={busy}
                    onChange={(ev) => setNext(ev.detail.value)}
                  />
                </FormField>
                <FormField label="New password again" errorText={differs ? 'The two are not the same.' : undefined}>
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
                  Whoever has a second factor is asked for it once more.
                </Box>
              </SpaceBetween>
            </Form>
          </Container>
        </form>
      </div>
    </main>
  )
}
