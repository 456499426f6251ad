package servertest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"

	"sekisho/internal/iam/identity"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/sigv4"
)

// nodeKey is the key of every node in tests, because generating keys is slow.
var nodeKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// Node is a registered machine whose agent is the test.
type Node struct {
	ID          string
	Fingerprint string
	Credentials sigv4.Credentials // of its role

	s   *Server
	key *rsa.PrivateKey // nil = nodeKey
}

// Node registers a machine with a fresh activation.
func (s *Server) Node() *Node {
	s.t.Helper()
	a, err := s.SSM(s.Admin).
		CreateActivation(s.t.Context(),
			&awsssm.CreateActivationInput{IamRole: aws.String("service-role/" + identity.NodeRole)})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.NodeOf(*a.ActivationId, *a.ActivationCode)
}

// NodeOf registers a machine.
func (s *Server) NodeOf(activation, code string) *Node {
	s.t.Helper()
	n := &Node{Fingerprint: id.UUID(), s: s}
	var out struct{ InstanceID string }
	s.Register(activation, code, n.Fingerprint).Decode(s.t, &out)
	n.ID = out.InstanceID
	if n.ID == "" {
		s.t.Fatal("not registered")
	}
	n.Renew()
	return n
}

// Register tries to register a machine.
func (s *Server) Register(activation, code, fingerprint string) Answer {
	s.t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&nodeKey().PublicKey)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.JSON(sigv4.Credentials{}, "ssm", "RegisterManagedInstance", map[string]string{
		"ActivationId": activation, "ActivationCode": code, "Fingerprint": fingerprint,
		"PublicKey": base64.StdEncoding.EncodeToString(der), "PublicKeyType": "Rsa",
	})
}

// Renew requests the node's credentials and keeps them.
func (n *Node) Renew() {
	n.s.t.Helper()
	var out struct{ AccessKeyID, SecretAccessKey, SessionToken string }
	a := n.RoleToken(n.Fingerprint)
	a.Decode(n.s.t, &out)
	if out.SessionToken == "" {
		n.s.t.Fatalf("no credentials: %d %s", a.Status, a.Body)
	}
	n.Credentials = sigv4.Credentials(out)
}

// RoleToken requests the node's credentials.
func (n *Node) RoleToken(fingerprint string) Answer {
	n.s.t.Helper()
	return n.signed("RequestManagedInstanceRoleToken", map[string]string{"Fingerprint": fingerprint})
}

// ProgramCredentials returns credentials as the agent provides them to
// programs on its node.
func (n *Node) ProgramCredentials() sigv4.Credentials {
	n.s.t.Helper()
	var out struct {
		AccessKeyID, SecretAccessKey, SessionToken string
		ForPrograms                                bool
	}
	a := n.signed("RequestManagedInstanceRoleToken", map[string]any{"Fingerprint": n.Fingerprint, "ForPrograms": true})
	a.Decode(n.s.t, &out)
	if !out.ForPrograms {
		n.s.t.Fatalf("no credentials for programs: %d %s", a.Status, a.Body)
	}
	return sigv4.Credentials{
		AccessKeyID:     out.AccessKeyID,
		SecretAccessKey: out.SecretAccessKey,
		SessionToken:    out.SessionToken,
	}
}

// ReplaceKey makes key the signing key of n, if the server accepts it.
func (n *Node) ReplaceKey(key *rsa.PrivateKey) Answer {
	n.s.t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		n.s.t.Fatal(err)
	}
	a := n.signed("UpdateManagedInstancePublicKey", map[string]string{
		"NewPublicKey": base64.StdEncoding.EncodeToString(der), "NewPublicKeyType": "Rsa",
	})
	if a.Status == http.StatusOK {
		n.key = key
	}
	return a
}

// signed calls an operation of ssm, signed with the node's key.
func (n *Node) signed(operation string, in any) Answer {
	n.s.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		n.s.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(n.s.t.Context(), http.MethodPost, n.s.URL, strings.NewReader(string(body)))
	if err != nil {
		n.s.t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", "AmazonSSM."+operation)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	key := n.key
	if key == nil {
		key = nodeKey()
	}
	if err := sigv4.SignRSA(r, key, n.ID, Region, "ssm", time.Now(), sigv4.HashBody(body)); err != nil {
		n.s.t.Fatal(err)
	}
	return n.s.send(r)
}

// CreateChannel requests the token of a channel: kind is control-channel or
// data-channel, name the node or session.
func (s *Server) CreateChannel(c sigv4.Credentials, kind, name string) Answer {
	s.t.Helper()
	body := `{"MessageSchemaVersion":"1.0","RequestId":"` + id.UUID() + `","ClientId":"` + id.UUID() + `"}`
	return s.Do(nil, c, "ssmmessages", http.MethodPost, "/v1/"+kind+"/"+name, body)
}

// Token is the response of CreateChannel.
func (a Answer) Token(t testing.TB) string {
	t.Helper()
	if a.Status != http.StatusCreated {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	r, err := mgs.ParseChannelResponse([]byte(a.Body))
	if err != nil {
		t.Fatal(err)
	}
	return r.TokenValue
}

// Channel is a WebSocket of the message gateway. Like any peer it always
// reads, and so answers pings, whatever the test does.
type Channel struct {
	*link.Conn
	t      testing.TB
	frames chan frame // closed after the last frame
	ended  error      // read after frames is closed
}

type frame struct {
	kind link.Kind
	body []byte
}

// unread limits how many frames it reads ahead of the test.
const unread = 4096

func (c *Channel) read(ctx context.Context) {
	defer close(c.frames)
	for {
		kind, body, err := c.Conn.Read(ctx)
		if err != nil {
			c.ended = err
			return
		}
		select {
		case c.frames <- frame{kind, body}:
		case <-ctx.Done():
			c.ended = ctx.Err()
			return
		}
	}
}

// Read returns the next frame, or the reason why there are no more.
func (c *Channel) Read(ctx context.Context) (link.Kind, []byte, error) {
	select {
	case f, ok := <-c.frames:
		if !ok {
			return 0, nil, c.ended
		}
		return f.kind, f.body, nil
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
}

// Dial opens a channel up to its upgrade. Without a key the request is not
// signed.
func (s *Server) Dial(c sigv4.Credentials, kind, name string, header http.Header) (*Channel, error) {
	s.t.Helper()
	query := "?role=publish_subscribe"
	if kind == "control-channel" {
		query += "&stream=input"
	}
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.URL+"/v1/"+kind+"/"+name+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if c.AccessKeyID != "" {
		sigv4.Sign(r, c, Region, "ssmmessages", time.Now(), sigv4.HashBody(nil))
	}
	for k, v := range header {
		r.Header[k] = v
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), Patience)
	defer cancel()
	conn, err := link.Dial(
		ctx,
		"wss"+strings.TrimPrefix(r.URL.String(), "https"),
		link.DialOptions{Header: r.Header, TLS: s.TLS()},
	)
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() { _ = conn.CloseNow() })
	ch := &Channel{Conn: conn, t: s.t, frames: make(chan frame, unread)}
	go ch.read(s.t.Context())
	return ch, nil
}

// MustDial is Dial for channels that must be upgraded.
func (s *Server) MustDial(c sigv4.Credentials, kind, name string) *Channel {
	s.t.Helper()
	ch, err := s.Dial(c, kind, name, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return ch
}

func (c *Channel) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.t.Context(), Patience)
}

// Text sends a text frame.
func (c *Channel) Text(body string) {
	c.t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	if err := c.Conn.Write(ctx, link.Text, []byte(body)); err != nil {
		c.t.Fatal(err)
	}
}

// Raw sends a binary frame with any content.
func (c *Channel) Raw(b []byte) {
	c.t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	if err := c.Conn.Write(ctx, link.Binary, b); err != nil {
		c.t.Fatal(err)
	}
}

// Send sends a message.
func (c *Channel) Send(m mgs.Message) {
	c.t.Helper()
	c.Raw(m.AppendTo(nil))
}

// Data sends stream data and returns the message.
func (c *Channel) Data(typ string, seq int64, text string) mgs.Message {
	c.t.Helper()
	m := mgs.New(typ, []byte(text))
	m.Seq, m.PayloadType = seq, mgs.PayloadOutput
	c.Send(m)
	return m
}

// Receive returns the next message of a type and skips others.
func (c *Channel) Receive(typ string) mgs.Message {
	c.t.Helper()
	for {
		ctx, cancel := c.context()
		_, b, err := c.Read(ctx)
		cancel()
		if err != nil {
			c.t.Fatalf("waiting for %s: %v", typ, err)
		}
		m, err := mgs.Parse(b)
		if err != nil {
			c.t.Fatal(err)
		}
		if m.Type == typ {
			return m
		}
	}
}

// WaitClosed reads until the server closes the channel, and returns the close
// status.
func (c *Channel) WaitClosed() (link.Code, string) {
	c.t.Helper()
	for {
		ctx, cancel := c.context()
		_, _, err := c.Read(ctx)
		late := ctx.Err() != nil
		cancel()
		if err == nil {
			continue
		}
		if late {
			c.t.Fatalf("the channel was not closed within %s", Patience)
		}
		code, reason, ok := link.CloseStatus(err)
		if !ok {
			reason = err.Error()
		}
		return code, reason
	}
}

// OpenFrame returns the first frame of a control channel.
func OpenFrame(token string) string {
	return `{"Cookie":null,"MessageSchemaVersion":"1.0","RequestId":"` + id.UUID() + `","TokenValue":"` + token +
		`","AgentVersion":"3.3.0.0","PlatformType":"linux"}`
}

// AgentFrame returns the first frame of an agent's channel, ClientFrame of a
// client's.
func AgentFrame(token, node string) string {
	return `{"MessageSchemaVersion":"1.0","RequestId":"` + id.UUID() + `","TokenValue":"` + token +
		`","ClientInstanceId":"` + node + `","ClientId":"` + id.UUID() + `"}`
}

// ClientFrame returns the first frame of a client's channel.
func ClientFrame(token string) string {
	return `{"MessageSchemaVersion":"1.0","RequestId":"` + id.UUID() + `","TokenValue":"` + token + `","ClientId":"` +
		id.UUID() + `","ClientVersion":"1.2.0.0"}`
}

// Connect opens the node's control channel and waits until the node is
// connected.
func (n *Node) Connect() *Channel {
	n.s.t.Helper()
	ch := n.s.MustDial(n.Credentials, "control-channel", n.ID)
	ch.Text(OpenFrame(n.s.CreateChannel(n.Credentials, "control-channel", n.ID).Token(n.s.t)))
	n.s.Eventually(n.ID+" to be connected", func() bool {
		out, err := n.s.SSM(n.s.Admin).
			GetConnectionStatus(n.s.t.Context(), &awsssm.GetConnectionStatusInput{Target: &n.ID})
		if err != nil {
			n.s.t.Fatal(err)
		}
		return out.Status == "connected"
	})
	return ch
}

// Attach opens the agent's channel of a session.
func (n *Node) Attach(session string) *Channel {
	n.s.t.Helper()
	token := n.s.CreateChannel(n.Credentials, "data-channel", session).Token(n.s.t)
	ch := n.s.MustDial(n.Credentials, "data-channel", session)
	ch.Text(AgentFrame(token, n.ID))
	return ch
}

// AttachedSession is a session with both channels open.
type AttachedSession struct {
	ID, Token     string
	Agent, Client *Channel

	agentSeq, clientSeq int64
}

// StartSession starts a session of c on a connected node.
func (s *Server) StartSession(c sigv4.Credentials, n *Node) (session, token string) {
	s.t.Helper()
	out, err := s.SSM(c).StartSession(s.t.Context(), &awsssm.StartSessionInput{Target: &n.ID})
	if err != nil {
		s.t.Fatal(err)
	}
	return *out.SessionId, *out.TokenValue
}

// Session starts a session and opens both channels.
func (s *Server) Session(c sigv4.Credentials, n *Node) *AttachedSession {
	s.t.Helper()
	x := &AttachedSession{}
	x.ID, x.Token = s.StartSession(c, n)
	x.Agent = n.Attach(x.ID)
	x.Client = s.MustDial(sigv4.Credentials{}, "data-channel", x.ID)
	x.Client.Text(ClientFrame(x.Token))
	x.Check(s.t)
	return x
}

// Check sends data each way and waits for the acknowledgements.
func (x *AttachedSession) Check(t testing.TB) {
	t.Helper()
	x.exchange(t, 1)
}

// CheckRestarted is Check after a restart of the server: AWS's programs then send a message again
// before the server takes it.
func (x *AttachedSession) CheckRestarted(t testing.TB) {
	t.Helper()
	x.exchange(t, 2)
}

func (x *AttachedSession) exchange(t testing.TB, times int) {
	t.Helper()
	pass := func(from, to *Channel, typ string, seq *int64) {
		t.Helper()
		text := "word " + id.UUID()
		for range times {
			from.Data(typ, *seq, text)
		}
		got := to.Receive(typ)
		if string(got.Payload) != text || got.Seq != *seq {
			t.Fatalf("received message %d with %q, want message %d with %q", got.Seq, got.Payload, *seq, text)
		}
		to.Send(mgs.NewAck(&got))
		ack, err := mgs.ParseAck(from.Receive(mgs.TypeAcknowledge).Payload)
		if err != nil || ack.Seq != *seq {
			t.Fatalf("acknowledged %+v, %v", ack, err)
		}
		*seq++
	}
	pass(x.Agent, x.Client, mgs.TypeOutputStreamData, &x.agentSeq)
	pass(x.Client, x.Agent, mgs.TypeInputStreamData, &x.clientSeq)
}
