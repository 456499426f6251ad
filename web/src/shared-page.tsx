// A recording that somebody has shared by a link. The link's token is in the fragment of the address,
// which browsers do not send.

import Alert from '@cloudscape-design/components/alert'
import Header from '@cloudscape-design/components/header'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useMemo, useState } from 'react'
import { t } from './i18n'
import { Player } from './player'
import { sharedRecording } from './recordings'
import type { PageProps } from './routes'

const ignore = () => {}

/** SharedPage plays the recording that a link shows. */
export default function SharedPage({ params }: PageProps) {
  const id = params[0] ?? ''
  const [token] = useState(() => location.hash.slice(1))
  const source = useMemo(() => sharedRecording(id, token), [id, token])
  return (
    <SpaceBetween size="m">
      <Header variant="h1" description={t('share.shown')}>
        {t('replay.title')}
      </Header>
      {token === '' ? (
        <Alert type="error">{t('share.noToken')}</Alert>
      ) : (
        <Player source={source} fromNow={false} joinable={false} onSealed={ignore} />
      )}
    </SpaceBetween>
  )
}
