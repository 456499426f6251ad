// The log of a session: the versions of its object, and its log stream as text.

import Alert from '@cloudscape-design/components/alert'
import Badge from '@cloudscape-design/components/badge'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Container from '@cloudscape-design/components/container'
import CopyToClipboard from '@cloudscape-design/components/copy-to-clipboard'
import Header from '@cloudscape-design/components/header'
import SpaceBetween from '@cloudscape-design/components/space-between'
import StatusIndicator from '@cloudscape-design/components/status-indicator'
import Table from '@cloudscape-design/components/table'
import { useCallback, useEffect, useState, type ReactNode } from 'react'
import { CallError } from './api'
import { formatTime, utc, when } from './format'
import { readStream } from './log-groups'
import { bytes, plainLines, readable, type Line } from './log-text'
import { useNarrow } from './narrow'
import { Refusal } from './refusal'
import { listVersions, readObject, type Version } from './s3'
import type { Session } from './sessions'
import { t } from './i18n'
import { saveFile } from './save-file'
import { When } from './time'

/** How much of a log is read at a time, in bytes. */
const MOST = 1 << 20

/** SessionLog shows the logs that a session's node has written. */
export function SessionLog({ session }: { session: Session }) {
  if (session.object === null && session.stream === null) return null
  return (
    <SpaceBetween size="m">
      {session.undelivered !== '' && (
        <Alert type="warning" header={t('log.undelivered')}>
          <span className="wrap">{session.undelivered}</span> {t('log.undeliveredHint')}
        </Alert>
      )}
      {session.object !== null && (
        <LogObject
          key={session.endedAt}
          bucket={session.object.bucket}
          objectKey={session.object.key}
          over={session.endedAt !== 0}
        />
      )}
      {session.stream !== null && (
        <LogStream key={session.endedAt} group={session.stream.group} stream={session.stream.stream} />
      )}
    </SpaceBetween>
  )
}

function LogObject({ bucket, objectKey, over }: { bucket: string; objectKey: string; over: boolean }) {
  const [versions, setVersions] = useState<Version[] | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [shown, setShown] = useState<{ version: Version; lines: Line[]; more: boolean } | null>(null)
  const [busy, setBusy] = useState('')
  const load = useCallback(() => {
    listVersions(bucket, objectKey).then(
      (v) => {
        setVersions(v)
        setError(null)
      },
      (err: unknown) => {
        setVersions([])
        setError(err)
      },
    )
  }, [bucket, objectKey])
  useEffect(load, [load])

  const doing = async (v: Version, what: () => Promise<void>) => {
    setBusy(v.id)
    try {
      await what()
      setError(null)
    } catch (err) {
      setError(err)
    }
    setBusy('')
  }
  const read = (v: Version) =>
    doing(v, async () => {
      // An empty object has no first byte to ask for.
      const res = v.size === 0 ? null : await readObject(bucket, objectKey, v.id, MOST)
      setShown({
        version: v,
        lines: plainLines(res === null ? '' : await res.text()).map((text) => ({ text })),
        more: v.size > MOST,
      })
    })
  const download = (v: Version) =>
    doing(v, async () => {
      const content = await (await readObject(bucket, objectKey, v.id)).blob()
      saveFile(objectKey.slice(objectKey.lastIndexOf('/') + 1), content)
    })
  const written = (versions ?? []).length
  return (
    <Container
      header={
        <Header
          variant="h2"
          description={
            <CopyToClipboard
              variant="inline"
              copyButtonAriaLabel={t('common.copy')}
              textToCopy={`s3://${bucket}/${objectKey}`}
              copySuccessText={t('common.copied')}
              copyErrorText={t('common.notCopied')}
            />
          }
          actions={<Button iconName="refresh" ariaLabel={t('log.refreshBucket')} onClick={load} />}
        >
          {t('log.bucketTitle')}
        </Header>
      }
    >
      <SpaceBetween size="m">
        {error !== null && (
          <Refusal error={error} what={versions?.length === 0 ? t('log.versionsFailed') : t('log.readFailed')} />
        )}
        {written > 1 && (
          <Alert type="warning" header={t('log.overwritten', { count: written })}>
            {t('log.overwrittenHint')}
          </Alert>
        )}
        <VersionTable
          versions={versions}
          empty={error !== null ? null : <Box padding="s">{over ? t('log.noObject') : t('log.notYet')}</Box>}
          busy={busy}
          onRead={(v) => void read(v)}
          onDownload={(v) => void download(v)}
        />
        {shown !== null && (
          <Page title={t('log.versionOf', { time: when(shown.version.at) })} lines={shown.lines} more={shown.more} />
        )}
      </SpaceBetween>
    </Container>
  )
}

function VersionTable(props: {
  versions: Version[] | null
  empty: ReactNode
  busy: string
  onRead: (v: Version) => void
  onDownload: (v: Version) => void
}) {
  const narrow = useNarrow()
  return (
    <Table
      variant="embedded"
      loading={props.versions === null}
      loadingText={t('log.listing')}
      items={props.versions ?? []}
      trackBy="id"
      wrapLines={narrow}
      empty={props.empty}
      columnDefinitions={[
        {
          id: 'written',
          header: t('log.written'),
          isRowHeader: true,
          cell: (v) => (
            <>
              <span className="node-name">
                <When at={v.at} />
                {v.latest && (
                  <Badge color={v.deleted ? 'red' : 'blue'}>
                    {v.deleted ? t('buckets.deleted') : t('buckets.latest')}
                  </Badge>
                )}
              </span>
              {narrow && (
                <span className="under faint wrap">
                  {v.deleted ? '' : `${bytes(v.size)}, `}
                  <code>{v.id}</code>
                </span>
              )}
            </>
          ),
        },
        ...(narrow
          ? []
          : [
              { id: 'size', header: t('common.size'), cell: (v: Version) => (v.deleted ? '–' : bytes(v.size)) },
              {
                id: 'version',
                header: t('common.version'),
                cell: (v: Version) =>
                  v.id === 'null' ? (
                    <span className="faint">{t('log.unversioned')}</span>
                  ) : (
                    <code className="wrap">{v.id}</code>
                  ),
              },
            ]),
        {
          id: 'actions',
          header: t('common.actions'),
          minWidth: 120,
          cell: (v) =>
            v.deleted ? (
              '–'
            ) : (
              <SpaceBetween direction="horizontal" size="s">
                <Button
                  variant="inline-link"
                  loading={props.busy === v.id}
                  ariaLabel={t('log.readVersion', { time: when(v.at) })}
                  onClick={() => props.onRead(v)}
                >
                  {t('log.read')}
                </Button>
                <Button
                  variant="inline-link"
                  ariaLabel={t('log.downloadVersion', { time: when(v.at) })}
                  onClick={() => props.onDownload(v)}
                >
                  {t('common.download')}
                </Button>
              </SpaceBetween>
            ),
        },
      ]}
    />
  )
}

/** LogStream shows a log stream as text. */
export function LogStream({ group, stream }: { group: string; stream: string }) {
  const [text, setText] = useState<{ lines: Line[]; more: boolean } | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(true)
  const load = useCallback(() => {
    setBusy(true)
    readStream(group, stream, MOST)
      .then(
        (r) => {
          setText({ lines: readable(r.events), more: r.more })
          setError(null)
        },
        (err: unknown) => setError(err),
      )
      .finally(() => setBusy(false))
  }, [group, stream])
  useEffect(load, [load])
  const absent = error instanceof CallError && error.code === 'ResourceNotFoundException'
  return (
    <Container
      header={
        <Header
          variant="h2"
          description={<span className="wrap">{t('log.stream', { group, stream })}</span>}
          actions={<Button iconName="refresh" ariaLabel={t('log.refreshStream')} onClick={load} />}
        >
          {t('log.streamTitle')}
        </Header>
      }
    >
      {busy && text === null ? (
        <StatusIndicator type="loading">{t('log.reading')}</StatusIndicator>
      ) : absent ? (
        <Box>{t('log.noStream')}</Box>
      ) : error !== null ? (
        <Refusal error={error} what={t('log.streamFailed')} />
      ) : (
        text !== null && <Page title={t('log.output')} lines={text.lines} more={text.more} />
      )}
    </Container>
  )
}

/** Page shows the lines of a log. */
function Page({ title, lines, more }: { title: string; lines: Line[]; more: boolean }) {
  return (
    <div role="group" aria-label={title}>
      <Box variant="h4">{title}</Box>
      {lines.length === 0 ? (
        <Box color="text-body-secondary">{t('log.empty')}</Box>
      ) : (
        <div className="log-page" tabIndex={0}>
          {lines.map((l, i) => (
            <div key={i} className="log-line">
              {l.at !== undefined && (
                <time dateTime={new Date(l.at).toISOString()} title={utc(l.at)}>
                  {i > 0 && lines[i - 1]!.at === l.at ? '' : formatTime(l.at, { timeStyle: 'medium' })}
                </time>
              )}
              <span>{l.text}</span>
            </div>
          ))}
        </div>
      )}
      {more && <Box color="text-body-secondary">{t('log.truncated')}</Box>}
    </div>
  )
}
