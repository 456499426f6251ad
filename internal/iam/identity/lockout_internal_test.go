package identity

import (
	"net/netip"
	"strconv"
	"testing"
	"time"
)

// Many addresses together get no more attempts at one name than the limit, and
// guesses at one name do not slow down another.
func TestLockoutsLimitEachNameOverAllSources(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	l := newLockouts(func() time.Time { return now })
	l.key = []byte("a fixed key: which names share a bucket must not vary between runs")
	from := func(i int) guess {
		return guess{kind: "password", name: "alice", source: netip.MustParseAddr("198.51.100." + strconv.Itoa(i))}
	}
	allowed := func(n int) (count int) {
		for i := range n {
			if l.attempt(from(i), now) == nil {
				count++
			}
		}
		return count
	}
	if got := allowed(250); got != attemptsPerName {
		t.Errorf("%d attempts at once, want %d", got, attemptsPerName)
	}
	now = now.Add(2 * namePeriod)
	if got := allowed(250); got != 2 {
		t.Errorf("%d attempts after two periods, want 2", got)
	}
	if err := l.attempt(guess{kind: "password", name: "somebody else"}, now); err != nil {
		t.Errorf("another name: %v", err)
	}
	now = now.Add(2 * namePeriod)
	if err := l.attempt(from(1), now); err != nil {
		t.Fatal(err)
	}
	l.succeeded(from(1), now)
	if got := allowed(50); got != 50 {
		t.Errorf("%d attempts after the right password, want 50", got)
	}
}

// However many addresses guess at a name, its owner can sign in from known
// addresses. Guesses from those are limited, too.
func TestStrangersDoNotLockOutAKnownSource(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	l := newLockouts(func() time.Time { return now })
	l.key = []byte("a fixed key: which names share a bucket must not vary between runs")
	home := guess{kind: "password", name: "alice", source: netip.MustParseAddr("203.0.113.1")}
	if err := l.attempt(home, now); err != nil {
		t.Fatal(err)
	}
	l.succeeded(home, now)
	flood := func() (refused bool) {
		for i := range 10 * attemptsPerName {
			stranger := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			refused = l.attempt(guess{kind: "password", name: "alice", source: stranger}, now) != nil
		}
		return refused
	}
	if !flood() {
		t.Fatal("the strangers are not limited")
	}
	allowed := 0
	for range 3 * freeAttempts {
		if l.attempt(home, now) == nil {
			allowed++
		}
	}
	if allowed != freeAttempts {
		t.Errorf("%d attempts from the known address, want %d", allowed, freeAttempts)
	}
	now = now.Add(knownFor + time.Hour)
	if !flood() {
		t.Fatal("the strangers are not limited")
	}
	if l.attempt(home, now) == nil {
		t.Error("the address is still known")
	}
}

// Failures of strangers that fall into the bucket of a known source do not count against it.
func TestKnownSourcesShareNoBucket(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	l := newLockouts(func() time.Time { return now })
	home := guess{kind: "password", name: "alice", source: netip.MustParseAddr("203.0.113.1")}
	l.succeeded(home, now)
	for i := range l.buckets {
		l.buckets[i] = lockout{failures: 100, last: now, until: now.Add(longestLockout)}
	}
	if err := l.attempt(home, now); err != nil {
		t.Errorf("an attempt from the known source: %v", err)
	}
}

// The table of known sources is bounded, and the oldest source gives way.
func TestKnownSourcesAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	l := newLockouts(func() time.Time { return now })
	from := func(i int) guess {
		return guess{kind: "password", name: "alice", source: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}
	}
	for i := range maxKnown + 10 {
		now = now.Add(time.Second)
		l.succeeded(from(i), now)
	}
	if len(l.known) != maxKnown {
		t.Errorf("%d known sources, want %d", len(l.known), maxKnown)
	}
	if _, known := l.find(from(9), now); known {
		t.Error("the oldest source is still known")
	}
	if _, known := l.find(from(10), now); !known {
		t.Error("a newer source was forgotten")
	}
}
