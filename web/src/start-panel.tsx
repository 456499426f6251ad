// The requirements of a session, listed before it starts.

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
import { useNow } from './format'
import { rich, t } from './i18n'

const LOOK: Record<Check['Outcome'], StatusIndicatorProps.Type> = {
  Ready: 'success',
  Warning: 'warning',
  Failing: 'error',
}
const LONGEST_TIMER = 24 * 3600_000

/**
 * useStartCheck checks whether a session on a node could start; null until the
 * result is known. It checks again when again changes, and when a time window
 * begins or ends.
 */
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
      () => {}, // starting the session shows the error
    )
    return () => {
      over = true
      clearTimeout(timer)
    }
  }, [node, again, turn])
  return check !== null && check.node === node ? check.check : null
}

/** Checklist shows the requirements for a session, and whether each is met. */
export function Checklist({ check, explain = false }: { check: StartCheck; explain?: boolean }) {
  const now = useNow(30_000)
  const window = windowText(check.Windows, now / 1000)
  return (
    <ul className="checklist" aria-label={t('start.needs')}>
      {check.Checks.map((c) => (
        <li key={c.Kind}>
          <StatusIndicator type={LOOK[c.Outcome]}>
            <span className="wrap">{t(`check.${c.Kind}.${c.Outcome}`)}</span>
          </StatusIndicator>
          {/* The node's page shows above why the node is not connected. */}
          {(c.Outcome !== 'Ready' || c.Kind === 'Logs') && (explain || c.Kind !== 'Node') && (
            <div className="under faint wrap">{c.Text}</div>
          )}
          {c.Hint !== undefined && <div className="under faint wrap">{c.Hint}</div>}
          {c.Kind === 'Access' && window !== '' && <div className="under wrap">{window}</div>}
        </li>
      ))}
    </ul>
  )
}

/** offersAnyway reports whether the user can start a session despite the check: not if it would fail. */
const offersAnyway = (check: StartCheck) =>
  !check.Ready && !check.Checks.some((c) => c.Outcome === 'Failing' && c.Kind !== 'Logs')

/** StartPanel shows the requirements, and a button that is enabled when all are met. */
export function StartPanel({ target, check }: { target: Target; check: StartCheck | null }) {
  const [anyway, setAnyway] = useState(false)
  useEffect(() => setAnyway(false), [target.id])
  const denied = refusalOf(check)
  return (
    <div className="start-panel">
      {check === null ? (
        <StatusIndicator type="loading">{t('start.checking')}</StatusIndicator>
      ) : (
        <Checklist check={check} />
      )}
      {check !== null && offersAnyway(check) && denied === '' && (
        <Checkbox checked={anyway} onChange={(ev) => setAnyway(ev.detail.checked)}>
          {t('start.anyway')}
        </Checkbox>
      )}
      <Button
        variant="primary"
        disabled={check !== null && !(check.Ready || check.SecondFactor === true || (anyway && denied === ''))}
        disabledReason={denied === '' ? t('start.notReady') : denied}
        onClick={() => (anyway && check?.ReasonRequired !== true ? startSession(target) : void requestStart(target))}
      >
        {t('nodes.start')}
      </Button>
    </div>
  )
}

/** StartModal asks the user about a session that has unmet requirements or needs a reason. */
export function StartModal() {
  const pending = useStore(pendingStart)
  if (pending === null) return null
  return <Question key={pending.target.id} target={pending.target} check={pending.check} />
}

function Question({ target, check }: { target: Target; check: StartCheck }) {
  const [reason, setReason] = useState('')
  const denied = refusalOf(check)
  const close = () => pendingStart.set(null)
  const blocked = denied !== '' || !(check.Ready || offersAnyway(check))
  const lacksReason = check.ReasonRequired === true && reason.trim() === ''
  const start = () => {
    if (blocked || lacksReason) return
    close()
    startSession(reason.trim() === '' ? target : { ...target, reason: reason.trim() })
  }
  return (
    <Modal
      visible
      header={t('start.title', { node: target.name || target.id })}
      onDismiss={close}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={close}>
              {denied === '' ? t('common.cancel') : t('common.close')}
            </Button>
            <Button
              variant="primary"
              disabled={blocked || lacksReason}
              disabledReason={denied !== '' ? denied : blocked ? t('start.notReady') : t('start.reasonNeeded')}
              onClick={start}
            >
              {check.Ready || blocked ? t('nodes.start') : t('start.startAnyway')}
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
          {denied === '' && !check.Ready && <Alert type="warning">{t('start.notReady')}</Alert>}
          <Checklist check={check} explain />
          {denied === '' && check.ReasonRequired === true && (
            <FormField
              label={t('common.reason')}
              description={t('start.reasonHint')}
              constraintText={
                check.ReasonPattern ? rich('start.matches', { pattern: <code>{check.ReasonPattern}</code> }) : undefined
              }
            >
              <Input value={reason} autoFocus ariaRequired onChange={(ev) => setReason(ev.detail.value)} />
            </FormField>
          )}
        </SpaceBetween>
      </form>
    </Modal>
  )
}
