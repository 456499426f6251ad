package record

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestPacer: transcripts wait only while much is recorded, and stop with their context.
func TestPacer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &Recorder{}
		ctx, cancel := context.WithCancel(t.Context())
		pace := r.pacer(ctx)
		step := func(recorded int64) time.Duration {
			t.Helper()
			<-time.After(time.Millisecond) // the work
			r.recorded.Add(recorded)
			began := time.Now()
			if err := pace(); err != nil {
				t.Fatal(err)
			}
			return time.Since(began)
		}
		if d := step(0); d != 0 {
			t.Errorf("waited %s while idle", d)
		}
		if d := step(1 << 20); d != 9*time.Millisecond {
			t.Errorf("waited %s while busy", d)
		}
		if d := step(0); d != 0 {
			t.Errorf("waited %s while idle again", d)
		}
		r.recorded.Add(1 << 30)
		<-time.After(time.Second)
		time.AfterFunc(time.Millisecond, cancel)
		began := time.Now()
		if err := pace(); err == nil || time.Since(began) != time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}
