// Run Command: the commands that were sent, and a form to send one.

import Link from '@cloudscape-design/components/link'
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator'
import { useEffect, useState } from 'react'
import { millis, utc } from '../format'
import { GuardedButton } from '../guarded-button'
import { t } from '../i18n'
import { follow, href, navigate } from '../router'
import type { PageProps } from '../routes'
import { When } from '../time'
import { CommandPage } from './command-page'
import { ResourceTable } from './resource-page'
import { SendForm } from './send-form'
import { cancelCommand, listCommands } from './ssm'

const LOOK: Record<string, StatusIndicatorProps.Type> = {
  Pending: 'pending',
  InProgress: 'in-progress',
  Delayed: 'in-progress',
  Success: 'success',
  Cancelled: 'stopped',
  Cancelling: 'in-progress',
  TimedOut: 'error',
  Failed: 'error',
}

/** CommandStatus shows the status of a command or of one of its invocations, in AWS's word. */
export function CommandStatus({ status }: { status: string }) {
  return <StatusIndicator type={LOOK[status] ?? 'info'}>{status}</StatusIndicator>
}

const isRunning = (status: string) => ['Pending', 'InProgress', 'Delayed'].includes(status)

/** CommandsPage lists commands; with an ID it shows one of them. */
export default function CommandsPage({ params }: PageProps) {
  const id = params[0]
  if (id !== undefined) return <CommandPage key={id} id={id} />
  return (
    <ResourceTable
      title={t('nav.runCommand')}
      load={listCommands}
      idOf={(c) => c.CommandId}
      columns={[
        {
          id: 'id',
          header: t('commands.id'),
          text: (c) => c.CommandId,
          cell: (c) => (
            <Link href={href('commands', c.CommandId)} onFollow={follow}>
              <code>{c.CommandId}</code>
            </Link>
          ),
        },
        {
          id: 'status',
          header: t('common.state'),
          text: (c) => c.Status,
          cell: (c) => <CommandStatus status={c.Status} />,
        },
        { id: 'document', header: t('common.document'), text: (c) => c.DocumentName },
        {
          id: 'requested',
          header: t('commands.requested'),
          text: (c) => utc(millis(c.RequestedDateTime)),
          cell: (c) => <When at={millis(c.RequestedDateTime)} />,
        },
        {
          id: 'progress',
          header: t('commands.progress'),
          text: (c) => t('common.countOf', { count: c.CompletedCount, total: c.TargetCount }),
        },
        { id: 'errors', header: t('commands.errors'), text: (c) => String(c.ErrorCount) },
        { id: 'comment', header: t('commands.comment'), text: (c) => c.Comment },
      ]}
      actions={[
        {
          text: t('common.cancel'),
          enabled: (c) => isRunning(c.Status),
          needs: ['ssm:CancelCommand'],
          run: async (c) => void (await cancelCommand(c.CommandId)),
        },
      ]}
      buttons={() => <SendButton />}
    />
  )
}

function SendButton() {
  const [open, setOpen] = useState(false)
  const [sent, setSent] = useState('')
  useEffect(() => {
    if (sent !== '') navigate('commands', sent)
  }, [sent])
  return (
    <>
      <GuardedButton needs={['ssm:SendCommand']} variant="primary" onClick={() => setOpen(true)}>
        {t('commands.send')}
      </GuardedButton>
      {open && <SendForm onSent={setSent} onClose={() => setOpen(false)} />}
    </>
  )
}
