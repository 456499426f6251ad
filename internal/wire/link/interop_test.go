package link_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"pgregory.net/rapid"

	"sekisho/internal/wire/link"
)

// sizes are near the lengths at which headers, TLS records and buffers change.
var sizes = []int{0, 1, 125, 126, 4090, 4096, 16383, 16384, 16385, 65535, 65536, 200_001}

// TestWithAnotherServer exchanges messages with the server of another library, with
// and without TLS.
func TestWithAnotherServer(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		c.SetReadLimit(1 << 20)
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil {
				return
			}
			// In pieces: the answer is fragmented.
			out, err := c.Writer(r.Context(), kind)
			if err != nil {
				return
			}
			for _, piece := range [][]byte{b[:len(b)/3], b[len(b)/3:]} {
				if _, err := out.Write(piece); err != nil {
					return
				}
			}
			if out.Close() != nil {
				return
			}
		}
	})
	secure, plain := httptest.NewTLSServer(handler), httptest.NewServer(handler)
	t.Cleanup(secure.Close)
	t.Cleanup(plain.Close)
	conf := secure.Client().Transport.(*http.Transport).TLSClientConfig
	for name, tc := range map[string]struct {
		url  string
		conf *tls.Config
	}{
		"TLS":    {"wss" + strings.TrimPrefix(secure.URL, "https"), conf},
		"no TLS": {"ws" + strings.TrimPrefix(plain.URL, "http"), nil},
	} {
		c, err := link.Dial(t.Context(), tc.url, link.DialOptions{TLS: tc.conf})
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range sizes {
			want := pattern(size)
			if err := c.Write(t.Context(), link.Binary, want, want); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if kind, got, err := c.Read(t.Context()); err != nil || kind != link.Binary || !bytes.Equal(got, want) {
					t.Fatalf("%s: %d bytes came back as %d, %v", name, size, len(got), err)
				}
			}
		}
		if err := c.Close(link.CloseNormal, "done"); err != nil {
			t.Errorf("%s: close: %v", name, err)
		}
	}
}

// TestWithAnotherClient exchanges messages with the client of another library.
func TestWithAnotherClient(t *testing.T) {
	t.Parallel()
	url, conf := serve(t, link.AcceptOptions{}, echo)
	c, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: conf}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(1 << 20)
	for _, size := range sizes {
		want := pattern(size)
		out, err := c.Writer(t.Context(), websocket.MessageBinary)
		if err != nil {
			t.Fatal(err)
		}
		for _, piece := range [][]byte{want[:size/2], want[size/2:]} {
			if _, err := out.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		if kind, got, err := c.Read(t.Context()); err != nil || kind != websocket.MessageBinary || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes came back as %d, %v", size, len(got), err)
		}
	}
	ctx := c.CloseRead(t.Context())
	if err := c.Ping(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// TestBatches: messages that are written together arrive individually.
func TestBatches(t *testing.T) {
	t.Parallel()
	url, conf := serve(t, link.AcceptOptions{}, echo)
	c := dial(t, url, conf)
	rapid.Check(t, func(rt *rapid.T) {
		var batch [][]byte
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 20_000), 1, 8).Draw(rt, "sizes") {
			batch = append(batch, pattern(n))
		}
		if err := c.Write(t.Context(), link.Binary, batch...); err != nil {
			rt.Fatal(err)
		}
		for _, want := range batch {
			if _, got, err := c.Read(t.Context()); err != nil || !bytes.Equal(got, want) {
				rt.Fatalf("got %d bytes, %v; want %d", len(got), err, len(want))
			}
		}
	})
}

// TestContextsBetweenReads: a context that ends between two reads does not close the
// connection.
func TestContextsBetweenReads(t *testing.T) {
	t.Parallel()
	url, conf := serve(t, link.AcceptOptions{}, echo)
	c := dial(t, url, conf)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		if err := c.Write(ctx, link.Binary, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Read(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
}
