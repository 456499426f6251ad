import Button, { type ButtonProps } from '@cloudscape-design/components/button'
import { useMissing } from './access'
import { t } from './i18n'

/** GuardedButton is a button that says which action is missing where policy denies what it does. */
export function GuardedButton({ needs, ...props }: ButtonProps & { needs: readonly string[] }) {
  const missing = useMissing(needs)
  if (missing.length === 0) return <Button {...props} />
  return <Button {...props} disabled disabledReason={t('access.missing', { actions: missing.join(', ') })} />
}
