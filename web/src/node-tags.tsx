// The tags of a node, and a form to change them.

import AttributeEditor from '@cloudscape-design/components/attribute-editor'
import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Input from '@cloudscape-design/components/input'
import Modal from '@cloudscape-design/components/modal'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useEffect, useState } from 'react'
import { myRights } from './access'
import { call } from './api'
import { refreshNodes, type Node } from './nodes'
import { Refusal } from './refusal'
import { mistakenTag, tagChanges, type Tag } from './tags'

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
      <Box variant="awsui-key-label">Tags</Box>
      <div className="tags">
        {node.tags.map((t) => (
          <span key={t.key} className="tag" lang="">
            <b>{t.key}</b> {t.value}
          </span>
        ))}
        <Button
          variant="inline-link"
          disabled={lacking.includes(ADD)}
          disabledReason={`You may not change them: ${lacking} is missing.`}
          onClick={() => setEditing(true)}
        >
          {node.tags.length === 0 ? 'Add tags' : 'Edit tags'}
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
  const kept = tags.filter((t) => t.key !== '' || t.value !== '')
  const wrong = kept.some((t, i) => mistakenTag(t, kept.slice(0, i)) !== '')
  const { set, remove } = tagChanges(node.tags, kept)
  const save = async () => {
    if (wrong) return
    setBusy(true)
    const resource = { ResourceType: 'ManagedInstance', ResourceId: node.id }
    try {
      if (set.length > 0) await call('AmazonSSM.AddTagsToResource', { ...resource, Tags: set.map((t) => ({ Key: t.key, Value: t.value })) })
      if (remove.length > 0) await call('AmazonSSM.RemoveTagsFromResource', { ...resource, TagKeys: remove })
      await refreshNodes([node.id])
      onDone()
    } catch (err) {
      setError(err)
      setBusy(false)
    }
  }
  const change = (at: number, to: Partial<Tag>) => setTags(tags.map((t, i) => (i === at ? { ...t, ...to } : t)))
  return (
    <Modal
      visible
      size="large"
      header={`Tags of ${node.name || node.id}`}
      onDismiss={onDone}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={onDone}>
              Cancel
            </Button>
            <Button variant="primary" loading={busy} disabled={wrong || set.length + remove.length === 0} onClick={() => void save()}>
              Save tags
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
            addButtonText="Add a tag"
            removeButtonText="Remove"
            removeButtonAriaLabel={(t) => `Remove the tag ${t.key}`}
            isItemRemovable={(t) => mayRemove || !node.tags.some((x) => x.key === t.key)}
            empty="No tags."
            disableAddButton={tags.length >= 50}
            definition={[
              {
                label: 'Key',
                control: (t, i) => (
                  <Input
                    value={t.key}
                    ariaLabel={`Key of tag ${i + 1}`}
                    spellcheck={false}
                    readOnly={!mayRemove && node.tags.some((x) => x.key === t.key)}
                    onChange={(ev) => change(i, { key: ev.detail.value })}
                  />
                ),
                errorText: (t, i) => mistakenTag(t, tags.slice(0, i)) || undefined,
              },
              {
                label: 'Value',
                control: (t, i) => (
                  <Input value={t.value} ariaLabel={`Value of tag ${i + 1}`} spellcheck={false} onChange={(ev) => change(i, { value: ev.detail.value })} />
                ),
              },
            ]}
            onAddButtonClick={() => setTags([...tags, { key: '', value: '' }])}
            onRemoveButtonClick={(ev) => setTags(tags.filter((_, i) => i !== ev.detail.itemIndex))}
          />
          <Box color="text-body-secondary" fontSize="body-s">
            Policies may depend on tags. Text in any script is kept as it is; a prompt shows plain ASCII only.
          </Box>
          {error !== null && <Refusal error={error} what="The tags were not changed" />}
        </SpaceBetween>
      </form>
    </Modal>
  )
}
