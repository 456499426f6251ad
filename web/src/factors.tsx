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
        <Box>Scan this with an authenticator application, then type two codes that follow each other.</Box>
        {app !== null && <img className="qr" src={app.picture} alt="The key as a QR code" width="200" height="200" />}
        {app !== null &&
          (plain ? (
            <Box>
              Key: <code className="seed">{app.seed}</code>
            </Box>
          ) : (
            <Button variant="inline-link" formAction="none" onClick={() => setPlain(true)}>
              Show the key as text
            </Button>
          ))}
        <FormField label="First code">
          <Input
            value={code1}
            inputMode="numeric"
            autoComplete="one-time-code"
            disabled={app === null || busy}
            onChange={(ev) => setCode1(ev.detail.value)}
          />
        </FormField>
        <FormField label="Second code" description="The one that follows, half a minute later">
          <Input
            value={code2}
            inputMode="numeric"
            autoComplete="off"
            disabled={app === null || busy}
            onChange={(ev) => setCode2(ev.detail.value)}
          />
        </FormField>
        {error !== null && <Refusal error={error} what="Not enrolled" />}
        <SpaceBetween size="xs" direction="horizontal">
          <Button variant="primary" formAction="submit" loading={busy} disabled={code1.trim() === '' || code2.trim() === ''}>
            Enrol
          </Button>
          <Button variant="link" formAction="none" onClick={cancel}>
            Cancel
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
        <Button onClick={() => setApp(true)}>Add an authenticator app</Button>
        <Button onClick={() => void passkey()} loading={busy} disabled={!passkeysPossible()}>
          Add a passkey
        </Button>
      </SpaceBetween>
      {!passkeysPossible() && (
        <Box variant="small" color="text-body-secondary">
          Browsers have passkeys only for servers that are opened by a name, such as https://localhost.
        </Box>
      )}
      {error !== null && <Refusal error={error} what="No passkey was added" />}
    </SpaceBetween>
  )
}

/** AccountPage shows and changes the second factors of whoever is signed in. */
export default function AccountPage({ user }: { user: string }) {
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
        <Alert type="warning" header="Your password alone opens this account">
          Add an authenticator app or a passkey. A passkey signs you in without a password, too.
        </Alert>
      )}
      <Table
        header={
          <Header
            variant="h1"
            description="Shown beside your password when you sign in"
            actions={
              <Button disabled={chosen.length === 0} onClick={() => void remove()}>
                Remove
              </Button>
            }
          >
            Second factors
          </Header>
        }
        items={factors ?? []}
        loading={factors === null && error === null}
        loadingText="Asking"
        trackBy="serial"
        selectionType="single"
        selectedItems={chosen}
        onSelectionChange={(ev) => setChosen(ev.detail.selectedItems)}
        ariaLabels={{ selectionGroupLabel: 'Second factors', itemSelectionLabel: (_, f) => f.name }}
        columnDefinitions={[
          { id: 'name', header: 'Name', cell: (f) => f.name },
          { id: 'kind', header: 'Kind', cell: (f) => (f.kind === 'passkey' ? 'Passkey' : 'Authenticator app') },
          { id: 'since', header: 'Since', cell: (f) => new Date(f.since).toLocaleString() },
        ]}
        empty={<Box textAlign="center">None</Box>}
      />
      <AddFactor user={user} onDone={load} />
    </SpaceBetween>
  )
}
