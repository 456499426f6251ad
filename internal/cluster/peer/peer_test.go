package peer_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/cluster"
	"sekisho/internal/cluster/peer"
	"sekisho/internal/store/sqlstore"
)

// plain is a Sealer without encryption.
type plain struct{}

func (plain) Seal(_ string, p, _ []byte) ([]byte, error) { return p, nil }
func (plain) Open(_ string, p, _ []byte) ([]byte, error) { return p, nil }

func join(t *testing.T, db *sqlstore.DB, name, address string) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Join(t.Context(), cluster.Config{
		Store: db.Cluster, Sealer: plain{}, Name: name, Address: address, Lease: time.Hour,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// served are two members: m1 accepts requests, and passes them to m2.
type served struct {
	*peer.Client
	m2 peer.Member
}

// echo answers with the request or, on an upgrade, repeats every line. It refuses upgrades of /refused.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" || r.URL.Path == "/refused" {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Forwarded-Here", fmt.Sprint(peer.IsForwarded(r.Context())))
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprintf(w, "%s %s %s %s %s tls=%v", r.Method, r.RequestURI, r.Host, r.RemoteAddr, body, r.TLS != nil)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n%s\n",
		conn.RemoteAddr())
	_, _ = io.Copy(conn, rw)
}

func serve(t *testing.T, messages func(context.Context, *peer.Message) (peer.Reply, error)) *served {
	t.Helper()
	db, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m1 := join(t, db, "m1", "127.0.0.1:1")
	m2 := join(t, db, "m2", l.Addr().String())
	ctx, cancel := context.WithCancel(t.Context())
	server := peer.NewServer(peer.Config{
		Identity: m2, Requests: http.HandlerFunc(echo), Messages: messages, Log: slog.New(slog.DiscardHandler),
		HeaderTimeout: time.Minute, MaxHeader: 64 << 10,
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	s := &served{Client: peer.NewClient(ctx, m1), m2: peer.Member{Name: "m2", Address: l.Addr().String()}}
	t.Cleanup(func() {
		cancel()
		s.Close()
		wg.Wait()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *served) entrance(t *testing.T) *httptest.Server {
	t.Helper()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.Forward(w, r, s.m2); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(front.Close)
	return front
}

func TestForwardRequest(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	front := s.entrance(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front.URL+"/a%2fb?x=%20y",
		strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "sekisho.example"
	answer, err := front.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(string(text))
	if answer.StatusCode != http.StatusTeapot || answer.Header.Get("X-Forwarded-Here") != "true" || len(got) != 6 ||
		got[0] != "POST" || got[1] != "/a%2fb?x=%20y" || got[2] != "sekisho.example" ||
		!strings.HasPrefix(got[3], "127.0.0.1:") || got[4] != "body" || got[5] != "tls=true" {
		t.Errorf("%d %q", answer.StatusCode, text)
	}
}

func TestForwardUpgrade(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	front := s.entrance(t)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The first line of the channel follows the request at once.
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly\n")
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", answer, err)
	}
	line := func(want string) {
		t.Helper()
		if got, err := in.ReadString('\n'); err != nil || got != want+"\n" {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	line(conn.LocalAddr().String())
	line("early")
	for i := range 100 {
		text := fmt.Sprint("line ", i)
		if _, err := fmt.Fprintln(conn, text); err != nil {
			t.Fatal(err)
		}
		line(text)
	}
}

// A connection stays open after the answer only if the other member has accepted the upgrade of a request without a
// body. Whoever is refused, or upgrades another request, gets one answer.
func TestForwardRefusedUpgrade(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	front := s.entrance(t)
	for _, request := range []string{
		"GET /refused HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: echo\r\nContent-Length: 0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: echo\r\nExpect: 100-continue\r\n" +
			"Content-Length: 27\r\n\r\nGET /second HTTP/1.1\r\nA: b\r\n",
	} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", front.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		received := bufio.NewReader(conn)
		answer, err := http.ReadResponse(received, nil)
		if err == nil && answer.StatusCode == http.StatusContinue {
			answer, err = http.ReadResponse(received, nil)
		}
		if err != nil || answer.StatusCode != http.StatusTeapot {
			t.Errorf("%.30q: %+v, %v", request, answer, err)
		}
		if err == nil {
			if _, err := io.Copy(io.Discard, answer.Body); err != nil {
				t.Error(err)
			}
			_ = answer.Body.Close()
		}
		_ = conn.Close()
	}
	s.Close() // waits for every forwarded connection: none has stayed open
}

func TestForwardToALostMember(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	s.m2.Address = "127.0.0.1:1"
	w := httptest.NewRecorder()
	if err := s.Forward(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody), s.m2); err == nil ||
		w.Body.Len() > 0 {
		t.Errorf("%v, %q", err, w.Body)
	}
	if _, err := s.Call(t.Context(), s.m2, &peer.Message{Kind: peer.Alive}); sekisho.CodeOf(err) !=
		sekisho.CodeUnreachable {
		t.Error(err)
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	s := serve(t, func(_ context.Context, m *peer.Message) (peer.Reply, error) {
		switch {
		case m.Kind == peer.Alive && m.Node == "mi-1":
			return peer.Reply{Alive: true}, nil
		case m.Kind == peer.EndSession && m.Session == "alice-1" && m.Ending.Details == "bye":
			return peer.Reply{}, sekisho.Errorf(sekisho.CodeUnreachable, "gone")
		}
		return peer.Reply{}, errors.New("unexpected")
	})
	for range 3 {
		reply, err := s.Call(t.Context(), s.m2, &peer.Message{Kind: peer.Alive, Node: "mi-1"})
		if err != nil || !reply.Alive {
			t.Errorf("%+v %v", reply, err)
		}
	}
	for want, m := range map[sekisho.Code]*peer.Message{
		sekisho.CodeUnreachable: {Kind: peer.EndSession, Session: "alice-1", Ending: &sekisho.Ending{Details: "bye"}},
		sekisho.CodeInternal:    {Kind: "other"},
	} {
		if _, err := s.Call(t.Context(), s.m2, m); sekisho.CodeOf(err) != want {
			t.Errorf("%s: %v", m.Kind, err)
		}
	}
}
