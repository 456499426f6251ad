// Package broker leads a session through its life: it is asked for, its
// agent is told, its legs are let in with single-use tokens, and it ends.
package broker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"sekisho"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/mgs"
)

// Leg says which connection a token opens.
type Leg string

// The legs.
const (
	ClientLeg  Leg = "client"  // a person's side of a data channel; the subject is the session
	AgentLeg   Leg = "agent"   // the node's side of a data channel; the subject is the session
	ControlLeg Leg = "control" // a control channel; the subject is the node
)

// Token is the stored side of a channel token. The token itself is not kept.
type Token struct {
	Hash      []byte // SHA-256
	Subject   string
	Leg       Leg
	ExpiresAt time.Time
}

// Query selects sessions. Zero fields select everything.
type Query struct {
	Active        bool // active sessions, or the history
	StartedAfter  time.Time
	StartedBefore time.Time
	Target        string
	Owner         string
	Status        sekisho.SessionStatus
	ID            string
	Lapsing       bool // only those with a Permission
	// AccessType selects sessions started under an access request (JustInTime),
	// or the others (Standard).
	AccessType string
	// After is the session that ended the previous page.
	After sekisho.SessionID
	Limit int
}

// Store keeps sessions and tokens.
type Store interface {
	CreateSession(ctx context.Context, s *sekisho.Session) error
	Session(ctx context.Context, id sekisho.SessionID) (*sekisho.Session, error)
	// UpdateSession reads a session, lets change alter it, and stores it, as
	// one step.
	UpdateSession(ctx context.Context, id sekisho.SessionID, change func(s *sekisho.Session) error) error
	// Sessions returns at most q.Limit sessions, the newest first.
	Sessions(ctx context.Context, q Query) ([]*sekisho.Session, error)

	PutToken(ctx context.Context, t Token) error
	// UseToken marks the token with this hash as used and returns it. A token
	// that was never made is CodeNotFound, one used before CodeConflict, one
	// past its time CodeExpired.
	UseToken(ctx context.Context, hash []byte, now time.Time) (Token, error)
	// DropTokens removes tokens that expired before t.
	DropTokens(ctx context.Context, t time.Time) error
}

// Relay carries sessions.
type Relay interface {
	Open(ctx context.Context, s *sekisho.Session) error
	Live(id sekisho.SessionID) bool
	// End ends a session at once.
	End(ctx context.Context, id sekisho.SessionID, e sekisho.Ending)
	// Finish ends a session when its client has taken the last output.
	Finish(ctx context.Context, id sekisho.SessionID, e sekisho.Ending)
}

// Links reaches agents.
type Links interface {
	Connected(node sekisho.NodeID) bool
	// Process names the process of node's agent; empty for AWS's agent.
	Process(node sekisho.NodeID) string
	Deliver(ctx context.Context, node sekisho.NodeID, frame []byte) error
}

// Nodes explains why a node cannot be reached.
type Nodes interface {
	WhyNotConnected(ctx context.Context, target string) (string, error)
}

// Config is what a Broker needs.
type Config struct {
	Store    Store
	Relay    Relay
	Links    Links
	Nodes    Nodes
	Log      *slog.Logger
	Logs     Logs                            // nil = nodes are believed
	TokenTTL time.Duration                   // 0 = 3 minutes
	Changed  func(session sekisho.SessionID) // after a session's state changed; may be nil
	// Started and Ended are told once of every session, when it is stored that
	// it was granted and that it is over. They must not wait; may be nil.
	Started, Ended func(s sekisho.Session)
}

// Logs is where nodes write the logs of sessions.
type Logs interface {
	// Absent says which log of a session is not where it should be; "" if none is
	// missing, or if that cannot be found out.
	Absent(ctx context.Context, s *sekisho.Session) string
}

// Broker is safe for concurrent use.
type Broker struct {
	cfg    Config
	ends   unstoredEnds
	limits sync.Mutex // held from counting sessions to making one more
}

// New returns a Broker.
func New(cfg Config) *Broker {
	if cfg.TokenTTL == 0 {
		cfg.TokenTTL = 3 * time.Minute
	}
	if cfg.Changed == nil {
		cfg.Changed = func(sekisho.SessionID) {}
	}
	if cfg.Started == nil {
		cfg.Started = func(sekisho.Session) {}
	}
	if cfg.Ended == nil {
		cfg.Ended = func(sekisho.Session) {}
	}
	return &Broker{cfg: cfg}
}

// Request asks for a session. The caller has been authorized.
type Request struct {
	Target   sekisho.NodeID
	Plan     *ssmdoc.Plan
	Document string // name
	Version  string // of the document; empty for one that comes with the server
	Reason   string
	Owner    *sekisho.Principal
	SourceIP string
	// Permission is kept if the plan ends the session when it lapses.
	Permission sekisho.SessionPermission
}

// Started is a session that waits for its client.
type Started struct {
	ID    sekisho.SessionID
	Token string // opens the client's leg, once
}

// Reachable returns nil when a session can be started on target, and else an
// error that says why not.
func (b *Broker) Reachable(ctx context.Context, target string) error {
	if b.cfg.Links.Connected(sekisho.NodeID(target)) {
		return nil
	}
	why, err := b.cfg.Nodes.WhyNotConnected(ctx, target)
	if err != nil {
		return err
	}
	// The first sentence is AWS's; tools look for it.
	return sekisho.Errorf(sekisho.CodeUnreachable, "%s is not connected.", target).WithHint("%s", why)
}

// Start begins a session: its agent is told at once, so that shell and client
// get ready side by side.
func (b *Broker) Start(ctx context.Context, in Request) (*Started, error) {
	if err := b.Reachable(ctx, string(in.Target)); err != nil {
		return nil, err
	}
	s := &sekisho.Session{
		ID: id.Session(in.Owner.SessionPrefix()), Target: in.Target, Status: sekisho.SessionConnecting,
		Owner: in.Owner.ARN, OwnerUserID: in.Owner.UserID, OwnerUser: in.Owner.UserName, AccessKeyID: in.Owner.AccessKeyID, Lease: in.Owner.Lease,
		DocumentName: in.Document, DocumentVersion: in.Version, Reason: in.Reason, StartedAt: time.Now().UTC(), SourceIP: in.SourceIP,
		IdleTimeout: in.Plan.IdleTimeout, MaxDuration: in.Plan.MaxDuration, RunAsUser: in.Plan.RunAsUser,
		OmitInput: in.Plan.OmitInput, Recording: sekisho.RecordingServer,
		AgentProcess: b.cfg.Links.Process(in.Target),
	}
	if in.Plan.Encrypted {
		s.Recording = sekisho.RecordingEncrypted
	}
	if in.Plan.EndWhenDenied || in.Permission.AccessRequest != "" {
		s.Permission = &in.Permission
	}
	logs, err := in.Plan.Logs(string(s.ID))
	if err != nil {
		return nil, fmt.Errorf("where session logs go: %w", err)
	}
	s.Logs = sekisho.SessionLogs{Bucket: logs.Bucket, Key: logs.Key, Group: logs.Group}
	if logs.Group != "" {
		s.Logs.Stream = string(s.ID)
	}
	task, err := mgs.NewInteractiveShell(mgs.AgentTaskPayload{
		DocumentName: in.Document, DocumentContent: in.Plan.Content, SessionID: string(s.ID), Parameters: in.Plan.Parameters,
		RunAsUser: in.Plan.RunAsUser, SessionOwner: s.Owner,
	})
	if err != nil {
		return nil, err
	}
	if err := b.create(ctx, s, in.Plan); err != nil {
		return nil, err
	}
	b.cfg.Started(*s)
	if err := b.cfg.Relay.Open(ctx, s); err != nil {
		// Whatever became of the caller, the session must not stay active.
		b.finish(context.WithoutCancel(ctx), s.ID, sekisho.SessionFailed, "The session could not be recorded.")
		return nil, err
	}
	token, err := b.token(ctx, string(s.ID), ClientLeg)
	if err == nil {
		err = b.cfg.Links.Deliver(ctx, s.Target, task.AppendTo(nil))
	}
	if err != nil {
		b.cfg.Relay.End(ctx, s.ID, sekisho.Ending{Status: sekisho.SessionFailed, Details: "The node's agent could not be reached."})
		if sekisho.CodeOf(err) == sekisho.CodeInternal {
			err = sekisho.Errorf(sekisho.CodeUnreachable, "%s is not connected.", s.Target).WithHint("Its message channel broke just now: %v", err)
		}
		return nil, err
	}
	b.cfg.Changed(s.ID)
	return &Started{ID: s.ID, Token: token}, nil
}

// create stores a new session unless its owner or its node has as many as the
// plan allows.
func (b *Broker) create(ctx context.Context, s *sekisho.Session, p *ssmdoc.Plan) error {
	if p.MaxPerOwner > 0 || p.MaxPerNode > 0 {
		// Of two requests at once each must see the other's session.
		b.limits.Lock()
		defer b.limits.Unlock()
	}
	for _, l := range []struct {
		most int
		q    Query
		what string
	}{
		{p.MaxPerOwner, Query{Owner: s.Owner}, s.Owner},
		{p.MaxPerNode, Query{Target: string(s.Target)}, string(s.Target)},
	} {
		if l.most == 0 {
			continue
		}
		l.q.Active, l.q.Limit = true, l.most
		active, err := b.cfg.Store.Sessions(ctx, l.q)
		if err != nil {
			return err
		}
		if len(active) >= l.most {
			return sekisho.Errorf(sekisho.CodeLimit, "%s has %d active sessions, as many as the session preferences allow.", l.what, len(active)).
				WithHint("End one of them (aws ssm terminate-session) and try again.")
		}
	}
	return b.cfg.Store.CreateSession(ctx, s)
}

// token makes a single-use token.
func (b *Broker) token(ctx context.Context, subject string, leg Leg) (string, error) {
	secret := id.Secret()
	h := sha256.Sum256([]byte(secret))
	return secret, b.cfg.Store.PutToken(ctx, Token{Hash: h[:], Subject: subject, Leg: leg, ExpiresAt: time.Now().Add(b.cfg.TokenTTL)})
}

// Resume returns a fresh token for the client's leg of a running session. For
// one that has ended the token is empty, upon which clients stop trying.
func (b *Broker) Resume(ctx context.Context, session sekisho.SessionID) (token string, err error) {
	s, err := b.cfg.Store.Session(ctx, session)
	if err != nil {
		return "", err
	}
	if !s.Status.Active() {
		return "", nil
	}
	return b.token(ctx, string(session), ClientLeg)
}

// Session returns a session's record.
func (b *Broker) Session(ctx context.Context, session sekisho.SessionID) (*sekisho.Session, error) {
	return b.cfg.Store.Session(ctx, session)
}

// Sessions returns sessions, newest first.
func (b *Broker) Sessions(ctx context.Context, q Query) ([]*sekisho.Session, error) {
	return b.cfg.Store.Sessions(ctx, q)
}

// Terminate ends a session for good. why is shown to the person and kept;
// ending a session that has ended changes nothing.
func (b *Broker) Terminate(ctx context.Context, session sekisho.SessionID, why string) error {
	s, err := b.cfg.Store.Session(ctx, session)
	if err != nil {
		return err
	}
	if !s.Status.Active() {
		return nil
	}
	if b.cfg.Relay.Live(session) {
		b.cfg.Relay.End(ctx, session, sekisho.Ending{Status: sekisho.SessionTerminated, Details: why})
		return nil
	}
	b.SessionEnded(ctx, session, sekisho.SessionTerminated, why)
	return nil
}

// EndNode ends every session of a node that is no longer managed.
func (b *Broker) EndNode(ctx context.Context, node sekisho.NodeID, why string) error {
	return b.eachActive(ctx, Query{Target: string(node)}, func(s *sekisho.Session) error {
		return b.Terminate(ctx, s.ID, why)
	})
}

// eachActive calls do with every active session that q selects.
func (b *Broker) eachActive(ctx context.Context, q Query, do func(s *sekisho.Session) error) error {
	q.Active, q.Limit = true, 200
	for {
		page, err := b.cfg.Store.Sessions(ctx, q)
		if err != nil {
			return err
		}
		for _, s := range page {
			q.After = s.ID
			if err := do(s); err != nil {
				return err
			}
		}
		if len(page) < q.Limit {
			return nil
		}
	}
}

// NodeToken makes the token that opens node's control channel.
func (b *Broker) NodeToken(ctx context.Context, node sekisho.NodeID) (string, error) {
	return b.token(ctx, string(node), ControlLeg)
}

// AgentToken makes the token that opens the agent's leg of a session. The
// error of a session that has ended carries the words that end an agent's
// attempts.
func (b *Broker) AgentToken(ctx context.Context, node sekisho.NodeID, session sekisho.SessionID) (string, error) {
	if _, err := b.nodeSession(ctx, node, session); err != nil {
		return "", err
	}
	return b.token(ctx, string(session), AgentLeg)
}

// nodeSession returns an active session of node.
func (b *Broker) nodeSession(ctx context.Context, node sekisho.NodeID, session sekisho.SessionID) (*sekisho.Session, error) {
	s, err := b.cfg.Store.Session(ctx, session)
	if err != nil && !sekisho.IsNotFound(err) {
		return nil, err
	}
	// A session of another node is answered like one that never was.
	if err != nil || s.Target != node || !s.Status.Active() {
		return nil, sekisho.Errorf(sekisho.CodeNotFound, mgs.SessionTerminated)
	}
	return s, nil
}

// maxToken bounds the length of a token that a peer presents.
const maxToken = 300

// RedeemToken lets one connection in: the token must open this leg of this subject,
// once, in time. The error says which of these was wrong, for the audit trail.
func (b *Broker) RedeemToken(ctx context.Context, token, subject string, leg Leg) error {
	if len(token) > maxToken {
		return sekisho.Errorf(sekisho.CodeUnauthenticated, "The token is too long.")
	}
	h := sha256.Sum256([]byte(token))
	t, err := b.cfg.Store.UseToken(ctx, h[:], time.Now())
	switch sekisho.CodeOf(err) {
	case "":
	case sekisho.CodeNotFound:
		return sekisho.Errorf(sekisho.CodeUnauthenticated, "The token was not issued by this server.")
	case sekisho.CodeConflict:
		return sekisho.Errorf(sekisho.CodeUnauthenticated, "The token has been used before.")
	case sekisho.CodeExpired:
		return sekisho.Errorf(sekisho.CodeExpired, "The token has expired.")
	default:
		return err
	}
	if t.Leg != leg || t.Subject != subject {
		return sekisho.Errorf(sekisho.CodeUnauthenticated, "The token was issued for another channel.")
	}
	return nil
}

// Attachable makes sure that a session's legs may attach here: the relay has
// it, again if need be after a restart. A session that has ended is returned
// with the error.
func (b *Broker) Attachable(ctx context.Context, session sekisho.SessionID) (*sekisho.Session, error) {
	s, err := b.cfg.Store.Session(ctx, session)
	if err != nil {
		return nil, err
	}
	if !s.Status.Active() || b.ends.pending(session) {
		return s, sekisho.Errorf(sekisho.CodeNotFound, mgs.SessionTerminated)
	}
	return s, b.cfg.Relay.Open(ctx, s)
}

// Recover takes on again the sessions that an earlier server process left
// active. Those whose agent does not come back end by the relay's deadlines.
func (b *Broker) Recover(ctx context.Context) error {
	if err := b.cfg.Store.DropTokens(ctx, time.Now()); err != nil {
		return err
	}
	return b.eachActive(ctx, Query{}, func(s *sekisho.Session) error {
		if err := b.cfg.Relay.Open(ctx, s); err != nil {
			b.cfg.Log.Error("session not resumed", "session", s.ID, "error", err)
			b.finish(ctx, s.ID, sekisho.SessionFailed, "The session could not be recorded any longer after the server had stopped.")
			return nil
		}
		if s.Status == sekisho.SessionConnected {
			b.SessionStatus(ctx, s.ID, sekisho.SessionDisconnected) // until its legs are back
		}
		return nil
	})
}

// Sweep removes tokens nobody used. It is called now and then.
func (b *Broker) Sweep(ctx context.Context) error {
	return b.cfg.Store.DropTokens(ctx, time.Now())
}

// AgentConnected implements [control.Tasks]: sessions that another process of
// node's agent ran have ended with it.
func (b *Broker) AgentConnected(ctx context.Context, node sekisho.NodeID, process string) {
	if process == "" {
		return // AWS's agent, whose sessions survive its restart
	}
	err := b.eachActive(ctx, Query{Target: string(node)}, func(s *sekisho.Session) error {
		if s.AgentProcess == "" || s.AgentProcess == process {
			return nil
		}
		why := fmt.Sprintf("The agent of %s was restarted, which ended its sessions.", node)
		if b.cfg.Relay.Live(s.ID) {
			b.cfg.Relay.Finish(ctx, s.ID, sekisho.Ending{Status: sekisho.SessionTerminated, Details: why, Incomplete: true})
		} else {
			b.SessionEnded(ctx, s.ID, sekisho.SessionTerminated, why)
		}
		return nil
	})
	if err != nil {
		b.cfg.Log.Error("sessions of a restarted agent not ended", "node", node, "error", err)
	}
}

// TaskComplete implements [control.Tasks]: the session has ended on
// its node. Only the session's own node is believed.
func (b *Broker) TaskComplete(ctx context.Context, node sekisho.NodeID, done mgs.TaskComplete) {
	session := sekisho.SessionID(done.TaskID)
	s, err := b.cfg.Store.Session(ctx, session)
	if err != nil || s.Target != node {
		return
	}
	b.logged(ctx, s, done)
	if !s.Status.Active() {
		return
	}
	status, output := sekisho.SessionTerminated, ""
	if done.FinalTaskStatus == mgs.TaskFailed {
		// AWS's agent says nothing more than this of a command without a
		// terminal that failed: what it printed has been shown.
		status, output = sekisho.SessionFailed, "The session failed on the node."
		if said := strings.TrimSpace(clip(done.Output)); said != "" {
			output = "The node could not run the session: " + said
			if done.Undelivered {
				output = said
			}
		}
	}
	if b.cfg.Relay.Live(session) {
		b.cfg.Relay.Finish(ctx, session, sekisho.Ending{Status: status, Details: output, Incomplete: done.Undelivered, Messages: done.Messages})
		return
	}
	b.SessionEnded(ctx, session, status, output)
}

// logged notes what became of a session's log. It comes after the session's
// end, which does not wait for the log, and is told once.
func (b *Broker) logged(ctx context.Context, s *sekisho.Session, done mgs.TaskComplete) {
	if s.Logs.Bucket == "" && s.Logs.Group == "" || s.Logs.Told {
		return
	}
	problem := clip(done.LogProblem)
	never := done.FinalTaskStatus == mgs.TaskFailed && problem == "" && done.S3Bucket == "" && done.CwlGroup == ""
	if !never && problem == "" && b.cfg.Logs != nil {
		problem = b.cfg.Logs.Absent(ctx, s)
	}
	err := b.cfg.Store.UpdateSession(ctx, s.ID, func(s *sekisho.Session) error {
		if s.Logs.Told {
			return errEnded
		}
		if never { // it failed before it had begun: there is no log
			s.Logs = sekisho.SessionLogs{}
		}
		s.Logs.Told, s.Logs.Problem = true, problem
		return nil
	})
	switch {
	case err == nil:
		b.cfg.Changed(s.ID)
	case !errors.Is(err, errEnded):
		b.cfg.Log.Error("what became of a session's log not stored", "session", s.ID, "error", err)
	}
}

// clip bounds what an agent may have shown to a person, and drops what a
// terminal would obey.
func clip(s string) string {
	const most = 1000
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != utf8.RuneError {
			return r
		}
		return ' '
	}, s[:min(len(s), 4*most)])
	if n := utf8.RuneCountInString(s); n > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return s
}

// SessionStatus implements the relay's Observer.
func (b *Broker) SessionStatus(ctx context.Context, session sekisho.SessionID, status sekisho.SessionStatus) {
	_ = b.update(context.WithoutCancel(ctx), session, func(s *sekisho.Session) { s.Status = status }) // logged there
}

// SessionEnded implements the relay's Observer: the end is stored, and the
// agent told over its control channel too, since its data channel may be the
// very thing that broke.
func (b *Broker) SessionEnded(ctx context.Context, session sekisho.SessionID, status sekisho.SessionStatus, details string) {
	b.finish(context.WithoutCancel(ctx), session, status, details)
}

func (b *Broker) finish(ctx context.Context, session sekisho.SessionID, status sekisho.SessionStatus, details string) {
	var node sekisho.NodeID
	var over sekisho.Session
	end := b.ends.begin(session, status, details)
	err := b.update(ctx, session, func(s *sekisho.Session) {
		s.Status, s.Details, s.EndedAt = end.status, end.details, end.at
		node, over = s.Target, *s
	})
	if err == nil || errors.Is(err, errEnded) || sekisho.IsNotFound(err) {
		b.ends.stored(session)
	}
	if err == nil {
		b.cfg.Ended(over)
	}
	closed := mgs.NewChannelClosed(string(node), string(session), details)
	if node != "" && b.cfg.Links.Connected(node) {
		if err := b.cfg.Links.Deliver(ctx, node, closed.AppendTo(nil)); err != nil {
			b.cfg.Log.Warn("end of a session not sent to the agent", "session", session, "node", node, "error", err)
		}
	}
}

// update changes an active session; errEnded for one that is not. Nobody asked
// for the change, so a failure is logged here.
func (b *Broker) update(ctx context.Context, session sekisho.SessionID, change func(s *sekisho.Session)) error {
	err := b.cfg.Store.UpdateSession(ctx, session, func(s *sekisho.Session) error {
		if !s.Status.Active() {
			return errEnded
		}
		change(s)
		return nil
	})
	switch {
	case err == nil:
		b.cfg.Changed(session)
	case !errors.Is(err, errEnded):
		b.cfg.Log.Error("session state not stored", "session", session, "error", err)
	}
	return err
}

var errEnded = errors.New("the session has ended")
