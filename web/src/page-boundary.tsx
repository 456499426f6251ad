// What is shown instead of a page that is loading or has failed.

import Alert from '@cloudscape-design/components/alert'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Spinner from '@cloudscape-design/components/spinner'
import { Component, Suspense, type ReactNode } from 'react'
import { t } from './i18n'
import { unreachable } from './lazy'
import { useStore } from './store'

function Loading() {
  const waiting = useStore(unreachable)
  return (
    <Box textAlign="center" padding="xxl">
      <Spinner size="large" />
      {waiting && <Box color="text-body-secondary">{t('error.unreachable')}</Box>}
    </Box>
  )
}

/** PageBoundary keeps the frame of the console when a page fails. */
export class PageBoundary extends Component<{ children: ReactNode }, { error: unknown }> {
  override state: { error: unknown } = { error: null }

  static getDerivedStateFromError(error: unknown) {
    return { error }
  }

  override render() {
    const { error } = this.state
    if (error === null) return <Suspense fallback={<Loading />}>{this.props.children}</Suspense>
    return (
      <Alert
        type="error"
        header={t('error.page')}
        action={<Button onClick={() => location.reload()}>{t('error.reload')}</Button>}
      >
        {error instanceof Error ? error.message : String(error)}
      </Alert>
    )
  }
}
