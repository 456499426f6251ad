package server

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// Not parallel: other tests would allocate meanwhile.
func TestMemoryIsReleasedAfterABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			releaseMemory(ctx)
		}()
		pass := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		}
		pass(firstRelease + time.Second)
		for range 2 {
			burst := make([]byte, 128<<20)
			for i := range burst {
				burst[i] = 1
			}
			runtime.KeepAlive(burst)
			full, _ := measureMemory()
			pass(2 * releaseEvery)
			if left, _ := measureMemory(); left > full-64<<20 {
				t.Errorf("%d MiB of %d MiB are kept", left>>20, full>>20)
			}
		}
		cancel()
		<-stopped
	})
}
