package ratelimit_test

import (
	"net/netip"
	"testing"
	"time"

	"sekisho/internal/ratelimit"
)

type clock struct{ now time.Time }

func newClock() *clock                   { return &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }
func (c *clock) Now() time.Time          { return c.now }
func (c *clock) advance(d time.Duration) { c.now = c.now.Add(d) }
func take(allow func() bool, n int) (ok int) {
	for range n {
		if allow() {
			ok++
		}
	}
	return ok
}

func TestBurstThenRate(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := ratelimit.New[string](ratelimit.Config{Rate: 0.5, Burst: 3, Now: c.Now})
	if got := take(func() bool { return l.Allow("a") }, 10); got != 3 {
		t.Fatalf("%d of 10 allowed at once, want the burst of 3", got)
	}
	if !l.Exhausted("a") || l.Exhausted("b") {
		t.Error("Exhausted: want a, not b")
	}
	if wait, ok := l.Reserve("a"); ok || wait != 2*time.Second {
		t.Errorf("Reserve = %v, %v; want a wait of 2 s", wait, ok)
	}
	if !l.Allow("b") {
		t.Error("another key was refused")
	}
	c.advance(2 * time.Second)
	if got := take(func() bool { return l.Allow("a") }, 5); got != 1 {
		t.Errorf("%d allowed after 2 s, want 1", got)
	}
	l.Forget("a")
	if got := take(func() bool { return l.Allow("a") }, 5); got != 3 {
		t.Errorf("%d allowed after Forget, want the burst of 3", got)
	}
}

func TestReturn(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := ratelimit.New[string](ratelimit.Config{Rate: 1, Burst: 3, Now: c.Now})
	for range 3 {
		l.Allow("a")
	}
	l.Return("a")
	if got := take(func() bool { return l.Allow("a") }, 5); got != 1 {
		t.Errorf("%d allowed after one token was returned, want 1", got)
	}
	c.advance(time.Minute)
	l.Return("a")
	l.Return("never seen")
	if got := take(func() bool { return l.Allow("a") }, 9); got != 3 {
		t.Errorf("%d allowed after a token was returned to a full bucket, want the burst of 3", got)
	}
}

func TestFullTableSharesOneLimit(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := ratelimit.New[int](ratelimit.Config{Rate: 1, Burst: 2, MaxKeys: 10, Now: c.Now})
	for k := range 10 {
		l.Allow(k)
	}
	k := 100
	if got := take(func() bool { k++; return l.Allow(k) }, 50); got != 2 {
		t.Errorf("%d new keys allowed while the table is full, want one shared burst of 2", got)
	}
	c.advance(time.Minute) // all are idle now and make room
	if got := take(func() bool { k++; return l.Allow(k) }, 10); got != 10 {
		t.Errorf("%d of 10 new keys allowed after the others became idle", got)
	}
}

func TestNewEvery(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := ratelimit.NewEvery[string](time.Hour, 0, c.Now)
	if !l.Allow("k") || l.Allow("k") {
		t.Error("want exactly one in an hour")
	}
	c.advance(59 * time.Minute)
	if l.Allow("k") {
		t.Error("allowed after 59 minutes")
	}
	c.advance(time.Minute)
	if !l.Allow("k") {
		t.Error("refused after an hour")
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"203.0.113.7":        "203.0.113.7/32",
		"::ffff:203.0.113.7": "203.0.113.7/32",
		"2001:db8:1:2:3::4":  "2001:db8:1:2::/64",
		"fe80::1%eth0":       "fe80::/64",
	} {
		if got := ratelimit.Source(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("Source(%s) = %s, want %s", in, got, want)
		}
	}
	if ratelimit.Source(netip.Addr{}).IsValid() {
		t.Error("the zero address has a network")
	}
}
