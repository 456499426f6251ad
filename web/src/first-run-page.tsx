import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Container from '@cloudscape-design/components/container'
import ExpandableSection from '@cloudscape-design/components/expandable-section'
import FormField from '@cloudscape-design/components/form-field'
import Header from '@cloudscape-design/components/header'
import Input from '@cloudscape-design/components/input'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useEffect, useState } from 'react'
import { DECLINE, finishFirstRun } from './account'
import { signOut } from './api'
import { AddFactor } from './factors'
import { Refusal } from './refusal'
import { t } from './i18n'

/**
 * FirstRunPage is the page that the first administrator sees until they have added or
 * explicitly declined a second factor. The server rejects all other calls until then.
 */
export default function FirstRunPage({ user }: { user: string }) {
  const [words, setWords] = useState('')
  const [error, setError] = useState<unknown>(null)
  useEffect(() => {
    document.title = `${t('firstRun.title')} · Sekisho`
  }, [])
  const finish = (statement: string) => {
    setError(null)
    finishFirstRun(statement).catch(setError)
  }
  return (
    <main className="sign-in">
      <div className="first-run">
        <Container
          header={
            <Header variant="h1" description={t('firstRun.description', { user })}>
              {t('firstRun.protect')}
            </Header>
          }
        >
          <SpaceBetween size="l">
            <Box>{t('firstRun.why')}</Box>
            <AddFactor user={user} onDone={() => finish('')} />
            {error !== null && <Refusal error={error} />}
            <ExpandableSection headerText={t('firstRun.without')}>
              <form
                onSubmit={(ev) => {
                  ev.preventDefault()
                  finish(words.trim())
                }}
              >
                <SpaceBetween size="s">
                  <FormField
                    label={t('firstRun.type')}
                    description={DECLINE}
                    errorText={words !== '' && !DECLINE.startsWith(words.trim()) ? t('firstRun.otherWords') : undefined}
                  >
                    <Input
                      value={words}
                      autoComplete="off"
                      spellcheck={false}
                      onChange={(ev) => setWords(ev.detail.value)}
                    />
                  </FormField>
                  <Button formAction="submit" disabled={words.trim() !== DECLINE}>
                    {t('firstRun.decline')}
                  </Button>
                </SpaceBetween>
              </form>
            </ExpandableSection>
            <Button variant="link" onClick={() => void signOut()}>
              {t('app.signOut')}
            </Button>
          </SpaceBetween>
        </Container>
      </div>
    </main>
  )
}
