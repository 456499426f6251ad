// The filter above the list of nodes. It is loaded after the list is shown.

import PropertyFilter, { type PropertyFilterProps } from '@cloudscape-design/components/property-filter'
import { count, t } from './i18n'

type Props = Omit<PropertyFilterProps, 'i18nStrings'> & { matches: number }

/** NodeFilter filters nodes by any property, tag or text. */
export default function NodeFilter({ matches, ...props }: Props) {
  return (
    <PropertyFilter
      {...props}
      filteringPlaceholder={t('nodes.filterHint')}
      filteringAriaLabel={t('nodes.filterHint')}
      countText={count('nodes.matches', matches)}
      customGroupsText={[
        { group: 'properties', properties: t('nodes.propertiesGroup'), values: t('nodes.propertiesGroup') },
        { group: 'tags', properties: t('nodes.tagsGroup'), values: t('nodes.tagsGroup') },
      ]}
      expandToViewport
    />
  )
}
