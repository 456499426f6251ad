import CopyToClipboard from '@cloudscape-design/components/copy-to-clipboard'
import { t } from '../i18n'

/** Secret shows something that is shown once, with a button that copies it. */
export function Secret({ text }: { text: string }) {
  return (
    <CopyToClipboard
      variant="inline"
      copyButtonAriaLabel={t('common.copy')}
      textToCopy={text}
      copySuccessText={t('common.copied')}
      copyErrorText={t('common.notCopied')}
    />
  )
}
