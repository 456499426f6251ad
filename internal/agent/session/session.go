// Package session is one session on the node, from the server's wish to the
// report of its end: the document is read, a user found, the data channel
// opened and kept, the client greeted with the handshake, and the plugin run.
package session

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os/exec"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"sekisho"
	"sekisho/internal/agent/plugin"
	"sekisho/internal/agent/port"
	"sekisho/internal/agent/runas"
	"sekisho/internal/agent/sessionlog"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/wire/datachannel"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
)

// Users is the node's user database; see [runas.Host].
type Users interface {
	Resolve(ctx context.Context, wanted string) (runas.User, error)
	Elevated() (runas.User, error)
	Command(u runas.User, path string, args []string, extra ...string) *exec.Cmd
	DialSocket(ctx context.Context, u runas.User, path string) (net.Conn, error)
}

// Session is one session to run.
type Session struct {
	// Open makes and opens the agent's leg of the data channel.
	Open func(ctx context.Context) (*link.Conn, error)
	// Decrypt has KMS decrypt a key for an encryption context.
	Decrypt func(ctx context.Context, keyID string, wrapped []byte, encryptionContext map[string]string) ([]byte, error)
	Users   Users
	Rules   port.Rules // for connections to other hosts
	Node    sekisho.NodeID
	Task    mgs.AgentTaskPayload // its SessionID has been checked
	// Logs are the doors that session logs are delivered to; they are kept in
	// LogDir meanwhile.
	Logs   sessionlog.Doors
	LogDir string
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
	comeTimeout  = 15 * time.Second // for the client of a session that cannot be
)

// maxDelay is how far what a person sees may be behind what the program
// writes, beyond what the way takes: the wait for the answer to Ctrl-C.
const maxDelay = 50 * time.Millisecond

// Run runs the session to its end.
func (s *Session) Run(ctx context.Context) {
	s.id = sekisho.SessionID(s.Task.SessionID)
	job, err := s.prepare(ctx)
	if err == nil {
		job.log, err = s.openLog(ctx, job)
	}
	if err != nil {
		job = refusal(err)
	}
	s.Log.Info("session starts", "document", s.Task.DocumentName, "type", job.doc.SessionType, "user", job.user.Name, "owner", s.Task.SessionOwner)

	config := datachannel.Config{Role: datachannel.AgentLeg}
	if job.doc.SessionType != ssmdoc.Port {
		config.MaxDelay = maxDelay
	}
	ch := datachannel.New(config)
	attached := &attachment{s: s, ch: ch}
	serveCtx, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	runCtx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { cancel(attached.run(serveCtx)) })

	err = s.converse(runCtx, ch, job)
	if cause := context.Cause(runCtx); cause != nil {
		err = cause
	}
	if context.Cause(runCtx) == nil && !errors.Is(err, datachannel.ErrClosed) {
		patience := drainTimeout
		if err != nil {
			patience = wordTimeout
		}
		drain, done := context.WithTimeout(runCtx, patience)
		if derr := ch.Drain(drain); derr != nil {
			s.Log.Info("the client did not take the last output", "error", derr)
		}
		done()
	}
	if err == nil || errors.Is(err, plugin.ErrTerminate) {
		word, done := context.WithTimeout(serveCtx, wordTimeout)
		attached.terminating(word)
		done()
	}
	// Whatever ended the session, its log is delivered.
	s.report(err, job.log.Deliver(context.WithoutCancel(ctx)))
	attached.part()
	ch.Close("the session has ended")
	stop(nil)
	cancel(nil)
	wg.Wait()
}

// openLog begins the session's log, if its document wants one.
func (s *Session) openLog(ctx context.Context, j *job) (*sessionlog.Log, error) {
	if j.doc.SessionType == ssmdoc.Port {
		return nil, nil
	}
	in := &j.doc.Inputs
	return sessionlog.Open(ctx, sessionlog.Config{
		Places: sessionlog.Places{
			Bucket: in.S3BucketName, Prefix: in.S3KeyPrefix, BucketEncrypted: bool(in.S3EncryptionEnabled),
			Group: in.CloudWatchLogGroupName, GroupEncrypted: bool(in.CloudWatchEncryptionEnabled),
			Streaming: bool(in.CloudWatchStreamingEnabled) && j.doc.SessionType == ssmdoc.StandardStream,
		},
		Doors: s.Logs, Dir: s.LogDir, Session: s.id, Node: s.Node, Owner: s.Task.SessionOwner, User: j.user.Name, Log: s.Log,
	})
}

// report tells how the session ended, and what became of its log.
func (s *Session) report(err error, log sessionlog.Delivery) {
	t := mgs.TaskComplete{
		TaskID: string(s.id), InstanceID: string(s.Node), FinalTaskStatus: mgs.TaskSuccess,
		S3Bucket: log.Bucket, S3URLSuffix: log.Key, CwlGroup: log.Group, CwlStream: log.Stream, LogProblem: sentence(log.Problem),
	}
	closed, isClosed := errors.AsType[*datachannel.ClosedError](err)
	switch {
	case err == nil, errors.Is(err, ErrCancelled), errors.Is(err, errGone), errors.Is(err, plugin.ErrTerminate):
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
func (s *Session) converse(ctx context.Context, ch *datachannel.Channel, j *job) error {
	if j.refused != nil {
		return s.refuse(ctx, ch, j.refused)
	}
	c, err := s.handshake(ctx, ch, &j.doc, j.properties)
	if err != nil {
		return err
	}
	run, err := j.plugin(s, c)
	if err != nil {
		return err
	}
	return run.Run(ctx, j.log.Stream(c.stream))
}

// refuse waits for the client and returns why the session cannot be: only a
// client that has come is shown the reason.
func (s *Session) refuse(ctx context.Context, ch *datachannel.Channel, why error) error {
	request, err := s.request(&content{SessionType: ssmdoc.StandardStream}, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, comeTimeout)
	defer cancel()
	if err := ch.Send(ctx, mgs.PayloadHandshakeRequest, request); err == nil {
		_ = ch.Drain(ctx) // it has not come; why is as true
	}
	return why
}
