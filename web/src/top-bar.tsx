import TopNavigation from '@cloudscape-design/components/top-navigation'
import { signOut, type SignedIn } from './api'
import { chooseLanguage, language, LANGUAGES, t } from './i18n'
import { follow, href, navigate } from './router'
import { useStore } from './store'
import { dark, toggleTheme } from './theme'

function HalfMoon() {
  return (
    <svg viewBox="0 0 16 16" focusable="false" aria-hidden="true">
      <circle cx="8" cy="8" r="6" />
      <path d="M8 2a6 6 0 0 1 0 12Z" fill="currentColor" stroke="none" />
    </svg>
  )
}

/** TopBar has the language, the colours and the user's own menu. */
export function TopBar({ who }: { who: SignedIn }) {
  const isDark = useStore(dark)
  const shown = useStore(language)
  return (
    <header id="top" className="top">
      <TopNavigation
        identity={{
          href: href(),
          title: 'Sekisho 関所',
          logo: { src: '/console/favicon.svg', alt: '' },
          onFollow: follow,
        }}
        utilities={[
          {
            type: 'menu-dropdown',
            text: LANGUAGES.find((l) => l.id === shown)?.text,
            ariaLabel: `${t('app.language')}: ${LANGUAGES.find((l) => l.id === shown)?.text ?? ''}`,
            items: LANGUAGES.map((l) => ({ id: l.id, text: l.text, lang: l.id })),
            onItemClick: (ev) => {
              const chosen = LANGUAGES.find((l) => l.id === ev.detail.id)
              if (chosen !== undefined) void chooseLanguage(chosen.id)
            },
          },
          {
            type: 'button',
            iconSvg: <HalfMoon />,
            ariaLabel: isDark ? t('app.light') : t('app.dark'),
            onClick: toggleTheme,
          },
          {
            type: 'menu-dropdown',
            iconName: 'user-profile',
            text: who.user,
            description: `${t('app.accountId', { account: who.account })} · ${who.region}`,
            items: [
              { id: 'arn', text: who.arn, disabled: true },
              { id: 'account', text: t('mfa.title') },
              { id: 'out', text: t('app.signOut') },
            ],
            onItemClick: (ev) => {
              if (ev.detail.id === 'out') void signOut()
              if (ev.detail.id === 'account') navigate('account')
            },
          },
        ]}
      />
    </header>
  )
}
