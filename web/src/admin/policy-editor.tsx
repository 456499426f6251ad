// An editor of a policy document, which is checked while it is typed.

import Box from '@cloudscape-design/components/box'
import FormField from '@cloudscape-design/components/form-field'
import StatusIndicator from '@cloudscape-design/components/status-indicator'
import { useEffect, useRef, useState, type KeyboardEvent } from 'react'
import { t } from '../i18n'
import { validatePolicy } from './iam'
import { suggestions } from './policy-actions'

const SETTLED_MS = 400

/** EMPTY_POLICY is the initial policy. */
export const EMPTY_POLICY = JSON.stringify(
  { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: ['ssm:StartSession'], Resource: ['*'] }] },
  null,
  2,
)

/** useValidation returns the findings on a document; null while they are unknown. */
export function useValidation(text: string): string | null {
  const [problem, setProblem] = useState<{ text: string; problem: string } | null>(null)
  useEffect(() => {
    let over = false
    const timer = setTimeout(() => {
      void validatePolicy(text).then((found) => {
        if (!over) setProblem({ text, problem: found })
      })
    }, SETTLED_MS)
    return () => {
      over = true
      clearTimeout(timer)
    }
  }, [text])
  return problem !== null && problem.text === text ? problem.problem : null
}

/** PolicyEditor edits a policy document. Tab completes the name of an action. */
export function PolicyEditor(props: { value: string; readOnly?: boolean; onChange: (value: string) => void }) {
  const problem = useValidation(props.value)
  const field = useRef<HTMLTextAreaElement>(null)
  const [offers, setOffers] = useState<string[]>([])

  const look = () => {
    const el = field.current
    if (el !== null) setOffers(suggestions(el.value.slice(0, el.selectionStart)))
  }
  const complete = (action: string) => {
    const el = field.current
    if (el === null) return
    const before = el.value.slice(0, el.selectionStart).replace(/[\w:*]*$/, action)
    const after = el.value.slice(el.selectionStart)
    props.onChange(before + after)
    setOffers([])
    requestAnimationFrame(() => {
      el.focus()
      el.setSelectionRange(before.length, before.length)
    })
  }
  const onKeyDown = (ev: KeyboardEvent) => {
    if (ev.key === 'Tab' && !ev.shiftKey && offers.length > 0) {
      ev.preventDefault()
      complete(offers[0]!)
    }
    if (ev.key === 'Escape' && offers.length > 0) {
      ev.stopPropagation()
      setOffers([])
    }
  }
  return (
    <FormField label={t('policy.document')} description={props.readOnly ? undefined : t('policy.completeHint')} stretch>
      <textarea
        ref={field}
        className="code-editor"
        value={props.value}
        readOnly={props.readOnly}
        rows={Math.min(30, Math.max(12, props.value.split('\n').length + 1))}
        spellCheck={false}
        aria-label={t('policy.document')}
        onChange={(ev) => {
          props.onChange(ev.target.value)
          look()
        }}
        onClick={look}
        onKeyDown={onKeyDown}
      />
      {offers.length > 0 && (
        <div className="code-offers">
          {offers.map((o) => (
            <button key={o} type="button" onClick={() => complete(o)}>
              {o}
            </button>
          ))}
        </div>
      )}
      {!props.readOnly && (
        <Box padding={{ top: 'xs' }}>
          <span aria-live="polite" className="wrap">
            {problem === null ? (
              <StatusIndicator type="loading">{t('policy.checking')}</StatusIndicator>
            ) : problem === '' ? (
              <StatusIndicator type="success">{t('policy.valid')}</StatusIndicator>
            ) : (
              <StatusIndicator type="error">{problem}</StatusIndicator>
            )}
          </span>
        </Box>
      )}
    </FormField>
  )
}
