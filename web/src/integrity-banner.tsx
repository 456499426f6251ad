// The banner on every page that says when recordings or the audit trail are
// not what the server wrote.

import Alert from '@cloudscape-design/components/alert'
import Link from '@cloudscape-design/components/link'
import { useEffect, useState } from 'react'
import { rights } from './access'
import { readIntegrity } from './admin/operate'
import { count, t } from './i18n'
import { follow, href } from './router'
import { useStore } from './store'

/** CHECK_MS is how often the last check of the server is asked for. */
const CHECK_MS = 60_000

/** useIntegrityFindings counts what the server's last check found. */
function useIntegrityFindings(): number {
  const allowed = useStore(rights).get('sekisho:GetIntegrity')?.allowed === true
  const [found, setFound] = useState(0)
  useEffect(() => {
    if (!allowed) return
    let over = false
    const check = () => {
      readIntegrity().then(
        ({ Findings }) => {
          if (!over) setFound(Findings.length)
        },
        () => {}, // the next check may get an answer
      )
    }
    check()
    const timer = setInterval(check, CHECK_MS)
    return () => {
      over = true
      clearInterval(timer)
    }
  }, [allowed])
  return found
}

/** IntegrityBanner shows how many problems there are, to users who may know. */
export function IntegrityBanner() {
  const found = useIntegrityFindings()
  if (found === 0) return null
  return (
    <div className="integrity">
      <Alert type="error" header={count('integrity.header', found)}>
        {t('integrity.hint')}{' '}
        <Link href={href('events')} onFollow={follow}>
          {t('integrity.events')}
        </Link>
      </Alert>
    </div>
  )
}
