import { signOut, type SignedIn } from './api'
import { chooseLanguage, language, LANGUAGES, t } from './i18n'
import { Menu } from './menu'
import { href, navigate } from './router'
import { useStore } from './store'
import { dark, toggleTheme } from './theme'

function HalfMoon() {
  return (
    <svg viewBox="0 0 16 16" width="16" height="16" focusable="false" aria-hidden="true">
      <circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" strokeWidth="1.5" />
      <path d="M8 2a6 6 0 0 1 0 12Z" fill="currentColor" />
    </svg>
  )
}

function Bars() {
  return (
    <svg viewBox="0 0 16 16" width="16" height="16" focusable="false" aria-hidden="true">
      <path d="M2 4h12M2 8h12M2 12h12" stroke="currentColor" strokeWidth="1.5" />
    </svg>
  )
}

interface Props {
  who: SignedIn
  navigationOpen: boolean
  onNavigation: (open: boolean) => void
}

/** TopBar has the navigation's button, the language, the colours and the user's own menu. */
export function TopBar({ who, navigationOpen, onNavigation }: Props) {
  const isDark = useStore(dark)
  const current = useStore(language)
  const shown = LANGUAGES.find((l) => l.id === current)?.text ?? ''
  return (
    <header id="top" className="top">
      <button
        type="button"
        className="top-button"
        aria-label={t('app.navigation')}
        aria-expanded={navigationOpen}
        aria-controls="navigation"
        onClick={() => onNavigation(!navigationOpen)}
      >
        <Bars />
      </button>
      <a
        className="top-brand"
        href={href()}
        onClick={(ev) => {
          if (ev.ctrlKey || ev.metaKey || ev.shiftKey) return
          ev.preventDefault()
          navigate()
        }}
      >
        <img src="/console/favicon.svg" alt="" width="24" height="24" />
        <span>
          Sekisho <span lang="ja">関所</span>
        </span>
      </a>
      <div className="top-utilities">
        <Menu
          label={shown}
          ariaLabel={`${t('app.language')}: ${shown}`}
          items={LANGUAGES.map((l) => ({
            id: l.id,
            text: l.text,
            lang: l.id,
            onSelect: () => void chooseLanguage(l.id),
          }))}
        />
        <button
          type="button"
          className="top-button"
          aria-label={isDark ? t('app.light') : t('app.dark')}
          onClick={toggleTheme}
        >
          <HalfMoon />
        </button>
        <Menu
          label={<span className="top-user">{who.user}</span>}
          ariaLabel={who.user}
          items={[
            { id: 'arn', text: who.arn },
            { id: 'where', text: `${t('app.accountId', { account: who.account })} · ${who.region}` },
            { id: 'account', text: t('mfa.title'), onSelect: () => navigate('account') },
            { id: 'out', text: t('app.signOut'), onSelect: () => void signOut() },
          ]}
        />
      </div>
    </header>
  )
}
