// The tags of a node, and a form to change them.

import AttributeEditor from '@cloudscape-design/components/attribute-editor'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Input from '@cloudscape-design/components/input'
import Modal from '@cloudscape-design/components/modal'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useEffect, useState } from 'react'
import { myRights } from './access'
import { call, IGNORED } from './api'
import { refreshNodes, type Node } from './nodes'
import { Refusal } from './refusal'
import { mistakenTag, tagChanges, type Tag } from './tags'
import { t } from './i18n'

const ADD = 'ssm:AddTagsToResource'
const REMOVE = 'ssm:RemoveTagsFromResource'

/** NodeTags shows a node's tags, with a button for who may change them. */
export function NodeTags({ node }: { node: Node }) {
  const [editing, setEditing] = useState(false)
  const [lacking, setLacking] = useState('')
  useEffect(() => {
    myRights([ADD, REMOVE].map((Action) => ({ Action, Target: node.id }))).then(
      (rights) =>
        setLacking(
          rights
            .filter((r) => !r.allowed)
            .map((r) => r.action)
            .join(', '),
        ),
      () => {}, // the change itself says what is wrong
    )
  }, [node.id])
  return (
    <div>
      <Box variant="awsui-key-label">{t('common.tags')}</Box>
      <div className="tags">
        {node.tags.map((tag) => (
          <span key={tag.key} className="tag" lang="">
            <b>{tag.key}</b> {tag.value}
          </span>
        ))}
        <Button
          variant="inline-link"
          disabled={lacking.includes(ADD)}
          disabledReason={t('tags.denied', { actions: lacking })}
          onClick={() => setEditing(true)}
        >
          {node.tags.length === 0 ? t('tags.addTags') : t('tags.edit')}
        </Button>
      </div>
      {editing && <TagsModal node={node} mayRemove={!lacking.includes(REMOVE)} onDone={() => setEditing(false)} />}
    </div>
  )
}

function TagsModal({ node, mayRemove, onDone }: { node: Node; mayRemove: boolean; onDone: () => void }) {
  const [tags, setTags] = useState<Tag[]>(node.tags.length === 0 ? [{ key: '', value: '' }] : node.tags)
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)
  const kept = tags.filter((x) => x.key !== '' || x.value !== '')
  const wrong = kept.some((tag, i) => mistakenTag(tag, kept.slice(0, i)) !== '')
  const { set, remove } = tagChanges(node.tags, kept)
  const save = async () => {
    if (wrong) return
    setBusy(true)
    const resource = { ResourceType: 'ManagedInstance', ResourceId: node.id }
    try {
      if (set.length > 0)
        await call(
          'AmazonSSM.AddTagsToResource',
          {
            ...resource,
            Tags: set.map((tag) => ({ Key: tag.key, Value: tag.value })),
          },
          IGNORED,
        )
      if (remove.length > 0) await call('AmazonSSM.RemoveTagsFromResource', { ...resource, TagKeys: remove }, IGNORED)
      await refreshNodes([node.id])
      onDone()
    } catch (err) {
      setError(err)
      setBusy(false)
    }
  }
  const change = (at: number, to: Partial<Tag>) => setTags(tags.map((tag, i) => (i === at ? { ...tag, ...to } : tag)))
  return (
    <Modal
      visible
      size="large"
      header={t('tags.of', { node: node.name || node.id })}
      onDismiss={onDone}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={onDone}>
              {t('common.cancel')}
            </Button>
            <Button
              variant="primary"
              loading={busy}
              disabled={wrong || set.length + remove.length === 0}
              onClick={() => void save()}
            >
              {t('tags.save')}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <form
        onSubmit={(ev) => {
          ev.preventDefault()
          void save()
        }}
      >
        <SpaceBetween size="m">
          <AttributeEditor
            items={tags}
            addButtonText={t('tags.add')}
            removeButtonText={t('common.remove')}
            removeButtonAriaLabel={(tag) => t('tags.remove', { key: tag.key })}
            isItemRemovable={(tag) => mayRemove || !node.tags.some((x) => x.key === tag.key)}
            empty={t('tags.none')}
            disableAddButton={tags.length >= 50}
            definition={[
              {
                label: t('common.key'),
                control: (tag, i) => (
                  <Input
                    value={tag.key}
                    ariaLabel={t('tags.keyOf', { number: i + 1 })}
                    spellcheck={false}
                    readOnly={!mayRemove && node.tags.some((x) => x.key === tag.key)}
                    onChange={(ev) => change(i, { key: ev.detail.value })}
                  />
                ),
                errorText: (tag, i) => mistakenTag(tag, tags.slice(0, i)) || undefined,
              },
              {
                label: t('common.value'),
                control: (tag, i) => (
                  <Input
                    value={tag.value}
                    ariaLabel={t('tags.valueOf', { number: i + 1 })}
                    spellcheck={false}
                    onChange={(ev) => change(i, { value: ev.detail.value })}
                  />
                ),
              },
            ]}
            onAddButtonClick={() => setTags([...tags, { key: '', value: '' }])}
            onRemoveButtonClick={(ev) => setTags(tags.filter((_, i) => i !== ev.detail.itemIndex))}
          />
          <Box color="text-body-secondary" fontSize="body-s">
            {t('tags.hint')}
          </Box>
          {error !== null && <Refusal error={error} what={t('tags.notChanged')} />}
        </SpaceBetween>
      </form>
    </Modal>
  )
}
