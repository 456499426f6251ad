package identity

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// flushEvery is the interval at which uses are written.
const flushEvery = 10 * time.Second

// maxPendingUses bounds the uses held while the store cannot be written.
const maxPendingUses = 100_000

// TouchKey records the use of a long-term key. Run writes it to the store.
func (d *Directory) TouchKey(accessKeyID, service, region string, t time.Time) {
	if !strings.HasPrefix(accessKeyID, "AKIA") {
		return
	}
	d.touch(Use{ID: accessKeyID, At: t, Service: service, Region: region})
}

func (d *Directory) touch(u Use) {
	d.usesMu.Lock()
	defer d.usesMu.Unlock()
	if have, ok := d.uses[u.ID]; (ok && have.At.After(u.At)) || (!ok && len(d.uses) >= maxPendingUses) {
		return
	}
	d.uses[u.ID] = u
}

// Run writes recorded uses periodically until ctx ends, and once more then.
func (d *Directory) Run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			// On failure Flush keeps the uses for the next attempt.
			_ = d.Flush(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return d.Flush(last)
		}
	}
}

// Flush writes the recorded uses.
func (d *Directory) Flush(ctx context.Context) error {
	d.usesMu.Lock()
	pending := d.uses
	d.uses = map[string]Use{}
	d.usesMu.Unlock()
	if len(pending) == 0 {
		return nil
	}
	list := make([]Use, 0, len(pending))
	for _, u := range pending {
		list = append(list, u)
	}
	err := d.store.Touch(ctx, list)
	if err != nil {
		for _, u := range list {
			d.touch(u)
		}
		return fmt.Errorf("write last uses: %w", err)
	}
	return nil
}

// LastUses returns the last use of each of ids (access key, role and user
// IDs; a user ID stands for its password) that was ever used.
func (d *Directory) LastUses(ctx context.Context, ids ...string) (map[string]Use, error) {
	out, err := d.store.LastUses(ctx, ids)
	if err != nil {
		return nil, err
	}
	if out == nil {
		out = map[string]Use{}
	}
	d.usesMu.Lock()
	defer d.usesMu.Unlock()
	for _, id := range ids {
		if u, ok := d.uses[id]; ok && u.At.After(out[id].At) {
			out[id] = u
		}
	}
	return out, nil
}
