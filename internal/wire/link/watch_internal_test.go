package link

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestWatch: a side whose peer pings sends no pings of its own, starts when the peer falls
// silent, and closes the connection if the peer does not answer.
func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		near := newConn(newSocket(a, a, true, 1024), nil, "")
		far := newConn(newSocket(b, b, false, 1024), nil, "")
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() { _, _, _ = near.Read(ctx) })
		work.Go(func() { _, _, _ = far.Read(ctx) }) // until the first message
		pinging, stopPinging := context.WithCancel(ctx)
		work.Go(func() { _ = far.KeepAlive(pinging, 4*time.Second, 10*time.Second) })
		ended := make(chan error, 1)
		work.Go(func() { ended <- near.Watch(ctx, 5*time.Second, 10*time.Second) })
		pings := func() uint64 {
			synctest.Wait()
			near.ws.pingMu.Lock()
			defer near.ws.pingMu.Unlock()
			return near.ws.pings
		}
		pass := func(d time.Duration) {
			timer := time.NewTimer(d)
			<-timer.C
		}
		pass(time.Minute)
		if n := pings(); n != 0 {
			t.Errorf("%d pings to a peer that pings", n)
		}
		stopPinging()
		pass(21 * time.Second)
		if n := pings(); n != 4 {
			t.Errorf("%d pings within 21 s of silence, want one each 5 s", n)
		}
		if err := near.Write(ctx, Binary, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, ErrNoPong) {
			t.Errorf("a peer that no longer reads: %v", err)
		}
		cancel()
		work.Wait()
	})
}
