// The frame of the console: who is signed in, where one can go, and the place
// one is at.

import AppLayout from '@cloudscape-design/components/app-layout'
import Badge from '@cloudscape-design/components/badge'
import Box from '@cloudscape-design/components/box'
import SideNavigation from '@cloudscape-design/components/side-navigation'
import Spinner from '@cloudscape-design/components/spinner'
import TopNavigation from '@cloudscape-design/components/top-navigation'
import { lazy, Suspense, useEffect, useState, type ReactNode } from 'react'
import { keepAlive, readSession, signedIn, signOut, type SignedIn } from './api'
import { listen } from './events'
import { followNodes, loadNodes } from './nodes'
import { NodeDetails, NodesPage } from './nodes-page'
import { Refusal } from './refusal'
import { follow, href, navigate, useRoute } from './router'
import { SessionsPage } from './sessions-page'
import { SignInPage } from './sign-in-page'
import { StartModal } from './start-panel'
import { useStore } from './store'
import { dark, toggleTheme } from './theme'
import { keepOverReload, takeUpKept, warnBeforeLeaving, workspace } from './workspace'

const TerminalsPage = lazy(() => import('./terminals-page'))
const ReplayPage = lazy(() => import('./replay-page'))
const PasswordPage = lazy(() => import('./password-page'))
const FirstRunPage = lazy(() => import('./first-run-page'))
const AccountPage = lazy(() => import('./factors'))
const QuickSetupPage = lazy(() => import('./quick-setup-page'))
const PreferencesPage = lazy(() => import('./preferences-page'))
const SimulatorPage = lazy(() => import('./simulator-page'))

const narrow = matchMedia('(max-width: 688px)')

/** App is the whole console. */
export function App() {
  const who = useStore(signedIn)
  const [error, setError] = useState<unknown>(null)
  useEffect(() => {
    readSession().catch(setError)
  }, [])
  if (who === undefined) {
    return (
      <div className="centred">
        {error === null ? <Spinner size="large" /> : <Refusal error={error} what="The console cannot start" />}
      </div>
    )
  }
  if (who === null) return <SignInPage />
  if (!who.firstRun && !who.passwordReset) return <Console who={who} />
  return (
    <Suspense fallback={<Spinner size="large" />}>
      {who.passwordReset ? <PasswordPage user={who.user} /> : <FirstRunPage user={who.user} />}
    </Suspense>
  )
}

function HalfMoon() {
  return (
    <svg viewBox="0 0 16 16" focusable="false" aria-hidden="true">
      <circle cx="8" cy="8" r="6" />
      <path d="M8 2a6 6 0 0 1 0 12Z" fill="currentColor" stroke="none" />
    </svg>
  )
}

function Console({ who }: { who: SignedIn }) {
  const route = useRoute()
  const isDark = useStore(dark)
  const { tabs } = useStore(workspace)
  const [navigationOpen, setNavigationOpen] = useState(!narrow.matches)
  const [selected, setSelected] = useState<string | null>(null)
  const [splitOpen, setSplitOpen] = useState(false)

  useEffect(() => {
    void loadNodes()
    void takeUpKept(who.arn)
    const stops = [listen(), followNodes(), keepAlive(), warnBeforeLeaving(), keepOverReload(who.arn)]
    return () => stops.forEach((stop) => stop())
  }, [who.arn])

  const section = route[0] ?? 'nodes'
  useEffect(() => {
    document.title = { nodes: 'Nodes', terminals: 'Terminals', sessions: 'Sessions', setup: 'Quick Setup', preferences: 'Session preferences', simulator: 'Policy simulator', account: 'Your account' }[section] + ' · Sekisho'
  }, [section])
  const select = (id: string | null) => {
    setSelected(id)
    setSplitOpen(id !== null)
  }

  let content: ReactNode
  if (section === 'terminals') content = <TerminalsPage owner={who.arn} />
  else if (section === 'sessions' && route[1] === 'replay' && route[2] !== undefined) {
    content = <ReplayPage key={route[2]} id={route[2]} />
  } else if (section === 'sessions') content = <SessionsPage history={route[1] === 'history'} />
  else if (section === 'account') content = <AccountPage user={who.user} />
  else if (section === 'setup') content = <QuickSetupPage />
  else if (section === 'preferences') content = <PreferencesPage />
  else if (section === 'simulator') content = <SimulatorPage />
  else content = <NodesPage selected={selected} onSelect={select} />

  return (
    <>
      <StartModal />
      <div id="top" className="top">
        <TopNavigation
          identity={{
            href: href('nodes'),
            title: 'Sekisho 関所',
            logo: { src: '/console/favicon.svg', alt: '' },
            onFollow: follow,
          }}
          utilities={[
            {
              type: 'button',
              iconSvg: <HalfMoon />,
              ariaLabel: isDark ? 'Switch to light colours' : 'Switch to dark colours',
              onClick: toggleTheme,
            },
            { type: 'button', text: who.region, ariaLabel: `Region ${who.region}` },
            {
              type: 'menu-dropdown',
              iconName: 'user-profile',
              text: who.user,
              description: `Account ${who.account}`,
              items: [
                { id: 'arn', text: who.arn, disabled: true },
                { id: 'account', text: 'Second factors' },
                { id: 'out', text: 'Sign out' },
              ],
              onItemClick: (ev) => {
                if (ev.detail.id === 'out') void signOut()
                if (ev.detail.id === 'account') navigate('account')
              },
            },
          ]}
        />
      </div>
      <AppLayout
        headerSelector="#top"
        toolsHide
        navigationOpen={navigationOpen}
        onNavigationChange={(ev) => setNavigationOpen(ev.detail.open)}
        navigationWidth={220}
        disableContentPaddings={section === 'terminals'}
        contentType={section === 'nodes' || section === 'sessions' ? 'table' : 'default'}
        maxContentWidth={section === 'terminals' ? Number.MAX_VALUE : undefined}
        navigation={
          <SideNavigation
            activeHref={section === 'sessions' ? href('sessions', route[1] === 'active' ? 'active' : 'history') : href(section)}
            onFollow={(ev) => {
              follow(ev)
              if (narrow.matches) setNavigationOpen(false)
            }}
            items={[
              { type: 'link', text: 'Nodes', href: href('nodes') },
              {
                type: 'link',
                text: 'Terminals',
                href: href('terminals'),
                info: tabs.length > 0 ? <Badge color="blue">{tabs.length}</Badge> : undefined,
              },
              { type: 'link', text: 'Quick Setup', href: href('setup') },
              { type: 'divider' },
              {
                type: 'section-group',
                title: 'Sessions',
                items: [
                  { type: 'link', text: 'Active', href: href('sessions', 'active') },
                  { type: 'link', text: 'History', href: href('sessions', 'history') },
                  { type: 'link', text: 'Preferences', href: href('preferences') },
                ],
              },
              {
                type: 'section-group',
                title: 'Access',
                items: [{ type: 'link', text: 'Policy simulator', href: href('simulator') }],
              },
            ]}
          />
        }
        splitPanel={section === 'nodes' && selected !== null ? <NodeDetails id={selected} /> : undefined}
        splitPanelOpen={splitOpen && selected !== null}
        onSplitPanelToggle={(ev) => setSplitOpen(ev.detail.open)}
        splitPanelPreferences={{ position: 'bottom' }}
        content={
          <Suspense
            fallback={
              <Box textAlign="center" padding="xxl">
                <Spinner size="large" />
              </Box>
            }
          >
            {content}
          </Suspense>
        }
      />
    </>
  )
}
