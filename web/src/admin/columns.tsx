// Columns that many lists have.

import Link from '@cloudscape-design/components/link'
import { utc } from '../format'
import { t } from '../i18n'
import { follow, href } from '../router'
import { When } from '../time'
import type { Column } from './resource-page'

/** nameColumn links each row to its page below the list called list. */
export function nameColumn<T extends { name: string }>(list: string, header = t('common.name')): Column<T> {
  return {
    id: 'name',
    header,
    text: (row) => row.name,
    cell: (row) => (
      <Link href={href(list, row.name)} onFollow={follow}>
        {row.name}
      </Link>
    ),
  }
}

/** createdColumn shows when each row was created. */
export function createdColumn<T extends { createdAt: number }>(): Column<T> {
  return {
    id: 'created',
    header: t('common.created'),
    text: (row) => utc(row.createdAt),
    cell: (row) => <When at={row.createdAt} />,
  }
}

/** arnColumn shows the ARN of each row. */
export function arnColumn<T extends { arn: string }>(): Column<T> {
  return { id: 'arn', header: 'ARN', text: (row) => row.arn, cell: (row) => <code className="wrap">{row.arn}</code> }
}
