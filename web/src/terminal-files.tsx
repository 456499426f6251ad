// Copying files to the node of a terminal and from it.

import Alert from '@cloudscape-design/components/alert'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import FileInput from '@cloudscape-design/components/file-input'
import FormField from '@cloudscape-design/components/form-field'
import Header from '@cloudscape-design/components/header'
import Input from '@cloudscape-design/components/input'
import Modal from '@cloudscape-design/components/modal'
import ProgressBar from '@cloudscape-design/components/progress-bar'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useEffect, useState, type DragEvent, type ReactNode } from 'react'
import { cancelCopy, clearFinished, copies, download, mayCopy, MOST_BYTES, upload, type Copy } from './copies'
import { CopyError } from './copy-protocol'
import { t, type PlainKey } from './i18n'
import { bytes } from './log-text'
import { errorText } from './refusal-text'
import { useStore } from './store'
import type { Target } from './workspace'

/** useMayCopy says whether policy allows copies to and from a node; undefined while that is unknown. */
export function useMayCopy(node: string): boolean | undefined {
  const [may, setMay] = useState<boolean>()
  useEffect(() => {
    let over = false
    mayCopy(node).then(
      (answer) => {
        if (!over) setMay(answer)
      },
      () => {}, // starting a copy says what is wrong
    )
    return () => {
      over = true
    }
  }, [node])
  return may
}

const hasFiles = (ev: DragEvent) => ev.dataTransfer.types.includes('Files')

/** DropZone uploads files that are dropped on a terminal, after asking for the folder. */
export function DropZone(props: { target: Target; allowed: boolean | undefined; children: ReactNode }) {
  const [over, setOver] = useState(false)
  const [dropped, setDropped] = useState<File[]>([])
  return (
    <div
      className="terminal-drop"
      onDragOver={(ev) => {
        if (!hasFiles(ev)) return
        ev.preventDefault()
        setOver(true)
      }}
      onDragLeave={(ev) => {
        if (!ev.currentTarget.contains(ev.relatedTarget as Node | null)) setOver(false)
      }}
      onDrop={(ev) => {
        setOver(false)
        if (!hasFiles(ev)) return
        ev.preventDefault()
        if (props.allowed !== false) setDropped([...ev.dataTransfer.files])
      }}
    >
      {props.children}
      {over && (
        <div className="terminal-drop-hint">{props.allowed === false ? t('copy.denied') : t('copy.dropHere')}</div>
      )}
      {dropped.length > 0 && <Files target={props.target} dropped={dropped} onClose={() => setDropped([])} />}
    </div>
  )
}

/** Files is the dialog that copies files. */
export function Files({ target, dropped = [], onClose }: { target: Target; dropped?: File[]; onClose: () => void }) {
  const all = useStore(copies).filter((c) => c.node === target.id)
  return (
    <Modal
      visible
      size="large"
      header={t('copy.titleOn', { node: target.name || target.id })}
      onDismiss={onClose}
      footer={
        <Box float="right">
          <Button onClick={onClose}>{t('common.close')}</Button>
        </Box>
      }
    >
      <SpaceBetween size="l">
        <Box color="text-body-secondary">{t('copy.hint', { most: bytes(MOST_BYTES) })}</Box>
        <Upload target={target} dropped={dropped} />
        <Download target={target} />
        {all.length > 0 && (
          <SpaceBetween size="s">
            <Header variant="h3" actions={<Button onClick={clearFinished}>{t('copy.clear')}</Button>}>
              {t('copy.list')}
            </Header>
            {all.map((c) => (
              <Progress key={c.key} copy={c} />
            ))}
          </SpaceBetween>
        )}
      </SpaceBetween>
    </Modal>
  )
}

function Upload({ target, dropped }: { target: Target; dropped: File[] }) {
  const [files, setFiles] = useState<File[]>(dropped)
  const [folder, setFolder] = useState('')
  const start = () => {
    upload(target, folder, files)
    setFiles([])
  }
  return (
    <form
      onSubmit={(ev) => {
        ev.preventDefault()
        if (files.length > 0) start()
      }}
    >
      <SpaceBetween size="s">
        <Header variant="h3">{t('copy.upload')}</Header>
        <FormField label={t('copy.files')} description={files.map((f) => `${f.name} (${bytes(f.size)})`).join(', ')}>
          <FileInput multiple value={files} onChange={(ev) => setFiles(ev.detail.value)}>
            {t('copy.choose')}
          </FileInput>
        </FormField>
        <FormField label={t('copy.folder')} description={t('copy.folderHint')}>
          <Input value={folder} spellcheck={false} onChange={(ev) => setFolder(ev.detail.value)} placeholder="~" />
        </FormField>
        <Button formAction="submit" disabled={files.length === 0}>
          {t('copy.upload')}
        </Button>
      </SpaceBetween>
    </form>
  )
}

function Download({ target }: { target: Target }) {
  const [path, setPath] = useState('')
  return (
    <form
      onSubmit={(ev) => {
        ev.preventDefault()
        if (path.trim() === '') return
        download(target, path)
        setPath('')
      }}
    >
      <SpaceBetween size="s">
        <Header variant="h3">{t('copy.download')}</Header>
        <FormField label={t('copy.path')} description={t('copy.pathHint')}>
          <Input value={path} spellcheck={false} onChange={(ev) => setPath(ev.detail.value)} />
        </FormField>
        <Button formAction="submit" disabled={path.trim() === ''}>
          {t('copy.download')}
        </Button>
      </SpaceBetween>
    </form>
  )
}

const FAILED: Record<Exclude<CopyError['reason'], 'node' | 'cancelled'>, PlainKey> = {
  protocol: 'copy.failedProtocol',
  folder: 'copy.failedFolder',
  size: 'copy.failedSize',
  digest: 'copy.failedDigest',
  ended: 'copy.failedEnded',
  agent: 'copy.failedAgent',
}

/** whyFailed says why a copy failed. */
function whyFailed(error: unknown): string {
  if (!(error instanceof CopyError) || error.reason === 'cancelled') return errorText(error)
  if (error.reason === 'node') return t('copy.failedNode', { message: error.message })
  return t(FAILED[error.reason])
}

function Progress({ copy }: { copy: Copy }) {
  const running = copy.state === 'running' || copy.state === 'waiting'
  if (copy.state === 'failed') {
    return (
      <Alert type="error" header={t('copy.failed', { name: copy.name })}>
        <span className="wrap">{whyFailed(copy.error)}</span>
      </Alert>
    )
  }
  return (
    <div className="copy-row">
      <ProgressBar
        label={`${copy.direction === 'upload' ? '↑' : '↓'} ${copy.name}`}
        description={t(`copyState.${copy.state}`)}
        additionalInfo={copy.size > 0 ? t('common.countOf', { count: bytes(copy.done), total: bytes(copy.size) }) : ''}
        value={copy.state === 'complete' ? 100 : copy.size === 0 ? 0 : Math.floor((100 * copy.done) / copy.size)}
        status={copy.state === 'complete' ? 'success' : copy.state === 'cancelled' ? 'error' : 'in-progress'}
        resultText={copy.state === 'complete' ? t('copyState.complete') : t('copyState.cancelled')}
      />
      {running && (
        <Button onClick={() => cancelCopy(copy.key)} ariaLabel={t('copy.cancel', { name: copy.name })}>
          {t('common.cancel')}
        </Button>
      )}
    </div>
  )
}
