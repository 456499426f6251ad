package output

import (
	"context"
	"testing"
	"testing/synctest"
)

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// TestBufferIsBounded: with a client that reads nothing, the output of an
// endless program is not read either.
func TestBufferIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		o := New()
		go o.Fill(endless{})
		sent := make(chan error, 1)
		go func() { sent <- o.Send(func([]byte) error { <-ctx.Done(); return ctx.Err() }) }()
		synctest.Wait()
		o.mu.Lock()
		held := len(o.b)
		o.mu.Unlock()
		if held == 0 || held > size {
			t.Errorf("%d bytes are held", held)
		}
		cancel()
		if err := <-sent; err == nil {
			t.Error("the send did not fail")
		}
		o.Close()
		synctest.Wait()
	})
}

func TestUnfinished(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]int{
		"": 0, "a": 0, "é": 0, "a\xc3": 1, "€": 0, "\xe2": 1, "\xe2\x82": 2, "\xf0\x9f\x98": 3, "😀": 0,
		"\x82": 0, "\x82\x82\x82\x82": 0, "\xff": 0, "\xe9a": 0, "\xc3\xc3": 1,
	} {
		if got := unfinished([]byte(s)); got != want {
			t.Errorf("%q: %d, want %d", s, got, want)
		}
	}
}
