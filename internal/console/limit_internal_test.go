package console

import (
	"strconv"
	"testing"
	"time"
)

func TestLimiterIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	l := newLimiter(1, time.Hour)
	for i := range maxBuckets + 100 {
		l.take(strconv.Itoa(i), now)
	}
	if len(l.buckets) > maxBuckets+1 {
		t.Errorf("%d buckets", len(l.buckets))
	}
	// Newcomers share a bucket now, and it is empty.
	if _, ok := l.take("newcomer", now); ok {
		t.Error("flooding the table buys attempts")
	}
}
