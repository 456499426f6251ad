import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Modal from '@cloudscape-design/components/modal'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useState, type ReactNode } from 'react'
import { t } from '../i18n'
import { Refusal } from '../refusal'

/** Confirm asks before something is done. */
export function Confirm(props: {
  title: string
  action: string
  children: ReactNode
  onConfirm: () => void
  onCancel: () => void
}) {
  return (
    <Modal
      visible
      header={props.title}
      onDismiss={props.onCancel}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={props.onCancel}>
              {t('common.cancel')}
            </Button>
            <Button variant="primary" onClick={props.onConfirm}>
              {props.action}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      {props.children}
    </Modal>
  )
}

/** FormModal is a form in a dialog: it stays open, with everything in it, until it is saved or cancelled. */
export function FormModal(props: {
  title: string
  action: string
  size?: 'medium' | 'large' | 'max'
  disabled?: boolean
  children: ReactNode
  onSubmit: () => Promise<void>
  onClose: () => void
}) {
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const submit = async () => {
    if (busy || props.disabled) return
    setBusy(true)
    try {
      await props.onSubmit()
      props.onClose()
    } catch (err) {
      setError(err)
      setBusy(false)
    }
  }
  return (
    <Modal
      visible
      size={props.size}
      header={props.title}
      onDismiss={props.onClose}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={props.onClose}>
              {t('common.cancel')}
            </Button>
            <Button variant="primary" loading={busy} disabled={props.disabled} onClick={() => void submit()}>
              {props.action}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <form
        onSubmit={(ev) => {
          ev.preventDefault()
          void submit()
        }}
      >
        <SpaceBetween size="m">
          {props.children}
          {error !== null && <Refusal error={error} />}
        </SpaceBetween>
      </form>
    </Modal>
  )
}
