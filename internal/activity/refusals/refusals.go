// Package refusals bounds the audit events that callers without credentials can cause. All doors
// and the console share one budget: each refusal of a source has an event, up to a limit; further
// refusals are summarized once a minute.
package refusals

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sekisho/internal/activity/audit"
	"sekisho/internal/ratelimit"
)

const (
	burst        = 200 // burst of events of one source
	perSecond    = 1   // long-term rate
	allBurst     = 2000
	allPerSecond = 20

	summaryEvery = time.Minute
	maxSummaries = 100    // per interval; the smallest are combined
	maxSources   = 10_000 // counted separately
)

// Trail keeps audit events.
type Trail interface {
	Record(ctx context.Context, e audit.Event) error
}

// Config is the configuration of a Budget.
type Config struct {
	Trail  Trail
	Region string
	Now    func() time.Time // for the events; nil means time.Now
	Log    *slog.Logger
}

// Budget is safe for concurrent use.
type Budget struct {
	cfg     Config
	sources *ratelimit.Limiter[netip.Prefix]
	all     *ratelimit.Limiter[struct{}]

	mu     sync.Mutex
	sums   map[netip.Prefix]*summary
	closed bool
}

// summary counts refusals without a separate event.
type summary struct {
	source      netip.Prefix // the zero prefix means several
	address     netip.Addr   // of the last refusal
	count       int
	first, last time.Time
}

// New returns a full Budget.
func New(cfg Config) *Budget {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Budget{
		cfg: cfg, sums: map[netip.Prefix]*summary{},
		sources: ratelimit.New[netip.Prefix](ratelimit.Config{Rate: perSecond, Burst: burst, MaxKeys: maxSources}),
		all:     ratelimit.New[struct{}](ratelimit.Config{Rate: allPerSecond, Burst: allBurst}),
	}
}

// Take reports whether a refusal gets a separate event. Otherwise, it counts the refusal.
func (b *Budget) Take(from netip.Addr, at time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	source := ratelimit.Source(from)
	if b.closed || b.sources.Allow(source) && b.all.Allow(struct{}{}) {
		return true
	}
	x := b.sums[source]
	if x == nil && len(b.sums) >= maxSources {
		source = netip.Prefix{}
		x = b.sums[source]
	}
	if x == nil {
		x = &summary{source: source, first: at}
		b.sums[source] = x
	}
	x.count++
	x.last, x.address = at, from
	return false
}

// Record stores the event of a refusal, or counts the refusal.
func (b *Budget) Record(ctx context.Context, from netip.Addr, e audit.Event) error {
	if !b.Take(from, e.Time) {
		return nil
	}
	return b.cfg.Trail.Record(ctx, e)
}

// take returns the summaries since the last call, largest first.
func (b *Budget) take(last bool) []summary {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = b.closed || last
	out := make([]summary, 0, len(b.sums))
	for _, x := range b.sums {
		out = append(out, *x)
	}
	clear(b.sums)
	slices.SortFunc(out, func(a, b summary) int {
		return cmp.Or(cmp.Compare(b.count, a.count), a.source.Compare(b.source))
	})
	if len(out) <= maxSummaries {
		return out
	}
	rest := &out[maxSummaries-1]
	for _, s := range out[maxSummaries:] {
		rest.count += s.count
		if s.first.Before(rest.first) {
			rest.first = s.first
		}
		if s.last.After(rest.last) {
			rest.last, rest.address = s.last, s.address
		}
	}
	rest.source = netip.Prefix{}
	return out[:maxSummaries]
}

func (b *Budget) flush(ctx context.Context, last bool) {
	for _, x := range b.take(last) {
		source := "several"
		if x.source.IsValid() {
			source = x.source.String()
		}
		err := b.cfg.Trail.Record(ctx, audit.Event{
			Time: b.cfg.Now(), EventSource: "sekisho.amazonaws.com", EventName: "UnauthenticatedRefusals", Region: b.cfg.Region,
			SourceIP: x.address.String(), UserIdentity: audit.IdentityOf(nil), ReadOnly: true,
			Additional: map[string]any{
				"source": source, "count": x.count,
				"first": x.first.UTC().Format(time.RFC3339), "last": x.last.UTC().Format(time.RFC3339),
			},
		})
		if err != nil {
			b.cfg.Log.Error(
				"audit event lost",
				"event",
				"UnauthenticatedRefusals",
				"source",
				source,
				"count",
				x.count,
				"error",
				err,
			)
		}
	}
}

// Run writes the summaries until ctx ends.
func (b *Budget) Run(ctx context.Context) {
	tick := time.NewTicker(summaryEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			b.flush(ctx, false)
		}
	}
}

// Close writes the remaining summaries. Later refusals each have an event. The trail must still be
// open.
func (b *Budget) Close(ctx context.Context) { b.flush(ctx, true) }
