package link_test

import (
	"testing"
	"testing/synctest"
	"time"

	"sekisho/internal/wire/link"
)

// TestBackoff: attempts are frequent early in an outage and rare later.
func TestBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(*testing.T) {
		b := link.Backoff{Max: 15 * time.Second}
		outage := func(d time.Duration) (attempts int, longest time.Duration) {
			for began := time.Now(); time.Since(began) < d; attempts++ {
				wait := b.Next()
				longest = max(longest, wait)
				<-time.After(wait)
			}
			return attempts, longest
		}
		for range 2 { // the second outage starts with short pauses again
			if n, longest := outage(58 * time.Second); longest > time.Second || n > 130 || n < 58 {
				t.Errorf("in the first minute %d attempts, at most %v apart", n, longest)
			}
			outage(time.Minute)
			if n, longest := outage(10 * time.Minute); longest > 15*time.Second || n > 85 || n < 40 {
				t.Errorf("in ten minutes %d attempts, at most %v apart", n, longest)
			}
			b.Reset()
			if wait := b.Next(); wait != 0 {
				t.Errorf("the first wait is %v", wait)
			}
			b.Reset()
		}
	})
}
