package console

import (
	"sync"
	"time"
)

// maxBuckets bounds a limiter's memory.
const maxBuckets = 10_000

// limiter limits attempts by key: a burst, then one per step.
type limiter struct {
	burst float64
	step  time.Duration

	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newLimiter(burst int, step time.Duration) *limiter {
	return &limiter{burst: float64(burst), step: step, buckets: make(map[string]*bucket)}
}

// take uses one attempt of a key, or returns the time until the next one.
func (l *limiter) take(key string, now time.Time) (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucket(key, now)
	b.tokens = l.level(b, now)
	b.at = now
	if b.tokens < 1 {
		return time.Duration((1 - b.tokens) * float64(l.step)), false
	}
	b.tokens--
	return 0, true
}

// giveBack returns an attempt that succeeded.
func (l *limiter) giveBack(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b, ok := l.buckets[key]; ok {
		b.tokens = min(l.burst, b.tokens+1)
	}
}

func (l *limiter) level(b *bucket, now time.Time) float64 {
	return min(l.burst, b.tokens+float64(now.Sub(b.at))/float64(l.step))
}

func (l *limiter) bucket(key string, now time.Time) *bucket {
	if b, ok := l.buckets[key]; ok {
		return b
	}
	if len(l.buckets) >= maxBuckets {
		for k, b := range l.buckets {
			if l.level(b, now) >= l.burst {
				delete(l.buckets, k)
			}
		}
	}
	if len(l.buckets) >= maxBuckets {
		// The table is full: new keys share one bucket, so that flooding the table does not yield
		// more attempts.
		key = ""
		if b, ok := l.buckets[key]; ok {
			return b
		}
	}
	b := &bucket{tokens: l.burst, at: now}
	l.buckets[key] = b
	return b
}
