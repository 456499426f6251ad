// The preferences of the account's sessions: what they are, who saved them, and
// a form to change them.

import Alert from '@cloudscape-design/components/alert'
import Autosuggest from '@cloudscape-design/components/autosuggest'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Checkbox from '@cloudscape-design/components/checkbox'
import ColumnLayout from '@cloudscape-design/components/column-layout'
import Container from '@cloudscape-design/components/container'
import ExpandableSection from '@cloudscape-design/components/expandable-section'
import FormField from '@cloudscape-design/components/form-field'
import Header from '@cloudscape-design/components/header'
import Input from '@cloudscape-design/components/input'
import Select from '@cloudscape-design/components/select'
import SpaceBetween from '@cloudscape-design/components/space-between'
import Spinner from '@cloudscape-design/components/spinner'
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator'
import Textarea from '@cloudscape-design/components/textarea'
import { useCallback, useEffect, useState } from 'react'
import { CallError } from './api'
import { ago, ownerName, useNow, when } from './format'
import { createGroup, encryptGroup, findGroup, listGroups, listKeys, type Group, type Key } from './log-groups'
import { PreferencesVersions } from './preferences-versions'
import {
  contentOf,
  differences,
  formOf,
  loadPreferences,
  mistakes,
  remediesFor,
  savePreferences,
  type Form,
  type Loaded,
  type Remedy,
  type Switch,
} from './preferences'
import { Refusal } from './refusal'
import { bucketVersioning, createLogBucket, listBuckets, turnVersioningOn } from './s3'
import { TestLog } from './test-log'

const SWITCHES: { value: Switch; label: string }[] = [
  { value: 'auto', label: 'For people, not for automation' },
  { value: 'on', label: 'Always' },
  { value: 'off', label: 'Never' },
]

/** PreferencesPage shows the preferences, and edits them for who may. */
export default function PreferencesPage() {
  const [loaded, setLoaded] = useState<Loaded | null>(null)
  const [form, setForm] = useState<Form | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [refused, setRefused] = useState<unknown>(null)
  const [busy, setBusy] = useState('')
  const [done, setDone] = useState('')
  // What is verified is verified anew when something may have been made.
  const [round, setRound] = useState(0)
  const now = useNow()

  const load = useCallback(async () => {
    try {
      const l = await loadPreferences()
      setLoaded(l)
      setForm(formOf(l.content))
      setError(null)
    } catch (err) {
      setError(err)
    }
  }, [])
  useEffect(() => void load(), [load])

  if (error !== null) return <Refusal error={error} what="The preferences could not be read" action={<Button onClick={() => void load()}>Try again</Button>} />
  if (loaded === null || form === null) {
    return (
      <Box textAlign="center" padding="xxl">
        <Spinner size="large" />
      </Box>
    )
  }

  const needed = loaded.content === null ? ['ssm:CreateDocument'] : ['ssm:UpdateDocument']
  const unseen = loaded.missing.get('ssm:GetDocument')
  const lacking = needed.map((n) => loaded.missing.get(n)).filter((r) => r !== undefined)
  const readOnly = lacking.length > 0 || unseen !== undefined
  const wrong = mistakes(form)
  const content = contentOf(form, loaded.content)
  const changes = differences(loaded.content ?? contentOf(formOf(null), null), content)
  const untouched = changes.length === 0
  const unchanged = loaded.content !== null && untouched // the defaults may be saved as they are
  const inForce = loaded.versions.find((v) => v.inForce)

  const change = (to: Partial<Form>) => {
    setForm({ ...form, ...to })
    setDone('')
  }
  const save = async (f: Form, doing: string) => {
    setBusy(doing)
    setDone('')
    setRound((n) => n + 1)
    try {
      await savePreferences(contentOf(f, loaded.content), loaded)
      setRefused(null)
      await load()
      setDone('Saved: sessions that start from now on follow them.')
    } catch (err) {
      setForm(f)
      setRefused(err)
    }
    setBusy('')
  }
  /** A remedy is applied, and what was refused is saved again. */
  const mend = async (remedy: Remedy) => {
    setBusy(remedy)
    let f = form
    try {
      if (remedy === 'createBucket') await createLogBucket(form.bucket.trim())
      if (remedy === 'createGroup') await createGroup(form.group.trim())
      if (remedy === 'encryptGroup') await encryptGroup(form.group.trim())
    } catch (err) {
      setRefused(err)
      setBusy('')
      return
    }
    if (remedy === 'clearBucket') f = { ...form, bucket: '', prefix: '', bucketEncryption: false }
    if (remedy === 'clearGroup') f = { ...form, group: '', groupEncryption: false, streaming: false }
    if (remedy === 'clearGroupEncryption') f = { ...form, groupEncryption: false }
    setForm(f)
    if (differences(loaded.content, contentOf(f, loaded.content)).length === 0 && loaded.content !== null) {
      setRefused(null)
      setBusy('')
      return
    }
    await save(f, remedy)
  }
  const remedyName: Record<Remedy, string> = {
    createBucket: `Create the bucket ${form.bucket.trim()}`,
    clearBucket: 'Clear the bucket',
    createGroup: `Create the log group ${form.group.trim()}`,
    clearGroup: 'Clear the log group',
    encryptGroup: 'Turn encryption on',
    clearGroupEncryption: 'Clear this box',
  }

  const field = { readOnly, form, change, wrong }
  return (
    <form
      onSubmit={(ev) => {
        ev.preventDefault()
        if (!readOnly && !unchanged && Object.keys(wrong).length === 0) void save(form, 'save')
      }}
    >
      <SpaceBetween size="l">
        <Header
          variant="h1"
          description={
            loaded.content === null ? (
              unseen === undefined ? 'No preferences are saved yet: the defaults apply.' : 'What every session of the account follows.'
            ) : inForce === undefined ? (
              'What every session of the account follows, unless its document says otherwise.'
            ) : (
              <span title={`${inForce.author} ${when(inForce.at)}`}>
                Version {inForce.number}
                {inForce.author !== '' && `, saved by ${ownerName(inForce.author)}`} {ago(inForce.at, now)}
              </span>
            )
          }
          actions={
            !readOnly && (
              <SpaceBetween direction="horizontal" size="xs">
                <Button formAction="none" disabled={untouched || busy !== ''} onClick={() => setForm(formOf(loaded.content))}>
                  Undo
                </Button>
                <Button variant="primary" formAction="submit" loading={busy === 'save'} disabled={unchanged || Object.keys(wrong).length > 0}>
                  Save
                </Button>
              </SpaceBetween>
            )
          }
        >
          Session preferences
        </Header>
        {unseen !== undefined && (
          <Alert type="warning" header="You may not see the preferences">
            The action <code>{unseen.action}</code> is missing. <span className="faint wrap">{unseen.message}</span>
          </Alert>
        )}
        {unseen === undefined && lacking.length > 0 && (
          <Alert type="info" header="You may look, and not change">
            The action <code>{lacking.map((r) => r.action).join(', ')}</code> is missing. <span className="faint wrap">{lacking[0]!.message}</span>
          </Alert>
        )}
        {done !== '' && (
          <Alert type="success" dismissible onDismiss={() => setDone('')}>
            {done}
          </Alert>
        )}
        {refused !== null && (
          <SpaceBetween size="xs">
            <Refusal
              error={refused}
              what="Not saved"
              action={
                remediesFor(refused).length > 0 && (
                  <SpaceBetween size="xs">
                    {remediesFor(refused).map((r) => (
                      <Button key={r} formAction="none" loading={busy === r} disabled={busy !== '' && busy !== r} onClick={() => void mend(r)}>
                        {remedyName[r]}
                      </Button>
                    ))}
                  </SpaceBetween>
                )
              }
            />
          </SpaceBetween>
        )}
        {unseen === undefined && (
          <SpaceBetween size="l">
            <General {...field} />
            <Logs {...field} round={round} />
            <RunAs {...field} />
            <Shell {...field} />
            <Recording {...field} />
            {!readOnly && !untouched && (
              <div className="form-end">
                <Button variant="primary" formAction="submit" loading={busy === 'save'} disabled={Object.keys(wrong).length > 0}>
                  {changes.length === 1 ? 'Save 1 change' : `Save ${changes.length} changes`}
                </Button>
              </div>
            )}
            {loaded.versions.length > 0 && <PreferencesVersions loaded={loaded} onChanged={load} />}
          </SpaceBetween>
        )}
      </SpaceBetween>
    </form>
  )
}

interface Part {
  readOnly: boolean
  form: Form
  change: (to: Partial<Form>) => void
  wrong: Partial<Record<keyof Form, string>>
}

function Text(props: Part & { name: keyof Form; label: string; hint?: React.ReactNode; placeholder?: string; numeric?: boolean; lines?: number }) {
  const { name, form, change, wrong, readOnly } = props
  const value = String(form[name])
  const onChange = (ev: { detail: { value: string } }) => change({ [name]: ev.detail.value } as Partial<Form>)
  return (
    <FormField label={props.label} description={props.hint} errorText={wrong[name]} stretch={props.lines !== undefined}>
      {props.lines === undefined ? (
        <Input value={value} placeholder={props.placeholder} readOnly={readOnly} spellcheck={false} inputMode={props.numeric ? 'numeric' : 'text'} onChange={onChange} />
      ) : (
        <Textarea value={value} placeholder={props.placeholder} readOnly={readOnly} rows={props.lines} spellcheck={false} onChange={onChange} />
      )}
    </FormField>
  )
}

function Check(props: Part & { name: keyof Form; hint?: React.ReactNode; disabled?: boolean; children: React.ReactNode }) {
  const { name, form, change, wrong, readOnly } = props
  return (
    <FormField errorText={wrong[name]} stretch>
      <Checkbox
        checked={form[name] === true}
        readOnly={readOnly}
        disabled={props.disabled}
        description={props.hint}
        onChange={(ev) => change({ [name]: ev.detail.checked } as Partial<Form>)}
      >
        {props.children}
      </Checkbox>
    </FormField>
  )
}

function Choice(props: Part & { name: 'friendlyPrompt' | 'loginShell'; label: string; hint: string }) {
  return (
    <FormField label={props.label} description={props.hint}>
      <Select
        selectedOption={SWITCHES.find((s) => s.value === props.form[props.name])!}
        options={SWITCHES}
        readOnly={props.readOnly}
        onChange={(ev) => props.change({ [props.name]: ev.detail.selectedOption.value as Switch })}
      />
    </FormField>
  )
}

function General(p: Part) {
  return (
    <Container header={<Header variant="h2">Sessions</Header>}>
      <SpaceBetween size="l">
        <ColumnLayout columns={2}>
          <Text {...p} name="idleMinutes" label="Idle timeout" hint="Minutes without input or output, 1 to 60" placeholder="20" numeric />
          <Text {...p} name="maxMinutes" label="Longest session" hint="Minutes, 1 to 1440" placeholder="No limit" numeric />
          <Text {...p} name="perOwner" label="Sessions per person" hint="Active at a time" placeholder="No limit" numeric />
          <Text {...p} name="perNode" label="Sessions per node" hint="Active at a time" placeholder="No limit" numeric />
        </ColumnLayout>
        <Check {...p} name="reasonRequired" hint="It is in the history, the audit trail and the events.">
          A reason must be given
        </Check>
        <Text {...p} name="reasonPattern" label="What a reason must look like" hint="A pattern of RE2 that matches all of it, such as a ticket's number" placeholder="Anything" />
      </SpaceBetween>
    </Container>
  )
}

/** What is known of a bucket or a log group that was named. */
type Known = { type: StatusIndicatorProps.Type; text: string; versioning?: string }

function Logs(p: Part & { round: number }) {
  const [buckets, setBuckets] = useState<string[] | string>([])
  const [groups, setGroups] = useState<Group[] | string>([])
  const [bucket, setBucket] = useState<Known | null>(null)
  const [group, setGroup] = useState<Known | null>(null)
  const [asked, setAsked] = useState(0)
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)
  const [bucketName, groupName] = [p.form.bucket.trim(), p.form.group.trim()]

  useEffect(() => {
    listBuckets().then(setBuckets, (err: unknown) => setBuckets(missingAction(err, 's3:ListAllMyBuckets')))
    listGroups().then(setGroups, (err: unknown) => setGroups(missingAction(err, 'logs:DescribeLogGroups')))
  }, [])
  useAsked(bucketName, asked + p.round, setBucket, async () => {
    const versioning = await bucketVersioning(bucketName)
    return { type: 'success', text: versioning === 'Enabled' ? 'It is there, and keeps old versions' : 'It is there', versioning }
  })
  useAsked(groupName, asked + p.round, setGroup, async () => {
    const g = await findGroup(groupName)
    if (g === null) return { type: 'error', text: 'There is no such log group' }
    return { type: 'success', text: g.key === '' ? 'It is there, without a key' : 'It is there, encrypted with a key' }
  })
  const keepVersions = async () => {
    setBusy(true)
    try {
      await turnVersioningOn(bucketName)
      setError(null)
      setAsked(asked + 1)
    } catch (err) {
      setError(err)
    }
    setBusy(false)
  }

  return (
    <Container
      header={
        <Header variant="h2" description="Nodes write what a shell shows with the rights of their role. The server's own recording is kept in any case.">
          Logs
        </Header>
      }
    >
      <SpaceBetween size="l">
        <ColumnLayout columns={2}>
          <FormField label="Bucket" description="PREFIX/SESSION-ID.log when the session ends" constraintText={<Verdict known={bucket} />}>
            <Autosuggest
              value={p.form.bucket}
              readOnly={p.readOnly}
              ariaLabel="Bucket"
              placeholder="None"
              options={Array.isArray(buckets) ? buckets.map((value) => ({ value })) : []}
              empty={typeof buckets === 'string' ? buckets : 'No buckets'}
              enteredTextLabel={(v) => `Use "${v}"`}
              onChange={(ev) => p.change({ bucket: ev.detail.value })}
            />
          </FormField>
          <Text {...p} name="prefix" label="Key prefix" hint="Before the session's ID" placeholder="None" />
        </ColumnLayout>
        <Check {...p} name="bucketEncryption" disabled={bucketName === ''} hint="A session that finds the bucket without encryption does not start.">
          Only to an encrypted bucket
        </Check>
        {bucket?.versioning !== undefined && bucket.versioning !== 'Enabled' && (
          <Alert
            type="warning"
            header={`${bucketName} does not keep old versions`}
            action={
              <Button formAction="none" loading={busy} onClick={() => void keepVersions()}>
                Turn versioning on
              </Button>
            }
          >
            Nodes may write to it, so that they could replace a log. With versioning the former one stays.
          </Alert>
        )}
        {error !== null && <Refusal error={error} what="Versioning was not turned on" />}
        <ColumnLayout columns={2}>
          <FormField label="Log group" description="A stream for each session" constraintText={<Verdict known={group} />}>
            <Autosuggest
              value={p.form.group}
              readOnly={p.readOnly}
              ariaLabel="Log group"
              placeholder="None"
              options={Array.isArray(groups) ? groups.map((g) => ({ value: g.name, description: g.key === '' ? undefined : 'with a key' })) : []}
              empty={typeof groups === 'string' ? groups : 'No log groups'}
              enteredTextLabel={(v) => `Use "${v}"`}
              onChange={(ev) => p.change({ group: ev.detail.value })}
            />
          </FormField>
          <SpaceBetween size="s">
            <Check {...p} name="groupEncryption" disabled={groupName === ''}>
              Only to a group with a key
            </Check>
            <Check {...p} name="streaming" disabled={groupName === ''} hint="A record a second, of readable lines">
              While the session runs
            </Check>
          </SpaceBetween>
        </ColumnLayout>
        <TestLog bucket={bucketName} prefix={p.form.prefix} group={groupName} />
      </SpaceBetween>
    </Container>
  )
}

function missingAction(err: unknown, action: string): string {
  if (err instanceof CallError && /AccessDenied/.test(err.code)) return `You may not list them: ${action} is missing. Type a name.`
  return err instanceof Error ? err.message : String(err)
}

const SETTLED_MS = 400

/** useAsked asks about a name once it is not typed on. */
function useAsked(name: string, again: number, tell: (k: Known | null) => void, ask: () => Promise<Known>): void {
  useEffect(() => {
    tell(null)
    if (name === '') return
    let over = false
    const timer = setTimeout(() => {
      tell({ type: 'loading', text: 'Looking' })
      ask()
        .catch((err: unknown): Known => {
          if (!(err instanceof CallError)) return { type: 'warning', text: String(err) }
          if (err.code === 'NoSuchBucket') return { type: 'error', text: 'There is no such bucket' }
          if (/AccessDenied/.test(err.code)) return { type: 'warning', text: `Not verified: ${err.message}` }
          return { type: 'warning', text: err.message }
        })
        .then((k) => {
          if (!over) tell(k)
        })
    }, SETTLED_MS)
    return () => {
      over = true
      clearTimeout(timer)
    }
    // eslint-disable-next-line -- the name is what is asked about
  }, [name, again])
}

function Verdict({ known }: { known: Known | null }) {
  if (known === null) return null
  return (
    <span aria-live="polite">
      <StatusIndicator type={known.type}>{known.text}</StatusIndicator>
    </span>
  )
}

function RunAs(p: Part) {
  return (
    <Container header={<Header variant="h2">Whose session it is on the node</Header>}>
      <SpaceBetween size="l">
        <Check {...p} name="runAs" hint="The user in the tag SSMSessionRunAs of the person, else the one below; without either the session is refused.">
          As the OS user of the person
        </Check>
        <Text {...p} name="runAsUser" label="Default OS user" hint="For persons without the tag; never root" placeholder="None" />
      </SpaceBetween>
    </Container>
  )
}

function Shell(p: Part) {
  return (
    <Container header={<Header variant="h2">Shell</Header>}>
      <SpaceBetween size="l">
        <ColumnLayout columns={2}>
          <Choice {...p} name="friendlyPrompt" label="Prompt with the node's name" hint="[ssm-user@MyEC2Instance ~]$" />
          <Text {...p} name="promptTag" label="Tag with that name" placeholder="Hostname" />
          <Choice {...p} name="loginShell" label="Login shell" hint="The user's own shell and its profile files, in the home" />
        </ColumnLayout>
        <Text {...p} name="banner" label="Banner" hint="Shown before the shell, by Sekisho's agent" lines={3} />
        <Text {...p} name="profileLinux" label="Shell profile, Linux" hint="Runs before the first prompt, in the shell itself" lines={4} />
        <ExpandableSection headerText="Shell profiles of other systems">
          <SpaceBetween size="l">
            <Text {...p} name="profileMac" label="macOS" lines={3} />
            <Text {...p} name="profileWindows" label="Windows" lines={3} />
          </SpaceBetween>
        </ExpandableSection>
      </SpaceBetween>
    </Container>
  )
}

function Recording(p: Part) {
  const [keys, setKeys] = useState<Key[] | string>([])
  useEffect(() => {
    listKeys().then(setKeys, (err: unknown) => setKeys(missingAction(err, 'kms:ListKeys')))
  }, [])
  return (
    <Container header={<Header variant="h2">Recording and encryption</Header>}>
      <SpaceBetween size="l">
        <Check {...p} name="recordInput" hint="What is echoed is output, and recorded in any case. Clear it to leave out passwords that are typed unseen.">
          Record what is typed, too
        </Check>
        <FormField label="KMS key" description="Encrypts sessions from client to node. The server then cannot record what they show.">
          <Autosuggest
            value={p.form.kmsKey}
            readOnly={p.readOnly}
            ariaLabel="KMS key"
            placeholder="None"
            options={Array.isArray(keys) ? keys.map((k) => ({ value: k.arn, label: k.name, description: k.arn })) : []}
            empty={typeof keys === 'string' ? keys : 'No keys'}
            enteredTextLabel={(v) => `Use "${v}"`}
            onChange={(ev) => p.change({ kmsKey: ev.detail.value })}
          />
        </FormField>
        <Check {...p} name="requireServerRecording">Refuse sessions that the server cannot record</Check>
      </SpaceBetween>
    </Container>
  )
}
