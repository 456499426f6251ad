package link_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sekisho/internal/wire/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a TLS server that passes each accepted connection to handle,
// and returns the URL and the TLS settings for clients.
func serve(t *testing.T, opt link.AcceptOptions, handle func(ctx context.Context, c *link.Conn)) (string, *tls.Config) {
	t.Helper()
	var handlers sync.WaitGroup
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers.Add(1)
		defer handlers.Done()
		c, err := link.Accept(w, r, opt)
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		handle(ctx, c)
	}))
	t.Cleanup(func() {
		cancel()
		srv.Close()
		handlers.Wait()
	})
	roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	return "wss" + strings.TrimPrefix(srv.URL, "https"), &tls.Config{RootCAs: roots}
}

func dial(t *testing.T, url string, conf *tls.Config) *link.Conn {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c, err := link.Dial(ctx, url, link.DialOptions{TLS: conf})
	cancel() // it limits the handshake, not the connection
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func echo(ctx context.Context, c *link.Conn) {
	for {
		kind, b, err := c.Read(ctx)
		if err != nil || c.Write(ctx, kind, b) != nil {
			return
		}
	}
}

func TestEcho(t *testing.T) {
	t.Parallel()
	url, conf := serve(t, link.AcceptOptions{}, echo)
	c := dial(t, url, conf)
	if !strings.HasPrefix(c.RemoteAddr(), "127.0.0.1:") {
		t.Errorf("remote address %q", c.RemoteAddr())
	}
	var buf []byte
	for _, tc := range []struct {
		kind link.Kind
		body []byte
	}{
		{link.Text, []byte(`{"a":1}`)},
		{link.Binary, bytes.Repeat([]byte{0, 255}, 100_000)},
		{link.Binary, nil},
		{link.Binary, []byte("x")},
	} {
		if err := c.Write(t.Context(), tc.kind, tc.body); err != nil {
			t.Fatal(err)
		}
		kind, got, err := c.ReadInto(t.Context(), buf)
		if err != nil || kind != tc.kind || !bytes.Equal(got, tc.body) {
			t.Fatalf("got %d, %d bytes, %v; want %d, %d bytes", kind, len(got), err, tc.kind, len(tc.body))
		}
		buf = got
	}
}

func TestReadIntoReusesBuffer(t *testing.T) {
	t.Parallel()
	url, conf := serve(t, link.AcceptOptions{}, echo)
	c := dial(t, url, conf)
	var first []byte
	for i := range 3 {
		if err := c.Write(t.Context(), link.Binary, bytes.Repeat([]byte("abc"), 10-i)); err != nil {
			t.Fatal(err)
		}
		kind, b, err := c.ReadInto(t.Context(), first)
		if err != nil || kind != link.Binary || len(b) != 3*(10-i) {
			t.Fatalf("%v, %d bytes, %v", kind, len(b), err)
		}
		if first == nil {
			first = b
		} else if &first[0] != &b[0] {
			t.Error("a new buffer was made")
		}
	}
}

// TestOffers: the dialing side learns what the accepting side offers.
func TestOffers(t *testing.T) {
	t.Parallel()
	url, conf := serve(t, link.AcceptOptions{Offers: []string{"other", link.OfferChecksums}}, echo)
	none, noneConf := serve(t, link.AcceptOptions{}, echo)
	if c := dial(t, url, conf); !link.NewFrames(c).TakesChecksums() || !c.Offers("other") || c.Offers("more") {
		t.Error("the offers were not received")
	}
	if c := dial(t, none, noneConf); link.NewFrames(c).TakesChecksums() || c.Offers("") {
		t.Error("a server without offers seems to offer something")
	}
}

func TestReadLimit(t *testing.T) {
	t.Parallel()
	seen := make(chan error, 1)
	url, conf := serve(t, link.AcceptOptions{ReadLimit: 1000}, func(ctx context.Context, c *link.Conn) {
		if _, b, err := c.Read(ctx); err != nil || len(b) != 1000 {
			seen <- errors.Join(errors.New("the message at the limit was refused"), err)
			return
		}
		_, _, err := c.Read(ctx)
		seen <- err
	})
	c := dial(t, url, conf)
	for _, n := range []int{1000, 1001} {
		if err := c.Write(t.Context(), link.Binary, make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := c.Read(t.Context())
	if code, _, ok := link.CloseStatus(err); !ok || code != link.CloseTooBig {
		t.Errorf("closed with %d (%v)", code, err)
	}
	if err := <-seen; !errors.Is(err, link.ErrTooBig) {
		t.Errorf("the reader got %v", err)
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	url, conf := serve(t, link.AcceptOptions{AllowOrigin: func(origin string, r *http.Request) bool {
		return origin == "https://"+r.Host
	}}, echo)
	none, noneConf := serve(t, link.AcceptOptions{}, echo)
	own := "https" + strings.TrimPrefix(url, "wss")
	for _, tc := range []struct {
		name   string
		url    string
		conf   *tls.Config
		origin []string
		want   int
	}{
		{"not a browser", url, conf, nil, 0},
		{"own page", url, conf, []string{own}, 0},
		{"another origin", url, conf, []string{"https://evil.example"}, 403},
		{"null", url, conf, []string{"null"}, 403},
		{"empty", url, conf, []string{""}, 403},
		{"two", url, conf, []string{own, own}, 403},
		{"browsers not allowed", none, noneConf, []string{"https" + strings.TrimPrefix(none, "wss")}, 403},
	} {
		c, err := link.Dial(
			t.Context(),
			tc.url,
			link.DialOptions{TLS: tc.conf, Header: http.Header{"Origin": tc.origin}},
		)
		if err == nil {
			_ = c.CloseNow()
		}
		he, refused := errors.AsType[*link.HandshakeError](err)
		if refused != (tc.want != 0) || refused && he.StatusCode != tc.want {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestDialRefused(t *testing.T) {
	t.Parallel()
	var followed bool
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case "/elsewhere":
			followed = true
		default:
			http.Error(w, "Session is already terminated", http.StatusBadRequest)
		}
	}))
	defer srv.Close()
	conf := srv.Client().Transport.(*http.Transport).TLSClientConfig
	url := "wss" + strings.TrimPrefix(srv.URL, "https")

	_, err := link.Dial(t.Context(), url, link.DialOptions{TLS: conf})
	he, ok := errors.AsType[*link.HandshakeError](err)
	if !ok || he.StatusCode != 400 || !strings.Contains(he.Body, "already terminated") {
		t.Errorf("got %v", err)
	}
	_, err = link.Dial(t.Context(), url+"/redirect", link.DialOptions{TLS: conf})
	if he, ok := errors.AsType[*link.HandshakeError](err); !ok || he.StatusCode != 302 || followed {
		t.Errorf("redirect: %v, followed %v", err, followed)
	}
	_, err = link.Dial(t.Context(), url, link.DialOptions{})
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("an unknown certificate gave %v", err)
	}
}

func TestNoCompression(t *testing.T) {
	t.Parallel()
	url, conf := serve(t, link.AcceptOptions{}, echo)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https"+strings.TrimPrefix(url, "wss"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Extensions": "permessage-deflate",
	} {
		req.Header.Set(k, v)
	}
	tr := &http.Transport{TLSClientConfig: conf}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Extensions") != "" {
		t.Errorf("status %d, extensions %q", resp.StatusCode, resp.Header.Get("Sec-WebSocket-Extensions"))
	}
}

func TestConcurrentWrites(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 50
	url, conf := serve(t, link.AcceptOptions{}, func(ctx context.Context, c *link.Conn) {
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				for range each {
					if c.Write(ctx, link.Binary, bytes.Repeat([]byte{byte(i)}, 5000)) != nil {
						return
					}
				}
			})
		}
		wg.Wait()
		echo(ctx, c)
	})
	c := dial(t, url, conf)
	var count [writers]int
	for range writers * each {
		_, b, err := c.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(b) != 5000 || bytes.Count(b, b[:1]) != 5000 {
			t.Fatal("messages were mixed")
		}
		count[b[0]]++
	}
	for i, n := range count {
		if n != each {
			t.Errorf("writer %d: %d messages", i, n)
		}
	}
}

func TestKeepAlive(t *testing.T) {
	t.Parallel()
	t.Run("answered", func(t *testing.T) {
		t.Parallel()
		url, conf := serve(t, link.AcceptOptions{}, echo)
		c := dial(t, url, conf)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _, _, _ = c.Read(ctx) })
		done := make(chan error, 1)
		wg.Go(func() { done <- c.KeepAlive(ctx, time.Millisecond, 10*time.Second) })
		for range 20 { // each of our pings takes a round trip, so the peer's were answered, too
			if err := c.Ping(ctx); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		wg.Wait()
	})
	t.Run("slow but not silent", func(t *testing.T) {
		t.Parallel()
		// Long enough that a busy machine does not make the peer look silent.
		const patience = 2 * time.Second
		stop := make(chan struct{})
		url, conf := serve(t, link.AcceptOptions{}, func(ctx context.Context, c *link.Conn) {
			for { // never reads, so never answers, but sends
				select {
				case <-stop:
					<-ctx.Done()
					return
				default:
				}
				if c.Write(ctx, link.Binary, []byte("x")) != nil {
					return
				}
			}
		})
		c := dial(t, url, conf)
		messages := 0
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				if _, _, err := c.Read(t.Context()); err != nil {
					return
				}
				messages++
			}
		})
		done := make(chan error, 1)
		wg.Go(func() { done <- c.KeepAlive(t.Context(), time.Millisecond, patience) })
		select {
		case err := <-done:
			close(stop)
			t.Fatalf("a connection that brings messages is given up: %v", err)
		case <-time.After(2 * patience):
		}
		close(stop)
		if err := <-done; !errors.Is(err, link.ErrNoPong) {
			t.Errorf("once silent: %v", err)
		}
		wg.Wait()
	})
	t.Run("unanswered", func(t *testing.T) {
		t.Parallel()
		url, conf := serve(t, link.AcceptOptions{}, func(ctx context.Context, _ *link.Conn) {
			<-ctx.Done() // never reads, so never answers
		})
		c := dial(t, url, conf)
		var wg sync.WaitGroup
		var readErr error
		wg.Go(func() { _, _, readErr = c.Read(t.Context()) })
		if err := c.KeepAlive(t.Context(), time.Millisecond, 20*time.Millisecond); !errors.Is(err, link.ErrNoPong) {
			t.Errorf("got %v", err)
		}
		wg.Wait() // the reader returns
		if readErr == nil {
			t.Error("the reader got a message")
		}
	})
}

func TestCloseReason(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 100)
	url, conf := serve(t, link.AcceptOptions{}, func(_ context.Context, c *link.Conn) {
		if err := c.Close(link.ClosePolicy, long); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	c := dial(t, url, conf)
	_, _, err := c.Read(t.Context())
	code, reason, ok := link.CloseStatus(err)
	if !ok || code != link.ClosePolicy || reason != long[:122] {
		t.Errorf("%d %q %v", code, reason, err)
	}
	if err := c.CloseNow(); err != nil {
		t.Errorf("closing once more: %v", err)
	}
	if _, _, ok := link.CloseStatus(errors.New("x")); ok {
		t.Error("any error is a close")
	}
}

func BenchmarkEcho(b *testing.B) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := link.Accept(w, r, link.AcceptOptions{})
		if err != nil {
			return
		}
		f := link.NewFrames(c)
		for {
			_, p, err := f.Read(context.Background())
			if err != nil || f.Write(context.Background(), p) != nil {
				return
			}
		}
	}))
	defer srv.Close()
	c, err := link.Dial(b.Context(), "wss"+strings.TrimPrefix(srv.URL, "https"), link.DialOptions{
		TLS: srv.Client().Transport.(*http.Transport).TLSClientConfig,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	f := link.NewFrames(c)
	p := make([]byte, 1144)
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Write(b.Context(), p); err != nil {
			b.Fatal(err)
		}
		if _, _, err := f.Read(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
