// Sessions that are asked for: started at once when all is well.

import { checkStart, type StartCheck } from './start-check'
import { askFactor } from './step-up'
import { Store } from './store'
import { startSession, type Target } from './workspace'

/** A session that waits for its person: something is not as it should be, or a reason is needed. */
export const pendingStart = new Store<{ target: Target; check: StartCheck } | null>(null)

/** requestStart starts a session when all is well, and asks when it is not. */
export async function requestStart(target: Target): Promise<void> {
  let check: StartCheck
  try {
    check = await checkStart(target.id, false)
    if (check.SecondFactor === true) {
      if (!(await askFactor())) return
      check = await checkStart(target.id, false)
    }
  } catch {
    // StartSession says in its own words what is wrong.
    startSession(target)
    return
  }
  if (check.Ready && !check.ReasonRequired) startSession(target)
  else pendingStart.set({ target, check })
}
