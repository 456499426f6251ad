import Alert from '@cloudscape-design/components/alert'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Container from '@cloudscape-design/components/container'
import FormField from '@cloudscape-design/components/form-field'
import Header from '@cloudscape-design/components/header'
import Input from '@cloudscape-design/components/input'
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useEffect, useState } from 'react'
import { t } from './i18n'
import { decideProgram, showProgram, type Program } from './programs'
import { Refusal } from './refusal'
import type { PageProps } from './routes'

/** ApprovePage lets the user give a program their identity: the one that shows a code. */
export default function ApprovePage({ who, params }: PageProps) {
  const [code, setCode] = useState(params[0] ?? '')
  const [program, setProgram] = useState<Program | null>(null)
  const [decided, setDecided] = useState<'approved' | 'refused' | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)

  const attempt = (doing: () => Promise<void>) => {
    setBusy(true)
    setError(null)
    doing()
      .catch(setError)
      .finally(() => setBusy(false))
  }
  const look = (typed: string) => attempt(async () => setProgram(await showProgram(typed)))
  const decide = (approve: boolean) =>
    attempt(async () => {
      const to = await decideProgram(code, approve)
      setDecided(approve ? 'approved' : 'refused')
      if (to !== '') location.assign(to)
    })
  const given = params[0]
  useEffect(() => {
    if (given === undefined) return
    attempt(async () => {
      const found = await showProgram(given)
      // A program elsewhere gives its user no link. Whoever sent this one may have started the program: the user has to
      // read the code from the program itself.
      if (found.local) setProgram(found)
      else setCode('')
    })
  }, [given])

  return (
    <SpaceBetween size="l">
      <Header variant="h1" description={t('approve.description', { user: who.user })}>
        {t('approve.title')}
      </Header>
      {error !== null && <Refusal error={error} />}
      {decided !== null ? (
        <Alert type={decided === 'approved' ? 'success' : 'info'}>{t(`approve.${decided}`)}</Alert>
      ) : program === null ? (
        <Container>
          <form
            onSubmit={(ev) => {
              ev.preventDefault()
              look(code)
            }}
          >
            <SpaceBetween size="l">
              <FormField label={t('approve.code')} description={t('approve.codeHint')}>
                <Input
                  value={code}
                  placeholder="BCDF-GHJK"
                  autoComplete={false}
                  spellcheck={false}
                  onChange={(ev) => setCode(ev.detail.value)}
                />
              </FormField>
              <Button variant="primary" loading={busy} disabled={code.trim() === ''}>
                {t('approve.continue')}
              </Button>
            </SpaceBetween>
          </form>
        </Container>
      ) : (
        <Question program={program} code={code} busy={busy} decide={decide} />
      )}
    </SpaceBetween>
  )
}

function Question(props: { program: Program; code: string; busy: boolean; decide: (approve: boolean) => void }) {
  const { program, code, busy, decide } = props
  return (
    <Container
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button disabled={busy} onClick={() => decide(false)}>
              {t('approve.refuse')}
            </Button>
            <Button variant="primary" loading={busy} onClick={() => decide(true)}>
              {t('approve.approve')}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="l">
        {!program.local && (
          <Alert type="warning">{t(program.same ? 'approve.elsewhere' : 'approve.otherAddress')}</Alert>
        )}
        <KeyValuePairs
          columns={2}
          items={[
            { label: t('approve.program'), value: program.name === '' ? t('approve.unnamed') : program.name },
            { label: t('approve.address'), value: program.source },
            { label: t('approve.shows'), value: <code>{code.toUpperCase()}</code> },
            { label: t('approve.requested'), value: new Date(program.created).toLocaleTimeString() },
          ]}
        />
      </SpaceBetween>
    </Container>
  )
}
