package link

import (
	"math/rand/v2"
	"time"
)

const (
	// minBackoff is the longest wait before the second attempt. The first one is immediate.
	minBackoff = 100 * time.Millisecond
	// While an outage is younger than freshOutage, attempts are at most freshBackoff apart:
	// a restarting server is back within seconds.
	freshOutage  = time.Minute
	freshBackoff = time.Second
)

// Backoff paces reconnection attempts. Waits are random because many clients lose the same
// server at the same moment. The zero Backoff with Max set is ready for use.
type Backoff struct {
	Max time.Duration // between two attempts, once an outage is old

	began time.Time // of the outage; zero while there is none
	wait  time.Duration
	tried bool
}

// Reset ends the outage. Call it after a successful connection.
func (b *Backoff) Reset() { *b = Backoff{Max: b.Max} }

// Next returns how long to wait before the next attempt. The first wait of an
// outage is 0.
func (b *Backoff) Next() time.Duration {
	now := time.Now()
	if b.began.IsZero() {
		b.began = now
	}
	most := b.Max
	if now.Sub(b.began) < freshOutage {
		most = min(most, freshBackoff)
	}
	if !b.tried {
		b.tried = true
		return 0
	}
	b.wait = min(max(2*b.wait, minBackoff), most)
	return b.wait/2 + rand.N(b.wait/2)
}
