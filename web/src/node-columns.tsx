// The dialog that chooses the columns of the list of nodes.

import CollectionPreferences from '@cloudscape-design/components/collection-preferences'
import { t } from './i18n'
import { columnOptions, type Shown } from './node-table'

/** Columns chooses columns and the size of a page. */
export default function Columns(props: { keys: string[]; shown: Shown; onChange: (to: Shown) => void }) {
  return (
    <CollectionPreferences
      title={t('nodes.columnsTitle')}
      confirmLabel={t('common.confirm')}
      cancelLabel={t('common.cancel')}
      preferences={{ visibleContent: props.shown.columns, pageSize: props.shown.pageSize }}
      visibleContentPreference={{ title: t('nodes.columnsSelect'), options: columnOptions(props.keys) }}
      pageSizePreference={{
        title: t('nodes.pageSize'),
        options: [20, 50, 100].map((value) => ({ value, label: t('nodes.rows', { count: value }) })),
      }}
      onConfirm={(ev) =>
        props.onChange({
          columns: [...(ev.detail.visibleContent ?? props.shown.columns)],
          pageSize: ev.detail.pageSize ?? props.shown.pageSize,
        })
      }
    />
  )
}
