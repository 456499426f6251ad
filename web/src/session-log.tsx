// Where a session's log is: the versions of its object, and its stream as one
// page to read.

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
import { useCallback, useEffect, useState } from 'react'
import { CallError } from './api'
import { when } from './format'
import { readStream } from './log-groups'
import { bytes, plainLines, readable, type Line } from './log-text'
import { useNarrow } from './narrow'
import { Refusal } from './refusal'
import { listVersions, readObject, type Version } from './s3'
import type { Session } from './sessions'

/** How much of a log is read at a time, in bytes. */
const MOST = 1 << 20

/** SessionLog shows the logs that a session's node has written. */
export function SessionLog({ session }: { session: Session }) {
  if (session.object === null && session.stream === null) return null
  return (
    <SpaceBetween size="m">
      {session.undelivered !== '' && (
        <Alert type="warning" header="The session's log was not delivered">
          <span className="wrap">{session.undelivered}</span> The server's own recording is not touched by that.
        </Alert>
      )}
      {session.object !== null && <LogObject key={session.endedAt} bucket={session.object.bucket} objectKey={session.object.key} over={session.endedAt !== 0} />}
      {session.stream !== null && <LogStream key={session.endedAt} group={session.stream.group} stream={session.stream.stream} />}
    </SpaceBetween>
  )
}

function LogObject({ bucket, objectKey, over }: { bucket: string; objectKey: string; over: boolean }) {
  const [versions, setVersions] = useState<Version[] | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [shown, setShown] = useState<{ version: Version; lines: Line[]; more: boolean } | null>(null)
  const [busy, setBusy] = useState('')
  const narrow = useNarrow()
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
      setShown({ version: v, lines: plainLines(res === null ? '' : await res.text()).map((text) => ({ text })), more: v.size > MOST })
    })
  const download = (v: Version) =>
    doing(v, async () => {
      const url = URL.createObjectURL(await (await readObject(bucket, objectKey, v.id)).blob())
      const a = document.createElement('a')
      a.href = url
      a.download = objectKey.slice(objectKey.lastIndexOf('/') + 1)
      a.click()
      URL.revokeObjectURL(url)
    })
  const written = (versions ?? []).length
  return (
    <Container
      header={
        <Header variant="h2" description={<CopyToClipboard variant="inline" textToCopy={`s3://${bucket}/${objectKey}`} copySuccessText="Copied" copyErrorText="Not copied" />} actions={<Button iconName="refresh" ariaLabel="Look at the bucket again" onClick={load} />}>
          Log in the bucket
        </Header>
      }
    >
      <SpaceBetween size="m">
        {error !== null && <Refusal error={error} what={versions?.length === 0 ? 'The versions could not be listed' : 'The log could not be read'} />}
        {written > 1 && (
          <Alert type="warning" header={`It was written ${written} times`}>
            The oldest version was there first. What came after it stands in its place, and has not taken it away.
          </Alert>
        )}
        <Table
          variant="embedded"
          loading={versions === null}
          loadingText="Looking into the bucket"
          items={versions ?? []}
          trackBy="id"
          wrapLines={narrow}
          empty={error !== null ? null : <Box padding="s">{over ? 'There is no such object.' : 'It comes when the session ends.'}</Box>}
          columnDefinitions={[
            {
              id: 'written',
              header: 'Written',
              isRowHeader: true,
              cell: (v) => (
                <>
                  <span className="node-name">
                    {when(v.at)}
                    {v.latest && <Badge color={v.deleted ? 'red' : 'blue'}>{v.deleted ? 'deleted' : 'latest'}</Badge>}
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
                  { id: 'size', header: 'Size', cell: (v: Version) => (v.deleted ? '–' : bytes(v.size)) },
                  { id: 'version', header: 'Version', cell: (v: Version) => (v.id === 'null' ? <span className="faint">none is kept</span> : <code className="wrap">{v.id}</code>) },
                ]),
            {
              id: 'actions',
              header: 'Actions',
              minWidth: 120,
              cell: (v) =>
                v.deleted ? (
                  '–'
                ) : (
                  <SpaceBetween direction="horizontal" size="s">
                    <Button variant="inline-link" loading={busy === v.id} ariaLabel={`Read the version of ${when(v.at)}`} onClick={() => void read(v)}>
                      Read
                    </Button>
                    <Button variant="inline-link" ariaLabel={`Download the version of ${when(v.at)}`} onClick={() => void download(v)}>
                      Download
                    </Button>
                  </SpaceBetween>
                ),
            },
          ]}
        />
        {shown !== null && <Page title={`Version of ${when(shown.version.at)}`} lines={shown.lines} more={shown.more} />}
      </SpaceBetween>
    </Container>
  )
}

function LogStream({ group, stream }: { group: string; stream: string }) {
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
        <Header variant="h2" description={<span className="wrap">{`${group}, stream ${stream}`}</span>} actions={<Button iconName="refresh" ariaLabel="Read the stream again" onClick={load} />}>
          Log in the log group
        </Header>
      }
    >
      {busy && text === null ? (
        <StatusIndicator type="loading">Reading the stream</StatusIndicator>
      ) : absent ? (
        <Box>There is no such stream yet.</Box>
      ) : error !== null ? (
        <Refusal error={error} what="The stream could not be read" />
      ) : (
        text !== null && <Page title="What the session showed" lines={text.lines} more={text.more} />
      )}
    </Container>
  )
}

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' })

/** Page is a log to read. */
function Page({ title, lines, more }: { title: string; lines: Line[]; more: boolean }) {
  return (
    <div role="group" aria-label={title}>
      <Box variant="h4">{title}</Box>
      {lines.length === 0 ? (
        <Box color="text-body-secondary">It is empty.</Box>
      ) : (
        <div className="log-page" tabIndex={0}>
          {lines.map((l, i) => (
            <div key={i} className="log-line">
              {l.at !== undefined && (
                <time dateTime={new Date(l.at).toISOString()}>{i > 0 && lines[i - 1]!.at === l.at ? '' : clock.format(l.at)}</time>
              )}
              <span>{l.text}</span>
            </div>
          ))}
        </div>
      )}
      {more && <Box color="text-body-secondary">This is the first MiB of it.</Box>}
    </div>
  )
}
