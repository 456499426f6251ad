// Package session runs one session on the node, from the start message to the report of its end: it
// parses the document, determines the OS user, keeps the data channel open, performs the handshake,
// and runs the plugin.
package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/agent/plugin"
	"sekisho/internal/agent/port"
	"sekisho/internal/agent/runas"
	"sekisho/internal/agent/sessionlog"
	"sekisho/internal/safetext"
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

// Runner runs one session.
type Runner struct {
	// Open creates and opens the agent's leg of the data channel.
	Open func(ctx context.Context) (*link.Conn, error)
	// Decrypt has KMS decrypt a key for an encryption context.
	Decrypt func(ctx context.Context, keyID string, wrapped []byte, encryptionContext map[string]string) ([]byte, error)
	Users   Users
	Rules   port.Rules // for connections to other hosts
	Node    sekisho.NodeID
	Task    mgs.AgentTaskPayload // its SessionID has been checked
	// Logs are the services that session logs are delivered to; they are kept in
	// LogDir meanwhile.
	Logs   sessionlog.Services
	LogDir string
	// Report is called once, when the session has ended.
	Report func(mgs.TaskComplete)
	Log    *slog.Logger
	// Patience is how long the session outlives a lost connection.
	Patience time.Duration
	// Notices are texts from the server to show in the session's terminal.
	Notices chan string
	// Typed is what people typed who joined the session.
	Typed chan []byte

	id      sekisho.SessionID
	greeted bool // the client has answered the handshake
}

// ErrCancelled is the cause of a context that ends because the server cancelled the session.
var ErrCancelled = errors.New("session cancelled")

// ErrStopped is the cause of a context that ends because the agent stops.
var ErrStopped = errors.New("the node's agent was stopped")

// maxReport bounds texts that are reported to the server.
const maxReport = 500

// Waits at the end of a session.
const (
	// stoppingTimeout is how long a stopping agent waits for the client to receive the last output
	// of an ended session.
	stoppingTimeout = 5 * time.Second
	wordTimeout     = 2 * time.Second
	comeTimeout     = 15 * time.Second // for the client of a session that cannot start
)

// maxDelay bounds the buffered output, in time, and with it the delay before Ctrl-C takes effect
// for the user.
const maxDelay = 50 * time.Millisecond

// Run runs the session until it ends.
func (s *Runner) Run(ctx context.Context) {
	s.id = sekisho.SessionID(s.Task.SessionID)
	job, err := s.prepare(ctx)
	if err == nil {
		job.log, err = s.openLog(ctx, job)
	}
	if err != nil {
		job = refusal(err)
	}
	s.Log.Info(
		"session starts",
		"document",
		s.Task.DocumentName,
		"type",
		job.doc.SessionType,
		"user",
		job.user.Name,
		"owner",
		s.Task.SessionOwner,
	)

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
		if derr := s.drain(runCtx, serveCtx, ch, err); derr != nil {
			s.Log.Info("the client did not receive the last output", "error", derr)
			err = cmp.Or(err, derr)
		}
	}
	if err == nil || errors.Is(err, plugin.ErrTerminate) {
		word, done := context.WithTimeout(serveCtx, wordTimeout)
		attached.terminating(word)
		done()
	}
	// The log is delivered however the session ended.
	messages, delivered := ch.Sent()
	s.report(
		err,
		mgs.TaskComplete{Undelivered: !delivered, Messages: messages},
		job.log.Deliver(context.WithoutCancel(ctx)),
	)
	attached.part()
	ch.Close("the session has ended")
	stop(nil)
	cancel(nil)
	wg.Wait()
}

// drain waits until the client has acknowledged everything that the session has sent. A
// disconnected client has as long as a lost connection; after that, the rest is lost and the
// session has failed. why is the result of the plugin.
func (s *Runner) drain(ctx, serveCtx context.Context, ch *datachannel.Channel, why error) error {
	patience := s.Patience
	if errors.Is(why, plugin.ErrTerminate) || !s.greeted {
		patience = wordTimeout // the client requested the end, or never connected
	}
	err := ch.DrainWithin(ctx, patience)
	if errors.Is(context.Cause(ctx), ErrStopped) {
		last, done := context.WithTimeout(serveCtx, stoppingTimeout)
		defer done()
		err = ch.Drain(last)
	}
	switch {
	case errors.Is(err, datachannel.ErrStalled):
		return fmt.Errorf(
			"The client did not acknowledge the last output within %s.",
			patience,
		) // shown to the user
	case context.Cause(ctx) != nil:
		return context.Cause(ctx)
	}
	return err
}

// openLog begins the session's log, if its document specifies one.
func (s *Runner) openLog(ctx context.Context, j *job) (*sessionlog.Log, error) {
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
		Services: s.Logs, Dir: s.LogDir, Session: s.id, Node: s.Node, Owner: s.Task.SessionOwner, User: j.user.Name,
		Log: s.Log,
	})
}

// report reports how the session ended, and the delivery of its log.
func (s *Runner) report(err error, t mgs.TaskComplete, log sessionlog.Delivery) {
	t.TaskID, t.InstanceID, t.FinalTaskStatus = string(s.id), string(s.Node), mgs.TaskSuccess
	t.S3Bucket, t.S3URLSuffix, t.CwlGroup, t.CwlStream = log.Bucket, log.Key, log.Group, log.Stream
	t.LogProblem = safetext.Line(log.Problem, maxReport)
	closed, isClosed := errors.AsType[*datachannel.ClosedError](err)
	switch {
	case err == nil, errors.Is(err, ErrCancelled), errors.Is(err, errGone), errors.Is(err, plugin.ErrTerminate),
		isClosed && closed.Remote:
		t.Undelivered = false // the end was requested
	case errors.Is(err, ErrStopped):
		t.FinalTaskStatus, t.Output = mgs.TaskFailed, "The node's agent was stopped."
	case isClosed && closed.Peer:
		t.FinalTaskStatus, t.Output = mgs.TaskFailed, "The client violated the protocol: "+closed.Reason+"."
	default:
		t.FinalTaskStatus, t.Output = mgs.TaskFailed, err.Error()
	}
	t.Output = safetext.Line(t.Output, maxReport)
	s.Log.Info("session ended", "status", t.FinalTaskStatus, "output", t.Output, "cause", err)
	s.Report(t)
}

// converse performs the handshake and runs the plugin.
func (s *Runner) converse(ctx context.Context, ch *datachannel.Channel, j *job) error {
	if j.refused != nil {
		return s.refuse(ctx, ch, j.refused)
	}
	c, err := s.handshake(ctx, ch, &j.doc, j.properties)
	if err != nil {
		return err
	}
	s.greeted = true
	c.echo = func(on bool) {
		state := mgs.SessionStateEchoOff
		if on {
			state = mgs.SessionStateEchoOn
		}
		if err := ch.SendControl(mgs.NewAgentSessionState(string(s.id), state)); err != nil {
			s.Log.Debug("could not report the terminal's echo", "error", err)
		}
	}
	run, err := j.plugin(s, c)
	if err != nil {
		return err
	}
	stream := j.log.Stream(c.stream)
	if j.doc.SessionType != ssmdoc.StandardStream && j.doc.SessionType != ssmdoc.InteractiveCommands {
		return run.Run(ctx, stream)
	}
	noticeCtx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.show(noticeCtx, stream) })
	err = run.Run(ctx, stream)
	stop()
	wg.Wait()
	return err
}

// MaxNotices is the number of notices that can be queued.
const MaxNotices = 4

// maxNotice bounds the text of a notice, in bytes.
const maxNotice = 400

// Notify shows a text in the session's terminal. If the queue is full, the notice is dropped.
func (s *Runner) Notify(text string) {
	select {
	case s.Notices <- safetext.Line(text, maxNotice):
	default:
	}
}

// MaxTyped is how many pieces of input of people who joined may wait.
const MaxTyped = 256

// Type types for somebody who joined the session. Input is dropped that would
// have to wait behind too much other input: the program reads nothing.
func (s *Runner) Type(data []byte) {
	select {
	case s.Typed <- data:
	default:
		s.Log.Warn("input of somebody who joined is lost: the program reads nothing")
	}
}

// show writes notices to the terminal until ctx ends.
func (s *Runner) show(ctx context.Context, stream plugin.Stream) {
	for {
		select {
		case <-ctx.Done():
			return
		case text := <-s.Notices:
			if err := stream.Send(ctx, mgs.PayloadOutput, []byte("\r\n"+text+"\r\n")); err != nil {
				return // the session is ending
			}
		}
	}
}

// refuse waits for the client and returns why the session cannot start. Only a connected client
// shows the reason.
func (s *Runner) refuse(ctx context.Context, ch *datachannel.Channel, why error) error {
	request, err := s.request(&content{SessionType: ssmdoc.StandardStream}, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, comeTimeout)
	defer cancel()
	if err := ch.Send(ctx, mgs.PayloadHandshakeRequest, request); err == nil {
		_ = ch.Drain(ctx) // it did not connect; why is still the reason
	}
	return why
}
