// Package ratelimit limits how often something happens per key, in bounded
// memory, on top of golang.org/x/time/rate. It is the only rate limiter of
// the server.
package ratelimit

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Config describes a Limiter.
type Config struct {
	// Rate is the long-term number of events per second of one key.
	Rate float64
	// Burst is the number of events that one key can have at once; at least 1.
	Burst int
	// MaxKeys bounds the number of keys that are remembered; 0 means 10,000. When the table is
	// full of keys that are not idle, new keys share one limit, so that filling the table does
	// not yield more attempts.
	MaxKeys int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

const defaultMaxKeys = 10_000

// Limiter holds one token bucket per key. It is safe for concurrent use.
type Limiter[K comparable] struct {
	config Config

	mu     sync.Mutex
	keys   map[K]*rate.Limiter
	shared *rate.Limiter // for new keys while the table is full
	swept  time.Time
}

// New returns a Limiter without keys.
func New[K comparable](c Config) *Limiter[K] {
	if c.MaxKeys <= 0 {
		c.MaxKeys = defaultMaxKeys
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Burst = max(c.Burst, 1)
	return &Limiter[K]{config: c, keys: map[K]*rate.Limiter{}}
}

// NewEvery returns a Limiter that allows one event per key and period.
func NewEvery[K comparable](period time.Duration, maxKeys int, now func() time.Time) *Limiter[K] {
	return New[K](Config{Rate: 1 / period.Seconds(), Burst: 1, MaxKeys: maxKeys, Now: now})
}

// Allow takes one token of key and reports whether there was one.
func (l *Limiter[K]) Allow(key K) bool {
	_, ok := l.Reserve(key)
	return ok
}

// Reserve takes one token of key. If there is none, it takes nothing and returns how long to wait
// for the next one.
func (l *Limiter[K]) Reserve(key K) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.config.Now()
	bucket := l.bucket(key, now)
	if bucket.AllowN(now, 1) {
		return 0, true
	}
	missing := 1 - bucket.TokensAt(now)
	if l.config.Rate <= 0 {
		return time.Duration(1<<63 - 1), false
	}
	return time.Duration(missing / l.config.Rate * float64(time.Second)), false
}

// Exhausted reports whether key has no token left, without taking one.
func (l *Limiter[K]) Exhausted(key K) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	bucket := l.keys[key]
	return bucket != nil && bucket.TokensAt(l.config.Now()) < 1
}

// Return gives back one token that key took, for instance because an attempt
// succeeded and only failures count.
func (l *Limiter[K]) Return(key K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if bucket := l.keys[key]; bucket != nil {
		bucket.AllowN(l.config.Now(), -1) // the burst caps the bucket
	}
}

// Forget gives key its full burst again.
func (l *Limiter[K]) Forget(key K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.keys, key)
}

// bucket returns the bucket of key. Idle keys, whose bucket is full, are
// dropped when the table is full.
func (l *Limiter[K]) bucket(key K, now time.Time) *rate.Limiter {
	if b := l.keys[key]; b != nil {
		return b
	}
	// The cost of a sweep is proportional to the table. One sweep per token interval suffices,
	// because no bucket fills faster.
	if len(l.keys) >= l.config.MaxKeys && now.Sub(l.swept) >= l.sweepEvery() {
		l.swept = now
		for k, b := range l.keys {
			if b.TokensAt(now) >= float64(l.config.Burst) {
				delete(l.keys, k)
			}
		}
	}
	if len(l.keys) >= l.config.MaxKeys {
		if l.shared == nil {
			l.shared = l.newBucket()
		}
		return l.shared
	}
	b := l.newBucket()
	l.keys[key] = b
	return b
}

func (l *Limiter[K]) newBucket() *rate.Limiter {
	return rate.NewLimiter(rate.Limit(l.config.Rate), l.config.Burst)
}

func (l *Limiter[K]) sweepEvery() time.Duration {
	if l.config.Rate <= 0 {
		return time.Minute
	}
	return time.Duration(min(max(1/l.config.Rate, 1), 60) * float64(time.Second))
}

// Source returns the network for per-address limits: the address itself for IPv4, its /64 for IPv6, because one
// subscriber has a whole /64. The zero address has the zero prefix.
func Source(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // cannot fail: the length fits the address
	return p
}
