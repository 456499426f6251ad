package ssmagent_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"sekisho/internal/iam/identity"
	"sekisho/internal/servertest"
	"sekisho/internal/servertest/ssmagent"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/link"
)

// key is the key of every machine here, because generating keys is slow.
var key = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// real is an agent connected to a real server.
type real struct {
	*servertest.Server
	t       *testing.T
	machine *ssmagent.Machine
	agent   *ssmagent.Agent
	up      chan struct{} // holds one element while the server runs
}

// retryingGateway is the gateway of the agent. It retries while the server is down,
// since the number of attempts is not tested here.
type retryingGateway struct {
	*ssmagent.Machine
	up chan struct{}
}

func (p retryingGateway) Token(ctx context.Context, kind, name string) (string, error) {
	select {
	case <-p.up:
		p.up <- struct{}{}
		return p.Machine.Token(ctx, kind, name)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// start registers a machine and runs its agent, forty times as fast as the
// original.
func start(t *testing.T) *real {
	t.Helper()
	s := servertest.Start(t)
	a, err := s.SSM(s.Admin).
		CreateActivation(t.Context(), &awsssm.CreateActivationInput{IamRole: aws.String("service-role/" + identity.NodeRole)})
	if err != nil {
		t.Fatal(err)
	}
	m := ssmagent.NewMachine(s.URL, servertest.Region, s.TLS(), key())
	if err := m.Register(t.Context(), *a.ActivationId, *a.ActivationCode); err != nil {
		t.Fatal(err)
	}
	if err := m.RoleToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Report(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := &real{Server: s, t: t, machine: m, up: make(chan struct{}, 1)}
	r.up <- struct{}{}
	r.agent = ssmagent.New(ssmagent.Config{ID: m.ID, Gateway: retryingGateway{m, r.up}, Hurry: 40})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.agent.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		m.Close()
	})
	r.connected()
	return r
}

func (r *real) connected() {
	r.t.Helper()
	r.Eventually("the agent to be connected", func() bool {
		out, err := r.SSM(r.Admin).
			GetConnectionStatus(r.t.Context(), &awsssm.GetConnectionStatusInput{Target: &r.machine.ID})
		return err == nil && out.Status == types.ConnectionStatusConnected
	})
}

// session starts a session and attaches a client, which resumes it when its
// connection breaks.
func (r *real) session(document string, parameters map[string][]string) (string, *plugin) {
	r.t.Helper()
	in := &awsssm.StartSessionInput{Target: &r.machine.ID, Parameters: parameters}
	if document != "" {
		in.DocumentName = &document
	}
	out, err := r.SSM(r.Admin).StartSession(r.t.Context(), in)
	if err != nil {
		r.t.Fatal(err)
	}
	token := *out.TokenValue
	client, host, trust := r.SSM(r.Admin), r.Host, r.TLS() // also after a restart
	p := newPlugin(r.t, func(ctx context.Context) (ssmagent.Conn, error) {
		if token == "" {
			again, err := client.ResumeSession(ctx, &awsssm.ResumeSessionInput{SessionId: out.SessionId})
			if err != nil {
				return nil, err
			}
			token = aws.ToString(again.TokenValue)
		}
		defer func() { token = "" }()
		return dialClient(ctx, host, trust, *out.SessionId, token)
	})
	ctx, cancel := context.WithCancel(r.t.Context())
	go p.run(ctx)
	r.t.Cleanup(func() {
		cancel()
		<-p.ended
	})
	return *out.SessionId, p
}

type socket struct{ *link.Conn }

func (s socket) Read(ctx context.Context) (bool, []byte, error) {
	kind, b, err := s.Conn.Read(ctx)
	return kind == link.Text, b, err
}

func (s socket) Write(ctx context.Context, text bool, b []byte) error {
	kind := link.Binary
	if text {
		kind = link.Text
	}
	return s.Conn.Write(ctx, kind, b)
}

func (s socket) Drop() { _ = s.CloseNow() }

func dialClient(ctx context.Context, host string, trust *tls.Config, session, token string) (ssmagent.Conn, error) {
	conn, err := link.Dial(
		ctx,
		"wss://"+host+"/v1/data-channel/"+session+"?role=publish_subscribe",
		link.DialOptions{TLS: trust},
	)
	if err != nil {
		return nil, err
	}
	return socket{conn}, socket{conn}.Write(ctx, true, []byte(servertest.ClientFrame(token)))
}

func (r *real) status(session string) *types.Session {
	r.t.Helper()
	for _, state := range []types.SessionState{types.SessionStateActive, types.SessionStateHistory} {
		out, err := r.SSM(r.Admin).DescribeSessions(r.t.Context(), &awsssm.DescribeSessionsInput{State: state})
		if err != nil {
			r.t.Fatal(err)
		}
		for _, s := range out.Sessions {
			if *s.SessionId == session {
				return &s
			}
		}
	}
	r.t.Fatalf("%s is not listed", session)
	return nil
}

// The machine is registered with its facts, renews its credentials as the
// original does, and gets no other work.
func TestMachineRegisters(t *testing.T) {
	t.Parallel()
	r := start(t)
	out, err := r.SSM(r.Admin).DescribeInstanceInformation(t.Context(), &awsssm.DescribeInstanceInformationInput{})
	if err != nil || len(out.InstanceInformationList) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	got := out.InstanceInformationList[0]
	if *got.InstanceId != r.machine.ID || aws.ToString(got.AgentVersion) != ssmagent.Version ||
		aws.ToString(got.ComputerName) != "double" ||
		aws.ToString(got.IPAddress) != "192.0.2.7" ||
		aws.ToString(got.PlatformName) != "Debian GNU/Linux" ||
		got.PlatformType != types.PlatformTypeLinux {
		t.Errorf("%+v", got)
	}
	if err := r.machine.RoleToken(t.Context()); err != nil {
		t.Error(err)
	}
	b, err := r.machine.SSM(
		t.Context(),
		"ListInstanceAssociations",
		map[string]any{"InstanceId": r.machine.ID, "MaxResults": 20},
	)
	if err != nil || !bytes.Contains(b, []byte(`"Associations":[]`)) {
		t.Errorf("%s, %v", b, err)
	}
	// Another machine's signature, and another machine's fingerprint.
	stranger := ssmagent.NewMachine(r.URL, servertest.Region, r.TLS(), key())
	defer stranger.Close()
	stranger.ID = r.machine.ID
	if err := stranger.RoleToken(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "MachineFingerprintDoesNotMatch") {
		t.Errorf("another fingerprint: %v", err)
	}
	forged, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	stranger.Key, stranger.Fingerprint = forged, r.machine.Fingerprint
	if err := stranger.RoleToken(t.Context()); err == nil {
		t.Error("another key was accepted")
	}
}

func TestKindsOfSession(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()

	t.Run("shell", func(t *testing.T) {
		sid, c := r.session("", nil)
		c.prints(ctx, "$ ")
		c.send(ctx, 3, []byte(`{"cols":100,"rows":30}`))
		c.typed(ctx, "size; seq 2000\r")
		c.prints(ctx, "2000\r\n$ ")
		c.typed(ctx, "\x03")
		c.prints(ctx, "^C\r\n$ ")
		c.typed(ctx, "exit\r")
		want := "$ size; seq 2000\r\n30 100\r\n" + numbers(2000) + "$ ^C\r\n$ exit\r\n"
		if why := c.reason(ctx); why != "" || c.output.String() != want {
			t.Errorf("closed with reason %q after %d bytes, want %d bytes", why, c.output.Len(), len(want))
		}
		r.Eventually(
			"the end in the history",
			func() bool { return r.status(sid).Status == types.SessionStatusTerminated },
		)
	})
	t.Run("interactive command", func(t *testing.T) {
		_, c := r.session("AWS-StartInteractiveCommand", map[string][]string{"command": {"seq 500; echo done"}})
		if why := c.reason(ctx); why != "" || c.output.String() != numbers(500)+"done\r\n" {
			t.Errorf("closed with reason %q after output %q", why, c.output.String())
		}
	})
	t.Run("command", func(t *testing.T) {
		_, c := r.session(
			"AWS-StartNonInteractiveCommand",
			map[string][]string{"command": {"echo out; complain err; exit 3"}},
		)
		if why := c.reason(ctx); why != "" || c.output.String() != "out\nerr\n" || c.exit != "" {
			t.Errorf("closed with reason %q after output %q, status %q", why, c.output.String(), c.exit)
		}
	})
	t.Run("command, streams apart", func(t *testing.T) {
		_, c := r.session("AWS-StartNonInteractiveCommand", map[string][]string{
			"command": {
				"echo out; complain err; exit 3",
			}, "separateOutputStream": {"true"}, "stdErrSeparatorPrefix": {"E:"},
		})
		if why := c.reason(ctx); why != "" || c.output.String() != "out\n" || c.stderr.String() != "E:err\n" ||
			c.exit != "EXIT_CODE: 3" {
			t.Errorf("reason %q, output %q and %q, status %q", why, c.output.String(), c.stderr.String(), c.exit)
		}
	})
	t.Run("forwarded port", func(t *testing.T) {
		sid, c := r.session("AWS-StartPortForwardingSession", map[string][]string{"portNumber": {echoPort(t)}})
		forwarded := c.forward(ctx)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				st, err := forwarded.Open()
				if err != nil {
					t.Error(err)
					return
				}
				defer st.Close()
				sent := bytes.Repeat([]byte(id.UUID()), 500)
				go func() { _, _ = st.Write(sent) }()
				got := make([]byte, len(sent))
				if _, err := io.ReadFull(st, got); err != nil || !bytes.Equal(got, sent) {
					t.Errorf("the echoed data differs from the data sent (error: %v)", err)
				}
			})
		}
		all.Wait()
		r.terminate(sid)
		c.reason(ctx)
	})
	t.Run("tunnel", func(t *testing.T) {
		_, c := r.session("AWS-StartSSHSession", map[string][]string{"portNumber": {echoPort(t)}})
		c.until(ctx, "the handshake", func() bool { return c.greeted })
		c.typed(ctx, "first")
		c.prints(ctx, "first")
		c.typed(ctx, "bye\n") // after which the port hangs up
		if why := c.reason(ctx); why != "" || c.output.String() != "firstbye\n" {
			t.Errorf("closed with reason %q after output %q", why, c.output.String())
		}
	})
	t.Run("encrypted", func(t *testing.T) {
		var made struct{ KeyMetadata struct{ KeyID string } }
		r.JSON(r.Admin, "kms", "CreateKey", map[string]any{}).Decode(t, &made)
		r.allowRole(t, "kms:Decrypt")
		content := `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"kmsKeyId":"` + made.KeyMetadata.KeyID +
			`"}}`
		if _, err := r.SSM(r.Admin).CreateDocument(ctx, &awsssm.CreateDocumentInput{
			Name: aws.String("Encrypted"), Content: &content, DocumentType: types.DocumentTypeSession,
		}); err != nil {
			t.Fatal(err)
		}
		sid, c := r.session("Encrypted", nil)
		c.mu.Lock()
		c.answer = func(keyID string) (blob, plain []byte) {
			var out struct{ CiphertextBlob, Plaintext []byte }
			r.JSON(r.Admin, "kms", "GenerateDataKey", map[string]any{
				"KeyId": keyID, "NumberOfBytes": 64,
				"EncryptionContext": map[string]string{
					"aws:ssm:SessionId": c.session,
					"aws:ssm:TargetId":  r.machine.ID,
				},
			}).Decode(t, &out)
			return out.CiphertextBlob, out.Plaintext
		}
		c.session = sid
		c.mu.Unlock()
		c.prints(ctx, "$ ")
		c.typed(ctx, "echo sealed\r")
		c.prints(ctx, "sealed\r\n$ ")
		if c.message != "This session is encrypted using AWS KMS." {
			t.Errorf("the client shows %q", c.message)
		}
		c.typed(ctx, "exit\r")
		if why := c.reason(ctx); why != "" {
			t.Errorf("told %q", why)
		}
	})
	r.Eventually("all workers to be gone", func() bool { return r.agent.Workers() == 0 })
	if left := r.agent.Untold(); len(left) > 0 {
		t.Errorf("ends never acknowledged: %v", left)
	}
}

// echoPort is a port that returns what it receives, and hangs up after a
// certain line.
func echoPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				b := make([]byte, 4096)
				for {
					n, err := conn.Read(b)
					if err != nil {
						return
					}
					if _, err := conn.Write(b[:n]); err != nil || b[n-1] == '\n' {
						return
					}
				}
			}()
		}
	}()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func (r *real) terminate(session string) {
	r.t.Helper()
	if _, err := r.SSM(r.Admin).TerminateSession(r.t.Context(),
		&awsssm.TerminateSessionInput{SessionId: &session}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *real) allowRole(t *testing.T, action string) {
	t.Helper()
	if err := r.Directory.Holders.PutInline(t.Context(), identity.KindRole, identity.NodeRole, "more",
		servertest.Allow("*", action)); err != nil {
		t.Fatal(err)
	}
}

func TestTerminated(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	sid, c := r.session("", nil)
	c.prints(ctx, "$ ")
	r.terminate(sid)
	c.reason(ctx)
	r.Eventually("the worker to be gone", func() bool { return r.agent.Workers() == 0 })
	r.Eventually("the end in the history", func() bool { return r.status(sid).Status == types.SessionStatusTerminated })

	// Before anything has attached.
	out, err := r.SSM(r.Admin).StartSession(ctx, &awsssm.StartSessionInput{Target: &r.machine.ID})
	if err != nil {
		t.Fatal(err)
	}
	r.terminate(*out.SessionId)
	r.Eventually("the worker to be gone", func() bool { return r.agent.Workers() == 0 })
}

// The client's connection breaks, and its session resumes where it was.
func TestResumed(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	_, c := r.session("", nil)
	c.prints(ctx, "$ ")
	c.typed(ctx, "seq 5000\r")
	for _, at := range []string{"1000\r\n", "3000\r\n"} {
		c.until(ctx, at, func() bool { return bytes.Contains(c.output.Bytes(), []byte(at)) })
		c.mu.Lock()
		c.conn.Drop()
		c.mu.Unlock()
	}
	c.prints(ctx, "5000\r\n$ ")
	c.typed(ctx, "exit\r")
	want := "$ seq 5000\r\n" + numbers(5000) + "$ exit\r\n"
	if why := c.reason(ctx); why != "" || c.output.String() != want {
		t.Errorf("closed with reason %q after %d bytes, want %d bytes", why, c.output.Len(), len(want))
	}
}

// After a restart of the server, agent and client reconnect by themselves and the
// session resumes.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	_, c := r.session("", nil)
	c.prints(ctx, "$ ")
	c.typed(ctx, "seq 3000\r")
	c.until(ctx, "some output", func() bool { return bytes.Contains(c.output.Bytes(), []byte("500\r\n")) })
	<-r.up
	r.Restart()
	r.up <- struct{}{}
	c.prints(ctx, "3000\r\n$ ")
	r.connected()
	r.Eventually("all to be acknowledged", func() bool { return r.agent.Backlog() == 0 })
	c.typed(ctx, "exit\r")
	want := "$ seq 3000\r\n" + numbers(3000) + "$ exit\r\n"
	if why := c.reason(ctx); why != "" || c.output.String() != want {
		t.Errorf("closed with reason %q after %d bytes, want %d bytes", why, c.output.Len(), len(want))
	}
	r.Eventually("the worker to be gone", func() bool { return r.agent.Workers() == 0 })
}
