// The confirmation before a session is ended.

import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Modal from '@cloudscape-design/components/modal'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useEffect, useState } from 'react'
import { myRights } from './access'
import { call, IGNORED } from './api'
import { ownerName } from './format'
import { rich, t } from './i18n'
import { Refusal } from './refusal'
import type { Session } from './sessions'

const TERMINATE = 'ssm:TerminateSession'

/** EndModal asks before it ends a session. */
export function EndModal({ session, name, onDone }: { session: Session; name: string; onDone: () => void }) {
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const [denied, setDenied] = useState('')
  useEffect(() => {
    myRights([{ Action: TERMINATE, Target: session.id }]).then(
      ([right]) => setDenied(right?.allowed === false ? t('access.missing', { actions: TERMINATE }) : ''),
      () => {}, // the attempt itself says what is wrong
    )
  }, [session.id])
  const end = async () => {
    setBusy(true)
    try {
      await call('AmazonSSM.TerminateSession', { SessionId: session.id }, IGNORED)
      onDone()
    } catch (err) {
      setError(err)
      setBusy(false)
    }
  }
  return (
    <Modal
      visible
      header={t('sessions.endQuestion')}
      onDismiss={onDone}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={onDone}>
              {t('sessions.keep')}
            </Button>
            <Button
              variant="primary"
              loading={busy}
              disabled={denied !== ''}
              disabledReason={denied}
              onClick={() => void end()}
            >
              {t('sessions.endSession')}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="m">
        <Box>{rich('sessions.endHint', { owner: <b>{ownerName(session.owner)}</b>, node: <b>{name}</b> })}</Box>
        {error !== null && <Refusal error={error} />}
      </SpaceBetween>
    </Modal>
  )
}
