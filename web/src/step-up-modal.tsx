import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import FormField from '@cloudscape-design/components/form-field'
import Input from '@cloudscape-design/components/input'
import Modal from '@cloudscape-design/components/modal'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useState } from 'react'
import { prove } from './account'
import { t } from './i18n'
import { Refusal } from './refusal'
import { showFactor, wantedFactor, type FactorOffer } from './step-up'
import { useStore } from './store'

/** StepUpModal asks for the second factor that a policy requires. */
export function StepUpModal() {
  const wanted = useStore(wantedFactor)
  return wanted === null ? null : <Question offer={wanted.offer} done={wanted.done} />
}

function Question({ offer, done }: { offer: FactorOffer; done: (shown: boolean) => void }) {
  const [passkey, setPasskey] = useState(offer.passkey)
  const [code, setCode] = useState('')
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const attempt = async (show: () => Promise<FactorOffer | null>) => {
    setBusy(true)
    setError(null)
    try {
      await show()
      done(true)
    } catch (err) {
      setError(err)
      setCode('')
      setBusy(false)
      // A challenge can be answered once: get another.
      const again = await showFactor({}).catch(() => null)
      if (again !== null) setPasskey(again.passkey)
    }
  }
  return (
    <Modal
      visible
      header={t('stepUp.title')}
      onDismiss={() => done(false)}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={() => done(false)}>
              {t('common.cancel')}
            </Button>
            {passkey !== undefined && (
              <Button
                loading={busy}
                onClick={() => void attempt(async () => showFactor({ passkey: await prove(passkey) }))}
              >
                {t('stepUp.passkey')}
              </Button>
            )}
            {offer.totp && (
              <Button
                variant="primary"
                loading={busy}
                disabled={code.trim() === ''}
                onClick={() => void attempt(() => showFactor({ code: code.trim() }))}
              >
                {t('stepUp.show')}
              </Button>
            )}
          </SpaceBetween>
        </Box>
      }
    >
      <form
        onSubmit={(ev) => {
          ev.preventDefault()
          if (code.trim() !== '') void attempt(() => showFactor({ code: code.trim() }))
        }}
      >
        <SpaceBetween size="m">
          <Box>{t('stepUp.why')}</Box>
          {offer.totp && (
            <FormField label={t('stepUp.code')}>
              <Input
                value={code}
                autoFocus
                inputMode="numeric"
                autoComplete="one-time-code"
                disabled={busy}
                onChange={(ev) => setCode(ev.detail.value)}
              />
            </FormField>
          )}
          {error !== null && <Refusal error={error} />}
        </SpaceBetween>
      </form>
    </Modal>
  )
}
