// The frame of the console for a signed-in user: the bar on top, the
// navigation, and the page.

import AppLayout from '@cloudscape-design/components/app-layout'
import Box from '@cloudscape-design/components/box'
import Header from '@cloudscape-design/components/header'
import Link from '@cloudscape-design/components/link'
import { I18nProvider, type I18nProviderProps } from '@cloudscape-design/components/i18n'
import Spinner from '@cloudscape-design/components/spinner'
import { lazy, Suspense, useEffect, useRef, useState } from 'react'
import { loadRights } from './access'
import { keepAlive, onSecondFactor, type SignedIn } from './api'
import { listen } from './events'
import { language, t, type Language } from './i18n'
import { IntegrityBanner } from './integrity-banner'
import { Navigation } from './navigation'
import { followNodes, loadNodes } from './nodes'
import { follow, href, returnToPath, useRoute } from './router'
import { findRoute, HOME } from './routes'
import { splitPanel } from './split'
import { askFactor, wantedFactor } from './step-up'
import { pendingStart } from './start-request'
import { useStore } from './store'
import { TopBar } from './top-bar'
import { keepOverReload, takeUpKept, warnBeforeLeaving } from './workspace'

const StartModal = lazy(() => import('./start-panel').then((m) => ({ default: m.StartModal })))

const StepUpModal = lazy(() => import('./step-up-modal').then((m) => ({ default: m.StepUpModal })))

const narrow = matchMedia('(max-width: 688px)')

const messages: Record<Language, () => Promise<{ default: I18nProviderProps.Messages }>> = {
  en: () => import('@cloudscape-design/components/i18n/messages/all.en'),
  ja: () => import('@cloudscape-design/components/i18n/messages/all.ja'),
}

/** useComponentTexts loads the texts of the components in the chosen language. */
function useComponentTexts(): { language: Language; messages: I18nProviderProps.Messages[] } {
  const chosen = useStore(language)
  const [texts, setTexts] = useState<{ language: Language; messages: I18nProviderProps.Messages[] }>({
    language: chosen,
    messages: [],
  })
  useEffect(() => {
    let over = false
    void messages[chosen]().then((m) => {
      if (!over) setTexts({ language: chosen, messages: [m.default] })
    })
    return () => {
      over = true
    }
  }, [chosen])
  return texts
}

/** Console is what a signed-in user sees. */
export default function Console({ who }: { who: SignedIn }) {
  const texts = useComponentTexts()
  const segments = useRoute()
  const found = findRoute(segments)
  const [navigationOpen, setNavigationOpen] = useState(!narrow.matches)
  const split = useStore(splitPanel)
  const asked = useStore(pendingStart) !== null
  const factor = useStore(wantedFactor) !== null
  const main = useRef<HTMLDivElement>(null)

  useEffect(() => {
    onSecondFactor(askFactor)
    returnToPath()
    void loadRights().then(() => loadNodes())
    void takeUpKept(who.arn)
    const stops = [listen(), followNodes(), keepAlive(), warnBeforeLeaving(), keepOverReload(who.arn)]
    return () => stops.forEach((stop) => stop())
  }, [who.arn])

  const title = found === null ? t('app.notFound') : t(found.route.title)
  useEffect(() => {
    document.title = `${title} · Sekisho`
  }, [title])

  useEffect(() => {
    // The layout sets an attribute that its element must not have, and sets it
    // again whenever it changes between a wide and a narrow window.
    const remove = () => document.querySelector('nav[aria-orientation]')?.removeAttribute('aria-orientation')
    remove()
    const observer = new MutationObserver(remove)
    observer.observe(document.body, {
      subtree: true,
      childList: true,
      attributes: true,
      attributeFilter: ['aria-orientation'],
    })
    return () => observer.disconnect()
  }, [])

  const layout = found?.route.layout ?? 'default'
  return (
    <I18nProvider locale={texts.language} messages={texts.messages}>
      <a
        className="skip"
        href="#main"
        onClick={(ev) => {
          ev.preventDefault()
          main.current?.focus()
        }}
      >
        {t('app.skip')}
      </a>
      {asked && (
        <Suspense fallback={null}>
          <StartModal />
        </Suspense>
      )}
      {factor && (
        <Suspense fallback={null}>
          <StepUpModal />
        </Suspense>
      )}
      <TopBar who={who} />
      <AppLayout
        headerSelector="#top"
        toolsHide
        navigationOpen={navigationOpen}
        onNavigationChange={(ev) => setNavigationOpen(ev.detail.open)}
        navigationWidth={240}
        disableContentPaddings={layout === 'terminal'}
        contentType={layout === 'table' ? 'table' : 'default'}
        maxContentWidth={layout === 'terminal' ? Number.MAX_VALUE : undefined}
        ariaLabels={{ navigation: t('app.navigation') }}
        navigation={
          <Navigation
            route={found?.route ?? null}
            onFollowed={() => {
              if (narrow.matches) setNavigationOpen(false)
            }}
          />
        }
        notifications={<IntegrityBanner />}
        splitPanel={split?.content}
        splitPanelOpen={split?.open ?? false}
        onSplitPanelToggle={(ev) => split && splitPanel.set({ ...split, open: ev.detail.open })}
        splitPanelPreferences={{ position: 'bottom' }}
        content={
          <div id="main" ref={main} tabIndex={-1} className="main">
            <Suspense
              fallback={
                <Box textAlign="center" padding="xxl">
                  <Spinner size="large" />
                </Box>
              }
            >
              {found === null ? (
                <NotFound />
              ) : (
                <found.route.page key={found.route.path} who={who} params={found.params} />
              )}
            </Suspense>
          </div>
        }
      />
    </I18nProvider>
  )
}

function NotFound() {
  return (
    <Box padding={{ vertical: 'xxl' }}>
      <Header variant="h1" description={t('app.notFoundHint')}>
        {t('app.notFound')}
      </Header>
      <Link href={href(HOME)} onFollow={follow}>
        {t('nav.home')}
      </Link>
    </Box>
  )
}
