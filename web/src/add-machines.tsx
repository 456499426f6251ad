// How machines are added: one line, which installs and registers the agent.

import Alert from '@cloudscape-design/components/alert'
import AttributeEditor from '@cloudscape-design/components/attribute-editor'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Container from '@cloudscape-design/components/container'
import CopyToClipboard from '@cloudscape-design/components/copy-to-clipboard'
import ExpandableSection from '@cloudscape-design/components/expandable-section'
import FormField from '@cloudscape-design/components/form-field'
import Header from '@cloudscape-design/components/header'
import Input from '@cloudscape-design/components/input'
import Select from '@cloudscape-design/components/select'
import SpaceBetween from '@cloudscape-design/components/space-between'
import StatusIndicator from '@cloudscape-design/components/status-indicator'
import Tabs from '@cloudscape-design/components/tabs'
import Tiles from '@cloudscape-design/components/tiles'
import { useState } from 'react'
import { useNow, when } from './format'
import { nodes } from './nodes'
import { createInstallCommand, type Agent, type InstallCommand, type Order, type Tag } from './quick-setup'
import { Refusal } from './refusal'
import { useStore } from './store'
import { startSession } from './workspace'

const LIVES = [
  { value: '3600', label: '1 hour' },
  { value: '86400', label: '1 day' },
  { value: '604800', label: '7 days' },
  { value: '2592000', label: '30 days' },
]

/** Copyable is a text in a box with a button that copies it. */
function Copyable({ text, name, wrap = false }: { text: string; name: string; wrap?: boolean }) {
  return (
    <div className={wrap ? 'command command-wrapped' : 'command'}>
      <pre>{text}</pre>
      <CopyToClipboard variant="icon" copyButtonAriaLabel={`Copy ${name}`} textToCopy={text} copySuccessText="Copied" copyErrorText="Not copied" />
    </div>
  )
}

/** AddMachines words the line that makes a machine a node, and waits for it. */
export function AddMachines({ agents, ready }: { agents: Agent[] | undefined; ready: boolean }) {
  const [name, setName] = useState('')
  const [limit, setLimit] = useState('1')
  const [life, setLife] = useState(LIVES[1]!)
  const [kind, setKind] = useState<Order['NodeIdType']>('managed-instance')
  const [agent, setAgent] = useState<Order['Agent']>('sekisho')
  const [pack, setPack] = useState('')
  const [sum, setSum] = useState('')
  const [tags, setTags] = useState<readonly Tag[]>([])
  const [made, setMade] = useState<InstallCommand | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)

  const count = /^[0-9]{1,4}$/.test(limit) ? Number(limit) : 0
  const countError = count >= 1 && count <= 1000 ? '' : 'A number from 1 to 1000'
  const missing = (agents ?? []).filter((a) => !a.Available).map((a) => a.Architecture)
  const none = agents !== undefined && missing.length === agents.length

  const create = async () => {
    setBusy(true)
    setError(null)
    const order: Order = {
      RegistrationLimit: count,
      ExpirationDate: Math.floor(Date.now() / 1000) + Number(life.value) - (life.value === '2592000' ? 60 : 0),
      NodeIdType: kind,
      Agent: agent,
      Tags: tags.filter((t) => t.Key.trim() !== '').map((t) => ({ Key: t.Key.trim(), Value: t.Value })),
    }
    if (name.trim() !== '') order.DefaultInstanceName = name.trim()
    if (agent === 'amazon' && pack.trim() !== '') {
      order.PackageUrl = pack.trim()
      if (sum.trim() !== '') order.PackageSha256 = sum.trim().toLowerCase()
    }
    try {
      setMade(await createInstallCommand(order))
    } catch (err) {
      setError(err)
    } finally {
      setBusy(false)
    }
  }

  return (
    <Container
      header={
        <Header
          variant="h2"
          description="One line, pasted into a shell of a Linux machine with systemd, installs the agent, registers the machine and starts it. The machine only dials out."
        >
          Add machines
        </Header>
      }
      footer={
        made === null ? (
          <Button variant="primary" loading={busy} disabled={countError !== '' || !ready || (agent === 'sekisho' && none)} onClick={() => void create()}>
            Create the command
          </Button>
        ) : (
          <Button onClick={() => setMade(null)}>Create another</Button>
        )
      }
    >
      {made !== null ? (
        <Made made={made} amazon={agent === 'amazon'} both={agent === 'amazon' || missing.length === 0} />
      ) : (
        <SpaceBetween size="l">
          {!ready && <Alert type="info">The roles come first: run Quick Setup above.</Alert>}
          <Tiles
            value={agent}
            ariaLabel="Agent"
            columns={2}
            items={[
              {
                value: 'sekisho',
                label: "Sekisho's agent",
                description: 'One program, fetched from this server with its SHA-256 checked. Every kind of session, copying and forwarding.',
              },
              { value: 'amazon', label: "AWS's agent", description: 'amazon-ssm-agent 3.x, installed already or from a package of yours, pointed at this server.' },
            ]}
            onChange={(ev) => setAgent(ev.detail.value as Order['Agent'])}
          />
          {agent === 'sekisho' && agents !== undefined && (
            <SpaceBetween size="m" direction="horizontal">
              {agents.map((a) => (
                <StatusIndicator key={a.Architecture} type={a.Available ? 'success' : 'warning'}>
                  {a.Available ? `${a.Architecture}: offered` : `${a.Architecture}: not offered by this server`}
                </StatusIndicator>
              ))}
            </SpaceBetween>
          )}
          {agent === 'sekisho' && missing.length > 0 && (
            <Box color="text-body-secondary">
              {none ? 'The server has no agent to offer. ' : ''}Its administrator puts{' '}
              {missing.map((a, i) => (
                <span key={a}>
                  {i > 0 && ' and '}
                  <code>sekisho-agent-linux-{a}</code>
                </span>
              ))}{' '}
              into the directory of the agents, beside <code>sekishod</code>.
            </Box>
          )}
          {agent === 'amazon' && (
            <div className="pair">
              <FormField
                label={
                  <>
                    Package <i>– optional</i>
                  </>
                }
                description="Where the agent is not installed yet: path or https:// address of its .deb or .rpm"
              >
                <Input value={pack} spellcheck={false} placeholder="https://…/amazon-ssm-agent.deb" onChange={(ev) => setPack(ev.detail.value)} />
              </FormField>
              <FormField label="SHA-256 of the package" description="Needed for an address">
                <Input value={sum} spellcheck={false} disabled={pack.trim() === ''} onChange={(ev) => setSum(ev.detail.value)} />
              </FormField>
            </div>
          )}
          <div className="pair">
            <FormField
              label={
                <>
                  Name <i>– optional</i>
                </>
              }
              description="As the list of nodes shows it"
            >
              <Input value={name} placeholder="web" onChange={(ev) => setName(ev.detail.value)} />
            </FormField>
            <FormField label="IDs" description="How policies name the machines">
              <Select
                selectedOption={KINDS.find((k) => k.value === kind)!}
                options={KINDS}
                onChange={(ev) => setKind(ev.detail.selectedOption.value as Order['NodeIdType'])}
                ariaLabel="IDs"
              />
            </FormField>
            <FormField label="How many machines" description="The command works so many times" errorText={countError}>
              <Input value={limit} inputMode="numeric" onChange={(ev) => setLimit(ev.detail.value)} />
            </FormField>
            <FormField label="Good for" description="Then the command works no more">
              <Select selectedOption={life} options={LIVES} onChange={(ev) => setLife(LIVES.find((l) => l.value === ev.detail.selectedOption.value)!)} ariaLabel="Good for" />
            </FormField>
          </div>
          <FormField label="Tags" description="Policies can ask for them. The tag Hostname is what the prompt of the tutorial shows." stretch>
            <AttributeEditor
              items={tags}
              addButtonText={tags.length === 0 ? 'Add a tag' : 'Add another'}
              removeButtonText="Remove"
              empty={
                <Button variant="inline-link" onClick={() => setTags([{ Key: 'Hostname', Value: name.trim() }])}>
                  Add the tag Hostname
                </Button>
              }
              disableAddButton={tags.length >= 50}
              onAddButtonClick={() => setTags([...tags, { Key: '', Value: '' }])}
              onRemoveButtonClick={(ev) => setTags(tags.filter((_, i) => i !== ev.detail.itemIndex))}
              definition={[
                {
                  label: 'Key',
                  control: (t, i) => (
                    <Input value={t.Key} ariaLabel={`Key of tag ${i + 1}`} onChange={(ev) => setTags(tags.map((x, j) => (j === i ? { ...x, Key: ev.detail.value } : x)))} />
                  ),
                },
                {
                  label: 'Value',
                  control: (t, i) => (
                    <Input value={t.Value} ariaLabel={`Value of tag ${i + 1}`} onChange={(ev) => setTags(tags.map((x, j) => (j === i ? { ...x, Value: ev.detail.value } : x)))} />
                  ),
                },
              ]}
            />
          </FormField>
          {error !== null && <Refusal error={error} />}
        </SpaceBetween>
      )}
    </Container>
  )
}

const KINDS = [
  { value: 'managed-instance', label: 'mi-… (managed instance)' },
  { value: 'instance', label: 'i-… (instance)' },
]

/** Made shows the command, and the machines that came by it. */
function Made({ made, amazon, both }: { made: InstallCommand; amazon: boolean; both: boolean }) {
  const come = useStore(nodes).nodes.filter((n) => n.activationId === made.activationId)
  const now = useNow()
  const over = now >= made.expires
  return (
    <SpaceBetween size="m">
      <Alert type="warning">
        This holds the activation code, which is not shown again. Whoever reads it can add {made.limit === 1 ? 'one machine' : `${made.limit} machines`} until{' '}
        {when(made.expires)}.
      </Alert>
      <Tabs
        tabs={[
          {
            id: 'line',
            label: 'Command',
            content: (
              <SpaceBetween size="xs">
                <Box color="text-body-secondary">On each machine, in a shell{both ? '. The same line does for amd64 and arm64' : ''}.</Box>
                <Copyable text={made.command} name="the command" wrap />
              </SpaceBetween>
            ),
          },
          {
            id: 'cloud-init',
            label: 'cloud-init',
            content: (
              <SpaceBetween size="xs">
                <Box color="text-body-secondary">As user data of a new machine.</Box>
                <Copyable text={made.userData} name="the user data" />
              </SpaceBetween>
            ),
          },
          {
            id: 'remove',
            label: 'Remove',
            content: (
              <SpaceBetween size="xs">
                <Box color="text-body-secondary">
                  Takes the agent off a machine again. Add <code>--purge</code> to remove its identity too.
                </Box>
                <Copyable text={made.uninstall} name="the command to remove" wrap />
              </SpaceBetween>
            ),
          },
        ]}
      />
      <ExpandableSection headerText="What it does" variant="footer">
        It fetches <code>/install/agent.sh</code> from this server, trusting the certificate in the line and no other, and gives it to a root shell with the activation in
        front: the code is no argument that other users of the machine could see{amazon ? " (AWS's agent itself takes it as one, for a moment)" : ''}. The script checks the
        SHA-256 of what it installs, registers the machine and starts the agent by systemd. Run again, it brings the agent up to date.
      </ExpandableSection>
      <div aria-live="polite">
        <Box variant="h4" margin={{ bottom: 'xs' }}>
          Machines that came by it ({come.length} of {made.limit})
        </Box>
        {come.map((n) => (
          <div key={n.id} className="arrival">
            <StatusIndicator type={n.connection === 'connected' ? 'success' : 'loading'}>
              {n.connection === 'connected' ? 'Connected' : 'Registered, connecting'}
            </StatusIndicator>
            <b>{n.name || '(no name)'}</b>
            <code>{n.id}</code>
            <Button variant="inline-link" disabled={n.connection !== 'connected'} onClick={() => startSession({ id: n.id, name: n.name })} ariaLabel={`Start session on ${n.name || n.id}`}>
              Start session
            </Button>
          </div>
        ))}
        {come.length < made.limit &&
          (over ? (
            <StatusIndicator type="stopped">The command has expired.</StatusIndicator>
          ) : (
            <StatusIndicator type="in-progress">{come.length === 0 ? 'Waiting for the machine: it appears here by itself' : 'Waiting for more'}</StatusIndicator>
          ))}
      </div>
    </SpaceBetween>
  )
}
