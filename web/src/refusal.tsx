// A refusal: what it means, and the server's own words, which people search for and which an
// administrator needs in order to help.

import Alert from '@cloudscape-design/components/alert'
import Box from '@cloudscape-design/components/box'
import type { ReactNode } from 'react'
import { CallError } from './api'
import { language, t } from './i18n'
import { knownText, serverText } from './refusal-text'
import { useStore } from './store'

/** Refusal shows an error with its code, its message and its request ID. */
export function Refusal(props: { error: unknown; what?: string; action?: ReactNode }) {
  const { error } = props
  // The server's sentences are English; where the catalogue has no text they stand alone.
  const known = useStore(language) === 'en' ? null : knownText(error)
  const code = error instanceof CallError ? error.code : t('common.error')
  return (
    <Alert type="error" header={props.what === undefined ? code : `${props.what}: ${code}`} action={props.action}>
      {known !== null && <div>{known}</div>}
      <div
        className={known === null ? 'refusal-message' : 'refusal-message faint'}
        lang={known === null ? undefined : 'en'}
      >
        {serverText(error)}
      </div>
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
