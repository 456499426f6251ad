package fleet

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How often one source may present a wrong activation: a burst, then one for
// each step. A right one forgives, so that many machines behind one address
// may register at once.
const (
	guessBurst = 20
	guessStep  = 6 * time.Second
	maxSources = 10_000
)

// guesses limits the attempts at activations by where they come from.
type guesses struct {
	mu      sync.Mutex
	sources map[netip.Prefix]*rate.Limiter
	swept   time.Time // when sources was last looked through
}

// source is what addresses are counted by: one IPv6 subscriber has a /64.
func source(ip string) netip.Prefix {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the length fits the address
	return p
}

// take takes one attempt and reports whether there was one left.
func (g *guesses) take(from netip.Prefix, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.sources[from]
	if l == nil {
		l = g.add(from, now)
	}
	return l.AllowN(now, 1)
}

func (g *guesses) add(from netip.Prefix, now time.Time) *rate.Limiter {
	if len(g.sources) >= maxSources && now.Sub(g.swept) >= guessStep {
		g.swept = now
		for p, l := range g.sources {
			if l.TokensAt(now) >= guessBurst {
				delete(g.sources, p)
			}
		}
	}
	if len(g.sources) >= maxSources {
		// Somebody guesses from very many places: newcomers share one limit,
		// so that flooding the table does not buy more attempts.
		from = netip.Prefix{}
		if l := g.sources[from]; l != nil {
			return l
		}
	}
	l := rate.NewLimiter(rate.Every(guessStep), guessBurst)
	if g.sources == nil {
		g.sources = map[netip.Prefix]*rate.Limiter{}
	}
	g.sources[from] = l
	return l
}

// forgive forgets the attempts of a source that turned out to know a code.
func (g *guesses) forgive(from netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.sources, from)
}
