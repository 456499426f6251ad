// The parts of the form of the session preferences.

import Alert from '@cloudscape-design/components/alert'
import Autosuggest from '@cloudscape-design/components/autosuggest'
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
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator'
import Textarea from '@cloudscape-design/components/textarea'
import { useEffect, useState } from 'react'
import { CallError } from './api'
import { findGroup, listGroups, listKeys, type Group, type Key } from './log-groups'
import { type Form, type Switch } from './preferences'
import { Refusal } from './refusal'
import { bucketVersioning, listBuckets, turnVersioningOn } from './s3'
import { TestLog } from './test-log'
import { t } from './i18n'

const SWITCHES = (): { value: Switch; label: string }[] => [
  { value: 'auto', label: t('prefs.auto') },
  { value: 'on', label: t('common.always') },
  { value: 'off', label: t('common.never') },
]

interface Part {
  readOnly: boolean
  form: Form
  change: (to: Partial<Form>) => void
  wrong: Partial<Record<keyof Form, string>>
}

function Text(
  props: Part & {
    name: keyof Form
    label: string
    hint?: React.ReactNode
    placeholder?: string
    numeric?: boolean
    lines?: number
  },
) {
  const { name, form, change, wrong, readOnly } = props
  const value = String(form[name])
  const onChange = (ev: { detail: { value: string } }) => change({ [name]: ev.detail.value } as Partial<Form>)
  return (
    <FormField label={props.label} description={props.hint} errorText={wrong[name]} stretch={props.lines !== undefined}>
      {props.lines === undefined ? (
        <Input
          value={value}
          placeholder={props.placeholder}
          readOnly={readOnly}
          spellcheck={false}
          inputMode={props.numeric ? 'numeric' : 'text'}
          onChange={onChange}
        />
      ) : (
        <Textarea
          value={value}
          placeholder={props.placeholder}
          readOnly={readOnly}
          rows={props.lines}
          spellcheck={false}
          onChange={onChange}
        />
      )}
    </FormField>
  )
}

function Check(
  props: Part & { name: keyof Form; hint?: React.ReactNode; disabled?: boolean; children: React.ReactNode },
) {
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
        selectedOption={SWITCHES().find((s) => s.value === props.form[props.name])!}
        options={SWITCHES()}
        readOnly={props.readOnly}
        onChange={(ev) => props.change({ [props.name]: ev.detail.selectedOption.value as Switch })}
      />
    </FormField>
  )
}

export function General(p: Part) {
  return (
    <Container header={<Header variant="h2">{t('nav.sessions')}</Header>}>
      <SpaceBetween size="l">
        <ColumnLayout columns={2}>
          <Text {...p} name="idleMinutes" label={t('prefs.idle')} hint={t('prefs.idleHint')} placeholder="20" numeric />
          <Text
            {...p}
            name="maxMinutes"
            label={t('prefs.maximum')}
            hint={t('prefs.maximumHint')}
            placeholder={t('prefs.noLimit')}
            numeric
          />
          <Text
            {...p}
            name="perOwner"
            label={t('prefs.perOwner')}
            hint={t('prefs.concurrent')}
            placeholder={t('prefs.noLimit')}
            numeric
          />
          <Text
            {...p}
            name="perNode"
            label={t('prefs.perNode')}
            hint={t('prefs.concurrent')}
            placeholder={t('prefs.noLimit')}
            numeric
          />
        </ColumnLayout>
        <Check {...p} name="reasonRequired" hint={t('prefs.reasonHint')}>
          {t('prefs.reasonRequired')}
        </Check>
        <Text
          {...p}
          name="reasonPattern"
          label={t('prefs.reasonPattern')}
          hint={t('prefs.reasonPatternHint')}
          placeholder={t('prefs.anything')}
        />
      </SpaceBetween>
    </Container>
  )
}

/** State of a bucket or log group. */
type Known = { type: StatusIndicatorProps.Type; text: string; versioning?: string }

export function Logs(p: Part & { round: number }) {
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
    return {
      type: 'success',
      text: versioning === 'Enabled' ? t('prefs.bucketVersioned') : t('prefs.bucketExists'),
      versioning,
    }
  })
  useAsked(groupName, asked + p.round, setGroup, async () => {
    const g = await findGroup(groupName)
    if (g === null) return { type: 'error', text: t('prefs.groupMissing') }
    return { type: 'success', text: g.key === '' ? t('prefs.groupPlain') : t('prefs.groupEncrypted') }
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
        <Header variant="h2" description={t('prefs.logsHint')}>
          {t('prefs.logs')}
        </Header>
      }
    >
      <SpaceBetween size="l">
        <ColumnLayout columns={2}>
          <FormField
            label={t('prefs.bucket')}
            description={t('prefs.bucketHint')}
            constraintText={<Verdict known={bucket} />}
          >
            <Autosuggest
              value={p.form.bucket}
              readOnly={p.readOnly}
              ariaLabel={t('prefs.bucket')}
              placeholder={t('prefs.noneChosen')}
              options={Array.isArray(buckets) ? buckets.map((value) => ({ value })) : []}
              empty={typeof buckets === 'string' ? buckets : t('prefs.noBuckets')}
              enteredTextLabel={(v) => t('common.use', { value: v })}
              onChange={(ev) => p.change({ bucket: ev.detail.value })}
            />
          </FormField>
          <Text
            {...p}
            name="prefix"
            label={t('prefs.prefix')}
            hint={t('prefs.prefixHint')}
            placeholder={t('prefs.noneChosen')}
          />
        </ColumnLayout>
        <Check {...p} name="bucketEncryption" disabled={bucketName === ''} hint={t('prefs.bucketEncryptionHint')}>
          {t('prefs.bucketEncryption')}
        </Check>
        {bucket?.versioning !== undefined && bucket.versioning !== 'Enabled' && (
          <Alert
            type="warning"
            header={t('prefs.unversioned', { bucket: bucketName })}
            action={
              <Button formAction="none" loading={busy} onClick={() => void keepVersions()}>
                {t('prefs.versioningOn')}
              </Button>
            }
          >
            {t('prefs.unversionedHint')}
          </Alert>
        )}
        {error !== null && <Refusal error={error} what={t('prefs.versioningFailed')} />}
        <ColumnLayout columns={2}>
          <FormField
            label={t('prefs.group')}
            description={t('prefs.groupHint')}
            constraintText={<Verdict known={group} />}
          >
            <Autosuggest
              value={p.form.group}
              readOnly={p.readOnly}
              ariaLabel={t('prefs.group')}
              placeholder={t('prefs.noneChosen')}
              options={
                Array.isArray(groups)
                  ? groups.map((g) => ({ value: g.name, description: g.key === '' ? undefined : t('prefs.withKey') }))
                  : []
              }
              empty={typeof groups === 'string' ? groups : t('prefs.noGroups')}
              enteredTextLabel={(v) => t('common.use', { value: v })}
              onChange={(ev) => p.change({ group: ev.detail.value })}
            />
          </FormField>
          <SpaceBetween size="s">
            <Check {...p} name="groupEncryption" disabled={groupName === ''}>
              {t('prefs.groupEncryption')}
            </Check>
            <Check {...p} name="streaming" disabled={groupName === ''} hint={t('prefs.streamingHint')}>
              {t('prefs.streaming')}
            </Check>
          </SpaceBetween>
        </ColumnLayout>
        <TestLog bucket={bucketName} prefix={p.form.prefix} group={groupName} />
      </SpaceBetween>
    </Container>
  )
}

function missingAction(err: unknown, action: string): string {
  if (err instanceof CallError && /AccessDenied/.test(err.code)) return t('prefs.cannotList', { action })
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
      tell({ type: 'loading', text: t('prefs.checking') })
      ask()
        .catch((err: unknown): Known => {
          if (!(err instanceof CallError)) return { type: 'warning', text: String(err) }
          if (err.code === 'NoSuchBucket') return { type: 'error', text: t('prefs.bucketMissing') }
          if (/AccessDenied/.test(err.code))
            return { type: 'warning', text: t('prefs.notVerified', { message: err.message }) }
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

export function RunAs(p: Part) {
  return (
    <Container header={<Header variant="h2">{t('prefs.runAsTitle')}</Header>}>
      <SpaceBetween size="l">
        <Check {...p} name="runAs" hint={t('prefs.runAsHint')}>
          {t('prefs.runAs')}
        </Check>
        <Text
          {...p}
          name="runAsUser"
          label={t('prefs.runAsUser')}
          hint={t('prefs.runAsUserHint')}
          placeholder={t('prefs.noneChosen')}
        />
      </SpaceBetween>
    </Container>
  )
}

export function Shell(p: Part) {
  return (
    <Container header={<Header variant="h2">{t('prefs.shell')}</Header>}>
      <SpaceBetween size="l">
        <ColumnLayout columns={2}>
          <Choice {...p} name="friendlyPrompt" label={t('prefs.prompt')} hint="[ssm-user@MyEC2Instance ~]$" />
          <Text {...p} name="promptTag" label={t('prefs.promptTag')} placeholder="Hostname" />
          <Choice {...p} name="loginShell" label={t('prefs.loginShell')} hint={t('prefs.loginShellHint')} />
        </ColumnLayout>
        <Text {...p} name="banner" label={t('prefs.banner')} hint={t('prefs.bannerHint')} lines={3} />
        <Text {...p} name="profileLinux" label={t('prefs.profileLinux')} hint={t('prefs.profileHint')} lines={4} />
        <ExpandableSection headerText={t('prefs.otherProfiles')}>
          <SpaceBetween size="l">
            <Text {...p} name="profileMac" label="macOS" lines={3} />
            <Text {...p} name="profileWindows" label="Windows" lines={3} />
          </SpaceBetween>
        </ExpandableSection>
      </SpaceBetween>
    </Container>
  )
}

export function Recording(p: Part) {
  const [keys, setKeys] = useState<Key[] | string>([])
  useEffect(() => {
    listKeys().then(setKeys, (err: unknown) => setKeys(missingAction(err, 'kms:ListKeys')))
  }, [])
  return (
    <Container header={<Header variant="h2">{t('prefs.recording')}</Header>}>
      <SpaceBetween size="l">
        <Check {...p} name="recordInput" hint={t('prefs.recordInputHint')}>
          {t('prefs.recordInput')}
        </Check>
        <Check {...p} name="recordForwards" hint={t('prefs.recordForwardsHint')}>
          {t('prefs.recordForwards')}
        </Check>
        <Text {...p} name="recordingDays" label={t('prefs.recordingDays')} hint={t('prefs.recordingDaysHint')} />
        <FormField label={t('prefs.kmsKey')} description={t('prefs.kmsKeyHint')}>
          <Autosuggest
            value={p.form.kmsKey}
            readOnly={p.readOnly}
            ariaLabel={t('prefs.kmsKey')}
            placeholder={t('prefs.noneChosen')}
            options={Array.isArray(keys) ? keys.map((k) => ({ value: k.arn, label: k.name, description: k.arn })) : []}
            empty={typeof keys === 'string' ? keys : t('prefs.noKeys')}
            enteredTextLabel={(v) => t('common.use', { value: v })}
            onChange={(ev) => p.change({ kmsKey: ev.detail.value })}
          />
        </FormField>
        <Check {...p} name="requireServerRecording">
          {t('prefs.requireRecording')}
        </Check>
      </SpaceBetween>
    </Container>
  )
}

export function Clipboard(p: Part) {
  return (
    <Container header={<Header variant="h2">{t('prefs.clipboard')}</Header>}>
      <SpaceBetween size="l">
        <Check {...p} name="disableCopy" hint={t('prefs.disableCopyHint')}>
          {t('prefs.disableCopy')}
        </Check>
        <Check {...p} name="disablePaste">
          {t('prefs.disablePaste')}
        </Check>
      </SpaceBetween>
    </Container>
  )
}
