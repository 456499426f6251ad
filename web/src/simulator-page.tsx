import Autosuggest from '@cloudscape-design/components/autosuggest'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Checkbox from '@cloudscape-design/components/checkbox'
import ColumnLayout from '@cloudscape-design/components/column-layout'
import Container from '@cloudscape-design/components/container'
import FormField from '@cloudscape-design/components/form-field'
import Header from '@cloudscape-design/components/header'
import Input from '@cloudscape-design/components/input'
import SpaceBetween from '@cloudscape-design/components/space-between'
import StatusIndicator from '@cloudscape-design/components/status-indicator'
import Table from '@cloudscape-design/components/table'
import { useEffect, useState } from 'react'
import { explain, loadUsers, type Answer } from './account'
import { findNodes } from './find-nodes'
import { nodes } from './nodes'
import { Refusal } from './refusal'
import { useStore } from './store'
import { when } from './format'
import { t } from './i18n'

const local = (at: Date) => new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16)
const seconds = (s: string) => new Date(s).getTime() / 1000

/** SimulatorPage shows whether a user could perform an action, from which address and when. */
export default function SimulatorPage() {
  const known = useStore(nodes)
  const [users, setUsers] = useState<string[]>([])
  const [user, setUser] = useState('')
  const [address, setAddress] = useState('')
  const [target, setTarget] = useState('')
  const [action, setAction] = useState('ssm:StartSession')
  const [from, setFrom] = useState(() => local(new Date()))
  const [to, setTo] = useState(() => local(new Date(Date.now() + 24 * 3600_000)))
  const [mfa, setMFA] = useState(false)
  const [answer, setAnswer] = useState<Answer | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)
  useEffect(() => {
    loadUsers().then(setUsers, () => {}) // the user can type a name instead
  }, [])

  const named = target.trim()
  const session = action.trim().toLowerCase() === 'ssm:startsession'
  const ask = async () => {
    setBusy(true)
    setError(null)
    try {
      const begin = seconds(from)
      const node = /^(arn:|$)/.test(named) ? undefined : (await findNodes(named))[0]
      setAnswer(
        await explain({
          UserName: user.trim(),
          Action: action.trim(),
          ...(named.startsWith('arn:') ? { Target: '', ResourceArn: named } : { Target: node?.id ?? named }),
          SourceIp: address.trim(),
          MFA: mfa,
          At: begin,
          From: begin,
          To: seconds(to),
        }),
      )
    } catch (err) {
      setAnswer(null)
      setError(err)
    } finally {
      setBusy(false)
    }
  }
  return (
    <SpaceBetween size="l">
      <form
        onSubmit={(ev) => {
          ev.preventDefault()
          void ask()
        }}
      >
        <Container
          header={
            <Header variant="h1" description={t('simulator.description')}>
              {t('simulator.title')}
            </Header>
          }
          footer={
            <Button
              variant="primary"
              formAction="submit"
              loading={busy}
              disabled={user.trim() === '' || action.trim() === '' || (session && named === '')}
            >
              {t('simulator.ask')}
            </Button>
          }
        >
          <ColumnLayout columns={2}>
            <FormField label={t('common.user')}>
              <Autosuggest
                value={user}
                options={users.map((value) => ({ value }))}
                enteredTextLabel={(v) => t('simulator.useUser', { value: v })}
                onChange={(ev) => setUser(ev.detail.value)}
                ariaLabel={t('common.user')}
              />
            </FormField>
            <FormField label={t('simulator.address')} description={t('simulator.addressHint')}>
              <Input
                value={address}
                placeholder="203.0.113.7"
                spellcheck={false}
                onChange={(ev) => setAddress(ev.detail.value)}
              />
            </FormField>
            <FormField label={t('simulator.target')} description={t('simulator.targetHint')}>
              <Autosuggest
                value={target}
                options={known.nodes.map((n) => ({ value: n.id, description: n.name }))}
                enteredTextLabel={(v) => t('simulator.useNode', { value: v })}
                onChange={(ev) => setTarget(ev.detail.value)}
                ariaLabel={t('simulator.target')}
              />
            </FormField>
            <FormField label={t('simulator.action')}>
              <Input value={action} spellcheck={false} onChange={(ev) => setAction(ev.detail.value)} />
            </FormField>
            <FormField label={t('simulator.mfa')}>
              <Checkbox checked={mfa} onChange={(ev) => setMFA(ev.detail.checked)}>
                {t('simulator.mfaHint')}
              </Checkbox>
            </FormField>
            <FormField label={t('simulator.from')}>
              <input
                className="when"
                type="datetime-local"
                aria-label={t('simulator.from')}
                value={from}
                onChange={(ev) => setFrom(ev.target.value)}
              />
            </FormField>
            <FormField label={t('simulator.to')}>
              <input
                className="when"
                type="datetime-local"
                aria-label={t('simulator.to')}
                value={to}
                onChange={(ev) => setTo(ev.target.value)}
              />
            </FormField>
          </ColumnLayout>
        </Container>
      </form>
      {error !== null && <Refusal error={error} />}
      {answer !== null && <Result answer={answer} from={seconds(from)} to={seconds(to)} />}
    </SpaceBetween>
  )
}

/** Result is the answer for a period. */
function Result({ answer, from, to }: { answer: Answer; from: number; to: number }) {
  const windows = answer.Windows ?? []
  const whole = windows.length === 1 && windows[0]!.From <= from && windows[0]!.To >= to
  const spans = windows.map((w) => `${when(w.From * 1000)} – ${when(w.To * 1000)}`).join(', ')
  return (
    <Container header={<Header variant="h2">{t('simulator.result')}</Header>}>
      <SpaceBetween size="m">
        <StatusIndicator type={windows.length > 0 ? 'success' : 'error'}>
          {whole
            ? t('simulator.yes')
            : windows.length > 0
              ? t('simulator.yesWindows', { windows: spans })
              : t('simulator.no')}
        </StatusIndicator>
        {answer.Sampled === true && <Box color="text-body-secondary">{t('simulator.sampled')}</Box>}
        <Box>{t('simulator.atStart', { reason: answer.Reason })}</Box>
        {answer.Failed.length > 0 && (
          <Box>
            {t('simulator.failed', { aspects: answer.Failed.map((a) => t(`aspect.${a}`)).join(', ') })}
            {answer.SecondFactor && ` ${t('simulator.secondFactor')}`}
          </Box>
        )}
        {answer.Notes.map((note) => (
          <Box key={note} color="text-body-secondary">
            {note}
          </Box>
        ))}
        <Steps steps={answer.Steps} />
      </SpaceBetween>
    </Container>
  )
}

/** Steps are the decisions on each resource, with the statement that decided. */
function Steps({ steps }: { steps: Answer['Steps'] }) {
  return (
    <Table
      variant="embedded"
      wrapLines
      items={steps}
      columnDefinitions={[
        {
          id: 'resource',
          header: t('common.resource'),
          isRowHeader: true,
          cell: (s) => <code className="wrap">{s.ResourceArn}</code>,
        },
        { id: 'check', header: t('simulator.documentCheck'), cell: (s) => String(s.DocumentCheck) },
        { id: 'decision', header: t('simulator.decision'), cell: (s) => s.Decision },
        { id: 'reason', header: t('common.reason'), cell: (s) => s.Reason },
        {
          id: 'statement',
          header: t('simulator.statement'),
          cell: (s) => (s.Statement === '' ? '–' : <code className="wrap">{s.Statement}</code>),
        },
      ]}
    />
  )
}
