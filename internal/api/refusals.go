package api

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"sekisho/internal/activity/audit"
)

// How many refusals of callers nobody knows have an audit event each: so many
// at once, then so many a second, of one source and of all together. The
// others are summed up, or strangers could grow the database at will.
const (
	refusalBurst    = 200
	refusalRate     = 1
	allRefusalBurst = 2000
	allRefusalRate  = 20
	summaryTime     = time.Minute
	maxSummaries    = 100 // at a time; the least are one together
	maxStrangers    = 10_000
	sweepTime       = time.Second
)

// refusals sums up refusals of unauthenticated calls by where they come from.
type refusals struct {
	all      *rate.Limiter
	flushing sync.Mutex // held while summaries are written

	mu      sync.Mutex
	sources map[netip.Prefix]*stranger
	swept   time.Time // when sources was last looked through
	timer   *time.Timer
	closed  bool
}

// stranger is one source.
type stranger struct {
	limit *rate.Limiter
	summary
}

// summary is what became of refusals without an event of their own.
type summary struct {
	source      netip.Prefix // the zero one: several
	address     netip.Addr   // of the last
	count       int
	first, last time.Time
}

func newRefusals() *refusals {
	return &refusals{all: rate.NewLimiter(allRefusalRate, allRefusalBurst), sources: map[netip.Prefix]*stranger{}}
}

// sourceOf is what addresses are counted by: one IPv6 subscriber has a /64.
func sourceOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the length fits the address
	return p
}

// sum reports whether a refusal is one too many for an event of its own. It
// has been counted then, and flush is called within summaryTime.
func (f *refusals) sum(from netip.Addr, at time.Time, flush func()) bool {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	source := sourceOf(from)
	x := f.sources[source]
	if x == nil {
		x = f.add(source, now)
	}
	if f.closed || x.limit.AllowN(now, 1) && f.all.AllowN(now, 1) {
		return false
	}
	if x.count == 0 {
		x.first = at
	}
	x.count++
	x.last, x.address = at, from
	if f.timer == nil {
		f.timer = time.AfterFunc(summaryTime, flush)
	}
	return true
}

func (f *refusals) add(source netip.Prefix, now time.Time) *stranger {
	if len(f.sources) >= maxStrangers && now.Sub(f.swept) >= sweepTime {
		f.swept = now
		for p, x := range f.sources {
			if x.count == 0 && x.limit.TokensAt(now) >= refusalBurst {
				delete(f.sources, p)
			}
		}
	}
	if len(f.sources) >= maxStrangers {
		// Newcomers share one limit, so that flooding the table buys nothing.
		source = netip.Prefix{}
		if x := f.sources[source]; x != nil {
			return x
		}
	}
	x := &stranger{limit: rate.NewLimiter(refusalRate, refusalBurst), summary: summary{source: source}}
	f.sources[source] = x
	return x
}

// take returns what was summed up since the last time, most refusals first.
func (f *refusals) take(last bool) []summary {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
	f.closed = f.closed || last
	var out []summary
	for p, x := range f.sources {
		if x.count > 0 {
			out = append(out, x.summary)
			x.summary = summary{source: p}
		}
	}
	slices.SortFunc(out, func(a, b summary) int { return cmp.Compare(b.count, a.count) })
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

// flush writes the summaries.
func (s *Server) flush(last bool) {
	s.refusals.flushing.Lock()
	defer s.refusals.flushing.Unlock()
	for _, x := range s.refusals.take(last) {
		source := "several"
		if x.source.IsValid() {
			source = x.source.String()
		}
		err := s.cfg.Trail.Record(context.Background(), audit.Event{
			Time: s.cfg.Now(), EventSource: "sekisho.amazonaws.com", EventName: "UnauthenticatedRefusals", Region: s.cfg.Region,
			SourceIP: x.address.String(), UserIdentity: audit.IdentityOf(nil), ReadOnly: true,
			Additional: map[string]any{"source": source, "count": x.count, "first": x.first.UTC().Format(time.RFC3339), "last": x.last.UTC().Format(time.RFC3339)},
		})
		if err != nil {
			s.cfg.Log.Error("audit event lost", "operation", "UnauthenticatedRefusals", "source", source, "count", x.count, "error", err)
		}
	}
}

// Close writes what the audit trail does not have yet. The trail must still
// be open.
func (s *Server) Close() { s.flush(true) }
