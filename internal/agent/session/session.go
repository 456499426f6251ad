// Package session is one session on the node, from the server's wish to the
// report of its end: the document is read, a user found, the data channel
// opened and kept, the client greeted with the handshake, and the plugin run.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"sekisho"
	"sekisho/internal/agent/runas"
	"sekisho/internal/agent/shell"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/datachannel"
	"sekisho/internal/link"
	"sekisho/internal/mgs"
)

// Users is the node's user database; see [runas.Host].
type Users interface {
	Resolve(ctx context.Context, wanted string) (runas.User, error)
	LoginShell(u runas.User, extra ...string) *exec.Cmd
}

// Session is one session to run.
type Session struct {
	// Open makes and opens the agent's leg of the data channel.
	Open  func(ctx context.Context) (*link.Conn, error)
	Users Users
	Node  sekisho.NodeID
	Task  mgs.AgentTaskPayload // its SessionID has been checked
	// Report is called once, when the session has ended.
	Report func(mgs.TaskComplete)
	Log    *slog.Logger
	// Patience is how long the session outlives its connection.
	Patience time.Duration

	id sekisho.SessionID
}

// ErrCancelled is the cause of a context that ends because the server wished
// the session's end.
var ErrCancelled = errors.New("session cancelled")

// ErrStopped is the cause of a context that ends because the agent stops.
var ErrStopped = errors.New("the node's agent was stopped")

// Waits at the end of a session.
const (
	drainTimeout = 10 * time.Second // for the client to take the last output
	wordTimeout  = 2 * time.Second
)

// windowBytes is how much output may be on its way: what a person sees before
// the answer to Ctrl-C.
const windowBytes = 1 << 20

// Run runs the session to its end.
func (s *Session) Run(ctx context.Context) {
	s.id = sekisho.SessionID(s.Task.SessionID)
	doc, user, err := s.prepare(ctx)
	if err != nil {
		s.report(err)
		return
	}
	s.Log.Info("session starts", "document", s.Task.DocumentName, "type", doc.SessionType, "user", user.Name, "owner", s.Task.SessionOwner)

	ch := datachannel.New(datachannel.Config{Role: datachannel.AgentLeg, WindowBytes: windowBytes})
	attached := &attachment{s: s, ch: ch}
	serveCtx, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	runCtx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { cancel(attached.run(serveCtx)) })

	err = s.converse(runCtx, ch, doc, user)
	if cause := context.Cause(runCtx); cause != nil {
		err = cause
	}
	if err == nil {
		drain, done := context.WithTimeout(runCtx, drainTimeout)
		if derr := ch.Drain(drain); derr != nil {
			s.Log.Info("the client did not take the last output", "error", derr)
		}
		done()
	}
	if err == nil || shell.IsTerminate(err) {
		word, done := context.WithTimeout(serveCtx, wordTimeout)
		attached.terminating(word)
		done()
	}
	s.report(err)
	attached.part()
	ch.Close("the session has ended")
	stop(nil)
	cancel(nil)
	wg.Wait()
}

// prepare decides what is to run, and as whom, before anything is opened.
func (s *Session) prepare(ctx context.Context) (document, runas.User, error) {
	doc, err := parseDocument(s.Task.DocumentContent)
	if err != nil {
		return doc, runas.User{}, err
	}
	wanted, err := doc.runAs(s.Task.RunAsUser)
	if err != nil {
		return doc, runas.User{}, err
	}
	user, err := s.Users.Resolve(ctx, wanted)
	return doc, user, err
}

// report tells how the session ended.
func (s *Session) report(err error) {
	t := mgs.TaskComplete{TaskID: string(s.id), InstanceID: string(s.Node), FinalTaskStatus: mgs.TaskSuccess}
	closed, isClosed := errors.AsType[*datachannel.ClosedError](err)
	switch {
	case err == nil, errors.Is(err, ErrCancelled), errors.Is(err, errGone), shell.IsTerminate(err):
	case isClosed && closed.Remote:
	case errors.Is(err, ErrStopped):
		t.FinalTaskStatus, t.Output = mgs.TaskFailed, "The node's agent was stopped."
	case isClosed && closed.Peer:
		t.FinalTaskStatus, t.Output = mgs.TaskFailed, "The client broke the protocol: "+closed.Reason+"."
	default:
		t.FinalTaskStatus, t.Output = mgs.TaskFailed, err.Error()
	}
	t.Output = sentence(t.Output)
	s.Log.Info("session ended", "status", t.FinalTaskStatus, "output", t.Output, "cause", err)
	s.Report(t)
}

// sentence makes s fit to be shown to a person: one line without control
// characters, of no more than a few hundred bytes.
func sentence(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
	const most = 500
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// converse greets the client and runs the plugin.
func (s *Session) converse(ctx context.Context, ch *datachannel.Channel, doc document, user runas.User) error {
	size, err := s.handshake(ctx, ch, doc)
	if err != nil {
		return err
	}
	sh := &shell.Shell{
		Command: s.Users.LoginShell(user, shell.Environment(s.id)...),
		User:    user.Name,
		Size:    size,
		Log:     s.Log,
	}
	return sh.Run(ctx, ch)
}

// handshake agrees with the client on the session's type. It waits for the
// client for as long as the session is not cancelled, as the client may come
// much later. It returns the terminal size, if the client told it meanwhile.
func (s *Session) handshake(ctx context.Context, ch *datachannel.Channel, doc document) (mgs.Size, error) {
	began := time.Now()
	params, err := mgs.MarshalBody(mgs.SessionTypeRequest{SessionType: doc.SessionType})
	if err != nil {
		return mgs.Size{}, err
	}
	request, err := mgs.MarshalBody(mgs.HandshakeRequest{
		AgentVersion:           uplink.Version,
		RequestedClientActions: []mgs.RequestedAction{{ActionType: mgs.ActionSessionType, ActionParameters: params}},
	})
	if err != nil {
		return mgs.Size{}, err
	}
	if err := ch.Send(ctx, mgs.PayloadHandshakeRequest, request); err != nil {
		return mgs.Size{}, fmt.Errorf("handshake: %w", err)
	}
	var size mgs.Size
	for {
		pt, b, err := ch.Receive(ctx)
		if err != nil {
			return size, fmt.Errorf("handshake: %w", err)
		}
		switch pt {
		case mgs.PayloadSize:
			if got, err := mgs.ParseBody[mgs.Size](b); err == nil && got.Cols > 0 && got.Rows > 0 {
				size = got
			}
		case mgs.PayloadFlag:
			if f, err := mgs.ParseFlag(b); err == nil && f == mgs.FlagTerminateSession {
				return size, ErrCancelled
			}
		case mgs.PayloadHandshakeResponse:
			response, err := mgs.ParseBody[mgs.HandshakeResponse](b)
			if err != nil {
				return size, sekisho.Errorf(sekisho.CodeInvalid, "The client's handshake cannot be read.")
			}
			if err := accepted(response); err != nil {
				return size, err
			}
			complete, err := mgs.MarshalBody(mgs.HandshakeComplete{HandshakeTimeToComplete: time.Since(began)})
			if err != nil {
				return size, err
			}
			ch.SetMaxPayload(maxPayload(response.ClientVersion))
			return size, ch.Send(ctx, mgs.PayloadHandshakeComplete, complete)
		}
		// Anything else before the handshake is dropped, as AWS's agent does.
	}
}

// accepted checks that the client does what it was asked to do.
func accepted(r mgs.HandshakeResponse) error {
	for _, a := range r.ProcessedClientActions {
		if a.ActionType != mgs.ActionSessionType {
			continue
		}
		if a.ActionStatus == mgs.ActionSuccess {
			return nil
		}
		return sekisho.Errorf(sekisho.CodeInvalid, "The client cannot run this type of session: %.200s", a.Error)
	}
	return sekisho.Errorf(sekisho.CodeInvalid, "The client did not answer what type of session it runs: %.200s", strings.Join(r.Errors, "; "))
}

// Largest payloads that clients take. AWS's plugin reads whatever follows the
// header. Other programs of AWS's protocol use fixed buffers of 2048 bytes.
const (
	payloadOurs   = 32 << 10
	payloadPlugin = 8 << 10
	payloadOther  = 1 << 10
)

// maxPayload tells by a client's version how large messages to it may be:
// AWS's plugin is "1." and three more numbers.
func maxPayload(version string) int {
	switch {
	case strings.HasPrefix(version, "sekisho"):
		return payloadOurs
	case strings.HasPrefix(version, "1.") && strings.Count(version, ".") == 3:
		return payloadPlugin
	}
	return payloadOther
}
