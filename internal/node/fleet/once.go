package fleet

import (
	"sync"
	"time"
)

// maxOnce bounds what is remembered.
const maxOnce = 10_000

// once remembers for an hour what has been looked at.
type once struct {
	mu   sync.Mutex
	when map[string]time.Time
}

// first reports whether key has not been looked at for an hour. When very much
// is remembered nothing new is looked at.
func (o *once) first(key string, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t, ok := o.when[key]; ok && now.Sub(t) < alarmEvery {
		return false
	}
	if len(o.when) >= maxOnce {
		for k, t := range o.when {
			if now.Sub(t) >= alarmEvery {
				delete(o.when, k)
			}
		}
		if len(o.when) >= maxOnce {
			return false
		}
	}
	if o.when == nil {
		o.when = map[string]time.Time{}
	}
	o.when[key] = now
	return true
}
