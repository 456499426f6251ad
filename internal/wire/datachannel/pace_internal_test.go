package datachannel

import (
	"testing"
	"time"
)

// flood sends total bytes over a path of some latency whose far end reads rate bytes per
// second, and returns the longest wait in the second half.
func flood(p *pace, latency time.Duration, rate, total int) (worst time.Duration) {
	const frame = 8 << 10
	type sent struct{ at, acked time.Duration }
	var flight []sent
	var now, free time.Duration
	epoch := time.Unix(0, 0)
	for done := 0; done < total; {
		for len(flight)*frame+frame <= p.window {
			free = max(free, now+latency/2) + time.Duration(frame)*time.Second/time.Duration(rate)
			flight = append(flight, sent{now, free + latency/2})
		}
		first := flight[0]
		now = max(now, first.acked)
		p.acknowledged(epoch.Add(now), now-first.at, frame, len(flight)*frame)
		flight = flight[1:]
		if done += frame; done > total/2 {
			worst = max(worst, now-first.at)
		}
	}
	return worst
}

// TestPace: little data is in flight to a slow receiver, much to a fast one.
func TestPace(t *testing.T) {
	t.Parallel()
	const most, delay = 4 << 20, 50 * time.Millisecond
	for _, tt := range []struct {
		name          string
		latency       time.Duration
		rate          int
		least, widest int
		worst         time.Duration
	}{
		{"slow terminal nearby", 2 * time.Millisecond, 2 << 20, minWindow, 256 << 10, 150 * time.Millisecond},
		{"slow terminal far away", 150 * time.Millisecond, 2 << 20, 256 << 10, 1 << 20, 450 * time.Millisecond},
		{"fast and near", time.Millisecond, 200 << 20, firstWindow, most, 100 * time.Millisecond},
		{"fast and far", 100 * time.Millisecond, 200 << 20, 3 << 20, most, 250 * time.Millisecond},
	} {
		p := newPace(most, delay)
		worst := flood(&p, tt.latency, tt.rate, 512<<20)
		if p.window < tt.least || p.window > tt.widest || worst > tt.worst {
			t.Errorf(
				"%s: window %d (want %d to %d), delay %v (want up to %v)",
				tt.name,
				p.window,
				tt.least,
				tt.widest,
				worst,
				tt.worst,
			)
		}
	}
	fixed := newPace(most, 0)
	fixed.acknowledged(time.Unix(0, 0), time.Hour, 1, most)
	if fixed.window != most {
		t.Errorf("an unpaced window became %d", fixed.window)
	}
}
