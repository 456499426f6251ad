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
import { nodes } from './nodes'
import { Refusal } from './refusal'
import { useStore } from './store'

const local = (t: Date) => new Date(t.getTime() - t.getTimezoneOffset() * 60_000).toISOString().slice(0, 16)
const seconds = (s: string) => new Date(s).getTime() / 1000

/** SimulatorPage answers who could start a session where, from where and when. */
export default function SimulatorPage() {
  const known = useStore(nodes)
  const [users, setUsers] = useState<string[]>([])
  const [user, setUser] = useState('')
  const [address, setAddress] = useState('')
  const [target, setTarget] = useState('')
  const [from, setFrom] = useState(() => local(new Date()))
  const [to, setTo] = useState(() => local(new Date(Date.now() + 24 * 3600_000)))
  const [mfa, setMFA] = useState(false)
  const [answer, setAnswer] = useState<Answer | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)
  useEffect(() => {
    loadUsers().then(setUsers, () => {}) // names may be typed as well
  }, [])

  const ask = async () => {
    setBusy(true)
    setError(null)
    try {
      const begin = seconds(from)
      setAnswer(
        await explain({ UserName: user.trim(), Target: target.trim(), SourceIp: address.trim(), MFA: mfa, At: begin, From: begin, To: seconds(to) }),
      )
    } catch (err) {
      setAnswer(null)
      setError(err)
    } finally {
      setBusy(false)
    }
  }
  const allowed = answer?.Windows?.length ? 'success' : 'error'
  const whole =
    answer?.Windows?.length === 1 && answer.Windows[0]!.From <= seconds(from) && answer.Windows[0]!.To >= seconds(to)
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
            <Header variant="h1" description="Could this person start a session there, from there and then? Nothing is done.">
              Policy simulator
            </Header>
          }
          footer={
            <Button variant="primary" formAction="submit" loading={busy} disabled={user.trim() === '' || target.trim() === ''}>
              Ask
            </Button>
          }
        >
          <ColumnLayout columns={2}>
            <FormField label="User">
              <Autosuggest
                value={user}
                options={users.map((value) => ({ value }))}
                enteredTextLabel={(v) => `User "${v}"`}
                onChange={(ev) => setUser(ev.detail.value)}
                ariaLabel="User"
              />
            </FormField>
            <FormField label="Address" description="Where the call comes from">
              <Input value={address} placeholder="203.0.113.7" spellcheck={false} onChange={(ev) => setAddress(ev.detail.value)} />
            </FormField>
            <FormField label="Machine">
              <Autosuggest
                value={target}
                options={known.nodes.map((n) => ({ value: n.id, description: n.name }))}
                enteredTextLabel={(v) => `Node "${v}"`}
                onChange={(ev) => setTarget(ev.detail.value)}
                ariaLabel="Machine"
              />
            </FormField>
            <FormField label="Second factor">
              <Checkbox checked={mfa} onChange={(ev) => setMFA(ev.detail.checked)}>
                Was shown just before
              </Checkbox>
            </FormField>
            <FormField label="From">
              <input className="when" type="datetime-local" aria-label="From" value={from} onChange={(ev) => setFrom(ev.target.value)} />
            </FormField>
            <FormField label="To">
              <input className="when" type="datetime-local" aria-label="To" value={to} onChange={(ev) => setTo(ev.target.value)} />
            </FormField>
          </ColumnLayout>
        </Container>
      </form>
      {error !== null && <Refusal error={error} />}
      {answer !== null && (
        <Container header={<Header variant="h2">Answer</Header>}>
          <SpaceBetween size="m">
            <StatusIndicator type={allowed}>
              {whole
                ? 'Yes, at any time in this span'
                : answer.Windows?.length
                  ? `Yes, ${answer.Windows.map((w) => `${new Date(w.From * 1000).toLocaleString()} – ${new Date(w.To * 1000).toLocaleString()}`).join(', ')}`
                  : 'No, at no time in this span'}
            </StatusIndicator>
            {answer.Sampled === true && (
              <Box color="text-body-secondary">
                The policies look at the time as a text, so the span was tried at 288 moments: shorter windows may be missing.
              </Box>
            )}
            <Box>
              <b>At the beginning:</b> {answer.Reason}
            </Box>
            <Table
              variant="embedded"
              items={answer.Steps}
              columnDefinitions={[
                { id: 'resource', header: 'Resource', cell: (s) => <code>{s.ResourceArn}</code> },
                { id: 'decision', header: 'Decision', cell: (s) => s.Decision },
                { id: 'reason', header: 'Reason', cell: (s) => s.Reason },
              ]}
            />
          </SpaceBetween>
        </Container>
      )}
    </SpaceBetween>
  )
}
