package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"sekisho/internal/wire/sigv4"
)

// counting counts the bytes that are read of a body.
type counting struct {
	io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func TestBodiesOfStrangersAreNotRead(t *testing.T) {
	t.Parallel()
	stranger := sigv4.Credentials{AccessKeyID: "AKIASTRANGER", SecretAccessKey: "guess"}
	for name, c := range map[string]call{
		"JSON, unknown key": {as: stranger, target: "AmazonSSM.Ping"},
		"JSON, unsigned":    {target: "AmazonSSM.Ping", sign: unsigned},
		"JSON, unknown node": {as: sigv4.Credentials{AccessKeyID: "mi-1", SecretAccessKey: "x"},
			target: "AmazonSSM.NodeOnly"},
		"JSON, another region":        {region: "us-west-2", target: "AmazonSSM.Ping"},
		"form, unknown key, too long": {as: stranger, service: "iam"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.body = "Action=Ping&Name=" + strings.Repeat("x", 512<<10)
			r := c.request(t)
			b := &counting{Reader: r.Body}
			r.Body = io.NopCloser(b)
			rec := httptest.NewRecorder()
			w.ServeHTTP(rec, r)
			if rec.Code < 400 || rec.Code >= 500 || b.n != 0 {
				t.Errorf("%d, %d bytes read: %s", rec.Code, b.n, rec.Body)
			}
		})
	}
}

// stalled is a body that sends some bytes and then nothing until it is
// released.
type stalled struct {
	head    io.Reader
	release <-chan struct{}
}

func (s *stalled) Read(p []byte) (int, error) {
	if n, err := s.head.Read(p); err == nil {
		return n, nil
	}
	<-s.release
	return 0, io.ErrUnexpectedEOF
}

func TestStalledBodiesDoNotStopSignedCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		var wg sync.WaitGroup
		var mu sync.Mutex
		busy := 0
		// 100 requests of 900 KiB each from 50 addresses, without a header
		// that reveals it.
		for i := range 100 {
			wg.Go(func() {
				c := call{target: "AmazonSSM.OpenAuthorized", sign: unsigned, from: fmt.Sprintf("192.0.2.%d:1", i%50)}
				r := c.request(t)
				r.ContentLength = 900 << 10
				r.Body = io.NopCloser(&stalled{strings.NewReader(strings.Repeat(" ", 800<<10)), release})
				rec := httptest.NewRecorder()
				w.ServeHTTP(rec, r.WithContext(context.WithoutCancel(t.Context())))
				if rec.Code == http.StatusTooManyRequests {
					mu.Lock()
					busy++
					mu.Unlock()
				}
			})
		}
		synctest.Wait()
		if mu.Lock(); busy < 80 {
			t.Errorf("%d of 100 were refused for want of memory", busy)
		}
		mu.Unlock()
		if rec := w.do(t, call{target: "AmazonSSM.Ping", body: `{"Name":"x"}`,
			from: "192.0.2.1:2"}); rec.Code != http.StatusOK {
			t.Errorf("a signed caller of such an address: %d %s", rec.Code, rec.Body)
		}
		close(release)
		wg.Wait()
		// The memory is released.
		if rec := w.do(t, call{target: "AmazonSSM.OpenAuthorized", sign: unsigned, body: `{"Name":"x"}`,
			from: "192.0.2.1:3"}); rec.Code == http.StatusTooManyRequests {
			t.Errorf("afterwards: %d %s", rec.Code, rec.Body)
		}
	})
}

func TestRefusalsShareABudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 300 {
		w.do(
			t,
			call{
				as:     sigv4.Credentials{AccessKeyID: "AKIASTRANGER", SecretAccessKey: "guess"},
				target: "AmazonSSM.Ping",
				body:   `{}`,
			},
		)
	}
	stranger := len(w.events)
	if stranger < 200 || stranger > 210 {
		t.Errorf("%d events of 300 refusals", stranger)
	}
	w.do(t, call{as: nobody, target: "AmazonSSM.Ping", body: `{"Name":"x"}`})
	if len(w.events) != stranger+1 {
		t.Errorf("a known caller who is refused: %d events", len(w.events)-stranger)
	}
}
