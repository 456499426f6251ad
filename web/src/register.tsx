// Registration of a node: two commands, the first of which the console can run.

import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import CopyToClipboard from '@cloudscape-design/components/copy-to-clipboard'
import Link from '@cloudscape-design/components/link'
import Modal from '@cloudscape-design/components/modal'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useState } from 'react'
import * as v from 'valibot'
import { call, signedIn } from './api'
import { Refusal } from './refusal'
import { follow, href } from './router'
import { useStore } from './store'
import { rich, t } from './i18n'

const ROLE = 'service-role/AmazonEC2RunCommandRoleForManagedInstances'

const activationSchema = v.object({ ActivationId: v.string(), ActivationCode: v.string() })
type Activation = v.InferOutput<typeof activationSchema>

/** commandOf joins the parts of a shell command, one a line. */
const commandOf = (...parts: string[]) => parts.join(' \\\n  ')

function Command({ text }: { text: string }) {
  return (
    <div className="command">
      <pre>{text}</pre>
      <CopyToClipboard
        variant="icon"
        copyButtonAriaLabel={t('register.copy')}
        textToCopy={text}
        copySuccessText={t('common.copied')}
        copyErrorText={t('common.notCopied')}
      />
    </div>
  )
}

/** RegisterSteps shows the two commands, with an activation filled in on request. */
export function RegisterSteps() {
  const region = useStore(signedIn)?.region ?? ''
  const [activation, setActivation] = useState<Activation | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)
  const create = async () => {
    setBusy(true)
    setError(null)
    try {
      setActivation(
        await call(
          'AmazonSSM.CreateActivation',
          {
            IamRole: ROLE,
            RegistrationLimit: 1,
            Description: 'Created in the console',
          },
          activationSchema,
        ),
      )
    } catch (err) {
      setError(err)
    } finally {
      setBusy(false)
    }
  }
  const id = activation?.ActivationId ?? 'ACTIVATION-ID'
  const code = activation?.ActivationCode ?? 'ACTIVATION-CODE'
  return (
    <SpaceBetween size="m">
      <Box>
        {rich('register.intro', {
          setup: (
            <Link href={href('setup')} onFollow={follow}>
              {t('nav.setup')}
            </Link>
          ),
        })}
      </Box>
      <div>
        <Box variant="h4">{t('register.step1')}</Box>
        <Box color="text-body-secondary" margin={{ bottom: 'xs' }}>
          {t('register.step1Hint')}
        </Box>
        <Command
          text={commandOf(
            `aws ssm create-activation --region ${region} --endpoint-url ${location.origin}`,
            `--iam-role ${ROLE}`,
          )}
        />
        <Box margin={{ top: 'xs' }}>
          {activation === null ? (
            <Button loading={busy} onClick={() => void create()}>
              {t('register.createHere')}
            </Button>
          ) : (
            <Box color="text-status-success">{t('register.created')}</Box>
          )}
        </Box>
        {error !== null && <Refusal error={error} />}
      </div>
      <div>
        <Box variant="h4">{t('register.step2')}</Box>
        <Box color="text-body-secondary" margin={{ bottom: 'xs' }}>
          {t('register.step2Hint')}
        </Box>
        <Command
          text={commandOf(
            `sudo sekisho-agent register --endpoint ${location.origin}`,
            `--activation-id ${id}`,
            `--activation-code ${code}`,
          )}
        />
        <Box color="text-body-secondary" margin={{ top: 'xs' }}>
          {rich('register.then', { command: <code>sudo sekisho-agent run</code> })}
        </Box>
      </div>
    </SpaceBetween>
  )
}

/** RegisterModal is RegisterSteps in a dialog of its own. */
export function RegisterModal({ onDismiss }: { onDismiss: () => void }) {
  return (
    <Modal
      visible
      size="large"
      header={t('nodes.register')}
      onDismiss={onDismiss}
      footer={
        <Box float="right">
          <Button variant="primary" onClick={onDismiss}>
            {t('common.done')}
          </Button>
        </Box>
      }
    >
      <RegisterSteps />
    </Modal>
  )
}

/** FirstNode stands in for an empty list of nodes. */
export function FirstNode() {
  return (
    <div className="first-node">
      <Box variant="h3" textAlign="center" margin={{ bottom: 'm' }}>
        {t('nodes.none')}
      </Box>
      <RegisterSteps />
    </div>
  )
}
