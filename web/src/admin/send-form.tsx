// The form that sends a command: a document, its parameters, and targets.

import FormField from '@cloudscape-design/components/form-field'
import Input from '@cloudscape-design/components/input'
import Multiselect from '@cloudscape-design/components/multiselect'
import SegmentedControl from '@cloudscape-design/components/segmented-control'
import Select from '@cloudscape-design/components/select'
import Textarea from '@cloudscape-design/components/textarea'
import { useEffect, useState } from 'react'
import { t } from '../i18n'
import { nodes } from '../nodes'
import { Refusal } from '../refusal'
import { useStore } from '../store'
import { FormModal } from './confirm'
import { useLoaded } from './resource-page'
import { describeDocument, listDocuments, sendCommand, type DocumentParameter, type Order } from './ssm'

const loadCommandDocuments = () => listDocuments('Command')

/** ParametersField has a field for each parameter of a document. */
function ParametersField(props: {
  parameters: DocumentParameter[]
  values: Record<string, string>
  onChange: (values: Record<string, string>) => void
}) {
  return props.parameters.map((p) => (
    <FormField key={p.Name} label={p.Name} description={p.Description} stretch>
      {p.Type === 'StringList' ? (
        <Textarea
          value={props.values[p.Name] ?? ''}
          placeholder={p.DefaultValue}
          rows={p.Name === 'commands' ? 5 : 2}
          spellcheck={false}
          onChange={(ev) => props.onChange({ ...props.values, [p.Name]: ev.detail.value })}
        />
      ) : (
        <Input
          value={props.values[p.Name] ?? ''}
          placeholder={p.DefaultValue}
          spellcheck={false}
          onChange={(ev) => props.onChange({ ...props.values, [p.Name]: ev.detail.value })}
        />
      )}
    </FormField>
  ))
}

/** useDocument is a document's description, once it is known. */
function useDocument(name: string) {
  const [found, setFound] = useState<{ name: string; parameters: DocumentParameter[] } | null>(null)
  const [error, setError] = useState<unknown>(null)
  useEffect(() => {
    let over = false
    describeDocument(name).then(
      (d) => {
        if (!over) setFound({ name, parameters: d.Parameters })
      },
      (err: unknown) => {
        if (!over) setError(err)
      },
    )
    return () => {
      over = true
    }
  }, [name])
  return { parameters: found?.name === name ? found.parameters : [], error }
}

/** SendForm sends a command. */
export function SendForm({ onSent, onClose }: { onSent: (id: string) => void; onClose: () => void }) {
  const documents = useLoaded(loadCommandDocuments)
  const [name, setName] = useState('AWS-RunShellScript')
  const { parameters, error } = useDocument(name)
  const [values, setValues] = useState<Record<string, string>>({})
  const [by, setBy] = useState('nodes')
  const [chosen, setChosen] = useState<string[]>([])
  const [tag, setTag] = useState({ key: '', value: '' })
  const [comment, setComment] = useState('')
  const known = useStore(nodes).nodes
  const send = async () => {
    const order: Order = { DocumentName: name }
    if (by === 'nodes') order.InstanceIds = chosen
    else order.Targets = [{ Key: `tag:${tag.key.trim()}`, Values: [tag.value.trim()] }]
    const filled = parameters.filter((p) => (values[p.Name] ?? '') !== '')
    if (filled.length > 0) {
      order.Parameters = Object.fromEntries(
        filled.map((p) => [p.Name, p.Type === 'StringList' ? values[p.Name]!.split('\n') : [values[p.Name]!]]),
      )
    }
    if (comment.trim() !== '') order.Comment = comment.trim()
    onSent(await sendCommand(order))
  }
  return (
    <FormModal
      size="large"
      title={t('commands.send')}
      action={t('commands.send')}
      disabled={by === 'nodes' ? chosen.length === 0 : tag.key.trim() === ''}
      onSubmit={send}
      onClose={onClose}
    >
      <FormField label={t('common.document')}>
        <Select
          selectedOption={{ value: name }}
          options={(documents.value ?? []).map((d) => ({ value: d.Name, description: d.Owner }))}
          filteringType="auto"
          onChange={(ev) => setName(ev.detail.selectedOption.value ?? name)}
        />
      </FormField>
      {error !== null && <Refusal error={error} />}
      <ParametersField parameters={parameters} values={values} onChange={setValues} />
      <FormField label={t('commands.targets')}>
        <SegmentedControl
          selectedId={by}
          label={t('commands.targets')}
          options={[
            { id: 'nodes', text: t('nav.nodes') },
            { id: 'tag', text: t('setup.byTag') },
          ]}
          onChange={(ev) => setBy(ev.detail.selectedId)}
        />
      </FormField>
      {by === 'nodes' ? (
        <FormField label={t('nav.nodes')}>
          <Multiselect
            selectedOptions={chosen.map((value) => ({
              value,
              label: known.find((n) => n.id === value)?.name || value,
            }))}
            options={known.map((n) => ({ value: n.id, label: n.name || n.id, description: n.id }))}
            filteringType="auto"
            onChange={(ev) => setChosen(ev.detail.selectedOptions.map((o) => o.value ?? ''))}
          />
        </FormField>
      ) : (
        <div className="pair">
          <FormField label={t('common.key')}>
            <Input value={tag.key} spellcheck={false} onChange={(ev) => setTag({ ...tag, key: ev.detail.value })} />
          </FormField>
          <FormField label={t('common.value')}>
            <Input value={tag.value} spellcheck={false} onChange={(ev) => setTag({ ...tag, value: ev.detail.value })} />
          </FormField>
        </div>
      )}
      <FormField label={t('commands.comment')}>
        <Input value={comment} onChange={(ev) => setComment(ev.detail.value)} />
      </FormField>
    </FormModal>
  )
}
