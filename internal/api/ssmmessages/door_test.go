package ssmmessages_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/api/ssmmessages"
	"sekisho/internal/iam/identity"
	"sekisho/internal/node/control"
	"sekisho/internal/node/fleet"
	"sekisho/internal/runcommand"
	"sekisho/internal/servertest/doortest"
	"sekisho/internal/session/broker"
	"sekisho/internal/session/relay"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/sigv4"
)

// rig is the door with everything behind it, and one registered node.
type rig struct {
	*doortest.Base
	t        *testing.T
	web      *httptest.Server
	channels *control.Channels
	changed  chan sekisho.NodeID // nodes whose state changed
	node     sekisho.NodeID
	creds    sigv4.Credentials // the node's
}

func start(t *testing.T) *rig {
	t.Helper()
	r := &rig{Base: doortest.NewBase(t, nil), t: t, changed: make(chan sekisho.NodeID, 8)}
	log := slog.New(slog.DiscardHandler)
	r.channels = control.New(log)
	nodes := fleet.New(fleet.Config{Store: r.DB.Fleet, Links: r.channels, Changed: func(node sekisho.NodeID) {
		select {
		case r.changed <- node:
		default:
		}
	}})
	front := r.Config()
	front.Nodes, front.NodeKeys = nodes, nodes
	sessions := relay.New(relay.Config{Log: log})
	done, stop := context.WithCancel(t.Context())
	mux := http.NewServeMux()
	wait := ssmmessages.Register(mux, ssmmessages.Config{
		API: api.New(front), Relay: sessions, Channels: r.channels, Fleet: nodes,
		Broker:   broker.New(broker.Config{Store: r.DB.Sessions, Relay: sessions, Links: r.channels, Nodes: nodes, Log: log}),
		Commands: runcommand.New(runcommand.Config{Store: r.DB.Commands, Links: r.channels, Log: log}),
		Region:   doortest.Region, Account: doortest.Account, Log: log, Done: done,
	})
	r.web = httptest.NewTLSServer(mux)
	t.Cleanup(func() {
		stop()
		wait()
		r.web.Close()
	})
	r.node, r.creds = r.register(nodes)
	return r
}

// nodeKey is the key of all nodes, because generating keys is slow.
var nodeKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// register registers a machine and returns its credentials.
func (r *rig) register(nodes *fleet.Fleet) (sekisho.NodeID, sigv4.Credentials) {
	r.t.Helper()
	role := "service-role/" + identity.NodeRole
	a, code, err := nodes.CreateActivation(r.t.Context(), fleet.NewActivation{IAMRole: role})
	if err != nil {
		r.t.Fatal(err)
	}
	key, err := nodeKey()
	if err != nil {
		r.t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		r.t.Fatal(err)
	}
	n, err := nodes.Register(r.t.Context(), fleet.Registration{
		ActivationID: a.ID, ActivationCode: code, Fingerprint: id.UUID(), SourceIP: "192.0.2.1",
		PublicKey: base64.StdEncoding.EncodeToString(der), PublicKeyType: "Rsa",
	})
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := r.Directory.Credentials.IssueNodeCredentials(r.t.Context(), n.ID, role, false, time.Hour)
	if err != nil {
		r.t.Fatal(err)
	}
	return n.ID, sigv4.Credentials{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken,
	}
}

func (r *rig) request(c sigv4.Credentials, method, path, body string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.web.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if c.AccessKeyID != "" {
		sigv4.Sign(req, c, doortest.Region, "ssmmessages", time.Now(), sigv4.HashBody([]byte(body)))
	}
	return req
}

// create requests a channel token, and returns it or the error code.
func (r *rig) create(c sigv4.Credentials, kind, name, body string) (status int, token, code string) {
	r.t.Helper()
	resp, err := r.web.Client().Do(r.request(c, http.MethodPost, "/v1/"+kind+"/"+name, body))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var out struct {
		TokenValue string
		Code       string `xml:"Code"`
	}
	if err := xml.NewDecoder(resp.Body).Decode(&out); err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, out.TokenValue, out.Code
}

// open dials a channel and sends its opening frame.
func (r *rig) open(c sigv4.Credentials, kind, name, frame string, header http.Header) (*link.Conn, error) {
	r.t.Helper()
	req := r.request(c, http.MethodGet, "/v1/"+kind+"/"+name, "")
	for k, v := range header {
		req.Header[k] = v
	}
	roots := r.web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	conn, err := link.Dial(r.t.Context(), "wss"+strings.TrimPrefix(req.URL.String(), "https"),
		link.DialOptions{Header: req.Header, TLS: &tls.Config{RootCAs: roots}})
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { _ = conn.CloseNow() })
	return conn, conn.Write(r.t.Context(), link.Text, []byte(frame))
}

// closed waits for the end of a channel and returns its close code.
func (r *rig) closed(conn *link.Conn) link.Code {
	r.t.Helper()
	for {
		if _, _, err := conn.Read(r.t.Context()); err != nil {
			code, _, ok := link.CloseStatus(err)
			if !ok {
				r.t.Fatal(err)
			}
			return code
		}
	}
}

const creation = `{"MessageSchemaVersion":"1.0","RequestId":"0a0a0a0a-0000-4000-8000-000000000000"}`

func opening(token string) string {
	return fmt.Sprintf(`{"MessageSchemaVersion":"1.0","RequestId":%q,"TokenValue":%q,"AgentVersion":"3.3.0.0"}`,
		id.UUID(), token)
}

func TestTokensAreForTheNodeItself(t *testing.T) {
	t.Parallel()
	r := start(t)
	other := "mi-0123456789abcdef0"
	for _, c := range []struct {
		name         string
		caller       sigv4.Credentials
		kind, target string
		body         string
		status       int
		code         string
	}{
		{"another node's control channel", r.creds, "control-channel", other, creation, 403, "AccessDeniedException"},
		{"a user", r.Admin, "control-channel", string(r.node), creation, 403, "AccessDeniedException"},
		{"no signature", sigv4.Credentials{}, "control-channel", string(r.node), creation, 400,
			"MissingAuthenticationTokenException"},
		{"not a node ID", r.creds, "control-channel", "x", creation, 400, "ValidationException"},
		{"a body that is not JSON", r.creds, "control-channel", string(r.node), "null", 400, "ValidationException"},
		{"a user's data channel", r.Admin, "data-channel", "admin-0123456789abcdef0", creation, 403, "AccessDeniedException"},
		{"not a session ID", r.creds, "data-channel", "%20", creation, 400, "ValidationException"},
		{"a session that does not exist", r.creds, "data-channel", "admin-0123456789abcdef0", creation, 404,
			"ResourceNotFoundException"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, token, code := r.create(c.caller, c.kind, c.target, c.body)
			if code != c.code || status != c.status || token != "" {
				t.Errorf("%d %s %q, want %d %s", status, code, token, c.status, c.code)
			}
			if e := r.Trail.Last(); e.ErrorCode == "" || e.EventSource != "ssmmessages.amazonaws.com" {
				t.Errorf("the trail has %s %s %q", e.EventSource, e.EventName, e.ErrorCode)
			}
		})
	}
}

func TestControlChannelOpensOncePerToken(t *testing.T) {
	t.Parallel()
	r := start(t)
	status, token, code := r.create(r.creds, "control-channel", string(r.node), creation)
	if status != http.StatusCreated || token == "" {
		t.Fatalf("%d %s", status, code)
	}
	if _, err := r.open(r.creds, "control-channel", string(r.node), opening(token), nil); err != nil {
		t.Fatal(err)
	}
	for !r.channels.Connected(r.node) {
		<-r.changed
	}
	if e := r.Trail.Last(); e.EventName != "OpenControlChannel" || e.ErrorCode != "" ||
		e.UserIdentity.ARN == "" || fmt.Sprint(e.RequestParameters) != "map[instanceId:"+string(r.node)+"]" {
		t.Errorf("the trail has %+v", e)
	}
	again, err := r.open(r.creds, "control-channel", string(r.node), opening(token), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.closed(again); got != link.ClosePolicy {
		t.Errorf("a used token: closed with %d, want %d", got, link.ClosePolicy)
	}
	if e := r.Trail.Last(); e.EventName != "OpenControlChannel" || e.ErrorCode == "" {
		t.Errorf("the trail has %s %q", e.EventName, e.ErrorCode)
	}
	if !r.channels.Connected(r.node) {
		t.Error("the refused channel replaced the one that was open")
	}
}

func TestOpeningFramesAreChecked(t *testing.T) {
	t.Parallel()
	r := start(t)
	session := "admin-0123456789abcdef0"
	for _, c := range []struct {
		name, kind, target, frame string
		caller                    sigv4.Credentials
	}{
		{"an unknown token of a node", "control-channel", string(r.node), opening("unknown"), r.creds},
		{"not JSON", "control-channel", string(r.node), "hello", r.creds},
		{"a frame that is too long", "control-channel", string(r.node), opening(strings.Repeat("x", 9<<10)), r.creds},
		{"an unknown token of a client", "data-channel", session, opening("unknown"), sigv4.Credentials{}},
		{"an unknown token of a signed client", "data-channel", session, opening("unknown"), r.Admin},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := r.open(c.caller, c.kind, c.target, c.frame, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.closed(conn); got != link.ClosePolicy {
				t.Errorf("closed with %d, want %d", got, link.ClosePolicy)
			}
			if e := r.Trail.Last(); e.ErrorCode == "" {
				t.Errorf("the trail has %s without an error", e.EventName)
			}
		})
	}
}

func TestChannelsAreRefusedBeforeTheUpgrade(t *testing.T) {
	t.Parallel()
	r := start(t)
	deny := `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"ssmmessages:OpenDataChannel","Resource":"*"}}`
	if err := r.Directory.Holders.PutInline(t.Context(), identity.KindUser, "admin", "deny", deny); err != nil {
		t.Fatal(err)
	}
	session := "admin-0123456789abcdef0"
	evil := http.Header{"Origin": {"https://evil.example"}}
	for _, c := range []struct {
		name, kind, target string
		caller             sigv4.Credentials
		header             http.Header
		status             int
	}{
		{"a page of another origin", "data-channel", session, sigv4.Credentials{}, evil, 403},
		{"a browser at a node's channel", "control-channel", string(r.node), r.creds, evil, 403},
		{"a policy that denies data channels", "data-channel", session, r.Admin, nil, 403},
		{"not a session ID", "data-channel", "%20", sigv4.Credentials{}, nil, 400},
		{"another node's channel", "control-channel", "mi-0123456789abcdef0", r.creds, nil, 403},
		{"no signature at a node's channel", "control-channel", string(r.node), sigv4.Credentials{}, nil, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := r.open(c.caller, c.kind, c.target, opening("unknown"), c.header)
			refused, ok := errors.AsType[*link.HandshakeError](err)
			if !ok || refused.StatusCode != c.status {
				t.Errorf("%v, want status %d", err, c.status)
			}
		})
	}
}

func TestOperationsAreDescribed(t *testing.T) {
	t.Parallel()
	door := ssmmessages.New()
	for _, name := range []string{"CreateControlChannel", "OpenControlChannel", "CreateDataChannel", "OpenDataChannel"} {
		if op, ok := door.Operations[name]; !ok || !op.AnswerOnly || op.ReadOnly {
			t.Errorf("%s: %+v", name, op)
		}
	}
}
