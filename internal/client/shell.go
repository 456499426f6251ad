package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/datachannel"
	"sekisho/internal/link"
	"sekisho/internal/mgs"
)

// Version is what the client tells the node in the handshake. Agents compare
// it with versions of the stock client: it says what this one can do.
const Version = "1.2.700.0"

const (
	pingInterval  = 15 * time.Second
	pingTimeout   = 10 * time.Second
	dialTimeout   = 15 * time.Second
	firstAttempts = 5 // before the first connection; after it, there is no end to them
	lastWordTime  = 3 * time.Second
	minDelay      = 100 * time.Millisecond
	maxDelay      = 5 * time.Second
)

// errLeft is why a session ended whose owner left it with "~.".
const errLeft = "You left the session."

// Shell starts a session and joins it to the terminal until it ends. The
// error of a session that ended for a reason says the reason.
//
// Shell does not wait for its last Read of t.In, which may never return.
func (c *Client) Shell(ctx context.Context, in StartInput, t *Terminal) error {
	stream, err := c.StartSession(ctx, in)
	if err != nil {
		return err
	}
	if err := c.checkStream(stream.StreamURL); err != nil {
		return errors.Join(err, c.terminate(ctx, stream.SessionID))
	}
	fmt.Fprintf(t.Err, "Session %s on %s.\n", Printable(stream.SessionID), Printable(in.Target))
	restore, err := t.Raw()
	if err != nil {
		return errors.Join(fmt.Errorf("terminal: %w", err), c.terminate(ctx, stream.SessionID))
	}
	defer restore()
	s := &shell{
		client: c, stream: stream, term: t,
		ch: datachannel.New(datachannel.Config{Role: datachannel.ClientLeg}),
	}
	err = s.run(ctx)
	restore()
	if ce, ok := errors.AsType[*datachannel.ClosedError](err); ok {
		if ce.Remote && ce.Reason == "" {
			return nil
		}
		if !ce.Remote {
			_ = c.terminate(ctx, stream.SessionID) // best effort: there is a reason to report
		}
		return fmt.Errorf("session %s: %s", Printable(stream.SessionID), Printable(ce.Reason))
	}
	_ = c.terminate(ctx, stream.SessionID) // as above
	return err
}

// checkStream refuses a stream URL that would carry in the clear what the API
// call had encrypted.
func (c *Client) checkStream(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "wss" && (u.Scheme != "ws" || strings.HasPrefix(c.cfg.Endpoint, "https:")) {
		return sekisho.Errorf(sekisho.CodeInvalid, "The server gave the stream URL %q, which is not wss://.", Printable(raw))
	}
	return nil
}

// terminate tells the server that nobody will come back, also when ctx ended.
func (c *Client) terminate(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWordTime)
	defer cancel()
	return c.TerminateSession(ctx, id)
}

// shell is one session in a terminal.
type shell struct {
	client *Client
	stream Stream
	term   *Terminal
	ch     *datachannel.Channel

	started  bool // input may be sent
	attached bool // a connection stood once
}

// run returns why the session ended.
func (s *shell) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { s.connect(ctx) })
	for {
		pt, b, err := s.ch.Receive(ctx)
		if err != nil {
			return err
		}
		if !s.started {
			if started, err := s.greet(ctx, pt, b); err != nil {
				return err
			} else if !started {
				continue
			}
			s.started = true
			if err := s.sendSize(ctx, s.term.Size()); err != nil {
				return err
			}
			wg.Go(func() { s.followSize(ctx) })
			go s.sendInput(ctx) // may be stuck in a Read: not waited for
		}
		switch pt {
		case mgs.PayloadOutput:
			_, err = s.term.Out.Write(b)
		case mgs.PayloadStdErr:
			_, err = s.term.Err.Write(b)
		}
		if err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
	}
}

// greet answers the node's handshake. A node that begins with output makes
// none.
func (s *shell) greet(ctx context.Context, pt mgs.PayloadType, b []byte) (started bool, err error) {
	switch pt {
	case mgs.PayloadHandshakeRequest:
		req, err := mgs.ParseBody[mgs.HandshakeRequest](b)
		if err != nil {
			return false, err
		}
		response, err := mgs.MarshalBody(answer(req))
		if err != nil {
			return false, err
		}
		return false, s.ch.Send(ctx, mgs.PayloadHandshakeResponse, response)
	case mgs.PayloadHandshakeComplete:
		done, err := mgs.ParseBody[mgs.HandshakeComplete](b)
		if err != nil {
			return false, err
		}
		if done.CustomerMessage != "" {
			s.notice("%s", Printable(done.CustomerMessage))
		}
		return true, nil
	case mgs.PayloadOutput, mgs.PayloadStdErr, mgs.PayloadExitCode:
		return true, nil
	}
	return false, nil
}

// answer says to each request of the node whether it is met. One that is not
// ends the session, and the node gives the reason.
func answer(req mgs.HandshakeRequest) mgs.HandshakeResponse {
	out := mgs.HandshakeResponse{ClientVersion: Version, ProcessedClientActions: []mgs.ProcessedAction{}}
	for _, action := range req.RequestedClientActions {
		done := mgs.ProcessedAction{ActionType: action.ActionType, ActionStatus: mgs.ActionSuccess, ActionResult: json.RawMessage("null")}
		if reason := unsupported(action); reason != "" {
			done.ActionStatus, done.Error = mgs.ActionUnsupported, reason
			out.Errors = append(out.Errors, reason)
		}
		out.ProcessedClientActions = append(out.ProcessedClientActions, done)
	}
	return out
}

func unsupported(action mgs.RequestedAction) string {
	switch action.ActionType {
	case mgs.ActionSessionType:
		st, err := mgs.ParseBody[mgs.SessionTypeRequest](action.ActionParameters)
		if err != nil {
			return "The session type cannot be read."
		}
		switch st.SessionType {
		case "Standard_Stream", "InteractiveCommands", "NonInteractiveCommands":
			return ""
		}
		return fmt.Sprintf("start-session cannot open a session of type %s.", st.SessionType)
	case mgs.ActionKMSEncryption:
		return "This client does not encrypt sessions with KMS keys."
	}
	return fmt.Sprintf("This client does not know the action %s.", action.ActionType)
}

func (s *shell) sendSize(ctx context.Context, size mgs.Size) error {
	body, err := mgs.MarshalBody(size)
	if err != nil {
		return err
	}
	return s.ch.Send(ctx, mgs.PayloadSize, body)
}

func (s *shell) followSize(ctx context.Context) {
	last := s.term.Size()
	for {
		select {
		case <-s.term.Resized:
			if size := s.term.Size(); size != last {
				if s.sendSize(ctx, size) != nil {
					return
				}
				last = size
			}
		case <-ctx.Done():
			return
		case <-s.ch.Done():
			return
		}
	}
}

// sendInput passes on what is typed.
func (s *shell) sendInput(ctx context.Context) {
	var esc escape
	in, out := make([]byte, 1024), make([]byte, 0, 1025)
	for {
		n, err := s.term.In.Read(in)
		p := in[:n]
		if s.term.Interactive {
			var leave bool
			if p, leave = esc.filter(out, p); leave {
				s.ch.Close(errLeft)
				return
			}
		}
		if s.ch.Send(ctx, mgs.PayloadOutput, p) != nil {
			return
		}
		switch {
		case errors.Is(err, io.EOF) && !s.term.Interactive:
			_ = s.ch.Send(ctx, mgs.PayloadOutput, []byte{0x04}) // the terminal's word for it
			return
		case err != nil:
			s.ch.Close("The terminal is gone.")
			return
		}
	}
}

// connect keeps the channel connected, until it is closed or ctx ends. What
// cannot be mended closes the channel.
func (s *shell) connect(ctx context.Context) {
	delay := minDelay
	for failures := 1; ; failures++ {
		began := time.Now()
		err := s.serve(ctx)
		if _, closed := s.ch.Closed(); closed || ctx.Err() != nil {
			return
		}
		if time.Since(began) > maxDelay {
			delay = minDelay // it stood for a while
		}
		switch {
		case s.attached:
			if failures == 1 || time.Since(began) > maxDelay {
				s.notice("Connection lost; reconnecting… (~. at the start of a line leaves)")
				failures = 1
			}
		case failures >= firstAttempts:
			s.ch.Close(fmt.Sprintf("There is no connection to the stream: %v", err))
			return
		}
		wait := time.NewTimer(delay + rand.N(delay))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return
		case <-s.ch.Done():
			wait.Stop()
			return
		}
		delay = min(delay*2, maxDelay)
		stream, err := s.client.ResumeSession(ctx, s.stream.SessionID)
		refused, isRefusal := errors.AsType[*APIError](err)
		switch {
		case isRefusal && refused.StatusCode < 500 && refused.StatusCode != 429 && !strings.Contains(refused.Code, "Throttl"):
			s.ch.Close(refused.Error())
			return
		case err == nil && stream.TokenValue == "":
			s.ch.Close("The session is over.")
			return
		case err == nil:
			s.stream.TokenValue = stream.TokenValue
		}
	}
}

// serve runs one connection.
func (s *shell) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dialCtx, done := context.WithTimeout(ctx, dialTimeout)
	conn, err := link.Dial(dialCtx, s.stream.StreamURL, link.DialOptions{TLS: s.client.cfg.tls()})
	done()
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseNow() }()
	open, err := mgs.MarshalBody(mgs.OpenDataChannel{
		MessageSchemaVersion: mgs.SchemaVersion10,
		RequestID:            mgs.NewUUID().String(),
		TokenValue:           s.stream.TokenValue,
		ClientID:             mgs.NewUUID().String(),
		ClientVersion:        Version,
	})
	if err != nil {
		return err
	}
	if err := conn.Write(ctx, link.Text, open); err != nil {
		return err
	}
	s.attached = true
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { _ = conn.KeepAlive(ctx, pingInterval, pingTimeout) }) // it closes the connection, which Serve reports
	return s.ch.Serve(ctx, link.NewFrames(conn))
}

// notice tells the person something, on a line of its own in raw mode too.
func (s *shell) notice(format string, args ...any) {
	fmt.Fprintf(s.term.Err, "\r\n"+format+"\r\n", args...)
}
