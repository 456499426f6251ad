// One node: its state, the requirements for a session, and its facts.

import Alert from '@cloudscape-design/components/alert'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import CopyToClipboard from '@cloudscape-design/components/copy-to-clipboard'
import ExpandableSection from '@cloudscape-design/components/expandable-section'
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useState } from 'react'
import { ReachOf } from './admin/reach'
import { ago, useNow } from './format'
import { rich, t } from './i18n'
import { NodeStatus } from './node-status'
import { NodeTags } from './node-tags'
import { approveIdentity, whyNotConnected, type Node, type Note } from './nodes'
import { Refusal } from './refusal'
import { StartPanel, useStartCheck } from './start-panel'
import { Ago, When } from './time'

/** DOUBTS are the notes that an administrator should check. */
const DOUBTS = ['IdentityChanged', 'IdentityTwice', 'CredentialsElsewhere', 'ClaimsOtherNode']

/** NoteAlert shows a note, and what can be done about it. */
function NoteAlert({ node, note }: { node: string; note: Note }) {
  const [error, setError] = useState<unknown>(null)
  const now = useNow()
  return (
    <Alert
      type={DOUBTS.includes(note.kind) ? 'warning' : 'info'}
      action={
        note.kind === 'IdentityChanged' && (
          <Button onClick={() => approveIdentity(node, note.fingerprint).catch(setError)}>{t('nodes.approve')}</Button>
        )
      }
    >
      {note.text}{' '}
      {note.count > 1
        ? t('note.lastTimes', { ago: ago(note.lastAt, now), count: note.count })
        : t('note.last', { ago: ago(note.lastAt, now) })}
      {error !== null && <Refusal error={error} what={t('nodes.notApproved')} />}
    </Alert>
  )
}

/** ReconnectHelp explains how to restart only the agent. */
function ReconnectHelp() {
  return (
    <ExpandableSection headerText={t('nodes.recover')}>
      <SpaceBetween size="s">
        <Box>{t('nodes.recoverHint')}</Box>
        <div className="command">
          <pre>{'sudo sekisho-agent doctor\nsudo systemctl restart sekisho-agent'}</pre>
        </div>
        <Box>{t('nodes.recoverAws')}</Box>
        <div className="command">
          <pre>sudo systemctl restart amazon-ssm-agent</pre>
        </div>
      </SpaceBetween>
    </ExpandableSection>
  )
}

/** NodeDetails shows everything about one node. */
export default function NodeDetails({ node }: { node: Node }) {
  const check = useStartCheck(node.id, node.connection)
  const why = whyNotConnected(node)
  return (
    <SpaceBetween size="l">
      {why !== '' && (
        <Alert type="info" header={t('nodes.whyNot')}>
          {why} {node.lastPingAt > 0 && rich('nodes.whySince', { time: <When at={node.lastPingAt} /> })}
        </Alert>
      )}
      {node.notes.map((n) => (
        <NoteAlert key={n.kind} node={node.id} note={n} />
      ))}
      <StartPanel target={{ id: node.id, name: node.name }} check={check} />
      <KeyValuePairs
        columns={4}
        items={[
          {
            label: t('nodes.nodeId'),
            value: (
              <CopyToClipboard
                variant="inline"
                copyButtonAriaLabel={t('common.copy')}
                textToCopy={node.id}
                copySuccessText={t('common.copied')}
                copyErrorText={t('common.notCopied')}
              />
            ),
          },
          {
            label: t('nodes.status'),
            value: <NodeStatus node={node} />,
          },
          { label: t('nodes.lastHeard'), value: <Ago at={node.lastPingAt} /> },
          { label: t('common.registered'), value: <When at={node.registeredAt} /> },
          { label: t('common.platform'), value: node.platform || '–' },
          { label: t('nodes.agentVersion'), value: node.agentVersion || '–' },
          { label: t('nodes.computerName'), value: node.computerName || '–' },
          { label: t('nodes.sourceAddress'), value: node.sourceAddress || '–' },
          { label: t('nodes.machineAddress'), value: node.ipAddress || '–' },
          { label: t('common.role'), value: node.role || '–' },
          {
            label: t('nodes.activation'),
            value: node.activationId === '' ? '–' : <code className="wrap">{node.activationId}</code>,
          },
        ]}
      />
      <NodeTags key={node.id} node={node} />
      <ReachOf key={`reach-${node.id}`} of={{ node: node.id }} />
      {node.connection === 'notconnected' && <ReconnectHelp />}
    </SpaceBetween>
  )
}
