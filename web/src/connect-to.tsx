// Starting a session without a list of nodes: by a node's ID, its name or a
// tag.

import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import Container from '@cloudscape-design/components/container'
import FormField from '@cloudscape-design/components/form-field'
import Header from '@cloudscape-design/components/header'
import Input from '@cloudscape-design/components/input'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useState } from 'react'
import { findNodes, type Named } from './find-nodes'
import { rich, t } from './i18n'
import { LIST_ACTIONS, nodes } from './nodes'
import { requestStart } from './start-request'
import { useStore } from './store'

/** ConnectTo has one field and starts a session on the node that it names. */
export function ConnectTo({ heading = 'h1' }: { heading?: 'h1' | 'h2' }) {
  const { denied } = useStore(nodes)
  const [value, setValue] = useState('')
  const [asked, setAsked] = useState<{ text: string; found: Named[] } | null>(null)
  const [error, setError] = useState('')
  const start = async () => {
    const text = value.trim()
    setAsked(null)
    setError('')
    let found: Named[]
    try {
      found = await findNodes(text)
    } catch (err) {
      setError(err instanceof Error ? err.message : String(err))
      return
    }
    if (found.length === 1) void requestStart({ id: found[0]!.id, name: found[0]!.name })
    else if (found.length > 1) setAsked({ text, found })
    else setError(t('nodes.connectNone', { value: text }))
  }
  return (
    <form
      onSubmit={(ev) => {
        ev.preventDefault()
        if (value.trim() !== '') void start()
      }}
    >
      <Container
        header={
          <Header
            variant={heading}
            description={
              denied
                ? rich('nodes.deniedHint', { action: <code className="wrap">{LIST_ACTIONS.join(' / ')}</code> })
                : undefined
            }
          >
            {t('nodes.start')}
          </Header>
        }
        footer={
          <Button variant="primary" formAction="submit" disabled={value.trim() === ''}>
            {t('nodes.start')}
          </Button>
        }
      >
        <SpaceBetween size="m">
          <FormField label={t('nodes.connectTo')} description={t('nodes.connectHint')} errorText={error}>
            <Input value={value} spellcheck={false} autoComplete="off" onChange={(ev) => setValue(ev.detail.value)} />
          </FormField>
          {asked !== null && (
            <Box>
              {t('nodes.connectMany', { value: asked.text, count: asked.found.length })}
              <ul>
                {asked.found.slice(0, 20).map((n) => (
                  <li key={n.id}>
                    <Button
                      variant="inline-link"
                      formAction="none"
                      onClick={() => void requestStart({ id: n.id, name: n.name })}
                    >
                      {n.name || n.id}
                    </Button>{' '}
                    <code>{n.id}</code>
                  </li>
                ))}
              </ul>
            </Box>
          )}
        </SpaceBetween>
      </Container>
    </form>
  )
}
