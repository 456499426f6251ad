import { rights } from './access'
import { t } from './i18n'
import { href, navigate } from './router'
import { GROUPS, ROUTES, type Route } from './routes'
import { useStore } from './store'
import { workspace } from './workspace'

/** Navigation lists the pages that the signed-in user can use. */
export function Navigation({ route, onFollowed }: { route: Route | null; onFollowed: () => void }) {
  const allowed = useStore(rights)
  const usable = ROUTES.filter((r) => r.needs === undefined || allowed.get(r.needs)?.allowed !== false)
  const active = route?.parent ?? route?.path
  const link = (r: Route) => <Item key={r.path} route={r} active={r.path === active} onFollowed={onFollowed} />
  return (
    <nav id="navigation" className="navigation" aria-label={t('app.navigation')}>
      <ul>{usable.filter((r) => r.group === undefined && r.path === 'home').map(link)}</ul>
      {GROUPS.map(({ id, title }) => {
        const links = usable.filter((r) => r.group === id).map(link)
        if (links.length === 0) return null
        return (
          <div key={id}>
            <div className="navigation-group" id={`navigation-${id}`}>
              {t(title)}
            </div>
            <ul aria-labelledby={`navigation-${id}`}>{links}</ul>
          </div>
        )
      })}
    </nav>
  )
}

function Item({ route, active, onFollowed }: { route: Route; active: boolean; onFollowed: () => void }) {
  const { tabs } = useStore(workspace)
  const segments = route.path.split('/')
  const open = route.path === 'terminals' ? tabs.length : 0
  return (
    <li>
      <a
        href={href(...segments)}
        aria-current={active ? 'page' : undefined}
        onClick={(ev) => {
          if (ev.ctrlKey || ev.metaKey || ev.shiftKey) return
          ev.preventDefault()
          navigate(...segments)
          onFollowed()
        }}
      >
        {t(route.link ?? route.title)}
      </a>
      {open > 0 && <span className="navigation-count">{open}</span>}
    </li>
  )
}
