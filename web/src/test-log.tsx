// A test log, which the signed-in user sends to the destinations of session logs
// and reads back.

import Alert from '@cloudscape-design/components/alert'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import SpaceBetween from '@cloudscape-design/components/space-between'
import StatusIndicator from '@cloudscape-design/components/status-indicator'
import { useState } from 'react'
import { readStream, writeTestEvent } from './log-groups'
import { Refusal } from './refusal'
import { readObject, s3 } from './s3'
import { count, t } from './i18n'

interface Outcome {
  place: string
  error?: unknown
  facts?: string[]
}

const stamp = () => new Date().toISOString().replace(/[-:]|\.\d+/g, '')

async function toBucket(bucket: string, prefix: string, text: string, name: string): Promise<Outcome> {
  const key = [...prefix.split('/').filter((p) => p !== ''), `${name}.log`].join('/')
  const place = `s3://${bucket}/${key}`
  try {
    const put = await s3('PUT', [bucket, key], '', {
      body: text,
      headers: { 'Content-Type': 'text/plain; charset=utf-8' },
    })
    const facts = [count('test.bytes', new Blob([text]).size)]
    const version = put.headers.get('X-Amz-Version-Id')
    facts.push(version === null ? t('test.unversioned') : t('test.version', { version }))
    const sealed = put.headers.get('X-Amz-Server-Side-Encryption')
    if (sealed !== null) facts.push(t('test.encrypted', { algorithm: sealed }))
    const back = await readObject(bucket, key, version ?? '').then(
      async (res) => ((await res.text()) === text ? t('test.same') : t('test.different')),
      (err: unknown) => t('test.notRead', { message: err instanceof Error ? err.message : String(err) }),
    )
    return { place, facts: [...facts, back] }
  } catch (error) {
    return { place, error }
  }
}

async function toGroup(group: string, text: string, stream: string): Promise<Outcome> {
  const place = t('test.group', { group, stream })
  try {
    await writeTestEvent(group, stream, text)
    const back = await readStream(group, stream, 1000).then(
      (r) => (r.events[0]?.message === text ? t('test.same') : t('test.different')),
      (err: unknown) => t('test.notRead', { message: err instanceof Error ? err.message : String(err) }),
    )
    return { place, facts: [t('test.event'), back] }
  } catch (error) {
    return { place, error }
  }
}

/** TestLog is the button that sends a test log, and the results. */
export function TestLog({ bucket, prefix, group }: { bucket: string; prefix: string; group: string }) {
  const [busy, setBusy] = useState(false)
  const [outcomes, setOutcomes] = useState<Outcome[]>([])
  const send = async () => {
    setBusy(true)
    const name = `sekisho-test-${stamp()}`
    const text = 'A test of where logs of sessions go, sent from the preferences page.'
    const sent: Promise<Outcome>[] = []
    if (bucket !== '') sent.push(toBucket(bucket, prefix, text, name))
    if (group !== '') sent.push(toGroup(group, text, name))
    setOutcomes(await Promise.all(sent))
    setBusy(false)
  }
  return (
    <SpaceBetween size="s">
      <SpaceBetween size="xs" direction="horizontal" alignItems="center">
        <Button loading={busy} disabled={bucket === '' && group === ''} onClick={() => void send()}>
          {t('test.send')}
        </Button>
        <Box color="text-body-secondary" fontSize="body-s">
          {t('test.sendHint')}
        </Box>
      </SpaceBetween>
      <div aria-live="polite">
        <SpaceBetween size="s">
          {outcomes.map((o) =>
            o.error === undefined ? (
              <Alert key={o.place} type="success" header={t('test.arrived')}>
                <code className="wrap">{o.place}</code>
                <div>
                  <StatusIndicator type="success">{o.facts?.join(', ')}</StatusIndicator>
                </div>
              </Alert>
            ) : (
              <Refusal key={o.place} error={o.error} what={t('test.failed', { place: o.place })} />
            ),
          )}
        </SpaceBetween>
      </div>
    </SpaceBetween>
  )
}
