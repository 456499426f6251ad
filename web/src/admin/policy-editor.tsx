// An editor of a policy document, which is checked while it is typed.

import Box from '@cloudscape-design/components/box'
import FormField from '@cloudscape-design/components/form-field'
import StatusIndicator from '@cloudscape-design/components/status-indicator'
import { useEffect, useRef, useState, type KeyboardEvent } from 'react'
import { flushSync } from 'react-dom'
import { t } from '../i18n'
import { completions, type Completions } from './policy-words'
import { validatePolicy, type Finding, type PolicyType } from './validate'

const SETTLED_MS = 400
const NOTHING: Completions = { length: 0, offers: [] }

/** EMPTY_POLICY is the initial policy. */
export const EMPTY_POLICY = JSON.stringify(
  { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: ['ssm:StartSession'], Resource: ['*'] }] },
  null,
  2,
)

/** Checked is the result of a check: findings, or why there was none. */
interface Checked {
  text: string
  findings: Finding[]
  failure: string
}

/** useValidation checks a document once its user stops typing; null until the result is known. */
function useValidation(text: string, type: PolicyType): Checked | null {
  const [checked, setChecked] = useState<Checked | null>(null)
  useEffect(() => {
    let over = false
    const done = (result: Checked) => {
      if (!over) setChecked(result)
    }
    const timer = setTimeout(() => {
      if (text === '') return
      validatePolicy(text, type).then(
        (findings) => done({ text, findings, failure: '' }),
        (err: unknown) => done({ text, findings: [], failure: err instanceof Error ? err.message : String(err) }),
      )
    }, SETTLED_MS)
    return () => {
      over = true
      clearTimeout(timer)
    }
  }, [text, type])
  return checked !== null && checked.text === text ? checked : null
}

/** PolicyEditor edits a policy document. Tab completes what is typed. */
export function PolicyEditor(props: {
  value: string
  readOnly?: boolean
  type?: PolicyType
  label?: string
  description?: string
  onChange: (value: string) => void
}) {
  const type = props.type ?? 'IDENTITY_POLICY'
  const label = props.label ?? t('policy.document')
  const field = useRef<HTMLTextAreaElement>(null)
  const { found, look, onKeyDown, complete } = useCompletion(field, props.onChange)
  const description = [props.description, t('policy.completeHint')].filter((x) => x !== undefined).join(' ')
  return (
    <FormField label={label} description={props.readOnly ? props.description : description} stretch>
      <textarea
        ref={field}
        className="code-editor"
        value={props.value}
        readOnly={props.readOnly}
        rows={Math.min(30, Math.max(12, props.value.split('\n').length + 1))}
        spellCheck={false}
        aria-label={label}
        onChange={(ev) => {
          props.onChange(ev.target.value)
          look()
        }}
        onClick={look}
        onKeyDown={onKeyDown}
      />
      {!props.readOnly && found.offers.length > 0 && (
        <div className="code-offers">
          {found.offers.map((o) => (
            <button key={o} type="button" onClick={() => complete(o)}>
              {o}
            </button>
          ))}
        </div>
      )}
      {!props.readOnly && <Verdict text={props.value} type={type} />}
    </FormField>
  )
}

/** useCompletion offers completions of the string before the cursor. */
function useCompletion(field: React.RefObject<HTMLTextAreaElement | null>, onChange: (value: string) => void) {
  const [found, setFound] = useState(NOTHING)
  const look = () => {
    const el = field.current
    if (el !== null) setFound(completions(el.value.slice(0, el.selectionStart)))
  }
  const complete = (word: string) => {
    const el = field.current
    if (el === null) return
    const before = el.value.slice(0, el.selectionStart - found.length) + word
    // At once: what is typed next must not be in another place.
    flushSync(() => {
      onChange(before + el.value.slice(el.selectionStart))
      setFound(NOTHING)
    })
    el.focus()
    el.setSelectionRange(before.length, before.length)
  }
  const onKeyDown = (ev: KeyboardEvent) => {
    if (ev.key === 'Tab' && !ev.shiftKey && found.offers.length > 0) {
      ev.preventDefault()
      complete(found.offers[0]!)
    }
    if (ev.key === 'Escape' && found.offers.length > 0) {
      ev.stopPropagation()
      setFound(NOTHING)
    }
  }
  return { found, look, onKeyDown, complete }
}

/** Verdict shows what the server says about a document. */
function Verdict({ text, type }: { text: string; type: PolicyType }) {
  const checked = useValidation(text, type)
  return (
    <Box padding={{ top: 'xs' }}>
      <div aria-live="polite" className="wrap" data-checked={checked !== null}>
        {checked === null ? (
          <StatusIndicator type="loading">{t('policy.checking')}</StatusIndicator>
        ) : checked.failure !== '' ? (
          <StatusIndicator type="info">{t('policy.notChecked', { message: checked.failure })}</StatusIndicator>
        ) : (
          <>
            {!checked.findings.some((f) => f.FindingType === 'ERROR') && (
              <StatusIndicator type="success">{t('policy.valid')}</StatusIndicator>
            )}
            {checked.findings.map((f) => (
              <div key={f.FindingDetails} data-issue={f.IssueCode}>
                <StatusIndicator type={f.FindingType === 'ERROR' ? 'error' : 'warning'}>
                  {f.FindingDetails}
                </StatusIndicator>
              </div>
            ))}
          </>
        )}
      </div>
    </Box>
  )
}
