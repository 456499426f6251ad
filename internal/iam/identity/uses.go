package identity

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// flushEvery is the interval at which uses are written.
const flushEvery = 10 * time.Second

// maxPendingUses bounds the uses in memory while the store is not writable.
const maxPendingUses = 100_000

// Uses records when access keys, roles and passwords were last used, and writes
// that to the store from time to time.
type Uses struct {
	store   Store
	mu      sync.Mutex
	pending map[string]Use
	touched chan struct{} // signalled when there is something to write; buffered
}

// TouchKey records the use of a long-term key. [Uses.Run] writes it to the store.
func (creds *Credentials) TouchKey(accessKeyID, service, region string, t time.Time) {
	if !strings.HasPrefix(accessKeyID, "AKIA") {
		return
	}
	creds.uses.touch(Use{ID: accessKeyID, At: t, Service: service, Region: region})
}

func (uses *Uses) touch(u Use) {
	uses.mu.Lock()
	defer uses.mu.Unlock()
	if have, ok := uses.pending[u.ID]; (ok && have.At.After(u.At)) || (!ok && len(uses.pending) >= maxPendingUses) {
		return
	}
	uses.pending[u.ID] = u
	select {
	case uses.touched <- struct{}{}:
	default: // it is signalled already
	}
}

// Run writes recorded uses from time to time, and once more when ctx ends.
func (uses *Uses) Run(ctx context.Context) error {
	timer := time.NewTimer(flushEvery)
	timer.Stop()
	defer timer.Stop()
	touched := uses.touched // nil while the timer runs
	for {
		select {
		case <-touched:
			timer.Reset(flushEvery)
			touched = nil
		case <-timer.C:
			// On failure Flush keeps the uses for the next attempt.
			_ = uses.Flush(ctx)
			touched = uses.touched
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return uses.Flush(last)
		}
	}
}

// Flush writes the recorded uses.
func (uses *Uses) Flush(ctx context.Context) error {
	uses.mu.Lock()
	list := slices.Collect(maps.Values(uses.pending))
	uses.pending = map[string]Use{}
	uses.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	err := uses.store.Touch(ctx, list)
	if err != nil {
		for _, u := range list {
			uses.touch(u)
		}
		return fmt.Errorf("write last uses: %w", err)
	}
	return nil
}

// Last returns the last use of each of ids (access key, role and user IDs; a user ID stands for the
// password) that has been used.
func (uses *Uses) Last(ctx context.Context, ids ...string) (map[string]Use, error) {
	out, err := uses.store.LastUses(ctx, ids)
	if err != nil {
		return nil, err
	}
	if out == nil {
		out = map[string]Use{}
	}
	uses.mu.Lock()
	defer uses.mu.Unlock()
	for _, id := range ids {
		if u, ok := uses.pending[id]; ok && u.At.After(out[id].At) {
			out[id] = u
		}
	}
	return out, nil
}
