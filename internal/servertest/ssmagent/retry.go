package ssmagent

import (
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

// Schedule is the retry schedule of the original.
type Schedule struct {
	First    time.Duration // before the second attempt; up to twice as much
	Max      time.Duration
	Jitter   float64 // share added at random
	Attempts int     // after the first; negative = unlimited
}

// ControlSchedule is the schedule of the control channel.
func ControlSchedule() Schedule {
	return Schedule{First: 5 * time.Second, Max: 40 * time.Minute, Jitter: 0.5, Attempts: -1}
}

// DataSchedule is the schedule of data channels.
func DataSchedule() Schedule {
	return Schedule{First: 100 * time.Millisecond, Max: 5 * time.Second, Attempts: 5}
}

// Delays returns the waits before each further attempt. first is drawn once
// for all of them. The wait grows to a maximum and stays there.
func (s Schedule) Delays() func() time.Duration {
	first := s.First + time.Duration(rand.Int64N(int64(s.First)))
	attempt := 0
	return func() time.Duration {
		d := time.Duration(float64(first) * math.Pow(2, float64(attempt)))
		if d > s.Max {
			d = s.Max
		} else {
			attempt++
		}
		if most := int64(float64(d) * s.Jitter); most > 0 {
			d += time.Duration(rand.Int64N(most))
		}
		return d
	}
}

// retry calls do until it succeeds, reports that the session has ended, or has
// failed often enough.
func (a *Agent) retry(ctx context.Context, s Schedule, do func() error) error {
	delays := s.Delays()
	for failed := 0; ; failed++ {
		err := do()
		if err == nil || failed == s.Attempts || strings.Contains(err.Error(), alreadyTerminated) {
			return err
		}
		if !a.rest(ctx, delays()) {
			return ctx.Err()
		}
	}
}
