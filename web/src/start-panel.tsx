// What a session needs, as a list to look at before it is started.

import Alert from '@cloudscape-design/components/alert'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Checkbox from '@cloudscape-design/components/checkbox'
import FormField from '@cloudscape-design/components/form-field'
import Input from '@cloudscape-design/components/input'
import Modal from '@cloudscape-design/components/modal'
import SpaceBetween from '@cloudscape-design/components/space-between'
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator'
import { useEffect, useState } from 'react'
import { checkStart, nextTurn, refusalOf, windowText, type Check, type StartCheck } from './start-check'
import { pendingStart, requestStart } from './start-request'
import { useStore } from './store'
import { startSession, type Target } from './workspace'

const LOOK: Record<Check['Outcome'], StatusIndicatorProps.Type> = { Ready: 'success', Warning: 'warning', Failing: 'error' }
const LONGEST_TIMER = 24 * 3600_000

/** useStartCheck is how a session on a node would stand; null while that is not known. It is asked anew when again changes, and when the hour makes a difference. */
export function useStartCheck(node: string | null, again: string): StartCheck | null {
  const [check, setCheck] = useState<{ node: string; check: StartCheck } | null>(null)
  const [turn, setTurn] = useState(0)
  useEffect(() => {
    if (node === null) return
    let over = false
    let timer: ReturnType<typeof setTimeout> | undefined
    checkStart(node).then(
      (c) => {
        if (over) return
        setCheck({ node, check: c })
        const at = nextTurn(c.Windows, Date.now() / 1000) * 1000
        if (at > 0) timer = setTimeout(() => setTurn((n) => n + 1), Math.min(at - Date.now() + 1000, LONGEST_TIMER))
      },
      () => {}, // starting says what is wrong
    )
    return () => {
      over = true
      clearTimeout(timer)
    }
  }, [node, again, turn])
  return check !== null && check.node === node ? check.check : null
}

/** Checklist shows what a session needs, and how each stands. */
export function Checklist({ check }: { check: StartCheck }) {
  const window = windowText(check.Windows, Date.now() / 1000)
  return (
    <ul className="checklist" aria-label="What a session needs">
      {check.Checks.map((c) => (
        <li key={c.Kind}>
          <StatusIndicator type={LOOK[c.Outcome]}>
            <span className="wrap">{c.Text}</span>
          </StatusIndicator>
          {c.Hint !== undefined && <div className="under faint wrap">{c.Hint}</div>}
          {c.Kind === 'Access' && window !== '' && <div className="under wrap">{window}</div>}
        </li>
      ))}
    </ul>
  )
}

/** StartPanel is the list and the button, which waits for the list to be green. */
export function StartPanel({ target, check }: { target: Target; check: StartCheck | null }) {
  const [anyway, setAnyway] = useState(false)
  useEffect(() => setAnyway(false), [target.id])
  const denied = refusalOf(check)
  return (
    <div className="start-panel">
      {check === null ? <StatusIndicator type="loading">Looking what a session needs</StatusIndicator> : <Checklist check={check} />}
      {check !== null && !check.Ready && denied === '' && (
        <Checkbox checked={anyway} onChange={(ev) => setAnyway(ev.detail.checked)}>
          Start it anyway
        </Checkbox>
      )}
      <Button
        variant="primary"
        disabled={check !== null && !(check.Ready || (anyway && denied === ''))}
        disabledReason={denied === '' ? 'Not everything is as a session needs it' : denied}
        onClick={() => (anyway && check?.ReasonRequired !== true ? startSession(target) : void requestStart(target))}
      >
        Start session
      </Button>
    </div>
  )
}

/** StartModal asks about a session that something stands in the way of, or that needs a reason. */
export function StartModal() {
  const pending = useStore(pendingStart)
  if (pending === null) return null
  return <Question key={pending.target.id} target={pending.target} check={pending.check} />
}

function Question({ target, check }: { target: Target; check: StartCheck }) {
  const [reason, setReason] = useState('')
  const denied = refusalOf(check)
  const close = () => pendingStart.set(null)
  const lacksReason = check.ReasonRequired === true && reason.trim() === ''
  const start = () => {
    if (denied !== '' || lacksReason) return
    close()
    startSession(reason.trim() === '' ? target : { ...target, reason: reason.trim() })
  }
  return (
    <Modal
      visible
      header={`Start a session on ${target.name || target.id}`}
      onDismiss={close}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={close}>
              {denied === '' ? 'Cancel' : 'Close'}
            </Button>
            <Button variant="primary" disabled={denied !== '' || lacksReason} disabledReason={denied === '' ? 'A reason is needed' : denied} onClick={start}>
              {check.Ready || denied !== '' ? 'Start session' : 'Start anyway'}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <form
        onSubmit={(ev) => {
          ev.preventDefault()
          start()
        }}
      >
        <SpaceBetween size="m">
          {denied === '' && !check.Ready && <Alert type="warning">Not everything is as a session needs it.</Alert>}
          <Checklist check={check} />
          {denied === '' && check.ReasonRequired === true && (
            <FormField
              label="Reason"
              description="The preferences want one. It is in the history and the audit trail."
              constraintText={check.ReasonPattern ? <>It must match <code>{check.ReasonPattern}</code></> : undefined}
            >
              <Input value={reason} autoFocus ariaRequired onChange={(ev) => setReason(ev.detail.value)} />
            </FormField>
          )}
        </SpaceBetween>
      </form>
    </Modal>
  )
}
