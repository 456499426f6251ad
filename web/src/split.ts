// The panel below a page, with content that the page provides.

import type { ReactNode } from 'react'
import { Store } from './store'

/** splitPanel is the panel; null for none. */
export const splitPanel = new Store<ReactNode>(null)
