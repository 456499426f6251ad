// How a node is registered: two commands, one of which the console can do.

import Box from '@cloudscape-design/components/box'
import Button from '@cloudscape-design/components/button'
import CopyToClipboard from '@cloudscape-design/components/copy-to-clipboard'
import Link from '@cloudscape-design/components/link'
import Modal from '@cloudscape-design/components/modal'
import SpaceBetween from '@cloudscape-design/components/space-between'
import { useState } from 'react'
import { call, signedIn } from './api'
import { Refusal } from './refusal'
import { follow, href } from './router'
import { useStore } from './store'

const ROLE = 'service-role/AmazonEC2RunCommandRoleForManagedInstances'

interface Activation {
  ActivationId: string
  ActivationCode: string
}

function Command({ text }: { text: string }) {
  return (
    <div className="command">
      <pre>{text}</pre>
      <CopyToClipboard
        variant="icon"
        copyButtonAriaLabel="Copy the command"
        textToCopy={text}
        copySuccessText="Copied"
        copyErrorText="Not copied"
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
        await call<Activation>('AmazonSSM.CreateActivation', {
          IamRole: ROLE,
          RegistrationLimit: 1,
          Description: 'Made in the console',
        }),
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
        <Link href={href('setup')} onFollow={follow}>
          Quick Setup
        </Link>{' '}
        does it all with one line, the agent's installation included. By hand, with the agent installed:
      </Box>
      <div>
        <Box variant="h4">1. Create an activation</Box>
        <Box color="text-body-secondary" margin={{ bottom: 'xs' }}>
          A permission to register, for one machine. Anywhere the aws CLI is signed in:
        </Box>
        <Command
          text={`aws ssm create-activation --region ${region} --endpoint-url ${location.origin} \\\n  --iam-role ${ROLE}`}
        />
        <Box margin={{ top: 'xs' }}>
          {activation === null ? (
            <Button loading={busy} onClick={() => void create()}>
              Or create it here
            </Button>
          ) : (
            <Box color="text-status-success">
              Created. Its code is in the next command; it is not shown again.
            </Box>
          )}
        </Box>
        {error !== null && <Refusal error={error} />}
      </div>
      <div>
        <Box variant="h4">2. Register the machine</Box>
        <Box color="text-body-secondary" margin={{ bottom: 'xs' }}>
          On the machine itself. It only dials out; no port is opened.
        </Box>
        <Command
          text={`sudo sekisho-agent register --endpoint ${location.origin} \\\n  --activation-id ${id} \\\n  --activation-code ${code}`}
        />
        <Box color="text-body-secondary" margin={{ top: 'xs' }}>
          Then <code>sudo sekisho-agent run</code>, and the node appears here by itself.
        </Box>
      </div>
    </SpaceBetween>
  )
}

/** RegisterModal is RegisterSteps in a dialogue of its own. */
export function RegisterModal({ onDismiss }: { onDismiss: () => void }) {
  return (
    <Modal
      visible
      size="large"
      header="Register a node"
      onDismiss={onDismiss}
      footer={
        <Box float="right">
          <Button variant="primary" onClick={onDismiss}>
            Done
          </Button>
        </Box>
      }
    >
      <RegisterSteps />
    </Modal>
  )
}

/** FirstNode is what an empty list of nodes says. */
export function FirstNode() {
  return (
    <div className="first-node">
      <Box variant="h3" textAlign="center" margin={{ bottom: 'm' }}>
        No nodes yet
      </Box>
      <RegisterSteps />
    </div>
  )
}
