// Package broker manages the life cycle of sessions: it starts them, sends them to
// their agents, admits their legs with single-use tokens, and ends them.
package broker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/safetext"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/mgs"
)

// Leg is the kind of connection that a token opens.
type Leg string

// Values of Leg.
const (
	ClientLeg  Leg = "client"  // a person's side of a data channel; the subject is the session
	AgentLeg   Leg = "agent"   // the node's side of a data channel; the subject is the session
	ControlLeg Leg = "control" // a control channel; the subject is the node
)

// Token is the stored form of a channel token: its hash, not the token itself.
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

// Limit is the most active sessions of an owner or a node; the other is empty.
type Limit struct {
	Most   int
	Owner  string
	Target sekisho.NodeID
}

// LimitError is the error of a limit that is reached.
type LimitError struct {
	Limit
	Active int
}

// Error implements error.
func (e *LimitError) Error() string {
	return fmt.Sprintf("%s%s has %d active sessions; the limit is %d", e.Owner, e.Target, e.Active, e.Most)
}

// Store keeps sessions and tokens.
type Store interface {
	// CreateSession stores a session and its first token, both or neither. The error is a *LimitError if a
	// limit is reached. Of concurrent calls, even of several processes, no more succeed than the limits allow.
	CreateSession(ctx context.Context, s *sekisho.Session, t Token, limits ...Limit) error
	Session(ctx context.Context, sessionID sekisho.SessionID) (*sekisho.Session, error)
	// UpdateSession reads a session, lets change alter it, and stores it, atomically.
	UpdateSession(ctx context.Context, sessionID sekisho.SessionID, change func(s *sekisho.Session) error) error
	// Sessions returns at most q.Limit sessions, the newest first.
	Sessions(ctx context.Context, q Query) ([]*sekisho.Session, error)

	PutToken(ctx context.Context, t Token) error
	// UseToken marks the token with this hash as used and returns it. The error is
	// CodeNotFound for an unknown token, CodeConflict for a used one and CodeExpired
	// for an expired one.
	UseToken(ctx context.Context, hash []byte, now time.Time) (Token, error)
	// DropTokens removes tokens that expired before t.
	DropTokens(ctx context.Context, t time.Time) error
}

// Relay carries sessions.
type Relay interface {
	Open(ctx context.Context, s *sekisho.Session) error
	Live(sessionID sekisho.SessionID) bool
	// End ends a session at once.
	End(ctx context.Context, sessionID sekisho.SessionID, e sekisho.Ending)
	// Finish ends a session when its client has acknowledged the last output.
	Finish(ctx context.Context, sessionID sekisho.SessionID, e sekisho.Ending)
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

// Config configures a Broker.
type Config struct {
	Store Store
	Relay Relay
	Links Links
	Nodes Nodes
	Log   *slog.Logger
	Logs  Logs // nil = nodes' reports are trusted
	// Mine reports whether a session that an earlier process left active is this process's to resume, and
	// whether this process checks it; nil = every session is.
	Mine     func(ctx context.Context, session sekisho.SessionID) (bool, error)
	TokenTTL time.Duration                   // 0 = 3 minutes
	Changed  func(session sekisho.SessionID) // after a session's state changed; may be nil
	// Started and Ended are called once for every session, after its start or end has been stored.
	// They must not block, and can be nil.
	Started, Ended func(s sekisho.Session)
}

// Logs is where nodes write the logs of sessions.
type Logs interface {
	// Absent describes which of a session's logs is missing; "" if none is, or if that cannot be
	// determined.
	Absent(ctx context.Context, s *sekisho.Session) string
}

// Broker is safe for concurrent use.
type Broker struct {
	cfg  Config
	ends unstoredEnds
}

// New returns a Broker.
func New(cfg Config) *Broker {
	if cfg.TokenTTL == 0 {
		cfg.TokenTTL = 3 * time.Minute
	}
	if cfg.Mine == nil {
		cfg.Mine = func(context.Context, sekisho.SessionID) (bool, error) { return true, nil }
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

// Request is a request for a session. The caller has been authorized.
type Request struct {
	Target   sekisho.NodeID
	Plan     *ssmdoc.Plan
	Document string // name
	Version  string // of the document; empty for a built-in document
	Reason   string
	Owner    *sekisho.Principal
	SourceIP string
	// Permission is stored if the plan ends the session when the permission lapses.
	Permission sekisho.SessionPermission
}

// Started is a session that waits for its client.
type Started struct {
	ID    sekisho.SessionID
	Token string // opens the client's leg, once
}

// Reachable returns nil if a session can be started on target, and otherwise an error
// with the reason.
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

// Start starts a session. It notifies the agent at once, so that the shell starts while
// the client connects.
func (b *Broker) Start(ctx context.Context, in Request) (*Started, error) {
	if err := b.Reachable(ctx, string(in.Target)); err != nil {
		return nil, err
	}
	s := &sekisho.Session{
		ID: id.Session(in.Owner.SessionPrefix()), Target: in.Target, Status: sekisho.SessionConnecting,
		Owner: in.Owner.ARN, OwnerUserID: in.Owner.UserID, OwnerUser: in.Owner.UserName, AccessKeyID: in.Owner.AccessKeyID,
		Lease:        in.Owner.Lease,
		DocumentName: in.Document, DocumentVersion: in.Version, Reason: in.Reason, StartedAt: time.Now().UTC(),
		SourceIP:    in.SourceIP,
		IdleTimeout: in.Plan.IdleTimeout, MaxDuration: in.Plan.MaxDuration, RunAsUser: in.Plan.RunAsUser,
		OmitInput: in.Plan.OmitInput, RecordForwards: in.Plan.RecordForwards, RecordingDays: in.Plan.RecordingDays,
		DisableCopy: in.Plan.DisableCopy, DisablePaste: in.Plan.DisablePaste,
		Recording:    sekisho.RecordingServer,
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
		return nil, fmt.Errorf("destination of session logs: %w", err)
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
	token, first := b.newToken(string(s.ID), ClientLeg)
	if err := b.create(ctx, s, first, in.Plan); err != nil {
		return nil, err
	}
	b.cfg.Started(*s)
	if err := b.cfg.Relay.Open(ctx, s); err != nil {
		// The session must not stay active, even if the caller is gone.
		b.finish(context.WithoutCancel(ctx), s.ID, sekisho.SessionFailed, "The session could not be recorded.")
		return nil, err
	}
	if err := b.cfg.Links.Deliver(ctx, s.Target, task.AppendTo(nil)); err != nil {
		b.cfg.Relay.End(
			ctx,
			s.ID,
			sekisho.Ending{Status: sekisho.SessionFailed, Details: "The node's agent is unreachable."},
		)
		if sekisho.CodeOf(err) == sekisho.CodeInternal {
			err = sekisho.Errorf(sekisho.CodeUnreachable, "%s is not connected.", s.Target).
				WithHint("Its control channel has just closed: %v", err)
		}
		return nil, err
	}
	b.cfg.Changed(s.ID)
	return &Started{ID: s.ID, Token: token}, nil
}

// create stores a new session unless its owner or its node already has the maximum that the plan
// allows.
func (b *Broker) create(ctx context.Context, s *sekisho.Session, t Token, p *ssmdoc.Plan) error {
	var limits []Limit
	if p.MaxPerOwner > 0 {
		limits = append(limits, Limit{Most: p.MaxPerOwner, Owner: s.Owner})
	}
	if p.MaxPerNode > 0 {
		limits = append(limits, Limit{Most: p.MaxPerNode, Target: s.Target})
	}
	err := b.cfg.Store.CreateSession(ctx, s, t, limits...)
	if reached, ok := errors.AsType[*LimitError](err); ok {
		return sekisho.Errorf(sekisho.CodeLimit,
			"%s already has %d active sessions, the maximum in the session preferences.",
			cmp.Or(reached.Owner, string(reached.Target)), reached.Active).
			WithHint("End one of them (aws ssm terminate-session) and try again.")
	}
	return err
}

// token makes a single-use token.
func (b *Broker) token(ctx context.Context, subject string, leg Leg) (string, error) {
	secret, t := b.newToken(subject, leg)
	return secret, b.cfg.Store.PutToken(ctx, t)
}

// newToken returns a token and the form in which it is stored.
func (b *Broker) newToken(subject string, leg Leg) (string, Token) {
	secret := id.Secret()
	h := sha256.Sum256([]byte(secret))
	return secret, Token{Hash: h[:], Subject: subject, Leg: leg, ExpiresAt: time.Now().Add(b.cfg.TokenTTL)}
}

// Resume returns a new token for the client's leg of an active session. For a session
// that has ended the token is empty, which makes clients stop retrying.
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

// TerminatedBy is the beginning of the stored reason for the end of a session that a principal
// other than its owner terminated with TerminateSession.
const TerminatedBy = "The session was terminated by "

// Terminate ends a session permanently. why is stored and shown to the user.
// Terminate is idempotent.
func (b *Broker) Terminate(ctx context.Context, session sekisho.SessionID, why string) error {
	s, err := b.cfg.Store.Session(ctx, session)
	if err != nil {
		return err
	}
	if !s.Status.Active() {
		return nil
	}
	if b.live(ctx, s) {
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

// eachActive calls do with every active session that q selects. It returns the first error of do, after it
// has visited the others: one session must not keep the others running.
func (b *Broker) eachActive(ctx context.Context, q Query, do func(s *sekisho.Session) error) error {
	q.Active, q.Limit = true, 200
	var first error
	for {
		page, err := b.cfg.Store.Sessions(ctx, q)
		if err != nil {
			return err
		}
		for _, s := range page {
			q.After = s.ID
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := do(s); err != nil && first == nil {
				first = fmt.Errorf("session %s: %w", s.ID, err)
			}
		}
		if len(page) < q.Limit {
			return first
		}
	}
}

// NodeToken makes the token that opens node's control channel.
func (b *Broker) NodeToken(ctx context.Context, node sekisho.NodeID) (string, error) {
	return b.token(ctx, string(node), ControlLeg)
}

// AgentToken makes the token that opens the agent's leg of a session. The error for
// a session that has ended contains [mgs.SessionTerminated], which makes agents stop
// retrying.
func (b *Broker) AgentToken(ctx context.Context, node sekisho.NodeID, session sekisho.SessionID) (string, error) {
	if _, err := b.nodeSession(ctx, node, session); err != nil {
		return "", err
	}
	return b.token(ctx, string(session), AgentLeg)
}

// nodeSession returns an active session of node.
func (b *Broker) nodeSession(
	ctx context.Context,
	node sekisho.NodeID,
	session sekisho.SessionID,
) (*sekisho.Session, error) {
	s, err := b.cfg.Store.Session(ctx, session)
	if err != nil && !sekisho.IsNotFound(err) {
		return nil, err
	}
	// Do not reveal whether another node has such a session.
	if err != nil || s.Target != node || !s.Status.Active() {
		return nil, sekisho.Errorf(sekisho.CodeNotFound, mgs.SessionTerminated)
	}
	return s, nil
}

// maxAgentText limits texts from an agent that are shown to users, in bytes.
const maxAgentText = 1000

// maxToken limits the length of a token that a peer presents, in bytes.
const maxToken = 300

// RedeemToken admits one connection: the token must be for this subject and leg,
// unused and not expired. The error says which of these failed, for the audit trail.
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

// Attachable makes sure that the relay has a session so that its legs can attach. After a restart
// of the server it reopens the session. A session that has ended is returned together with the
// error.
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

// Recover marks the sessions that an earlier server process left connected as disconnected. The sessions are usable
// again as soon as Recover returns, because a leg that connects opens its session: see [Broker.Attachable].
// [Broker.ResumeAll] must follow.
func (b *Broker) Recover(ctx context.Context) error {
	if err := b.cfg.Store.DropTokens(ctx, time.Now()); err != nil {
		return err
	}
	return b.eachActive(ctx, Query{}, func(s *sekisho.Session) error {
		if s.Status == sekisho.SessionConnected {
			b.SessionStatus(ctx, s.ID, sekisho.SessionDisconnected) // until its legs reconnect
		}
		return nil
	})
}

// ResumeAll opens the sessions that an earlier server process left active and that no leg has opened yet. It reads
// their recordings, which takes one or two seconds per gigabyte, so the server accepts requests meanwhile. The relay's
// deadlines end the sessions whose agent does not reconnect.
func (b *Broker) ResumeAll(ctx context.Context) error {
	return b.eachMine(ctx, Query{}, func(s *sekisho.Session) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return b.Adopt(ctx, s.ID)
	})
}

// Adopt opens a session that another process left active. A session that cannot be opened ends.
func (b *Broker) Adopt(ctx context.Context, session sekisho.SessionID) error {
	_, err := b.Attachable(ctx, session)
	now, readErr := b.cfg.Store.Session(ctx, session)
	if readErr != nil {
		return readErr
	}
	mine := true
	if err != nil {
		if mine, readErr = b.cfg.Mine(ctx, session); readErr != nil {
			return readErr
		}
	}
	switch {
	case !mine: // another process has opened it meanwhile
	case !now.Status.Active(): // it has ended meanwhile, perhaps before it was opened
		b.cfg.Relay.End(ctx, session, sekisho.Ending{Status: now.Status, Details: now.Details})
	case err != nil && !b.ends.pending(session) && ctx.Err() == nil:
		b.cfg.Log.Error("could not resume session after restart", "session", session, "error", err)
		b.finish(
			ctx,
			session,
			sekisho.SessionFailed,
			"The session could not be recorded after the server restarted.",
		)
	}
	return nil
}

// eachMine is eachActive for the sessions of this process.
func (b *Broker) eachMine(ctx context.Context, q Query, do func(s *sekisho.Session) error) error {
	return b.eachActive(ctx, q, func(s *sekisho.Session) error {
		mine, err := b.cfg.Mine(ctx, s.ID)
		if err != nil || !mine {
			return err
		}
		return do(s)
	})
}

// live reports whether the relay has an active session. It opens a session that an earlier server
// process left active.
func (b *Broker) live(ctx context.Context, s *sekisho.Session) bool {
	if b.cfg.Relay.Live(s.ID) {
		return true
	}
	if b.ends.pending(s.ID) {
		return false
	}
	if err := b.cfg.Relay.Open(ctx, s); err != nil {
		b.cfg.Log.Warn("could not open session", "session", s.ID, "error", err)
		return false
	}
	return b.cfg.Relay.Live(s.ID)
}

// Sweep removes expired tokens. Call it periodically.
func (b *Broker) Sweep(ctx context.Context) error {
	return b.cfg.Store.DropTokens(ctx, time.Now())
}

// AgentConnected implements [control.Tasks]. It ends the sessions that an earlier
// process of node's agent ran.
func (b *Broker) AgentConnected(ctx context.Context, node sekisho.NodeID, process string) {
	if process == "" {
		return // AWS's agent, whose sessions survive its restart
	}
	err := b.eachActive(ctx, Query{Target: string(node)}, func(s *sekisho.Session) error {
		if s.AgentProcess == "" || s.AgentProcess == process {
			return nil
		}
		why := fmt.Sprintf("The agent of %s was restarted, which ended its sessions.", node)
		if b.live(ctx, s) {
			b.cfg.Relay.Finish(
				ctx,
				s.ID,
				sekisho.Ending{Status: sekisho.SessionTerminated, Details: why, Incomplete: true},
			)
		} else {
			b.SessionEnded(ctx, s.ID, sekisho.SessionTerminated, why)
		}
		return nil
	})
	if err != nil {
		b.cfg.Log.Error("could not end the sessions of a restarted agent", "node", node, "error", err)
	}
}

// TaskComplete implements [control.Tasks]: the session has ended on its node. Reports
// about sessions of other nodes are ignored.
func (b *Broker) TaskComplete(ctx context.Context, node sekisho.NodeID, done mgs.TaskComplete) {
	session := sekisho.SessionID(done.TaskID)
	s, err := b.cfg.Store.Session(ctx, session)
	if err != nil || s.Target != node {
		return
	}
	b.logOutcome(ctx, s, done)
	if !s.Status.Active() {
		return
	}
	status, output := sekisho.SessionTerminated, ""
	if done.FinalTaskStatus == mgs.TaskFailed {
		// AWS's agent reports nothing else when a non-interactive command fails,
		// whose output the user has already seen.
		status, output = sekisho.SessionFailed, "The session failed on the node."
		if said := strings.TrimSpace(safetext.Line(done.Output, maxAgentText)); said != "" {
			output = "The node could not run the session: " + said
			if done.Undelivered {
				output = said
			}
		}
	}
	if b.live(ctx, s) {
		b.cfg.Relay.Finish(
			ctx,
			session,
			sekisho.Ending{Status: status, Details: output, Incomplete: done.Undelivered, Messages: done.Messages},
		)
		return
	}
	b.SessionEnded(ctx, session, status, output)
}

// logOutcome stores whether a session's log arrived. The report comes once, after the
// session's end, which does not wait for the log.
func (b *Broker) logOutcome(ctx context.Context, s *sekisho.Session, done mgs.TaskComplete) {
	if s.Logs.Bucket == "" && s.Logs.Group == "" || s.Logs.Reported {
		return
	}
	problem := safetext.Line(done.LogProblem, maxAgentText)
	never := done.FinalTaskStatus == mgs.TaskFailed && problem == "" && done.S3Bucket == "" && done.CwlGroup == ""
	if !never && problem == "" && b.cfg.Logs != nil {
		problem = b.cfg.Logs.Absent(ctx, s)
	}
	err := b.cfg.Store.UpdateSession(ctx, s.ID, func(s *sekisho.Session) error {
		if s.Logs.Reported {
			return errEnded
		}
		if never { // the session failed before it began, so there is no log
			s.Logs = sekisho.SessionLogs{}
		}
		s.Logs.Reported, s.Logs.Problem = true, problem
		return nil
	})
	switch {
	case err == nil:
		b.cfg.Changed(s.ID)
	case !errors.Is(err, errEnded):
		b.cfg.Log.Error("could not store the outcome of a session's log", "session", s.ID, "error", err)
	}
}

// SessionStatus implements the relay's Observer.
func (b *Broker) SessionStatus(ctx context.Context, session sekisho.SessionID, status sekisho.SessionStatus) {
	// update logs the error
	_ = b.update(context.WithoutCancel(ctx), session, func(s *sekisho.Session) { s.Status = status })
}

// SessionEnded implements the relay's Observer. It stores the end, and sends it to the
// agent over the control channel too, because the data channel may be broken.
func (b *Broker) SessionEnded(
	ctx context.Context,
	session sekisho.SessionID,
	status sekisho.SessionStatus,
	details string,
) {
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
			b.cfg.Log.Warn("could not send the end of a session to its agent", "session", session, "node", node, "error", err)
		}
	}
}

// update changes an active session. The error is errEnded if the session is not active. Callers
// have nobody to report failures to, so update logs them.
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
		b.cfg.Log.Error("could not store session state", "session", session, "error", err)
	}
	return err
}

var errEnded = errors.New("the session has ended")
