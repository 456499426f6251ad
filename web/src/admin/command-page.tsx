// One command: its progress, and the output of each node.

import ExpandableSection from '@cloudscape-design/components/expandable-section'
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useCallback, useEffect } from 'react'
import { millis } from '../format'
import { t } from '../i18n'
import { plainLines } from '../log-text'
import { nodes } from '../nodes'
import { Refusal } from '../refusal'
import { useStore } from '../store'
import { When } from '../time'
import { CommandStatus } from './commands-page'
import { EntityPage } from './entity-page'
import { useLoaded } from './resource-page'
import { listInvocations, readCommand, type Invocation } from './ssm'

const POLL_MS = 2000
const RUNNING = new Set(['Pending', 'InProgress', 'Delayed', 'Cancelling'])

/** CommandPage follows a command until it has ended. */
export function CommandPage({ id }: { id: string }) {
  const load = useCallback(() => Promise.all([readCommand(id), listInvocations(id)]), [id])
  const { value, error, reload } = useLoaded(load)
  const [command, invocations] = value ?? [null, []]
  const running = command !== null && RUNNING.has(command.Status)
  useEffect(() => {
    if (!running) return
    const timer = setTimeout(reload, POLL_MS)
    return () => clearTimeout(timer)
  }, [running, value, reload])
  return (
    <EntityPage list="commands" title={t('nav.runCommand')} name={id}>
      {error !== null && <Refusal error={error} />}
      {command !== null && (
        <KeyValuePairs
          columns={4}
          items={[
            { label: t('common.state'), value: <CommandStatus status={command.Status} /> },
            { label: t('common.document'), value: command.DocumentName },
            { label: t('commands.requested'), value: <When at={millis(command.RequestedDateTime)} /> },
            {
              label: t('commands.progress'),
              value: t('common.countOf', { count: command.CompletedCount, total: command.TargetCount }),
            },
          ]}
        />
      )}
      <SpaceBetween size="s">
        {invocations.map((i) => (
          <Output key={i.InstanceId} invocation={i} open={invocations.length <= 3} />
        ))}
      </SpaceBetween>
    </EntityPage>
  )
}

function Output({ invocation, open }: { invocation: Invocation; open: boolean }) {
  const name = useStore(nodes).nodes.find((n) => n.id === invocation.InstanceId)?.name
  return (
    <ExpandableSection
      variant="container"
      headingTagOverride="h2"
      defaultExpanded={open}
      headerText={name || invocation.InstanceName || invocation.InstanceId}
      headerDescription={invocation.InstanceId}
      headerActions={<CommandStatus status={invocation.Status} />}
    >
      {invocation.CommandPlugins.map((p) => (
        <div key={p.Name}>
          <b>{p.Name}</b> <CommandStatus status={p.Status} />{' '}
          {p.ResponseCode !== undefined && t('commands.exitCode', { code: p.ResponseCode })}
          <pre className="log-page" tabIndex={0} aria-label={t('commands.output')}>
            {plainLines(p.Output).join('\n')}
          </pre>
        </div>
      ))}
    </ExpandableSection>
  )
}
