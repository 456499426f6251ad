// A button that opens a form for a new thing with a name.

import FormField from '@cloudscape-design/components/form-field'
import Input from '@cloudscape-design/components/input'
import { useState, type ReactNode } from 'react'
import { GuardedButton } from '../guarded-button'
import { t } from '../i18n'
import { FormModal } from './confirm'

interface Props {
  title: string
  /** The label of the name; "Name" when absent. */
  label?: string
  /** What the name is for or must look like. */
  description?: string
  size?: 'large'
  /** The actions that policy must allow. */
  needs: readonly string[]
  /** Fields after the name. */
  children?: ReactNode
  create: (name: string) => Promise<void>
  onCreated: () => void
}

/** CreateForm asks for a name, and for what its children ask. The fields are kept when it is closed. */
export function CreateForm(props: Props) {
  const [open, setOpen] = useState(false)
  const [name, setName] = useState('')
  return (
    <>
      <GuardedButton needs={props.needs} variant="primary" onClick={() => setOpen(true)}>
        {props.title}
      </GuardedButton>
      {open && (
        <FormModal
          size={props.size}
          title={props.title}
          action={t('common.create')}
          disabled={name.trim() === ''}
          onSubmit={async () => {
            await props.create(name.trim())
            props.onCreated()
          }}
          onClose={() => setOpen(false)}
        >
          <FormField label={props.label ?? t('common.name')} description={props.description}>
            <Input value={name} autoFocus spellcheck={false} onChange={(ev) => setName(ev.detail.value)} />
          </FormField>
          {props.children}
        </FormModal>
      )}
    </>
  )
}
