// Requests to start a session, which starts at once if all requirements are met.

import { checkStart, type StartCheck } from './start-check'
import { askFactor } from './step-up'
import { Store } from './store'
import { startSession, type Target } from './workspace'

/** A session that waits for the user: a requirement is not met, or a reason is needed. */
export const pendingStart = new Store<{ target: Target; check: StartCheck } | null>(null)

/** requestStart starts a session if all requirements are met, and asks the user otherwise. */
export async function requestStart(target: Target): Promise<void> {
  let check: StartCheck
  try {
    check = await checkStart(target.id, false)
    if (check.SecondFactor === true) {
      if (!(await askFactor())) return
      check = await checkStart(target.id, false)
    }
  } catch {
    // StartSession returns the error.
    startSession(target)
    return
  }
  if (check.Ready && !check.ReasonRequired) startSession(target)
  else pendingStart.set({ target, check })
}
