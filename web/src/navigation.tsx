import Badge from '@cloudscape-design/components/badge'
import SideNavigation, { type SideNavigationProps } from '@cloudscape-design/components/side-navigation'
import { rights } from './access'
import { t } from './i18n'
import { follow, href } from './router'
import { GROUPS, ROUTES, type Route } from './routes'
import { useStore } from './store'
import { workspace } from './workspace'

const address = (route: Route) => href(...route.path.split('/'))

/** Navigation lists the pages that the signed-in user can use. */
export function Navigation({ route, onFollowed }: { route: Route | null; onFollowed: () => void }) {
  const { tabs } = useStore(workspace)
  const allowed = useStore(rights)
  const link = (r: Route): SideNavigationProps.Link => ({
    type: 'link',
    text: t(r.link ?? r.title),
    href: address(r),
    info: r.path === 'terminals' && tabs.length > 0 ? <Badge color="blue">{tabs.length}</Badge> : undefined,
  })
  const usable = ROUTES.filter((r) => r.needs === undefined || allowed.get(r.needs)?.allowed !== false)
  const active = route?.parent ?? route?.path
  const items: SideNavigationProps.Item[] = [
    ...usable.filter((r) => r.group === undefined && r.path === 'home').map(link),
    ...GROUPS.flatMap(({ id, title }): SideNavigationProps.Item[] => {
      const links = usable.filter((r) => r.group === id).map(link)
      return links.length === 0 ? [] : [{ type: 'section-group', title: t(title), items: links }]
    }),
  ]
  return (
    <SideNavigation
      activeHref={active === undefined ? undefined : href(...active.split('/'))}
      onFollow={(ev) => {
        follow(ev)
        onFollowed()
      }}
      items={items}
    />
  )
}
