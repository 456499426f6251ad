// The panel below a page, which the page itself fills.

import type { ReactNode } from 'react'
import { Store } from './store'

/** splitPanel is the content of the panel; null for no panel. */
export const splitPanel = new Store<{ content: ReactNode; open: boolean } | null>(null)
