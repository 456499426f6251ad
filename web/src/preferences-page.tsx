// The preferences of the account's sessions: what they are, who saved them, and
// a form to change them.

import Alert from '@cloudscape-design/components/alert'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Header from '@cloudscape-design/components/header'
import SpaceBetween from '@cloudscape-design/components/space-between'
import Spinner from '@cloudscape-design/components/spinner'
import { useCallback, useEffect, useState } from 'react'
import type { Right } from './access'
import { ago, ownerName, useNow, utc, when } from './format'
import { createGroup, encryptGroup } from './log-groups'
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
} from './preferences'
import { Refusal } from './refusal'
import { createLogBucket } from './s3'
import { count, rich, t } from './i18n'

import { Clipboard, General, Logs, Recording, RunAs, Shell } from './preferences-parts'

/** useEditor loads the preferences, and saves what the user changes. */
function useEditor() {
  const [loaded, setLoaded] = useState<Loaded | null>(null)
  const [form, setForm] = useState<Form | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [refused, setRefused] = useState<unknown>(null)
  const [busy, setBusy] = useState('')
  const [done, setDone] = useState('')
  // What is verified is verified again when something may have been created.
  const [round, setRound] = useState(0)

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

  const change = (to: Partial<Form>) => {
    setForm((f) => (f === null ? f : { ...f, ...to }))
    setDone('')
  }
  const save = async (f: Form, doing: string) => {
    setBusy(doing)
    setDone('')
    setRound((n) => n + 1)
    try {
      await savePreferences(contentOf(f, loaded?.content ?? null), loaded!)
      setRefused(null)
      await load()
      setDone(t('prefs.saved'))
    } catch (err) {
      setForm(f)
      setRefused(err)
    }
    setBusy('')
  }
  /** apply applies a remedy and saves again. */
  const apply = async (remedy: Remedy) => {
    if (form === null || loaded === null) return
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
    if (differences(loaded.content, contentOf(f, loaded?.content ?? null)).length === 0 && loaded.content !== null) {
      setRefused(null)
      setBusy('')
      return
    }
    await save(f, remedy)
  }
  return { loaded, form, setForm, error, refused, busy, done, setDone, round, load, change, save, apply }
}

/** PreferencesPage shows the preferences, and lets users who have permission edit them. */
export default function PreferencesPage() {
  const editor = useEditor()
  const { loaded, form, error } = editor
  if (error !== null) {
    return (
      <Refusal
        error={error}
        what={t('prefs.readFailed')}
        action={<Button onClick={() => void editor.load()}>{t('common.tryAgain')}</Button>}
      />
    )
  }
  if (loaded === null || form === null) {
    return (
      <Box textAlign="center" padding="xxl">
        <Spinner size="large" />
      </Box>
    )
  }
  return <Editor editor={editor} loaded={loaded} form={form} />
}

function Editor({ editor, loaded, form }: { editor: ReturnType<typeof useEditor>; loaded: Loaded; form: Form }) {
  const { busy, round, change } = editor
  const needed = loaded.content === null ? ['ssm:CreateDocument'] : ['ssm:UpdateDocument']
  const unseen = loaded.missing.get('ssm:GetDocument')
  const lacking = needed.map((n) => loaded.missing.get(n)).filter((r) => r !== undefined)
  const readOnly = lacking.length > 0 || unseen !== undefined
  const wrong = mistakes(form)
  const content = contentOf(form, loaded.content)
  const changes = differences(loaded.content ?? contentOf(formOf(null), null), content)
  const untouched = changes.length === 0
  const unchanged = loaded.content !== null && untouched // the defaults may be saved as they are
  const invalid = Object.keys(wrong).length > 0
  const field = { readOnly, form, change, wrong }
  return (
    <form
      onSubmit={(ev) => {
        ev.preventDefault()
        if (!readOnly && !unchanged && !invalid) void editor.save(form, 'save')
      }}
    >
      <SpaceBetween size="l">
        <Header
          variant="h1"
          description={<Description loaded={loaded} />}
          actions={
            !readOnly && (
              <SpaceBetween direction="horizontal" size="xs">
                <Button
                  formAction="none"
                  disabled={untouched || busy !== ''}
                  onClick={() => editor.setForm(formOf(loaded.content))}
                >
                  {t('prefs.undo')}
                </Button>
                <Button variant="primary" formAction="submit" loading={busy === 'save'} disabled={unchanged || invalid}>
                  {t('common.save')}
                </Button>
              </SpaceBetween>
            )
          }
        >
          {t('prefs.title')}
        </Header>
        <Notices editor={editor} form={form} unseen={unseen} lacking={lacking} />
        {unseen === undefined && (
          <SpaceBetween size="l">
            <General {...field} />
            <Logs {...field} round={round} />
            <RunAs {...field} />
            <Shell {...field} />
            <Recording {...field} />
            <Clipboard {...field} />
            {!readOnly && !untouched && (
              <div className="form-end">
                <Button variant="primary" formAction="submit" loading={busy === 'save'} disabled={invalid}>
                  {count('prefs.saveChanges', changes.length)}
                </Button>
              </div>
            )}
            {loaded.versions.length > 0 && <PreferencesVersions loaded={loaded} onChanged={editor.load} />}
          </SpaceBetween>
        )}
      </SpaceBetween>
    </form>
  )
}

/** Description says which version applies, and who saved it. */
function Description({ loaded }: { loaded: Loaded }) {
  const now = useNow()
  const inForce = loaded.versions.find((v) => v.inForce)
  if (loaded.content === null) {
    return <>{loaded.missing.has('ssm:GetDocument') ? t('prefs.describes') : t('prefs.defaults')}</>
  }
  if (inForce === undefined) return <>{t('prefs.describesUnless')}</>
  return (
    <span title={`${inForce.author} ${when(inForce.at)} ${utc(inForce.at)}`}>
      {inForce.author === ''
        ? t('prefs.versionAt', { version: inForce.number, ago: ago(inForce.at, now) })
        : t('prefs.versionBy', {
            version: inForce.number,
            user: ownerName(inForce.author),
            ago: ago(inForce.at, now),
          })}
    </span>
  )
}

function Notices(props: { editor: ReturnType<typeof useEditor>; form: Form; unseen?: Right; lacking: Right[] }) {
  const { editor, form, unseen, lacking } = props
  const { busy, refused } = editor
  const names: Record<Remedy, string> = {
    createBucket: t('prefs.createBucket', { bucket: form.bucket.trim() }),
    clearBucket: t('prefs.clearBucket'),
    createGroup: t('prefs.createGroup', { group: form.group.trim() }),
    clearGroup: t('prefs.clearGroup'),
    encryptGroup: t('prefs.encryptGroup'),
    clearGroupEncryption: t('prefs.clearEncryption'),
  }
  const remedies = remediesFor(refused)
  return (
    <>
      {unseen !== undefined && (
        <Alert type="warning" header={t('prefs.cannotSee')}>
          {rich('prefs.actionMissing', { action: <code>{unseen.action}</code> })}{' '}
          <span className="faint wrap">{unseen.message}</span>
        </Alert>
      )}
      {unseen === undefined && lacking.length > 0 && (
        <Alert type="info" header={t('prefs.readOnly')}>
          {rich('prefs.actionMissing', { action: <code>{lacking.map((r) => r.action).join(', ')}</code> })}{' '}
          <span className="faint wrap">{lacking[0]!.message}</span>
        </Alert>
      )}
      {editor.done !== '' && (
        <Alert type="success" dismissible onDismiss={() => editor.setDone('')}>
          {editor.done}
        </Alert>
      )}
      {refused !== null && (
        <Refusal
          error={refused}
          what={t('prefs.notSaved')}
          action={
            remedies.length > 0 && (
              <SpaceBetween size="xs">
                {remedies.map((r) => (
                  <Button
                    key={r}
                    formAction="none"
                    loading={busy === r}
                    disabled={busy !== '' && busy !== r}
                    onClick={() => void editor.apply(r)}
                  >
                    {names[r]}
                  </Button>
                ))}
              </SpaceBetween>
            )
          }
        />
      )}
    </>
  )
}
