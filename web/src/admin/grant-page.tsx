// The guided policy builder: who, from where, on which nodes, when.

import Alert from '@cloudscape-design/components/alert'
import Button from '@cloudscape-design/components/button'
import Checkbox from '@cloudscape-design/components/checkbox'
import ColumnLayout from '@cloudscape-design/components/column-layout'
import Container from '@cloudscape-design/components/container'
import FormField from '@cloudscape-design/components/form-field'
import Header from '@cloudscape-design/components/header'
import Input from '@cloudscape-design/components/input'
import Select from '@cloudscape-design/components/select'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useState } from 'react'
import { nodeIds } from '../find-nodes'
import { t } from '../i18n'
import { Refusal } from '../refusal'
import { buildPolicy, grantAccess, words, type Grant, type Holder } from './jit'

interface Form {
  holder: Holder
  name: string
  targets: string
  documents: string
  addresses: string
  weekdays: string
  from: string
  to: string
  /** Local dates, as date inputs have them. */
  firstDay: string
  lastDay: string
  zone: string
  /** Calendars. */
  during: string
  except: string
  /** Local times, as date inputs have them. */
  begins: string
  ends: string
  mfa: boolean
  /** The greatest age of the second factor in minutes; any if empty. */
  mfaWithin: string
  policyName: string
}

const EMPTY: Omit<Form, 'zone'> = {
  holder: 'UserName',
  name: '',
  targets: '',
  documents: '',
  addresses: '',
  weekdays: '',
  from: '',
  to: '',
  firstDay: '',
  lastDay: '',
  during: '',
  except: '',
  begins: '',
  ends: '',
  mfa: false,
  mfaWithin: '',
  policyName: 'sekisho-grant',
}

/** instant is the time of a date input in seconds since 1970; none if it is empty. */
const instant = (local: string) => (local === '' ? undefined : new Date(local).getTime() / 1000)

/** grantOf is the grant that a form describes. Without times it needs no zone. */
function grantOf(f: Form): Grant {
  const timed = f.weekdays.trim() !== '' || f.from !== '' || f.to !== '' || f.firstDay !== '' || f.lastDay !== ''
  return {
    Targets: words(f.targets),
    Documents: words(f.documents),
    Weekdays: words(f.weekdays),
    From: f.from,
    To: f.to,
    Zone: timed ? f.zone.trim() : '',
    FirstDay: f.firstDay,
    LastDay: f.lastDay,
    SourceIps: words(f.addresses),
    MFA: f.mfa,
    MFAWithinSeconds: f.mfaWithin.trim() === '' ? undefined : Number(f.mfaWithin) * 60,
    During: words(f.during),
    Except: words(f.except),
    NotBefore: instant(f.begins),
    NotAfter: instant(f.ends),
  }
}

/** targetsOf replaces names of nodes by their IDs. A tag stays: it also selects nodes to come. */
async function targetsOf(targets: string[]): Promise<string[]> {
  const all = await Promise.all(targets.map(async (x) => (x === '*' || x.includes('=') ? [x] : nodeIds([x]))))
  return all.flat()
}

/** GrantPage writes the policy of a grant and attaches it. */
export default function GrantPage() {
  const [form, setForm] = useState<Form>(() => ({ ...EMPTY, zone: Intl.DateTimeFormat().resolvedOptions().timeZone }))
  const [policy, setPolicy] = useState('')
  const [done, setDone] = useState(false)
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const grant = grantOf(form)
  const [name, policyName] = [form.name.trim(), form.policyName.trim()]
  const run = async (attach: boolean) => {
    setBusy(true)
    setError(null)
    setDone(false)
    try {
      const named = { ...grant, Targets: await targetsOf(grant.Targets) }
      setPolicy(await buildPolicy(named))
      if (attach) await grantAccess(named, form.holder, name, policyName)
      setDone(attach)
    } catch (err) {
      setError(err)
    } finally {
      setBusy(false)
    }
  }
  const change = (some: Partial<Form>) => setForm((f) => ({ ...f, ...some }))
  return (
    <SpaceBetween size="l">
      <form
        onSubmit={(ev) => {
          ev.preventDefault()
          void run(false)
        }}
      >
        <Container
          header={
            <Header variant="h1" description={t('grant.description')}>
              {t('grant.title')}
            </Header>
          }
          footer={
            <SpaceBetween direction="horizontal" size="xs">
              <Button formAction="submit" loading={busy} disabled={grant.Targets.length === 0}>
                {t('grant.show')}
              </Button>
              <Button
                variant="primary"
                formAction="none"
                loading={busy}
                disabled={grant.Targets.length === 0 || name === '' || policyName === ''}
                onClick={() => void run(true)}
              >
                {t('grant.apply')}
              </Button>
            </SpaceBetween>
          }
        >
          <ColumnLayout columns={2}>
            <WhoFields form={form} change={change} />
            <WhenFields form={form} change={change} />
          </ColumnLayout>
        </Container>
      </form>
      {error !== null && <Refusal error={error} />}
      {done && <Alert type="success">{t('grant.done', { policy: policyName, name })}</Alert>}
      {policy !== '' && (
        <Container header={<Header variant="h2">{t('grant.policy')}</Header>}>
          <pre style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>{policy}</pre>
        </Container>
      )}
    </SpaceBetween>
  )
}

interface FieldsProps {
  form: Form
  change: (some: Partial<Form>) => void
}

/** WhoFields are the fields of who, from where, and on which nodes. */
function WhoFields({ form, change }: FieldsProps) {
  const holders: { value: Holder; label: string }[] = [
    { value: 'UserName', label: t('common.user') },
    { value: 'GroupName', label: t('common.group') },
    { value: 'RoleName', label: t('common.role') },
  ]
  return (
    <SpaceBetween size="l">
      <FormField label={t('grant.who')}>
        <SpaceBetween size="xs">
          <Select
            selectedOption={holders.find((h) => h.value === form.holder)!}
            options={holders}
            ariaLabel={t('grant.who')}
            onChange={(ev) => change({ holder: ev.detail.selectedOption.value as Holder })}
          />
          <Input
            value={form.name}
            ariaLabel={t('common.name')}
            placeholder="alice"
            spellcheck={false}
            onChange={(ev) => change({ name: ev.detail.value })}
          />
        </SpaceBetween>
      </FormField>
      <FormField label={t('grant.where')} description={t('grant.whereHint')}>
        <Input
          value={form.addresses}
          placeholder="203.0.113.0/24"
          spellcheck={false}
          onChange={(ev) => change({ addresses: ev.detail.value })}
        />
      </FormField>
      <FormField label={t('grant.which')} description={t('grant.whichHint')}>
        <Input
          value={form.targets}
          placeholder="tag:Env=prod"
          spellcheck={false}
          onChange={(ev) => change({ targets: ev.detail.value })}
        />
      </FormField>
      <FormField label={t('nav.documents')} description={t('grant.documentsHint')}>
        <Input
          value={form.documents}
          placeholder="AWS-StartSSHSession"
          spellcheck={false}
          onChange={(ev) => change({ documents: ev.detail.value })}
        />
      </FormField>
      <FormField label={t('simulator.mfa')}>
        <Checkbox checked={form.mfa} onChange={(ev) => change({ mfa: ev.detail.checked })}>
          {t('grant.mfa')}
        </Checkbox>
      </FormField>
      <FormField label={t('grant.mfaWithin')}>
        <Input
          type="number"
          value={form.mfaWithin}
          placeholder="15"
          onChange={(ev) => change({ mfaWithin: ev.detail.value })}
        />
      </FormField>
    </SpaceBetween>
  )
}

/** WhenFields are the fields of when, and the name of the policy. */
function WhenFields({ form, change }: FieldsProps) {
  return (
    <SpaceBetween size="l">
      <FormField label={t('grant.weekdays')} description={t('grant.whenHint')}>
        <Input
          value={form.weekdays}
          placeholder="mon-fri"
          spellcheck={false}
          onChange={(ev) => change({ weekdays: ev.detail.value })}
        />
      </FormField>
      <FormField label={t('grant.hours')}>
        <SpaceBetween direction="horizontal" size="xs">
          <input
            className="when"
            type="time"
            aria-label={t('simulator.from')}
            value={form.from}
            onChange={(ev) => change({ from: ev.target.value })}
          />
          <input
            className="when"
            type="time"
            aria-label={t('simulator.to')}
            value={form.to}
            onChange={(ev) => change({ to: ev.target.value })}
          />
        </SpaceBetween>
      </FormField>
      <FormField label={t('grant.days')}>
        <SpaceBetween direction="horizontal" size="xs">
          <input
            className="when"
            type="date"
            aria-label={t('grant.firstDay')}
            value={form.firstDay}
            onChange={(ev) => change({ firstDay: ev.target.value })}
          />
          <input
            className="when"
            type="date"
            aria-label={t('grant.lastDay')}
            value={form.lastDay}
            onChange={(ev) => change({ lastDay: ev.target.value })}
          />
        </SpaceBetween>
      </FormField>
      <FormField label={t('grant.zone')}>
        <Input value={form.zone} spellcheck={false} onChange={(ev) => change({ zone: ev.detail.value })} />
      </FormField>
      <FormField label={t('grant.during')} description={t('grant.duringHint')}>
        <Input
          value={form.during}
          placeholder="on-call"
          spellcheck={false}
          onChange={(ev) => change({ during: ev.detail.value })}
        />
      </FormField>
      <FormField label={t('grant.except')} description={t('grant.exceptHint')}>
        <Input
          value={form.except}
          placeholder="holidays"
          spellcheck={false}
          onChange={(ev) => change({ except: ev.detail.value })}
        />
      </FormField>
      <FormField label={t('grant.dates')} description={t('grant.datesHint')}>
        <SpaceBetween direction="horizontal" size="xs">
          <input
            className="when"
            type="datetime-local"
            aria-label={t('grant.begins')}
            value={form.begins}
            onChange={(ev) => change({ begins: ev.target.value })}
          />
          <input
            className="when"
            type="datetime-local"
            aria-label={t('grant.ends')}
            value={form.ends}
            onChange={(ev) => change({ ends: ev.target.value })}
          />
        </SpaceBetween>
      </FormField>
      <FormField label={t('grant.policyName')}>
        <Input value={form.policyName} spellcheck={false} onChange={(ev) => change({ policyName: ev.detail.value })} />
      </FormField>
    </SpaceBetween>
  )
}
