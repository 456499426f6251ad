// An error, shown in full: users search for its text, and administrators need it
// to help.

import Alert from '@cloudscape-design/components/alert'
import Box from '@cloudscape-design/components/box'
import type { ReactNode } from 'react'
import { CallError } from './api'
import { t } from './i18n'

/** Refusal shows an error with its code, its message and its request ID. */
export function Refusal(props: { error: unknown; what?: string; action?: ReactNode }) {
  const { error } = props
  const code = error instanceof CallError ? error.code : t('common.error')
  const message = error instanceof Error ? error.message : String(error)
  return (
    <Alert type="error" header={props.what === undefined ? code : `${props.what}: ${code}`} action={props.action}>
      <div className="refusal-message">{message}</div>
      {error instanceof CallError && error.requestId !== '' && (
        <Box variant="small" color="text-body-secondary">
          {t('common.requestId')} <code>{error.requestId}</code>
        </Box>
      )}
    </Alert>
  )
}

/** NotLoaded is what an empty list says when it could not be loaded: not that there is nothing. */
export function NotLoaded() {
  return <Box padding="l">{t('common.notLoaded')}</Box>
}
