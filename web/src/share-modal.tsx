// Sharing a recording: links that expire, and those that exist.

import Alert from '@cloudscape-design/components/alert'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import CopyToClipboard from '@cloudscape-design/components/copy-to-clipboard'
import FormField from '@cloudscape-design/components/form-field'
import Modal from '@cloudscape-design/components/modal'
import SegmentedControl from '@cloudscape-design/components/segmented-control'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useCallback, useEffect, useState } from 'react'
import { rights } from './access'
import { ownerName } from './format'
import { rich, t } from './i18n'
import { listLinks, revokeLink, shareRecording, type Link } from './links'
import { Refusal } from './refusal'
import { useStore } from './store'
import { When } from './time'

/** ShareButton opens the dialog, for users whose policies allow sharing. */
export function ShareButton({ session }: { session: string }) {
  const may = useStore(rights).get('sekisho:ShareSessionRecording')?.allowed === true
  const [open, setOpen] = useState(false)
  if (!may) return null
  return (
    <>
      <Button onClick={() => setOpen(true)} iconName="share">
        {t('share.open')}
      </Button>
      {open && <ShareModal session={session} onClose={() => setOpen(false)} />}
    </>
  )
}

const DURATIONS = [
  { id: '3600', key: 'duration.hour1' },
  { id: '86400', key: 'duration.day1' },
  { id: '604800', key: 'duration.days7' },
] as const

function ShareModal({ session, onClose }: { session: string; onClose: () => void }) {
  const [seconds, setSeconds] = useState('86400')
  const [address, setAddress] = useState('')
  const [error, setError] = useState<unknown>(null)
  const [links, setLinks] = useState<Link[]>([])
  const load = useCallback(() => listLinks(session).then(setLinks, () => setLinks([])), [session])
  useEffect(() => void load(), [load])
  const share = () => {
    setError(null)
    shareRecording(session, Number(seconds)).then((made) => {
      setAddress(made)
      void load()
    }, setError)
  }
  return (
    <Modal
      visible
      header={t('share.title')}
      onDismiss={onClose}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={onClose}>
              {t('common.close')}
            </Button>
            <Button variant="primary" onClick={share}>
              {t('share.create')}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="l">
        <Box color="text-body-secondary">{t('share.hint')}</Box>
        <FormField label={t('share.lasts')}>
          <SegmentedControl
            selectedId={seconds}
            label={t('share.lasts')}
            options={DURATIONS.map((d) => ({ id: d.id, text: t(d.key) }))}
            onChange={(ev) => setSeconds(ev.detail.selectedId)}
          />
        </FormField>
        {error !== null && <Refusal error={error} what={t('share.failed')} />}
        {address !== '' && <Made address={address} />}
        {links.length > 0 && <Links links={links} onRevoked={load} onError={setError} />}
      </SpaceBetween>
    </Modal>
  )
}

function Made({ address }: { address: string }) {
  return (
    <Alert type="success" header={t('share.made')}>
      <code className="wrap">{address}</code>{' '}
      <CopyToClipboard
        copyButtonText={t('common.copy')}
        copyButtonAriaLabel={t('share.copy')}
        textToCopy={address}
        copySuccessText={t('common.copied')}
        copyErrorText={t('common.notCopied')}
      />
    </Alert>
  )
}

function Links(props: { links: Link[]; onRevoked: () => Promise<void>; onError: (error: unknown) => void }) {
  return (
    <div>
      <Box variant="h3">{t('share.links')}</Box>
      <ul className="checklist">
        {props.links.map((l) => (
          <li key={l.id}>
            {rich('share.link', { user: <b>{ownerName(l.createdBy)}</b>, time: <When at={l.expiresAt} /> })}{' '}
            <Button
              variant="inline-link"
              ariaLabel={t('share.revokeOf', { user: ownerName(l.createdBy) })}
              onClick={() => void revokeLink(l.id).then(props.onRevoked, props.onError)}
            >
              {t('share.revoke')}
            </Button>
          </li>
        ))}
      </ul>
    </div>
  )
}
