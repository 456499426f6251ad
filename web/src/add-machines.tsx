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
import { count, rich, t } from './i18n'

const LIVES = () => [
  { value: '3600', label: t('duration.hour1') },
  { value: '86400', label: t('duration.day1') },
  { value: '604800', label: t('duration.days7') },
  { value: '2592000', label: t('duration.days30') },
]

/** Copyable is a text in a box with a button that copies it. */
function Copyable({ text, name, wrap = false }: { text: string; name: string; wrap?: boolean }) {
  return (
    <div className={wrap ? 'command command-wrapped' : 'command'}>
      <pre>{text}</pre>
      <CopyToClipboard
        variant="icon"
        copyButtonAriaLabel={t('common.copyName', { name })}
        textToCopy={text}
        copySuccessText={t('common.copied')}
        copyErrorText={t('common.notCopied')}
      />
    </div>
  )
}

/** AddMachines words the line that makes a machine a node, and waits for it. */
export function AddMachines({ agents, ready }: { agents: Agent[] | undefined; ready: boolean }) {
  const [name, setName] = useState('')
  const [limit, setLimit] = useState('1')
  const [life, setLife] = useState('86400')
  const [kind, setKind] = useState<Order['NodeIdType']>('managed-instance')
  const [agent, setAgent] = useState<Order['Agent']>('sekisho')
  const [pack, setPack] = useState('')
  const [sum, setSum] = useState('')
  const [tags, setTags] = useState<readonly Tag[]>([])
  const [made, setMade] = useState<InstallCommand | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)

  const machines = /^[0-9]{1,4}$/.test(limit) ? Number(limit) : 0
  const countError = machines >= 1 && machines <= 1000 ? '' : t('add.countError')
  const missing = (agents ?? []).filter((a) => !a.Available).map((a) => a.Architecture)
  const none = agents !== undefined && missing.length === agents.length

  const create = async () => {
    setBusy(true)
    setError(null)
    const order: Order = {
      RegistrationLimit: machines,
      ExpirationDate: Math.floor(Date.now() / 1000) + Number(life) - (life === '2592000' ? 60 : 0),
      NodeIdType: kind,
      Agent: agent,
      Tags: tags.filter((tag) => tag.Key.trim() !== '').map((tag) => ({ Key: tag.Key.trim(), Value: tag.Value })),
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
        <Header variant="h2" description={t('add.description')}>
          {t('add.title')}
        </Header>
      }
      footer={
        made === null ? (
          <Button
            variant="primary"
            loading={busy}
            disabled={countError !== '' || !ready || (agent === 'sekisho' && none)}
            onClick={() => void create()}
          >
            {t('add.create')}
          </Button>
        ) : (
          <Button onClick={() => setMade(null)}>{t('add.createAnother')}</Button>
        )
      }
    >
      {made !== null ? (
        <Made made={made} amazon={agent === 'amazon'} both={agent === 'amazon' || missing.length === 0} />
      ) : (
        <SpaceBetween size="l">
          {!ready && <Alert type="info">{t('add.rolesFirst')}</Alert>}
          <Tiles
            value={agent}
            ariaLabel={t('common.agent')}
            columns={2}
            items={[
              { value: 'sekisho', label: t('add.sekishoAgent'), description: t('add.sekishoAgentHint') },
              { value: 'amazon', label: t('add.awsAgent'), description: t('add.awsAgentHint') },
            ]}
            onChange={(ev) => setAgent(ev.detail.value as Order['Agent'])}
          />
          {agent === 'sekisho' && agents !== undefined && (
            <SpaceBetween size="m" direction="horizontal">
              {agents.map((a) => (
                <StatusIndicator key={a.Architecture} type={a.Available ? 'success' : 'warning'}>
                  {a.Available
                    ? t('add.offered', { architecture: a.Architecture })
                    : t('add.notOffered', { architecture: a.Architecture })}
                </StatusIndicator>
              ))}
            </SpaceBetween>
          )}
          {agent === 'sekisho' && missing.length > 0 && (
            <Box color="text-body-secondary">
              {none ? t('add.noAgent') : ''}
              {rich('add.missing', {
                files: missing.map((a, i) => (
                  <span key={a}>
                    {i > 0 && t('common.and')}
                    <code>sekisho-agent-linux-{a}</code>
                  </span>
                )),
                server: <code>sekishod</code>,
              })}
            </Box>
          )}
          {agent === 'amazon' && <PackageFields pack={pack} sum={sum} onPack={setPack} onSum={setSum} />}
          <div className="pair">
            <FormField
              label={
                <>
                  {t('common.name')} <i>{t('common.optional')}</i>
                </>
              }
              description={t('add.nameHint')}
            >
              <Input value={name} placeholder="web" onChange={(ev) => setName(ev.detail.value)} />
            </FormField>
            <FormField label={t('add.ids')} description={t('add.idsHint')}>
              <Select
                selectedOption={KINDS().find((k) => k.value === kind)!}
                options={KINDS()}
                onChange={(ev) => setKind(ev.detail.selectedOption.value as Order['NodeIdType'])}
                ariaLabel={t('add.ids')}
              />
            </FormField>
            <FormField label={t('add.count')} description={t('add.countHint')} errorText={countError}>
              <Input value={limit} inputMode="numeric" onChange={(ev) => setLimit(ev.detail.value)} />
            </FormField>
            <FormField label={t('add.validFor')} description={t('add.validForHint')}>
              <Select
                selectedOption={LIVES().find((l) => l.value === life)!}
                options={LIVES()}
                onChange={(ev) => setLife(ev.detail.selectedOption.value!)}
                ariaLabel={t('add.validFor')}
              />
            </FormField>
          </div>
          <TagsField tags={tags} name={name} onChange={setTags} />
          {error !== null && <Refusal error={error} />}
        </SpaceBetween>
      )}
    </Container>
  )
}

function PackageFields(props: {
  pack: string
  sum: string
  onPack: (value: string) => void
  onSum: (value: string) => void
}) {
  const { pack, sum } = props
  return (
    <div className="pair">
      <FormField
        label={
          <>
            {t('common.package')} <i>{t('common.optional')}</i>
          </>
        }
        description={t('add.packageHint')}
      >
        <Input
          value={pack}
          spellcheck={false}
          placeholder="https://…/amazon-ssm-agent.deb"
          onChange={(ev) => props.onPack(ev.detail.value)}
        />
      </FormField>
      <FormField label={t('add.packageSum')} description={t('add.packageSumHint')}>
        <Input
          value={sum}
          spellcheck={false}
          disabled={pack.trim() === ''}
          onChange={(ev) => props.onSum(ev.detail.value)}
        />
      </FormField>
    </div>
  )
}

function TagsField({
  tags,
  name,
  onChange: setTags,
}: {
  tags: readonly Tag[]
  name: string
  onChange: (tags: Tag[]) => void
}) {
  return (
    <FormField label={t('common.tags')} description={t('add.tagsHint')} stretch>
      <AttributeEditor
        items={tags}
        addButtonText={tags.length === 0 ? t('tags.add') : t('tags.addAnother')}
        removeButtonText={t('common.remove')}
        empty={
          <Button variant="inline-link" onClick={() => setTags([{ Key: 'Hostname', Value: name.trim() }])}>
            {t('add.hostnameTag')}
          </Button>
        }
        disableAddButton={tags.length >= 50}
        onAddButtonClick={() => setTags([...tags, { Key: '', Value: '' }])}
        onRemoveButtonClick={(ev) => setTags(tags.filter((_, i) => i !== ev.detail.itemIndex))}
        definition={[
          {
            label: t('common.key'),
            control: (tag, i) => (
              <Input
                value={tag.Key}
                ariaLabel={t('tags.keyOf', { number: i + 1 })}
                onChange={(ev) => setTags(tags.map((x, j) => (j === i ? { ...x, Key: ev.detail.value } : x)))}
              />
            ),
          },
          {
            label: t('common.value'),
            control: (tag, i) => (
              <Input
                value={tag.Value}
                ariaLabel={t('tags.valueOf', { number: i + 1 })}
                onChange={(ev) => setTags(tags.map((x, j) => (j === i ? { ...x, Value: ev.detail.value } : x)))}
              />
            ),
          },
        ]}
      />
    </FormField>
  )
}

const KINDS = () => [
  { value: 'managed-instance', label: t('add.idManaged') },
  { value: 'instance', label: t('add.idInstance') },
]

/** Made shows the command, and the machines that were added with it. */
function Made({ made, amazon, both }: { made: InstallCommand; amazon: boolean; both: boolean }) {
  const come = useStore(nodes).nodes.filter((n) => n.activationId === made.activationId)
  const now = useNow()
  const over = now >= made.expires
  return (
    <SpaceBetween size="m">
      <Alert type="warning">{count('add.secret', made.limit, { time: when(made.expires) })}</Alert>
      <Tabs
        tabs={[
          {
            id: 'line',
            label: t('common.command'),
            content: (
              <SpaceBetween size="xs">
                <Box color="text-body-secondary">{both ? t('add.runHintBoth') : t('add.runHint')}</Box>
                <Copyable text={made.command} name={t('add.theCommand')} wrap />
              </SpaceBetween>
            ),
          },
          {
            id: 'cloud-init',
            label: 'cloud-init',
            content: (
              <SpaceBetween size="xs">
                <Box color="text-body-secondary">{t('add.userDataHint')}</Box>
                <Copyable text={made.userData} name={t('add.theUserData')} />
              </SpaceBetween>
            ),
          },
          {
            id: 'remove',
            label: t('common.remove'),
            content: (
              <SpaceBetween size="xs">
                <Box color="text-body-secondary">{rich('add.removeHint', { flag: <code>--purge</code> })}</Box>
                <Copyable text={made.uninstall} name={t('add.theRemoveCommand')} wrap />
              </SpaceBetween>
            ),
          },
        ]}
      />
      <ExpandableSection headerText={t('add.whatItDoes')} variant="footer">
        {rich('add.explain', { script: <code>/install/agent.sh</code> })} {amazon && t('add.explainAws')}
      </ExpandableSection>
      <div aria-live="polite">
        <Box variant="h4" margin={{ bottom: 'xs' }}>
          {t('add.arrived', { count: come.length, limit: made.limit })}
        </Box>
        {come.map((n) => (
          <div key={n.id} className="arrival">
            <StatusIndicator type={n.connection === 'connected' ? 'success' : 'loading'}>
              {n.connection === 'connected' ? t('state.connected') : t('add.registering')}
            </StatusIndicator>
            <b>{n.name || t('common.noName')}</b>
            <code>{n.id}</code>
            <Button
              variant="inline-link"
              disabled={n.connection !== 'connected'}
              onClick={() => startSession({ id: n.id, name: n.name })}
              ariaLabel={t('nodes.startOn', { node: n.name || n.id })}
            >
              {t('nodes.start')}
            </Button>
          </div>
        ))}
        {come.length < made.limit &&
          (over ? (
            <StatusIndicator type="stopped">{t('add.expired')}</StatusIndicator>
          ) : (
            <StatusIndicator type="in-progress">
              {come.length === 0 ? t('add.waiting') : t('add.waitingMore')}
            </StatusIndicator>
          ))}
      </div>
    </SpaceBetween>
  )
}
