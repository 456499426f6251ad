package e2e_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"sekisho/internal/client"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mgs/mgstest"
)

// looseClient implements the data channel with the peculiarities of
// third-party clients.
type looseClient struct {
	t    *testing.T
	ctx  context.Context
	conn *link.Conn

	// npm is the package ssm-session: it pads the message type on the left,
	// sends half a digest as text, and performs no handshake. Otherwise it is
	// mmmorris1975/ssm-session-client, which acknowledges every message.
	npm bool

	writing sync.Mutex
	seq     int64
	ready   chan struct{} // closed after the handshake
	out     *io.PipeWriter
	Output  *io.PipeReader
}

func openLoose(t *testing.T, npm bool, in client.StartInput) *looseClient {
	t.Helper()
	e := env(t, shared)
	cfg, err := client.Load("", func(k string) string { return e[k] })
	if err != nil {
		t.Fatal(err)
	}
	in.Target = e["SEKISHO_TARGET"]
	api := client.New(cfg)
	t.Cleanup(api.Close)
	stream, err := api.StartSession(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(e["SSL_CERT_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	conn, err := link.Dial(t.Context(), stream.StreamURL, link.DialOptions{TLS: &tls.Config{RootCAs: roots}})
	if err != nil {
		t.Fatal(err)
	}
	c := &looseClient{t: t, ctx: t.Context(), conn: conn, npm: npm, ready: make(chan struct{})}
	c.Output, c.out = io.Pipe()
	open, err := json.Marshal(
		map[string]string{
			"MessageSchemaVersion": "1.0",
			"RequestId":            mgs.NewUUID().String(),
			"TokenValue":           stream.TokenValue,
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Write(t.Context(), link.Text, open); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(c.read)
	t.Cleanup(func() {
		_ = conn.CloseNow()
		_ = c.Output.Close()
		reading.Wait()
	})
	return c
}

// write sends a frame with the client's peculiarities.
func (c *looseClient) write(m mgs.Message) {
	b := m.AppendTo(nil)
	if c.npm {
		clear(b[4:36])
		copy(b[36-len(m.Type):36], m.Type)
		sum := sha256.Sum256(m.Payload)
		copy(b[80:112], hex.EncodeToString(sum[:16]))
	}
	if err := c.conn.Write(c.ctx, link.Binary, b); err != nil && c.ctx.Err() == nil {
		c.t.Logf("write: %v", err)
	}
}

func (c *looseClient) send(pt mgs.PayloadType, p []byte) {
	c.writing.Lock()
	defer c.writing.Unlock()
	m := mgstest.StreamData(mgs.TypeInputStreamData, c.seq, pt, p)
	c.seq++
	c.write(m)
}

func (c *looseClient) read() {
	defer c.out.Close()
	for {
		_, b, err := c.conn.Read(c.ctx)
		if err != nil {
			if code, reason, ok := link.CloseStatus(err); ok && code != link.CloseNormal {
				c.t.Errorf("disconnected: %d %s", code, reason)
			}
			return
		}
		m, err := mgs.Parse(b)
		if err != nil {
			c.t.Errorf("the server sent a bad frame: %v", err)
			return
		}
		if !c.npm || m.Type == mgs.TypeOutputStreamData {
			ack := mgs.NewAckOf(m.Type, m.ID, m.Seq)
			if c.npm {
				ack.Seq, ack.PayloadType = m.Seq, mgs.PayloadSize
			}
			c.write(ack)
		}
		switch {
		case m.Type == mgs.TypeChannelClosed:
			if closed, err := mgs.ParseBody[mgs.ChannelClosed](m.Payload); err != nil || closed.Output != "" {
				c.t.Errorf("the session ended: %s, %v", closed.Output, err)
			}
			return
		case m.Type == mgs.TypeAcknowledge:
		case m.Type != mgs.TypeOutputStreamData:
			c.t.Errorf("a message of type %s, which the client does not know", m.Type)
		case m.PayloadType == mgs.PayloadOutput:
			if _, err := c.out.Write(m.Payload); err != nil {
				return
			}
		case m.PayloadType == mgs.PayloadHandshakeRequest && !c.npm:
			c.send(mgs.PayloadHandshakeResponse, []byte(
				`{"ClientVersion":"0.0.1","ProcessedClientActions":[{"ActionType":"SessionType","ActionStatus":1,`+
					`"ActionResult":null,"Error":""}],"Errors":null}`,
			))
		case m.PayloadType == mgs.PayloadHandshakeComplete:
			close(c.ready)
		}
	}
}

// expect reads output until it contains want.
func (c *looseClient) expect(want string) {
	c.t.Helper()
	var got []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(got, []byte(want)) {
		n, err := c.Output.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			c.t.Fatalf("the output ended (%v): %q", err, got)
		}
	}
}

// TestThirdPartyClients: clients that AWS's agent tolerates work with Sekisho too: a shell
// for both, a forwarded port for the one that supports it.
func TestThirdPartyClients(t *testing.T) {
	t.Parallel()
	for name, npm := range map[string]bool{"npm ssm-session": true, "ssm-session-client": false} {
		t.Run(name+", shell", func(t *testing.T) {
			t.Parallel()
			c := openLoose(t, npm, client.StartInput{})
			if !npm {
				<-c.ready
			}
			c.send(mgs.PayloadSize, []byte(`{"cols":97,"rows":31}`))
			for _, key := range "stty size; seq 3000; echo do''ne; exit\r" {
				c.send(mgs.PayloadOutput, []byte(string(key)))
			}
			c.expect("31 97\r\n")
			c.expect("\r\n3000\r\ndone\r\n")
			if rest, err := io.ReadAll(c.Output); err != nil {
				t.Errorf("%q, %v", rest, err)
			}
		})
	}
	t.Run("ssm-session-client, forwarded port", func(t *testing.T) {
		t.Parallel()
		body := strings.Repeat("all of it ", 20000)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			name := make([]byte, 3)
			if _, err := io.ReadFull(conn, name); err == nil {
				_, _ = fmt.Fprintf(conn, "%s: %s.", name, body)
			}
		}()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		c := openLoose(t, false, client.StartInput{
			DocumentName: "AWS-StartPortForwardingSession", Parameters: map[string][]string{"portNumber": {port}},
		})
		<-c.ready
		c.send(mgs.PayloadOutput, []byte("abc"))
		got := make([]byte, len(body)+6)
		if _, err := io.ReadFull(c.Output, got); err != nil || string(got) != "abc: "+body+"." {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		c.send(mgs.PayloadFlag, mgs.FlagTerminateSession.Bytes())
		_, _ = io.ReadAll(c.Output)
	})
}
