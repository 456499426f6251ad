// Package agenttest is a test double of the server for tests of the agent: it implements the
// protocol over TLS, checks every signature, and lets the test act as the client of each session.
package agenttest

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/sigv4"
)

// Values that the double accepts.
const (
	Region         = "eu-test-1"
	ActivationID   = "b3f6e0f0-6f3a-4a64-9f0c-0d7f4f1c2a11"
	ActivationCode = "abcdefghij0123456789"
)

// Patience is how long a test waits for an expected event.
const Patience = 20 * time.Second

// Server is the double.
type Server struct {
	t    testing.TB
	http *httptest.Server
	ctx  context.Context

	mu        sync.Mutex
	changed   chan struct{} // closed at every change of the fields below
	nodes     map[sekisho.NodeID]node
	keys      map[string]sigv4.Credentials
	tokens    map[string]string // channel token → path
	control   *Control
	opened    int // number of control channels so far
	updates   []map[string]any
	inventory map[string]int // number of times that an item arrived, by type and hash
	issued    int
	old       bool // ignores ForPrograms
	clients   map[string]*Client
	completes map[string][]Complete
	paths     []string
	tokenLife time.Duration
	deaf      int // completes to leave unacknowledged
	secrets   []string
	jobAcks   []mgs.JobAck
	replies   []Reply
	deafTo    int // replies to leave unacknowledged
}

type node struct {
	key         *rsa.PublicKey
	fingerprint string
}

// Complete is the agent's report that a session has ended.
type Complete struct {
	mgs.TaskComplete
	MessageID mgs.UUID
}

// New starts a double, which ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		t:         t,
		ctx:       ctx,
		changed:   make(chan struct{}),
		nodes:     make(map[sekisho.NodeID]node),
		keys:      make(map[string]sigv4.Credentials),
		inventory: make(map[string]int),
		tokens:    make(map[string]string),
		clients:   make(map[string]*Client),
		completes: make(map[string][]Complete),
		tokenLife: time.Hour,
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", s.ssm)
	mux.HandleFunc("GET /{$}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /v1/{kind}/{id}", s.create)
	mux.HandleFunc("GET /v1/control-channel/{id}", s.controlChannel)
	mux.HandleFunc("GET /v1/data-channel/{id}", s.dataChannel)
	var handlers sync.WaitGroup
	s.http = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers.Add(1)
		defer handlers.Done()
		s.update(func() { s.paths = append(s.paths, r.Method+" "+r.URL.Path) })
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		cancel()
		s.http.CloseClientConnections()
		s.http.Close()
		handlers.Wait()
	})
	return s
}

// Address returns the double's address for an agent.
func (s *Server) Address() uplink.Server {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
	return uplink.Server{Endpoint: s.http.URL, Region: Region, CA: string(ca)}
}

// update changes the double's state under its lock and wakes waiters.
func (s *Server) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// await waits until cond, called under the double's lock, holds.
func (s *Server) await(what string, cond func() bool) {
	s.t.Helper()
	if !s.wait(cond) {
		s.t.Fatalf("waited %v for %s", Patience, what)
	}
}

func (s *Server) wait(cond func() bool) bool {
	t := time.NewTimer(Patience)
	defer t.Stop()
	for {
		s.mu.Lock()
		ok, changed := cond(), s.changed
		s.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-t.C:
			return false
		}
	}
}

// SetTokenLife sets the lifetime of role credentials from now on.
func (s *Server) SetTokenLife(d time.Duration) { s.update(func() { s.tokenLife = d }) }

// AwaitIssued waits until credentials have been issued n times.
func (s *Server) AwaitIssued(n int) {
	s.t.Helper()
	s.await(fmt.Sprintf("%d issues of credentials", n), func() bool { return s.issued >= n })
}

// Forget makes the double refuse all credentials it has issued, and drops the
// control channel.
func (s *Server) Forget() {
	s.update(func() { clear(s.keys) })
	s.Control().Drop()
}

// IgnoreCompletes leaves the next n reports of ends unacknowledged.
func (s *Server) IgnoreCompletes(n int) { s.update(func() { s.deaf = n }) }

// AwaitUpdate waits for an UpdateInstanceInformation that cond accepts.
func (s *Server) AwaitUpdate(what string, cond func(map[string]any) bool) map[string]any {
	s.t.Helper()
	var found map[string]any
	s.await("UpdateInstanceInformation: "+what, func() bool {
		i := slices.IndexFunc(s.updates, cond)
		if i >= 0 {
			found = s.updates[i]
		}
		return i >= 0
	})
	return found
}

// takeInventory accepts an item by its hash after it has arrived with content.
func (s *Server) takeInventory(in map[string]any) error {
	items, _ := in["Items"].([]any)
	var err error
	s.update(func() {
		for _, it := range items {
			item, _ := it.(map[string]any)
			hash := fmt.Sprint(item["TypeName"], item["ContentHash"])
			if _, whole := item["Content"]; !whole && s.inventory[hash] == 0 {
				err = fmt.Errorf("ItemContentMismatchException: %s", hash)
				return
			}
			s.inventory[hash]++
		}
	})
	return err
}

// AwaitInventory waits until an inventory item has arrived with content, and then with only its
// hash.
func (s *Server) AwaitInventory() {
	s.t.Helper()
	s.await("an item of the inventory, and its hash", func() bool {
		for _, times := range s.inventory {
			if times > 1 {
				return true
			}
		}
		return false
	})
}

// Requested reports whether any request was made to a path that contains s.
func (s *Server) Requested(part string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.paths, func(p string) bool { return strings.Contains(p, part) })
}

// Creations returns how often the agent has requested a session's data channel.
func (s *Server) Creations(session string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, p := range s.paths {
		if p == "POST /v1/data-channel/"+session {
			n++
		}
	}
	return n
}

// Completes waits until the end of a session has been reported n times and
// returns the reports.
func (s *Server) Completes(session string, n int) []Complete {
	s.t.Helper()
	var got []Complete
	s.await(fmt.Sprintf("report %d of the end of %s", n, session), func() bool {
		got = slices.Clone(s.completes[session])
		return len(got) >= n
	})
	return got
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"__type":%q,"message":%q}`, code, message)
}

func (s *Server) ssm(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		refuse(w, 400, "SerializationException", err.Error())
		return
	}
	var in map[string]any
	if err := json.Unmarshal(body, &in); err != nil {
		refuse(w, 400, "SerializationException", err.Error())
		return
	}
	op, _ := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "AmazonSSM.")
	if _, kms := strings.CutPrefix(op, "TrentService."); kms {
		op = "KMS " + op
	}
	if got := r.Header.Get("Content-Type"); got != "application/x-amz-json-1.1" {
		s.t.Errorf("%s with Content-Type %q", op, got)
	}
	var out any = struct{}{}
	switch op {
	case "RegisterManagedInstance":
		if r.Header.Get("Authorization") != "" {
			s.t.Errorf("RegisterManagedInstance is signed")
		}
		out, err = s.register(in)
	case "RequestManagedInstanceRoleToken":
		out, err = s.roleToken(r, in, body)
	case "KMS TrentService.Decrypt":
		out, err = s.decrypt(r, body)
	case "UpdateInstanceInformation":
		if err = s.signed(r, "ssm", body); err == nil {
			s.update(func() { s.updates = append(s.updates, in) })
		}
	case "PutInventory":
		if err = s.signed(r, "ssm", body); err == nil {
			err = s.takeInventory(in)
		}
	default:
		err = fmt.Errorf("UnknownOperationException: %s", op)
	}
	if err != nil {
		code, message, _ := strings.Cut(err.Error(), ": ")
		refuse(w, 400, code, message)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(out) // the client may be gone
}

func (s *Server) register(in map[string]any) (any, error) {
	if in["ActivationId"] != ActivationID || in["ActivationCode"] != ActivationCode {
		return nil, fmt.Errorf("InvalidActivation: no such activation")
	}
	der, err := base64.StdEncoding.DecodeString(fmt.Sprint(in["PublicKey"]))
	if err != nil {
		return nil, fmt.Errorf("ValidationException: %w", err)
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("ValidationException: %w", err)
	}
	key, ok := pub.(*rsa.PublicKey)
	if !ok || key.N.BitLen() != 2048 || in["PublicKeyType"] != "Rsa" {
		return nil, fmt.Errorf("ValidationException: not an RSA-2048 key")
	}
	n := id.Node()
	s.update(func() { s.nodes[n] = node{key, fmt.Sprint(in["Fingerprint"])} })
	return map[string]any{"InstanceId": n}, nil
}

func (s *Server) roleToken(r *http.Request, in map[string]any, body []byte) (any, error) {
	p, err := sigv4.Parse(r)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	n, ok := s.nodes[sekisho.NodeID(p.AccessKeyID)]
	s.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("AccessDeniedException: unknown node")
	}
	if err := sigv4.VerifyRSA(p, n.key, r, sigv4.HashBody(body), time.Now()); err != nil {
		return nil, err
	}
	if in["Fingerprint"] != n.fingerprint {
		return nil, fmt.Errorf("MachineFingerprintDoesNotMatch: other machine")
	}
	c := sigv4.Credentials{
		AccessKeyID:     "ASIA" + strings.ToUpper(id.UUID()[:8]),
		SecretAccessKey: id.Secret(),
		SessionToken:    id.Secret(),
	}
	var expires float64
	s.update(func() {
		s.keys[c.AccessKeyID] = c
		s.secrets = append(s.secrets, c.SecretAccessKey, c.SessionToken)
		s.issued++
		expires = float64(time.Now().Add(s.tokenLife).UnixMilli()) / 1000
	})
	out := map[string]any{
		"AccessKeyId": c.AccessKeyID, "SecretAccessKey": c.SecretAccessKey, "SessionToken": c.SessionToken,
		"TokenExpirationDate": expires, "UpdateKeyPair": false,
	}
	if in["ForPrograms"] == true && !s.old {
		out["ForPrograms"] = true
	}
	return out, nil
}

// IgnoreForPrograms makes the server behave like an old one, which issues only the agent's own
// credentials.
func (s *Server) IgnoreForPrograms() { s.update(func() { s.old = true }) }

// signed checks the signature of a request.
func (s *Server) signed(r *http.Request, service string, body []byte) error {
	p, err := sigv4.Parse(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	c, ok := s.keys[p.AccessKeyID]
	s.mu.Unlock()
	if !ok || r.Header.Get("X-Amz-Security-Token") != c.SessionToken {
		return fmt.Errorf("UnrecognizedClientException: the security token included in the request is invalid")
	}
	if p.Service != service || p.Region != Region {
		return fmt.Errorf("SignatureDoesNotMatch: scope %s/%s", p.Region, p.Service)
	}
	return p.Verify(c.SecretAccessKey, r, sigv4.HashBody(body), time.Now())
}

// create answers the POST that creates a channel.
func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err == nil {
		err = s.signed(r, "ssmmessages", body)
	}
	if err != nil {
		http.Error(
			w,
			"<AccessDeniedException><Message>"+err.Error()+"</Message></AccessDeniedException>",
			http.StatusForbidden,
		)
		return
	}
	root := mgs.CreateControlChannelResponse
	if r.PathValue("kind") == "data-channel" {
		root = mgs.CreateDataChannelResponse
		s.mu.Lock()
		c := s.clients[r.PathValue("id")]
		s.mu.Unlock()
		if c == nil || c.over() {
			http.Error(
				w,
				"<BadRequest><Message>Session is already terminated</Message></BadRequest>",
				http.StatusBadRequest,
			)
			return
		}
	}
	token := id.Secret()
	s.update(func() {
		s.tokens[token] = r.URL.Path
		s.secrets = append(s.secrets, token)
	})
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(
		mgs.MarshalChannelResponse(root, mgs.ChannelResponse{MessageSchemaVersion: "1.0", TokenValue: token}),
	)
}

// accept upgrades a signed request, and reads the first frame and checks its token.
func (s *Server) accept(w http.ResponseWriter, r *http.Request, query string) (*link.Conn, []byte) {
	if err := s.signed(r, "ssmmessages", nil); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return nil, nil
	}
	if r.URL.RawQuery != query {
		s.t.Errorf("%s has query %q, want %q", r.URL.Path, r.URL.RawQuery, query)
	}
	conn, err := link.Accept(w, r, link.AcceptOptions{})
	if err != nil {
		return nil, nil
	}
	kind, open, err := conn.Read(s.ctx)
	if err != nil || kind != link.Text {
		_ = conn.CloseNow()
		return nil, nil
	}
	var first struct{ TokenValue string }
	_ = json.Unmarshal(open, &first) // a missing token is refused below
	good := false
	s.update(func() {
		good = s.tokens[first.TokenValue] == r.URL.Path
		delete(s.tokens, first.TokenValue)
	})
	if !good {
		s.t.Errorf("%s was opened with a token that is not its own", r.URL.Path)
		_ = conn.CloseNow()
		return nil, nil
	}
	return conn, open
}

// Control is one connection of the agent's control channel.
type Control struct {
	s    *Server
	conn *link.Conn
	Open mgs.OpenControlChannel // its first frame
	N    int                    // its number, counting from 1
}

func (s *Server) controlChannel(w http.ResponseWriter, r *http.Request) {
	conn, first := s.accept(w, r, "role=subscribe&stream=input")
	if conn == nil {
		return
	}
	defer func() { _ = conn.CloseNow() }()
	open, err := mgs.ParseBody[mgs.OpenControlChannel](first)
	if err != nil {
		s.t.Errorf("open frame: %v", err)
		return
	}
	c := &Control{s: s, conn: conn, Open: open}
	s.update(func() {
		s.opened++
		c.N = s.opened
		s.control = c
	})
	defer s.update(func() {
		if s.control == c {
			s.control = nil
		}
	})
	for {
		_, b, err := conn.Read(s.ctx)
		if err != nil {
			return
		}
		m, err := mgs.Parse(b)
		if err != nil {
			s.t.Errorf("the agent sent a malformed frame: %v", err)
			return
		}
		if m.Type == mgs.TypeAgentJobAck || m.Type == mgs.TypeAgentJobReply {
			if err := c.job(&m); err != nil {
				s.t.Errorf("%s: %v", m.Type, err)
			}
			continue
		}
		if m.Type != mgs.TypeAgentTaskComplete {
			continue
		}
		done, err := mgs.ParseBody[mgs.TaskComplete](m.Payload)
		if err != nil {
			s.t.Errorf("agent_task_complete: %v", err)
			return
		}
		answer := true
		s.update(func() {
			s.completes[done.TaskID] = append(s.completes[done.TaskID], Complete{done, m.ID})
			if s.deaf > 0 {
				s.deaf--
				answer = false
			}
		})
		if answer {
			c.Send(mgs.NewTaskAcknowledge(&m, done.TaskID))
		}
	}
}

// Control waits for an open control channel and returns it.
func (s *Server) Control() *Control { s.t.Helper(); return s.ControlAfter(0) }

// ControlAfter waits for a control channel later than the n-th.
func (s *Server) ControlAfter(n int) *Control {
	s.t.Helper()
	var c *Control
	s.await(fmt.Sprintf("a control channel after %d", n), func() bool {
		c = s.control
		return c != nil && c.N > n
	})
	return c
}

// Send sends a message to the agent.
func (c *Control) Send(m mgs.Message) { c.Write(link.Binary, m.AppendTo(nil)) }

// Write sends a raw frame to the agent. The connection may be gone.
func (c *Control) Write(kind link.Kind, b []byte) { _ = c.conn.Write(c.s.ctx, kind, b) }

// Drop cuts the connection.
func (c *Control) Drop() { _ = c.conn.CloseNow() }

// Secrets returns all secrets that the agent has received.
func (s *Server) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{ActivationCode}, s.secrets...)
}

// Sessions returns the sessions that were started.
func (s *Server) Sessions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.clients))
}
