// The frame of the console for a signed-in user: the bar on top, the
// navigation, and the page.

import Box from '@cloudscape-design/components/box'
import Header from '@cloudscape-design/components/header'
import Link from '@cloudscape-design/components/link'
import { I18nProvider, type I18nProviderProps } from '@cloudscape-design/components/i18n'
import { Suspense, useEffect, useRef, useState } from 'react'
import { loadRights } from './access'
import { keepAlive, onSecondFactor, type SignedIn } from './api'
import { listen } from './events'
import { language, t, type Language } from './i18n'
import { IntegrityBanner } from './integrity-banner'
import { lazy } from './lazy'
import { Navigation } from './navigation'
import { followNodes, loadNodes } from './nodes'
import { follow, href, returnToPath, useRoute } from './router'
import { PageBoundary } from './page-boundary'
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
  useEffect(() => {
    const onKey = (ev: KeyboardEvent) => {
      if (ev.key === 'Escape' && narrow.matches) setNavigationOpen(false)
    }
    const resized = () => setNavigationOpen(!narrow.matches)
    addEventListener('keydown', onKey)
    narrow.addEventListener('change', resized)
    return () => {
      removeEventListener('keydown', onKey)
      narrow.removeEventListener('change', resized)
    }
  }, [])

  const title = found === null ? t('app.notFound') : t(found.route.title)
  useEffect(() => {
    document.title = `${title} · Sekisho`
  }, [title])

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
      <TopBar who={who} navigationOpen={navigationOpen} onNavigation={setNavigationOpen} />
      <div className="shell">
        {navigationOpen && (
          <>
            {/* On a phone the navigation lies over the page; its button and Escape close it too. */}
            {/* oxlint-disable-next-line jsx-a11y/click-events-have-key-events, jsx-a11y/no-static-element-interactions */}
            <div className="navigation-veil" onClick={() => setNavigationOpen(false)} />
            <Navigation
              route={found?.route ?? null}
              onFollowed={() => {
                if (narrow.matches) setNavigationOpen(false)
              }}
            />
          </>
        )}
        <div className="shell-content">
          <div className="shell-scroll">
            <IntegrityBanner />
            <main id="main" ref={main} tabIndex={-1} className={`main main-${layout}`}>
              <PageBoundary key={segments.join('/')}>
                {found === null ? (
                  <NotFound />
                ) : (
                  <found.route.page key={found.route.path} who={who} params={found.params} />
                )}
              </PageBoundary>
            </main>
          </div>
          {split}
        </div>
      </div>
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
