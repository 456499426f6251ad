import Alert from '@cloudscape-design/components/alert'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import FormField from '@cloudscape-design/components/form-field'
import Header from '@cloudscape-design/components/header'
import Input from '@cloudscape-design/components/input'
import SpaceBetween from '@cloudscape-design/components/space-between'
import Table from '@cloudscape-design/components/table'
import { useEffect, useState } from 'react'
import {
  addPasskey,
  createApp,
  discardApp,
  enableApp,
  loadFactors,
  passkeysPossible,
  removeFactor,
  type Factor,
  type NewApp,
} from './account'
import { Refusal } from './refusal'
import { t } from './i18n'
import type { PageProps } from './routes'
import { When } from './time'

/** AddApp enrols an authenticator application. */
export function AddApp(props: { user: string; onDone: () => void; onCancel: () => void }) {
  const [app, setApp] = useState<NewApp | null>(null)
  const [code1, setCode1] = useState('')
  const [code2, setCode2] = useState('')
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)
  const [plain, setPlain] = useState(false)
  useEffect(() => {
    let live = true
    createApp(props.user).then(
      (made) => {
        if (live) setApp(made)
        else void discardApp(made.serial).catch(() => {})
      },
      (err: unknown) => live && setError(err),
    )
    return () => {
      live = false
    }
  }, [props.user])

  const enable = async () => {
    if (app === null) return
    setBusy(true)
    setError(null)
    try {
      await enableApp(props.user, app.serial, code1.trim(), code2.trim())
      props.onDone()
    } catch (err) {
      setError(err)
      setBusy(false)
    }
  }
  const cancel = () => {
    if (app !== null) void discardApp(app.serial).catch(() => {})
    props.onCancel()
  }
  return (
    <form
      onSubmit={(ev) => {
        ev.preventDefault()
        void enable()
      }}
    >
      <SpaceBetween size="m">
        <Box>{t('mfa.scan')}</Box>
        {app !== null && <img className="qr" src={app.picture} alt={t('mfa.qr')} width="200" height="200" />}
        {app !== null &&
          (plain ? (
            <Box>
              {t('mfa.key')} <code className="seed">{app.seed}</code>
            </Box>
          ) : (
            <Button variant="inline-link" formAction="none" onClick={() => setPlain(true)}>
              {t('mfa.showKey')}
            </Button>
          ))}
        <FormField label={t('mfa.code1')}>
          <Input
            value={code1}
            inputMode="numeric"
            autoComplete="one-time-code"
            disabled={app === null || busy}
            onChange={(ev) => setCode1(ev.detail.value)}
          />
        </FormField>
        <FormField label={t('mfa.code2')} description={t('mfa.code2Hint')}>
          <Input
            value={code2}
            inputMode="numeric"
            autoComplete="off"
            disabled={app === null || busy}
            onChange={(ev) => setCode2(ev.detail.value)}
          />
        </FormField>
        {error !== null && <Refusal error={error} what={t('mfa.notEnrolled')} />}
        <SpaceBetween size="xs" direction="horizontal">
          <Button
            variant="primary"
            formAction="submit"
            loading={busy}
            disabled={code1.trim() === '' || code2.trim() === ''}
          >
            {t('mfa.enrol')}
          </Button>
          <Button variant="link" formAction="none" onClick={cancel}>
            {t('common.cancel')}
          </Button>
        </SpaceBetween>
      </SpaceBetween>
    </form>
  )
}

/** AddFactor offers the two kinds of second factor. */
export function AddFactor(props: { user: string; onDone: () => void }) {
  const [app, setApp] = useState(false)
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const passkey = async () => {
    setBusy(true)
    setError(null)
    try {
      await addPasskey('passkey')
      props.onDone()
    } catch (err) {
      setError(err)
    } finally {
      setBusy(false)
    }
  }
  if (app) {
    return (
      <AddApp
        user={props.user}
        onDone={() => {
          setApp(false)
          props.onDone()
        }}
        onCancel={() => setApp(false)}
      />
    )
  }
  return (
    <SpaceBetween size="s">
      <SpaceBetween size="xs" direction="horizontal">
        <Button onClick={() => setApp(true)}>{t('mfa.addApp')}</Button>
        <Button onClick={() => void passkey()} loading={busy} disabled={!passkeysPossible()}>
          {t('mfa.addPasskey')}
        </Button>
      </SpaceBetween>
      {!passkeysPossible() && (
        <Box variant="small" color="text-body-secondary">
          {t('mfa.passkeyHost')}
        </Box>
      )}
      {error !== null && <Refusal error={error} what={t('mfa.noPasskey')} />}
    </SpaceBetween>
  )
}

/** AccountPage shows and changes the second factors of whoever is signed in. */
export default function AccountPage({ who }: PageProps) {
  const { user } = who
  const [factors, setFactors] = useState<Factor[] | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [chosen, setChosen] = useState<Factor[]>([])
  const load = () => {
    loadFactors().then(setFactors, setError)
  }
  useEffect(load, [])
  const remove = async () => {
    setError(null)
    try {
      for (const f of chosen) await removeFactor(user, f)
    } catch (err) {
      setError(err)
    }
    setChosen([])
    load()
  }
  return (
    <SpaceBetween size="l">
      {error !== null && <Refusal error={error} />}
      {factors?.length === 0 && (
        <Alert type="warning" header={t('mfa.passwordOnly')}>
          {t('mfa.passwordOnlyHint')}
        </Alert>
      )}
      <Table
        header={
          <Header
            variant="h1"
            description={t('mfa.description')}
            actions={
              <Button disabled={chosen.length === 0} onClick={() => void remove()}>
                {t('common.remove')}
              </Button>
            }
          >
            {t('mfa.title')}
          </Header>
        }
        items={factors ?? []}
        loading={factors === null && error === null}
        loadingText={t('common.loading')}
        trackBy="serial"
        selectionType="single"
        selectedItems={chosen}
        onSelectionChange={(ev) => setChosen(ev.detail.selectedItems)}
        ariaLabels={{ selectionGroupLabel: t('mfa.title'), itemSelectionLabel: (_, f) => f.name }}
        columnDefinitions={[
          { id: 'name', header: t('common.name'), cell: (f) => f.name },
          {
            id: 'kind',
            header: t('common.kind'),
            cell: (f) => (f.kind === 'passkey' ? t('mfa.passkey') : t('mfa.app')),
          },
          { id: 'since', header: t('mfa.since'), cell: (f) => <When at={Date.parse(f.since)} /> },
        ]}
        empty={<Box textAlign="center">{t('common.none')}</Box>}
      />
      <AddFactor user={user} onDone={load} />
    </SpaceBetween>
  )
}
