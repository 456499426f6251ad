// A button with a menu, as the bar on top needs it: a library's would be loaded before every page.

import { useEffect, useId, useRef, useState, type KeyboardEvent, type ReactNode } from 'react'

/** MenuItem is one entry; without onSelect it is a text. */
export interface MenuItem {
  id: string
  text: string
  lang?: string
  onSelect?: () => void
}

/** Menu shows its items below a button. */
export function Menu(props: { label: ReactNode; ariaLabel: string; items: MenuItem[] }) {
  const [open, setOpen] = useState(false)
  const root = useRef<HTMLDivElement>(null)
  const button = useRef<HTMLButtonElement>(null)
  const list = useRef<HTMLUListElement>(null)
  const id = useId()
  useEffect(() => {
    if (!open) return
    list.current?.querySelector<HTMLElement>('[role=menuitem]')?.focus()
    const outside = (ev: Event) => {
      if (!root.current?.contains(ev.target as Node)) setOpen(false)
    }
    addEventListener('pointerdown', outside)
    addEventListener('focusin', outside)
    return () => {
      removeEventListener('pointerdown', outside)
      removeEventListener('focusin', outside)
    }
  }, [open])
  const close = () => {
    setOpen(false)
    button.current?.focus()
  }
  const onKey = (ev: KeyboardEvent) => {
    if (ev.key === 'Escape') close()
    const step = ev.key === 'ArrowDown' ? 1 : ev.key === 'ArrowUp' ? -1 : 0
    if (step === 0) return
    ev.preventDefault()
    const all = [...(list.current?.querySelectorAll<HTMLElement>('[role=menuitem]') ?? [])]
    all[(all.indexOf(document.activeElement as HTMLElement) + step + all.length) % all.length]?.focus()
  }
  return (
    <div className="menu" ref={root}>
      <button
        ref={button}
        type="button"
        className="top-button"
        aria-haspopup="menu"
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        aria-label={props.ariaLabel}
        onClick={() => setOpen(!open)}
      >
        {props.label}
      </button>
      {open && (
        <ul className="menu-list" id={id} role="menu" ref={list} aria-label={props.ariaLabel} onKeyDown={onKey}>
          {props.items.map((item) =>
            item.onSelect === undefined ? (
              <li key={item.id} role="presentation" className="menu-text">
                {item.text}
              </li>
            ) : (
              <li key={item.id} role="presentation">
                <button
                  type="button"
                  role="menuitem"
                  tabIndex={-1}
                  lang={item.lang}
                  onClick={() => {
                    close()
                    item.onSelect?.()
                  }}
                >
                  {item.text}
                </button>
              </li>
            ),
          )}
        </ul>
      )}
    </div>
  )
}
