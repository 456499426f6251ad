package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sekisho"
	"sekisho/internal/wire/datachannel"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
)

// ProtocolVersion is the version the client reports in the handshake and under the name session-manager-plugin. Agents
// compare it with versions of AWS's plugin to determine the client's features.
const ProtocolVersion = mgs.ClientVersion

const (
	pingInterval = 15 * time.Second
	pingTimeout  = 10 * time.Second
	dialTimeout  = 15 * time.Second
	lastWordTime = 3 * time.Second // for reporting the end to the node or server
	maxDelay     = 5 * time.Second
	goodLife     = 5 * time.Second // a connection that lasts this long was stable
	// startPatience is how long the client retries starting a session while the server is
	// unreachable, for example during a restart. After the first connection, the client retries
	// without limit.
	startPatience = 20 * time.Second
)

// Largest payload of one message. AWS's agent gets payloads of the size that AWS's client sends;
// Sekisho's agent accepts larger ones.
const (
	payloadStock = 1 << 10
	payloadOurs  = mgs.LargePayload
)

// reasonLeft is the reason of a session that the user left with "~.".
const reasonLeft = "You left the session."

// leg is the client's end of one session: a data channel that reconnects.
type leg struct {
	client *Client
	target string
	stream Stream
	ch     *datachannel.Channel
	notice func(format string, args ...any) // reports changes of the connection's state's state's state
	hint   string                           // how to leave while disconnected

	stop    context.CancelFunc
	serving sync.WaitGroup

	attached bool        // there was a connection
	ended    atomic.Bool // the session has ended while the connection was away
	greeted  atomic.Bool // the session began
	// likePlugin leaves out features that AWS's plugin lacks.
	likePlugin bool
	// resume delivers, once, the token that resumes the session after the credentials have expired;
	// token stores it.
	resume chan string
	token  string

	hello  hello // from the handshake
	cipher *cipherPair
	first  *payload // arrived instead of a handshake
}

type payload struct {
	pt mgs.PayloadType
	b  []byte
}

// startPatiently starts a session, and retries for a while if the server is unreachable: it may be
// restarting, and its nodes reconnect a moment later. If a response is lost, the session that the
// request started never runs anything, because no client connects to it.
func (c *Client) startPatiently(ctx context.Context, in StartInput, notice func(string, ...any)) (Stream, error) {
	backoff := link.Backoff{Max: maxDelay}
	first, away := time.Now(), false
	for {
		stream, err := c.StartSession(ctx, in)
		refused, isRefusal := errors.AsType[*APIError](err)
		notYet := away && isRefusal && refused.Code == "TargetNotConnected"
		if err == nil || !notYet && !unreachable(err) || time.Since(first) > startPatience {
			return stream, err
		}
		if !away {
			away = true
			notice("the server is unreachable; retrying…")
		}
		timer := time.NewTimer(backoff.Next())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return stream, err
		}
	}
}

// refusedForGood reports whether the server refused a stream for a reason that a new token would
// not change.
func refusedForGood(err error) bool {
	refused, ok := errors.AsType[*link.HandshakeError](err)
	return ok && (refused.StatusCode == http.StatusNotFound || refused.StatusCode == http.StatusBadRequest)
}

// unreachable reports whether err means that the server is down or restarting, as seen directly or
// by a proxy.
func unreachable(err error) bool {
	if refused, ok := errors.AsType[*APIError](err); ok {
		return refused.StatusCode == http.StatusBadGateway || refused.StatusCode == http.StatusServiceUnavailable ||
			refused.StatusCode == http.StatusGatewayTimeout
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// start starts a session and returns its leg, not yet connected.
func (c *Client) start(ctx context.Context, in StartInput, notice func(string, ...any)) (*leg, error) {
	stream, err := c.startPatiently(ctx, in, notice)
	if err != nil {
		return nil, err
	}
	l, err := c.legOf(stream, in.Target, notice)
	if err != nil {
		return nil, errors.Join(err, c.terminate(ctx, stream.SessionID))
	}
	return l, nil
}

// legOf returns the leg of a session that has been started.
func (c *Client) legOf(stream Stream, target string, notice func(string, ...any)) (*leg, error) {
	if stream.SessionID == "" || stream.TokenValue == "" || stream.StreamURL == "" {
		return nil, sekisho.Errorf(
			sekisho.CodeInvalid,
			"The server's response lacks a session ID, token or stream URL.",
		)
	}
	if err := c.checkStream(stream.StreamURL); err != nil {
		return nil, err
	}
	return &leg{
		client: c, target: target, stream: stream, notice: notice,
		ch: datachannel.New(datachannel.Config{Role: datachannel.ClientLeg}),
	}, nil
}

// checkStream refuses an unencrypted stream URL from an encrypted API.
func (c *Client) checkStream(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" ||
		u.Scheme != "wss" && (u.Scheme != "ws" || strings.HasPrefix(c.cfg.Endpoint, "https:")) {
		return sekisho.Errorf(
			sekisho.CodeInvalid,
			"The server gave the stream URL %q, which is not wss://.",
			Printable(raw),
		)
	}
	return nil
}

// terminate ends the session on the server, even if ctx has ended.
func (c *Client) terminate(ctx context.Context, sessionID string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWordTime)
	defer cancel()
	return c.TerminateSession(ctx, sessionID)
}

// attach connects the leg and keeps it connected until it is detached. It
// outlives ctx: the end of the session must still be sent.
func (l *leg) attach(ctx context.Context) {
	ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.serving.Go(func() { l.connect(ctx) })
}

// detach closes the connection.
func (l *leg) detach() {
	l.stop()
	l.serving.Wait()
}

// end detaches the leg and turns err, which ended the session, into an error for
// the user. It is nil if the session ended normally. If the server does not know
// that the session has ended, end terminates it.
func (l *leg) end(ctx context.Context, err error) error {
	l.detach()
	closed, ok := errors.AsType[*datachannel.ClosedError](err)
	if !ok || !closed.Remote {
		_ = l.client.terminate(ctx, l.stream.SessionID) // best effort: err is the error to report
	}
	switch {
	case !ok:
		return err
	case closed.Remote && closed.Reason == "":
		return nil
	}
	return &EndedError{SessionID: l.stream.SessionID, Reason: closed.Reason}
}

// EndedError is the reason of a session that did not end normally.
type EndedError struct {
	SessionID string
	Reason    string
}

// Error implements error. It is safe to print.
func (e *EndedError) Error() string {
	return fmt.Sprintf("session %s: %s", Printable(e.SessionID), Printable(e.Reason))
}

// ExitError is the exit code of the program that ran on the node.
type ExitError struct{ Code int }

// Error implements error.
func (e *ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// NoExitCodeError means that a session ended normally, but the node did not
// report how the program exited: it may have failed, or not have finished.
type NoExitCodeError struct{ SessionID string }

// Error implements error. The text is safe to print.
func (e *NoExitCodeError) Error() string {
	return fmt.Sprintf(
		"session %s ended, but the node did not report the program's exit code: check whether it finished",
		Printable(e.SessionID),
	)
}

func (l *leg) noExitCode() error { return &NoExitCodeError{l.stream.SessionID} }

// send sends stream data, encrypted if the session is.
func (l *leg) send(ctx context.Context, pt mgs.PayloadType, p []byte) error {
	if l.cipher == nil || pt != mgs.PayloadOutput && pt != mgs.PayloadCopy {
		return l.ch.Send(ctx, pt, p)
	}
	for len(p) > 0 {
		piece := p[:min(len(p), l.payloadSize())]
		p = p[len(piece):]
		if err := l.ch.Send(ctx, pt, l.cipher.seal(piece)); err != nil {
			return err
		}
	}
	return nil
}

// receive returns the next stream data, decrypted.
func (l *leg) receive(ctx context.Context) (mgs.PayloadType, []byte, error) {
	if p := l.first; p != nil {
		l.first = nil
		return p.pt, p.b, nil
	}
	pt, b, err := l.ch.Receive(ctx)
	if err != nil || l.cipher == nil {
		return pt, b, err
	}
	switch pt {
	case mgs.PayloadOutput, mgs.PayloadStdErr, mgs.PayloadExitCode, mgs.PayloadCopy:
		b, err = l.cipher.open(b)
	}
	return pt, b, err
}

func (l *leg) payloadSize() int {
	switch {
	case slices.Contains(l.hello.able, mgs.AbilityJumboFrames):
		return mgs.JumboPayload
	case l.hello.ours():
		return payloadOurs
	}
	return payloadStock
}

// connect keeps the channel connected until it is closed or ctx ends. A
// permanent error closes the channel.
func (l *leg) connect(ctx context.Context) {
	backoff := link.Backoff{Max: maxDelay}
	away := false
	first := time.Now()
	for {
		began := time.Now()
		err := l.serve(ctx, func() {
			if away {
				l.notice("reconnected")
			}
			away = false
		})
		if _, closed := l.ch.Closed(); closed || ctx.Err() != nil {
			return
		}
		if time.Since(began) > goodLife {
			backoff.Reset()
		}
		switch {
		case l.attached:
			if !away && l.greeted.Load() {
				away = true
				l.notice("connection lost; reconnecting…%s", l.hint)
			}
		case time.Since(first) > startPatience || refusedForGood(err):
			l.ch.Close(fmt.Sprintf("Cannot connect to the session's stream: %v", err))
			return
		}
		timer := time.NewTimer(backoff.Next())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		case <-l.ch.Done():
			timer.Stop()
			return
		}
		stream, err := l.renew(ctx)
		refused, isRefusal := errors.AsType[*APIError](err)
		switch {
		case isRefusal && refused.final():
			l.ch.Close(refused.Error())
			return
		case sekisho.CodeOf(err) == sekisho.CodeUnauthenticated:
			l.ch.Close(err.Error())
			return
		case err == nil && stream.TokenValue == "":
			l.ended.Store(true)
			l.ch.Close(l.client.endReason(ctx, l.stream.SessionID))
			return
		case err == nil:
			l.stream.TokenValue = stream.TokenValue
		}
	}
}

// final reports whether retrying is pointless.
func (e *APIError) final() bool {
	return e.StatusCode < 500 && e.StatusCode != 429 && !strings.Contains(e.Code, "Throttl")
}

// renew gets a token for the next connection with the caller's credentials or,
// when they have expired, with the session's own token.
func (l *leg) renew(ctx context.Context) (Stream, error) {
	stream, err := l.client.ResumeSession(ctx, l.stream.SessionID)
	refused, isRefusal := errors.AsType[*APIError](err)
	if l.resume == nil || !(isRefusal && refused.final()) && sekisho.CodeOf(err) != sekisho.CodeUnauthenticated {
		return stream, err
	}
	select {
	case token, ok := <-l.resume:
		if ok {
			l.token = token
		}
	case <-ctx.Done():
		return stream, err
	}
	if l.token != "" {
		if again, rerr := l.client.resumeByToken(ctx, l.stream.SessionID, l.token); rerr == nil {
			return again, nil
		}
	}
	return stream, err
}

// serve runs one connection. It calls connected once it is open.
func (l *leg) serve(legCtx context.Context, connected func()) error {
	ctx, cancel := context.WithCancel(legCtx)
	defer cancel()
	dialCtx, done := context.WithTimeout(ctx, dialTimeout)
	conn, err := link.Dial(dialCtx, l.stream.StreamURL, link.DialOptions{TLS: l.client.cfg.tls()})
	done()
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseNow() }()
	open, err := mgs.MarshalBody(mgs.OpenDataChannel{
		MessageSchemaVersion: mgs.SchemaVersion10,
		RequestID:            mgs.NewUUID().String(),
		TokenValue:           l.stream.TokenValue,
		ClientID:             mgs.NewUUID().String(),
		ClientVersion:        ProtocolVersion,
	})
	if err != nil {
		return err
	}
	if err := conn.Write(ctx, link.Text, open); err != nil {
		return err
	}
	if !l.attached {
		l.attached = true
		l.resume = make(chan string, 1)
		l.serving.Go(func() {
			defer close(l.resume)
			if token, err := l.client.resumeToken(legCtx, l.stream.SessionID); err == nil { // most servers return none
				l.resume <- token
			}
		})
	}
	connected()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(
		func() { _ = conn.KeepAlive(ctx, pingInterval, pingTimeout) },
	) // on failure it closes the connection, which ends Serve
	return l.ch.Serve(ctx, link.NewFrames(conn))
}
