// The versions of the preferences, and what differs between them.

import Badge from '@cloudscape-design/components/badge'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Container from '@cloudscape-design/components/container'
import Header from '@cloudscape-design/components/header'
import Select from '@cloudscape-design/components/select'
import SpaceBetween from '@cloudscape-design/components/space-between'
import Table from '@cloudscape-design/components/table'
import { useEffect, useState } from 'react'
import { ownerName, when } from './format'
import { useNarrow } from './narrow'
import { differences, readVersion, makeDefault, type Change, type Loaded, type Saved } from './preferences'
import { Refusal } from './refusal'
import { t } from './i18n'

/** PreferencesVersions lists who saved what, and when. */
export function PreferencesVersions({ loaded, onChanged }: { loaded: Loaded; onChanged: () => Promise<void> }) {
  const { versions } = loaded
  const [picked, setPicked] = useState(versions[0]!.number)
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState('')
  const latest = versions[0]!.number
  useEffect(() => setPicked(latest), [latest])
  const again = async (number: string) => {
    setBusy(number)
    try {
      await makeDefault(number)
      setError(null)
      await onChanged()
    } catch (err) {
      setError(err)
    }
    setBusy('')
  }
  const narrow = useNarrow()
  const who = (v: Saved) => (v.author === '' ? '–' : <span title={v.author}>{ownerName(v.author)}</span>)
  const mayChoose = !loaded.missing.has('ssm:UpdateDocumentDefaultVersion')
  return (
    <Container
      header={
        <Header variant="h2" counter={`(${versions.length})`}>
          {t('versions.title')}
        </Header>
      }
    >
      <SpaceBetween size="l">
        {error !== null && <Refusal error={error} what={t('versions.failed')} />}
        <Table
          variant="embedded"
          items={versions}
          trackBy="number"
          wrapLines={narrow}
          columnDefinitions={[
            {
              id: 'number',
              header: t('common.version'),
              isRowHeader: true,
              cell: (v) => (
                <>
                  <span className="node-name">
                    {v.number}
                    {v.inForce && <Badge color="green">{t('versions.inForce')}</Badge>}
                  </span>
                  {narrow && (
                    <span className="under faint">
                      {who(v)}, {when(v.at)}
                    </span>
                  )}
                </>
              ),
            },
            ...(narrow
              ? []
              : [
                  { id: 'who', header: t('versions.savedBy'), cell: who },
                  { id: 'when', header: t('versions.saved'), cell: (v: Saved) => when(v.at) },
                ]),
            {
              id: 'actions',
              header: t('common.actions'),
              cell: (v) => (
                <SpaceBetween direction="horizontal" size="s">
                  <Button
                    formAction="none"
                    variant="inline-link"
                    ariaLabel={t('versions.show', { version: v.number })}
                    onClick={() => setPicked(v.number)}
                  >
                    {t('versions.changes')}
                  </Button>
                  {!v.inForce && mayChoose && (
                    <Button
                      formAction="none"
                      variant="inline-link"
                      loading={busy === v.number}
                      ariaLabel={t('versions.restore', { version: v.number })}
                      onClick={() => void again(v.number)}
                    >
                      {t('versions.makeDefault')}
                    </Button>
                  )}
                </SpaceBetween>
              ),
            },
          ]}
        />
        <Differences key={picked} after={picked} loaded={loaded} />
      </SpaceBetween>
    </Container>
  )
}

const nothing = <span className="faint">–</span>
const old = (c: Change) => (c.before === '' ? nothing : <del className="wrap removed">{c.before}</del>)
const fresh = (c: Change) => (c.after === '' ? nothing : <ins className="wrap added">{c.after}</ins>)

function Differences({ after, loaded }: { after: string; loaded: Loaded }) {
  const numbers = loaded.versions.map((v) => v.number)
  const [before, setBefore] = useState(numbers[numbers.indexOf(after) + 1] ?? '')
  const [list, setList] = useState<Change[] | null>(null)
  const [error, setError] = useState<unknown>(null)
  const narrow = useNarrow()
  useEffect(() => {
    let over = false
    setList(null)
    Promise.all([before === '' ? null : readVersion(before), readVersion(after)]).then(
      ([a, b]) => {
        if (!over) setList(differences(a, b ?? '{}'))
      },
      (err: unknown) => {
        if (!over) setError(err)
      },
    )
    return () => {
      over = true
    }
  }, [before, after])
  if (error !== null) return <Refusal error={error} what={t('versions.compareFailed')} />
  const options = [
    { value: '', label: t('versions.nothing') },
    ...numbers.filter((n) => n !== after).map((n) => ({ value: n, label: t('versions.version', { version: n }) })),
  ]
  return (
    <Table
      variant="embedded"
      header={
        <Header
          variant="h3"
          actions={
            <Select
              ariaLabel={t('versions.compareWith')}
              selectedOption={options.find((o) => o.value === before) ?? options[0]!}
              options={options}
              onChange={(ev) => setBefore(ev.detail.selectedOption.value ?? '')}
            />
          }
        >
          {t('versions.comparedWith', { version: after })}
        </Header>
      }
      loading={list === null}
      loadingText={t('versions.comparing')}
      items={list ?? []}
      trackBy="setting"
      wrapLines
      empty={<Box padding="s">{t('versions.same')}</Box>}
      columnDefinitions={
        narrow
          ? [
              {
                id: 'all',
                header: t('common.setting'),
                isRowHeader: true,
                cell: (c) => (
                  <>
                    <code className="wrap">{c.setting}</code>
                    <span className="under">
                      {old(c)} → {fresh(c)}
                    </span>
                  </>
                ),
              },
            ]
          : [
              {
                id: 'setting',
                header: t('common.setting'),
                cell: (c) => <code className="wrap">{c.setting}</code>,
                isRowHeader: true,
              },
              { id: 'before', header: t('versions.before'), cell: old },
              { id: 'after', header: t('versions.after'), cell: fresh },
            ]
      }
    />
  )
}
