package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"strings"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/ratelimit"
)

// lockouts slows down guessing of passwords and codes. Attempts are counted
// per name and source, so that guesses from one address do not lock out the
// right password from another; a slower limit per name bounds what many
// addresses can try together. A source from which the name was guessed right is
// exempt from that limit, and its attempts are counted on their own: strangers cannot lock
// somebody out of their own place.
//
// All other attempts fall into a fixed number of buckets under a key drawn at start: memory is bounded, a
// flood of made-up names evicts no entry, and existing and made-up names are treated alike.
type lockouts struct {
	mu      sync.Mutex
	key     []byte
	buckets [lockoutBuckets]lockout
	known   map[guessID]*lockout // by sources with a right guess; only right guesses add to it
	byName  *ratelimit.Limiter[uint32]
}

// guessID is the keyed hash of a name and a source.
type guessID [sha256.Size]byte

// lockout counts the failed attempts of one name and source.
type lockout struct {
	failures int
	last     time.Time
	until    time.Time // no attempt before this
	known    time.Time // when the last guess was right
}

const (
	lockoutBuckets  = 1 << 13
	maxKnown        = 1 << 13 // known names and sources; the oldest one gives way to a new one
	freeAttempts    = 5
	firstLockout    = 30 * time.Second
	longestLockout  = 15 * time.Minute
	forgetFailures  = time.Hour
	attemptsPerName = 100              // from all sources together, at once
	namePeriod      = 10 * time.Second // one more attempt each
	knownFor        = 90 * 24 * time.Hour
)

func newLockouts(now func() time.Time) *lockouts {
	return &lockouts{
		key:   random(32),
		known: map[guessID]*lockout{},
		byName: ratelimit.New[uint32](ratelimit.Config{
			Rate: 1 / namePeriod.Seconds(), Burst: attemptsPerName, MaxKeys: lockoutBuckets, Now: now,
		}),
	}
}

func (l *lockouts) id(key string) (id guessID) {
	mac := hmac.New(sha256.New, l.key)
	mac.Write([]byte(key))
	mac.Sum(id[:0])
	return id
}

// bucket returns the number of the bucket that id shares with others.
func (id guessID) bucket() uint32 { return binary.BigEndian.Uint32(id[:]) % lockoutBuckets }

// find returns the counter of a guess, and whether its source is known.
func (l *lockouts) find(g guess, now time.Time) (counter *lockout, known bool) {
	id := l.id(g.key())
	if b := l.known[id]; b != nil {
		if now.Sub(b.known) < knownFor {
			return b, true
		}
		delete(l.known, id)
	}
	return &l.buckets[id.bucket()], false
}

// guess identifies the target and the source of a guess. The zero source is for guesses by an
// authenticated caller.
type guess struct {
	kind   string // password, change or mfa
	name   string
	source netip.Addr
}

func (g guess) nameKey() string { return g.kind + " " + strings.ToLower(g.name) }

func (g guess) key() string { return g.nameKey() + " " + ratelimit.Source(g.source).String() }

// attempt counts an attempt as failed until succeeded is called, so that concurrent attempts have
// no advantage over consecutive ones.
func (l *lockouts) attempt(g guess, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, known := l.find(g, now)
	if now.Before(b.until) || !known && !l.byName.Allow(l.id(g.nameKey()).bucket()) {
		return sekisho.Errorf(sekisho.CodeThrottled, "Too many failed attempts. Wait a while and try again.")
	}
	if now.Sub(b.last) > forgetFailures {
		b.failures = 0
	}
	b.failures++
	b.last = now
	if over := b.failures - freeAttempts; over >= 0 {
		b.until = now.Add(min(longestLockout, firstLockout<<min(over, 10)))
	}
	return nil
}

// succeeded clears the failures of a guess, and marks its source as known.
func (l *lockouts) succeeded(g guess, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := l.id(g.key())
	if l.known[id] == nil {
		l.buckets[id.bucket()] = lockout{}
		if len(l.known) >= maxKnown {
			l.forgetOldest()
		}
	}
	l.known[id] = &lockout{known: now}
	l.byName.Forget(l.id(g.nameKey()).bucket())
}

// forgetOldest removes the source whose last right guess is the longest ago.
func (l *lockouts) forgetOldest() {
	var oldest guessID
	var at time.Time
	for id, b := range l.known {
		if at.IsZero() || b.known.Before(at) {
			oldest, at = id, b.known
		}
	}
	delete(l.known, oldest)
}

// cancel undoes an attempt that neither succeeded nor failed, and the lockout that it caused.
func (l *lockouts) cancel(g guess, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, _ := l.find(g, now)
	b.failures--
	b.until = time.Time{}
}
