package ssmagent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"sync"
	"testing"
	"time"

	"sekisho/internal/servertest/ssmagent"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mgs/mgstest"
	"sekisho/internal/wire/mux"
)

// plugin is a double of session-manager-plugin: it does not acknowledge
// messages that it already received, does not survive frames out of order, and
// fails on any frame in the moment after the handshake of a forwarded port.
type plugin struct {
	t    testing.TB
	dial func(ctx context.Context) (ssmagent.Conn, error) // up to the first frame

	mu       sync.Mutex
	conn     ssmagent.Conn
	expected int64
	output   bytes.Buffer
	stderr   bytes.Buffer
	exit     string
	message  string
	next     int64
	out      []mgs.Message
	wanted   chan struct{} // closed and replaced at each change
	greeted  bool
	brittle  time.Time // no frame may arrive before this time
	// brittleAfter is how long the client prepares after the handshake.
	brittleAfter time.Duration
	closed       *mgs.ChannelClosed
	ended        chan struct{}

	session string // its ID, for answer
	// answer returns the response to a request to encrypt.
	answer func(keyID string) (result []byte, dataKey []byte)
	crypt  *sealer

	local net.Conn // the forwarded port that receives the output
	muxed *mux.Conn
}

func newPlugin(t testing.TB, dial func(ctx context.Context) (ssmagent.Conn, error)) *plugin {
	return &plugin{t: t, dial: dial, wanted: make(chan struct{}), ended: make(chan struct{})}
}

// run keeps the channel until the session is closed or ctx ends.
func (p *plugin) run(ctx context.Context) {
	defer close(p.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { p.resend(ctx) })
	for ctx.Err() == nil {
		conn, err := p.dial(ctx)
		if err != nil {
			if !pause(ctx, 200*time.Millisecond) {
				return
			}
			continue
		}
		p.mu.Lock()
		p.conn = conn
		p.mu.Unlock()
		for {
			_, frame, err := conn.Read(ctx)
			if err != nil {
				break
			}
			m, err := mgs.Parse(frame)
			if err != nil {
				p.t.Errorf("the client got a bad frame: %v", err)
				break
			}
			if p.take(ctx, &m) {
				conn.Drop()
				return
			}
		}
		conn.Drop()
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// resend repeats the oldest unacknowledged message.
func (p *plugin) resend(ctx context.Context) {
	for pause(ctx, 200*time.Millisecond) {
		p.mu.Lock()
		var again *mgs.Message
		if len(p.out) > 0 {
			again = &p.out[0]
		}
		p.mu.Unlock()
		if again != nil {
			p.write(ctx, *again)
		}
	}
}

func (p *plugin) write(ctx context.Context, m mgs.Message) {
	p.mu.Lock()
	conn := p.conn
	p.mu.Unlock()
	if conn != nil {
		_ = conn.Write(ctx, false, m.AppendTo(nil)) // the loop sends it again
	}
}

func (p *plugin) send(ctx context.Context, pt mgs.PayloadType, b []byte) {
	p.mu.Lock()
	if p.crypt != nil && pt == mgs.PayloadOutput {
		b = p.crypt.seal(b)
	}
	m := mgstest.StreamData(mgs.TypeInputStreamData, p.next, pt, b)
	p.next++
	p.out = append(p.out, m)
	p.mu.Unlock()
	p.write(ctx, m)
}

func (p *plugin) typed(ctx context.Context, s string) { p.send(ctx, mgs.PayloadOutput, []byte(s)) }

func (p *plugin) changed() {
	close(p.wanted)
	p.wanted = make(chan struct{})
}

// take handles a message and reports whether the session is closed.
func (p *plugin) take(ctx context.Context, m *mgs.Message) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Now().Before(p.brittle) && m.Type != mgs.TypeChannelClosed {
		p.t.Errorf("%s arrived while the client prepared its port, which breaks the plugin", m.Type)
	}
	switch m.Type {
	case mgs.TypeAcknowledge:
		a, err := mgs.ParseAck(m.Payload)
		if err != nil {
			p.t.Error(err)
		}
		for i := range p.out {
			if p.out[i].Seq == a.Seq {
				p.out = append(p.out[:i:i], p.out[i+1:]...)
				p.changed()
				break
			}
		}
	case mgs.TypeChannelClosed:
		c, err := mgs.ParseBody[mgs.ChannelClosed](m.Payload)
		if err != nil {
			p.t.Error(err)
		}
		p.closed = &c
		p.changed()
		return true
	case mgs.TypeOutputStreamData:
		switch {
		case m.Seq < p.expected: // not acknowledged again
		case m.Seq > p.expected:
			p.t.Errorf("message %d arrived before %d, which breaks the plugin", m.Seq, p.expected)
		default:
			p.expected++
			p.mu.Unlock()
			p.write(ctx, mgs.NewAck(m))
			p.mu.Lock()
			p.data(ctx, m)
			p.changed()
		}
	}
	return false
}

func (p *plugin) data(ctx context.Context, m *mgs.Message) {
	b := m.Payload
	if p.crypt != nil && (m.PayloadType == mgs.PayloadOutput || m.PayloadType == mgs.PayloadStdErr) {
		var err error
		if b, err = p.crypt.unseal(b); err != nil {
			p.t.Error(err)
		}
	}
	switch m.PayloadType {
	case mgs.PayloadHandshakeRequest:
		r, err := mgs.ParseBody[mgs.HandshakeRequest](m.Payload)
		if err != nil {
			p.t.Error(err)
		}
		p.reply(ctx, r)
	case mgs.PayloadEncChallengeRequest:
		c, err := mgs.ParseBody[mgs.EncChallenge](m.Payload)
		if err != nil {
			p.t.Error(err)
		}
		secret, err := p.crypt.unseal(c.Challenge)
		if err != nil {
			p.t.Error(err)
		}
		answer, err := json.Marshal(mgs.EncChallenge{Challenge: p.crypt.seal(secret)})
		if err != nil {
			p.t.Error(err)
		}
		p.mu.Unlock()
		p.send(ctx, mgs.PayloadEncChallengeResponse, answer)
		p.mu.Lock()
	case mgs.PayloadHandshakeComplete:
		c, err := mgs.ParseBody[mgs.HandshakeComplete](m.Payload)
		if err != nil {
			p.t.Error(err)
		}
		p.greeted, p.message = true, c.CustomerMessage
		p.brittle = time.Now().Add(p.brittleAfter)
	case mgs.PayloadOutput:
		if p.local != nil {
			p.mu.Unlock()
			_, _ = p.local.Write(b)
			p.mu.Lock()
			return
		}
		p.output.Write(b)
	case mgs.PayloadStdErr:
		p.stderr.Write(b)
	case mgs.PayloadExitCode:
		p.exit = string(m.Payload)
	}
}

func (p *plugin) reply(ctx context.Context, r mgs.HandshakeRequest) {
	response := mgs.HandshakeResponse{ClientVersion: "1.3.0.0"}
	for _, a := range r.RequestedClientActions {
		done := mgs.ProcessedAction{
			ActionType:   a.ActionType,
			ActionStatus: mgs.ActionSuccess,
			ActionResult: json.RawMessage("null"),
		}
		if a.ActionType == mgs.ActionKMSEncryption {
			k, err := mgs.ParseBody[mgs.KMSEncryptionRequest](a.ActionParameters)
			if err != nil {
				p.t.Error(err)
			}
			blob, key := p.answer(k.KMSKeyID)
			p.crypt = newSealer(p.t, key)
			if done.ActionResult, err = json.Marshal(mgs.KMSEncryptionResponse{KMSCipherTextKey: blob}); err != nil {
				p.t.Error(err)
			}
		}
		response.ProcessedClientActions = append(response.ProcessedClientActions, done)
	}
	b, err := json.Marshal(response)
	if err != nil {
		p.t.Error(err)
	}
	p.mu.Unlock()
	p.send(ctx, mgs.PayloadHandshakeResponse, b)
	p.mu.Lock()
}

// until waits for a condition of p.
func (p *plugin) until(ctx context.Context, what string, holds func() bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		p.mu.Lock()
		ok, wanted := holds(), p.wanted
		p.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-wanted:
		case <-ctx.Done():
			p.mu.Lock()
			defer p.mu.Unlock()
			tail := p.output.Bytes()
			p.t.Fatalf(
				"waited for %s; there are %d bytes that end in %q, closed: %+v",
				what,
				len(tail),
				tail[max(0, len(tail)-100):],
				p.closed,
			)
		}
	}
}

// prints waits until the output ends with s.
func (p *plugin) prints(ctx context.Context, s string) {
	p.t.Helper()
	p.until(ctx, "output "+s, func() bool { return bytes.HasSuffix(p.output.Bytes(), []byte(s)) })
}

// reason waits for the end and returns the reason that the user sees.
func (p *plugin) reason(ctx context.Context) string {
	p.t.Helper()
	p.until(ctx, "the end", func() bool { return p.closed != nil })
	<-p.ended
	return p.closed.Output
}

// forward carries connections over the session.
func (p *plugin) forward(ctx context.Context) *mux.Conn {
	p.t.Helper()
	p.until(ctx, "the handshake", func() bool { return p.greeted })
	ours, theirs := net.Pipe()
	p.mu.Lock()
	p.local = ours
	p.mu.Unlock()
	go p.pump(ctx, ours)
	p.muxed = mux.Client(theirs)
	p.t.Cleanup(func() { _ = p.muxed.Close(); _ = ours.Close() })
	return p.muxed
}

// pump sends the data of a connection.
func (p *plugin) pump(ctx context.Context, from net.Conn) {
	b := make([]byte, 1024)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		p.send(ctx, mgs.PayloadOutput, bytes.Clone(b[:n]))
	}
}
