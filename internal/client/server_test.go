package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sekisho/internal/client"
	"sekisho/internal/wire/datachannel"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/sigv4"
)

const (
	accessKey = "AKIAEXAMPLE000000000"
	secretKey = "not-a-secret-but-the-length-of-one-40ch"
)

// server is an API and the node behind it, of one session.
type server struct {
	t    *testing.T
	http *httptest.Server
	node *datachannel.Channel // the node's end of the session
	ctx  context.Context

	mu       sync.Mutex
	answers  map[string]func(in map[string]any) any // see override
	calls    []string
	opens    []mgs.OpenDataChannel
	current  *link.Conn
	token    string
	answered map[string]chan struct{}
}

// override replaces the result of an operation: any value becomes a 200 response with its JSON, a
// refusal one with its status.
func (s *server) override(op string, answer func(in map[string]any) any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[op] = answer
}

// hangUp closes the connection instead of a response.
type hangUp struct{}

type refusal struct {
	status int
	code   string
	text   string
}

func newServer(t *testing.T) *server {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	s := &server{
		t: t, ctx: ctx, token: "token-1",
		node:     datachannel.New(datachannel.Config{Role: datachannel.AgentLeg}),
		answers:  map[string]func(map[string]any) any{},
		answered: map[string]chan struct{}{"GetResumeToken": make(chan struct{})},
	}
	s.http = httptest.NewTLSServer(http.HandlerFunc(s.handle))
	t.Cleanup(func() {
		s.node.Close("")
		cancel()
		s.cut()
		s.http.Close()
	})
	return s
}

func (s *server) handle(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/stream" {
		s.stream(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	target := r.Header.Get("X-Amz-Target")
	_, op, _ := strings.Cut(target, ".")
	if op != "ResumeSessionByToken" {
		p, err := sigv4.Parse(r)
		if err == nil {
			err = p.Verify(secretKey, r, sigv4.HashBody(body), time.Now())
		}
		if err != nil || p.AccessKeyID != accessKey || p.Region != "eu-test-1" {
			s.t.Errorf("signature: %v", err)
		}
	}
	s.mu.Lock()
	s.calls = append(s.calls, op)
	f, overridden := s.answers[op]
	s.mu.Unlock()
	var in map[string]any
	if err := json.Unmarshal(body, &in); err != nil {
		s.t.Errorf("%s: %v", op, err)
	}
	var out any
	if overridden {
		out = f(in)
	} else {
		out = s.answer(op)
	}
	if _, ok := out.(hangUp); ok {
		panic(http.ErrAbortHandler)
	}
	if no, ok := out.(refusal); ok {
		w.WriteHeader(no.status)
		out = map[string]string{"__type": "com.amazonaws.ssm#" + no.code, "message": no.text}
	}
	if err := json.NewEncoder(w).Encode(out); err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ch := s.answered[op]; ch != nil {
		close(ch)
		delete(s.answered, op)
	}
}

// await waits until the current or the next call of op has ended.
func (s *server) await(op string) {
	s.t.Helper()
	s.mu.Lock()
	ch := s.answered[op]
	s.mu.Unlock()
	if ch == nil {
		return
	}
	select {
	case <-ch:
	case <-s.ctx.Done():
		s.t.Fatalf("%s was not called", op)
	}
}

func (s *server) answer(op string) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch op {
	case "ResumeSession":
		s.token += "+"
		fallthrough
	case "StartSession":
		return map[string]string{
			"SessionId": "alice-abc", "TokenValue": s.token,
			"StreamUrl": "wss" + strings.TrimPrefix(s.http.URL, "https") + "/stream",
		}
	}
	return map[string]string{}
}

func (s *server) stream(w http.ResponseWriter, r *http.Request) {
	conn, err := link.Accept(w, r, link.AcceptOptions{})
	if err != nil {
		s.t.Error(err)
		return
	}
	defer func() { _ = conn.CloseNow() }()
	kind, b, err := conn.Read(s.ctx)
	if err != nil || kind != link.Text {
		s.t.Errorf("first frame: %d, %v", kind, err)
		return
	}
	open, err := mgs.ParseBody[mgs.OpenDataChannel](b)
	s.mu.Lock()
	if err != nil || open.TokenValue != s.token {
		s.t.Errorf("opened with %+v (%v), want token %s", open, err, s.token)
	}
	s.opens = append(s.opens, open)
	s.current = conn
	s.mu.Unlock()
	_ = s.node.Serve(s.ctx, link.NewFrames(conn)) // ends with the connection
}

// cut drops the current connection.
func (s *server) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		_ = s.current.CloseNow()
	}
}

// end reports the end of the session to the client, after everything that was
// sent, as the relay does.
func (s *server) end(reason string) {
	s.t.Helper()
	if err := s.node.Drain(s.ctx); err != nil {
		s.t.Error(err)
	}
	if err := s.node.SendControl(mgs.NewChannelClosed("mi-0", "alice-abc", reason)); err != nil {
		s.t.Error(err)
	}
}

func (s *server) called(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.calls {
		if c == op {
			n++
		}
	}
	return n
}

func (s *server) send(pt mgs.PayloadType, b string) {
	s.t.Helper()
	if err := s.node.Send(s.ctx, pt, []byte(b)); err != nil {
		s.t.Error(err)
	}
}

// expect checks the next message to the node.
func (s *server) expect(pt mgs.PayloadType, want string) {
	s.t.Helper()
	got, b, err := s.node.Receive(s.ctx)
	if err != nil || got != pt || string(b) != want {
		s.t.Errorf("the node received %d %q, %v; want %d %q", got, b, err, pt, want)
	}
}

func (s *server) config() client.Config {
	s.t.Helper()
	ca := filepath.Join(s.t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		s.t.Fatal(err)
	}
	env := map[string]string{
		"AWS_ENDPOINT_URL": s.http.URL, "AWS_REGION": "eu-test-1", "AWS_CA_BUNDLE": ca,
		"AWS_ACCESS_KEY_ID": accessKey, "AWS_SECRET_ACCESS_KEY": secretKey,
	}
	cfg, err := client.Load("", func(k string) string { return env[k] })
	if err != nil {
		s.t.Fatal(err)
	}
	return cfg
}

// person is a terminal driven by a test.
type person struct {
	*client.Terminal
	keys     *io.PipeWriter
	out, err syncBuffer
	resized  chan os.Signal

	mu       sync.Mutex
	size     mgs.Size
	restored int
}

func newPerson(t *testing.T, interactive bool) *person {
	in, keys := io.Pipe()
	p := &person{keys: keys, resized: make(chan os.Signal, 1), size: mgs.Size{Cols: 120, Rows: 40}}
	t.Cleanup(func() { _ = keys.Close() })
	p.Terminal = &client.Terminal{
		In: in, Out: &p.out, Err: &p.err, Interactive: interactive, Resized: p.resized,
		Size: func() mgs.Size {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.size
		},
		Raw: func() (func(), error) {
			return sync.OnceFunc(func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.restored++
			}), nil
		},
	}
	return p
}

func (p *person) resize(size mgs.Size) {
	p.mu.Lock()
	p.size = size
	p.mu.Unlock()
	p.resized <- os.Interrupt
}

func (p *person) typeKeys(t *testing.T, s string) {
	t.Helper()
	if _, err := p.keys.Write([]byte(s)); err != nil {
		t.Error(err)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// shell runs a session and returns how it ended.
func (s *server) shell(ctx context.Context, p *person) <-chan error {
	c := client.New(s.config())
	s.t.Cleanup(c.Close)
	done := make(chan error, 1)
	go func() {
		done <- c.Shell(ctx, client.StartInput{Target: "mi-0", Reason: "test"}, p.Terminal)
	}()
	return done
}

func (s *server) handshake(actions string) mgs.HandshakeResponse {
	s.t.Helper()
	s.send(
		mgs.PayloadHandshakeRequest,
		fmt.Sprintf(`{"AgentVersion":"3.3.0.0","RequestedClientActions":[%s]}`, actions),
	)
	pt, b, err := s.node.Receive(s.ctx)
	if err != nil || pt != mgs.PayloadHandshakeResponse {
		s.t.Fatalf("handshake: %d %s %v", pt, b, err)
	}
	r, err := mgs.ParseBody[mgs.HandshakeResponse](b)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// handleOnlyAPI is a server without streams.
func handleOnlyAPI(s *server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			http.NotFound(w, r)
			return
		}
		s.handle(w, r)
	})
}
