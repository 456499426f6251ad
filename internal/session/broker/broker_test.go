package broker_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sekisho"
	"sekisho/internal/session/broker"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/wire/mgs"
)

const (
	nodeA = sekisho.NodeID("mi-0123456789abcdef0")
	nodeB = sekisho.NodeID("mi-0123456789abcdef1")
)

// fixture is a broker with doubles of its dependencies.
type fixture struct {
	*broker.Broker
	t        *testing.T
	store    *memStore
	open     map[sekisho.SessionID]bool // the relay's
	openErr  error
	links    map[sekisho.NodeID][]mgs.Message // connected nodes, and the messages sent to them
	linkErr  error
	changed  []sekisho.SessionID
	absent   string           // of logs
	process  string           // of every agent
	finished []sekisho.Ending // from the relay, after the last output
}

func setup(t *testing.T) *fixture {
	f := &fixture{
		t:     t,
		store: newMemStore(),
		open:  map[sekisho.SessionID]bool{},
		links: map[sekisho.NodeID][]mgs.Message{nodeA: nil, nodeB: nil},
	}
	f.start()
	return f
}

// start creates a new server process on the same store.
func (f *fixture) start() {
	f.Broker = broker.New(broker.Config{
		Store: f.store, Relay: relay{f}, Links: links{f}, Nodes: nodes{}, Logs: logPlaces{f},
		Log:     slog.New(slog.DiscardHandler),
		Changed: func(id sekisho.SessionID) { f.changed = append(f.changed, id) },
	})
}

type relay struct{ *fixture }

func (r relay) Open(_ context.Context, s *sekisho.Session) error {
	if r.openErr == nil {
		r.open[s.ID] = true
	}
	return r.openErr
}
func (r relay) Live(id sekisho.SessionID) bool { return r.open[id] }
func (r relay) Finish(ctx context.Context, id sekisho.SessionID, e sekisho.Ending) {
	r.finished = append(r.finished, e)
	r.End(ctx, id, e)
}
func (r relay) End(ctx context.Context, id sekisho.SessionID, e sekisho.Ending) {
	if r.open[id] {
		delete(r.open, id)
		r.SessionEnded(ctx, id, e.Status, e.Details)
	}
}

type links struct{ *fixture }

func (l links) Connected(n sekisho.NodeID) bool { _, ok := l.links[n]; return ok }
func (l links) Process(sekisho.NodeID) string   { return l.process }
func (l links) Deliver(_ context.Context, n sekisho.NodeID, frame []byte) error {
	if l.linkErr != nil {
		return l.linkErr
	}
	m, err := mgs.Parse(frame)
	must(l.t, err)
	l.links[n] = append(l.links[n], m)
	return nil
}

type nodes struct{}

func (nodes) WhyNotConnected(_ context.Context, target string) (string, error) {
	if target == "broken" {
		return "", errors.New("disk")
	}
	return "It is asleep.", nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, code sekisho.Code, text string) {
	t.Helper()
	if sekisho.CodeOf(err) != code || (err != nil && !strings.Contains(err.Error(), text)) {
		t.Errorf("got %v (%q), want %q with %q", err, sekisho.CodeOf(err), code, text)
	}
}

func (f *fixture) request(node sekisho.NodeID) broker.Request {
	f.t.Helper()
	plan, err := ssmdoc.Unsaved().Plan(nil, ssmdoc.SessionRequest{Node: node})
	must(f.t, err)
	return broker.Request{
		Target: node, Plan: plan, Document: ssmdoc.Default, Reason: "ticket 7", SourceIP: "192.0.2.1",
		Owner: &sekisho.Principal{
			Type:        sekisho.PrincipalUser,
			ARN:         "arn:aws:iam::123456789012:user/alice",
			UserID:      "AIDA1",
			UserName:    "alice",
			AccessKeyID: "AKIA1",
		},
	}
}

func (f *fixture) begin(node sekisho.NodeID) *broker.Started {
	f.t.Helper()
	s, err := f.Start(f.t.Context(), f.request(node))
	must(f.t, err)
	return s
}

func (f *fixture) wantStatus(id sekisho.SessionID, status sekisho.SessionStatus, details string) {
	f.t.Helper()
	s, err := f.Session(f.t.Context(), id)
	must(f.t, err)
	if s.Status != status || !strings.Contains(s.Details, details) || s.EndedAt.IsZero() == !status.Active() {
		f.t.Errorf("status %s, details %q, ended %s; want %s, %q", s.Status, s.Details, s.EndedAt, status, details)
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s := f.begin(nodeA)
	if !strings.HasPrefix(string(s.ID), "alice-") || !f.open[s.ID] {
		t.Errorf("%s, open %v", s.ID, f.open)
	}
	f.wantStatus(s.ID, sekisho.SessionConnecting, "")
	kept, err := f.Session(t.Context(), s.ID)
	must(t, err)
	if kept.Owner != "arn:aws:iam::123456789012:user/alice" || kept.OwnerUserID != "AIDA1" ||
		kept.OwnerUser != "alice" ||
		kept.AccessKeyID != "AKIA1" ||
		kept.Reason != "ticket 7" ||
		kept.SourceIP != "192.0.2.1" ||
		kept.IdleTimeout != 20*time.Minute {
		t.Errorf("%+v", kept)
	}
	messages := f.links[nodeA]
	if len(messages) != 1 || messages[0].Type != mgs.TypeInteractiveShell || len(f.links[nodeB]) != 0 {
		t.Fatalf("messages %+v", f.links)
	}
	task, err := mgs.ParseBody[mgs.AgentTask](messages[0].Payload)
	must(t, err)
	p, err := task.Payload()
	must(t, err)
	if task.TaskID != string(s.ID) || p.SessionID != string(s.ID) || p.SessionOwner != kept.Owner ||
		!strings.Contains(string(p.DocumentContent), "Standard_Stream") {
		t.Errorf("%+v, %+v", task, p)
	}
	if strings.Contains(string(messages[0].Payload), s.Token) {
		t.Error("the agent received the client's token")
	}
	for hash := range f.store.tokens {
		if hash == s.Token {
			t.Error("the token itself is kept")
		}
	}
	must(t, f.RedeemToken(t.Context(), s.Token, string(s.ID), broker.ClientLeg))
	if !slices.Equal(f.changed, []sekisho.SessionID{s.ID}) {
		t.Errorf("changes messages: %v", f.changed)
	}
}

func TestStartRefused(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)

	in := f.request("mi-00000000000000000")
	_, err := f.Start(ctx, in)
	wantError(t, err, sekisho.CodeUnreachable, "mi-00000000000000000")
	wantError(t, f.Reachable(ctx, "broken"), sekisho.CodeInternal, "disk")
	if len(f.store.sessions) != 0 || len(f.links[nodeA]) != 0 {
		t.Errorf("left behind: %v, %v", f.store.sessions, f.links)
	}

	only := func(why string) {
		t.Helper()
		if len(f.store.sessions) != 1 || len(f.open) != 0 {
			t.Fatalf("sessions %v, open %v", f.store.sessions, f.open)
		}
		for id := range f.store.sessions {
			f.wantStatus(id, sekisho.SessionFailed, why)
		}
		clear(f.store.sessions)
	}
	f.openErr = errors.New("disk full")
	_, err = f.Start(ctx, f.request(nodeA))
	wantError(t, err, sekisho.CodeInternal, "disk full")
	only("could not be recorded")
	f.openErr = nil

	f.linkErr = errors.New("broken pipe")
	_, err = f.Start(ctx, f.request(nodeA))
	wantError(t, err, sekisho.CodeUnreachable, "")
	only("unreachable")
	f.linkErr = nil

	f.store.broken = errors.New("disk")
	_, err = f.Start(ctx, f.request(nodeA))
	wantError(t, err, sekisho.CodeInternal, "disk")
	if len(f.links[nodeA]) != 0 && f.links[nodeA][0].Type == mgs.TypeInteractiveShell {
		t.Error("the agent received a session that is not stored")
	}
}

// gone is a relay that fails once the caller has disconnected.
type gone struct {
	relay
	hangUp context.CancelFunc
}

func (g gone) Open(context.Context, *sekisho.Session) error {
	g.hangUp()
	return errors.New("disk full")
}

func TestStartOfACallerWhoDisconnects(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.Broker = broker.New(
		broker.Config{
			Store: f.store,
			Relay: gone{relay{f}, cancel},
			Links: links{f},
			Nodes: nodes{},
			Log:   slog.New(slog.DiscardHandler),
		},
	)
	if _, err := f.Start(ctx, f.request(nodeA)); err == nil {
		t.Fatal("started")
	}
	for id := range f.store.sessions {
		f.wantStatus(id, sekisho.SessionFailed, "")
	}
}

func TestAdmit(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	s, other := f.begin(nodeA), f.begin(nodeB)
	agent := func(n sekisho.NodeID, id sekisho.SessionID) string {
		tok, err := f.AgentToken(ctx, n, id)
		must(t, err)
		return tok
	}
	control, err := f.NodeToken(ctx, nodeA)
	must(t, err)
	for _, tc := range []struct {
		name, token, subject string
		leg                  broker.Leg
		want                 string
	}{
		{"nobody's", "guess", string(s.ID), broker.ClientLeg, "not issued"},
		{"empty", "", string(s.ID), broker.ClientLeg, "not issued"},
		{"overlong", strings.Repeat("x", 301), string(s.ID), broker.ClientLeg, "too long"},
		{"another session's token", other.Token, string(s.ID), broker.ClientLeg, "another channel"},
		{"the token that this used up", other.Token, string(other.ID), broker.ClientLeg, "used before"},
		{"the agent's token as the client", agent(nodeA, s.ID), string(s.ID), broker.ClientLeg, "another channel"},
		{"the client's token as the agent", s.Token, string(s.ID), broker.AgentLeg, "another channel"},
		{"a control channel token for a session", control, string(s.ID), broker.AgentLeg, "another channel"},
		{"another node's token", func() string { tok, _ := f.NodeToken(ctx, nodeB); return tok }(), string(nodeA),
			broker.ControlLeg, "another channel"},
	} {
		err := f.RedeemToken(ctx, tc.token, tc.subject, tc.leg)
		t.Run(tc.name, func(t *testing.T) { wantError(t, err, sekisho.CodeUnauthenticated, tc.want) })
	}
	tok := agent(nodeA, s.ID)
	must(t, f.RedeemToken(ctx, tok, string(s.ID), broker.AgentLeg))
	wantError(t, f.RedeemToken(ctx, tok, string(s.ID), broker.AgentLeg), sekisho.CodeUnauthenticated, "")
	tok = agent(nodeA, s.ID)
	f.store.broken = errors.New("disk")
	wantError(t, f.RedeemToken(ctx, tok, string(s.ID), broker.AgentLeg), sekisho.CodeInternal, "disk")
}

func TestTokensExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		late, swept, s := f.begin(nodeA), f.begin(nodeA), f.begin(nodeA)
		time.Sleep(3*time.Minute - time.Nanosecond)
		must(t, f.RedeemToken(t.Context(), s.Token, string(s.ID), broker.ClientLeg))
		time.Sleep(time.Nanosecond)
		wantError(
			t,
			f.RedeemToken(t.Context(), late.Token, string(late.ID), broker.ClientLeg),
			sekisho.CodeExpired,
			"expired",
		)
		time.Sleep(time.Nanosecond)
		must(t, f.Sweep(t.Context()))
		wantError(
			t,
			f.RedeemToken(t.Context(), swept.Token, string(swept.ID), broker.ClientLeg),
			sekisho.CodeUnauthenticated,
			"not issued",
		)
		if n := len(f.store.tokens); n != 0 {
			t.Errorf("%d tokens left", n)
		}
	})
}

func TestResume(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	s := f.begin(nodeA)
	tok, err := f.Resume(ctx, s.ID)
	must(t, err)
	if tok == s.Token {
		t.Error("the same token again")
	}
	must(t, f.RedeemToken(ctx, tok, string(s.ID), broker.ClientLeg))
	must(t, f.RedeemToken(ctx, s.Token, string(s.ID), broker.ClientLeg))
	must(t, f.Terminate(ctx, s.ID, "enough"))
	if tok, err := f.Resume(ctx, s.ID); err != nil || tok != "" {
		t.Errorf("token %q, %v for an ended session", tok, err)
	}
	_, err = f.Resume(ctx, "alice-none")
	wantError(t, err, sekisho.CodeNotFound, "")
	_, err = f.Attachable(ctx, s.ID)
	wantError(t, err, sekisho.CodeNotFound, "already terminated")
	_, err = f.AgentToken(ctx, nodeA, s.ID)
	wantError(t, err, sekisho.CodeNotFound, "already terminated")
}

func TestTerminate(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	s := f.begin(nodeA)
	must(t, f.Terminate(ctx, s.ID, "by bob"))
	f.wantStatus(s.ID, sekisho.SessionTerminated, "by bob")
	must(t, f.Terminate(ctx, s.ID, "again"))
	f.wantStatus(s.ID, sekisho.SessionTerminated, "by bob")
	wantError(t, f.Terminate(ctx, "alice-none", ""), sekisho.CodeNotFound, "")
	messages := f.links[nodeA]
	if len(messages) != 2 || messages[1].Type != mgs.TypeChannelClosed {
		t.Fatalf("messages %+v", messages)
	}
	closed, err := mgs.ParseBody[mgs.ChannelClosed](messages[1].Payload)
	must(t, err)
	if closed.SessionID != string(s.ID) || closed.Output != "by bob" || closed.DestinationID != string(nodeA) {
		t.Errorf("%+v", closed)
	}

	// A session without a relay ends, too, even if its node is gone.
	s = f.begin(nodeA)
	clear(f.open)
	delete(f.links, nodeA)
	must(t, f.Terminate(ctx, s.ID, ""))
	f.wantStatus(s.ID, sekisho.SessionTerminated, "")
}

// TestAgentRestart: sessions of an earlier agent process end when the agent
// reconnects. Those of this process and of AWS's agent continue.
func TestAgentRestart(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	aws := f.begin(nodeA)
	f.process = "first"
	lost, gone, other := f.begin(nodeA), f.begin(nodeA), f.begin(nodeB)
	delete(f.open, gone.ID) // not resumed yet after a restart of the server
	f.AgentConnected(ctx, nodeA, "first")
	f.AgentConnected(ctx, nodeA, "") // a version that names no process
	for _, s := range []*broker.Started{aws, lost, gone, other} {
		f.wantStatus(s.ID, sekisho.SessionConnecting, "")
	}
	f.process = "second"
	kept := f.begin(nodeA)
	f.AgentConnected(ctx, nodeA, "second")
	f.wantStatus(lost.ID, sekisho.SessionTerminated, "was restarted")
	f.wantStatus(gone.ID, sekisho.SessionTerminated, "was restarted")
	for _, s := range []*broker.Started{aws, kept, other} {
		f.wantStatus(s.ID, sekisho.SessionConnecting, "")
	}
	if len(f.finished) != 2 || !f.finished[0].Incomplete || !f.finished[1].Incomplete {
		t.Errorf("Finish was called with %+v", f.finished)
	}
}

// TestUndeliveredOutput: a report of undelivered output is forwarded to the
// relay, which knows what was recorded.
func TestUndeliveredOutput(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s := f.begin(nodeA)
	f.TaskComplete(t.Context(), nodeA, mgs.TaskComplete{
		TaskID: string(s.ID), FinalTaskStatus: mgs.TaskFailed, Output: "The client did not take it.",
		Undelivered: true, Messages: 7,
	})
	f.wantStatus(s.ID, sekisho.SessionFailed, "The client did not take it.")
	want := sekisho.Ending{
		Status:     sekisho.SessionFailed,
		Details:    "The client did not take it.",
		Incomplete: true,
		Messages:   7,
	}
	if len(f.finished) != 1 || f.finished[0] != want {
		t.Errorf("Finish was called with %+v", f.finished)
	}
}

// A later report of the relay does not change how a session ended.
func TestTheFirstEndCounts(t *testing.T) {
	t.Parallel()
	f := setup(t)
	s := f.begin(nodeA)
	f.SessionStatus(f.t.Context(), s.ID, sekisho.SessionConnected)
	f.wantStatus(s.ID, sekisho.SessionConnected, "")
	must(t, f.Terminate(t.Context(), s.ID, "first"))
	f.SessionStatus(f.t.Context(), s.ID, sekisho.SessionConnected)
	f.SessionEnded(f.t.Context(), s.ID, sekisho.SessionFailed, "second")
	f.TaskComplete(
		t.Context(),
		nodeA,
		mgs.TaskComplete{TaskID: string(s.ID), FinalTaskStatus: mgs.TaskFailed, Output: "third"},
	)
	f.wantStatus(s.ID, sekisho.SessionTerminated, "first")
}

func TestTaskComplete(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	s := f.begin(nodeA)
	done := mgs.TaskComplete{TaskID: string(s.ID), FinalTaskStatus: mgs.TaskSuccess}
	f.TaskComplete(ctx, nodeB, done)
	f.TaskComplete(ctx, nodeA, mgs.TaskComplete{TaskID: "alice-none", FinalTaskStatus: mgs.TaskSuccess})
	f.TaskComplete(ctx, nodeA, mgs.TaskComplete{})
	f.wantStatus(s.ID, sekisho.SessionConnecting, "")
	f.TaskComplete(ctx, nodeA, done)
	f.wantStatus(s.ID, sekisho.SessionTerminated, "")

	s = f.begin(nodeA)
	f.TaskComplete(ctx, nodeA, mgs.TaskComplete{TaskID: string(s.ID), FinalTaskStatus: mgs.TaskFailed, Output: " \n"})
	f.wantStatus(s.ID, sekisho.SessionFailed, "node")

	s = f.begin(nodeA)
	clear(f.open) // as after a restart
	f.TaskComplete(
		ctx,
		nodeA,
		mgs.TaskComplete{
			TaskID:          string(s.ID),
			FinalTaskStatus: mgs.TaskFailed,
			Output:          "no \x1b[2Jsuch user\xff" + strings.Repeat("ü", 5000),
		},
	)
	f.wantStatus(s.ID, sekisho.SessionFailed, ": no [2Jsuch user")
	kept, err := f.Session(ctx, s.ID)
	must(t, err)
	if len(kept.Details) > 2200 || strings.ContainsAny(kept.Details, "\x1b\n") {
		t.Errorf("%d bytes are kept of what the agent said: %q", len(kept.Details), kept.Details[:80])
	}
}

func TestAgentTokensAreForTheNodesOwnSessions(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	s := f.begin(nodeA)
	_, other := f.AgentToken(ctx, nodeB, s.ID)
	_, none := f.AgentToken(ctx, nodeB, "alice-none")
	wantError(t, other, sekisho.CodeNotFound, "already terminated")
	if none == nil || other.Error() != none.Error() {
		t.Errorf("a node learns that another's session exists: %v, %v", other, none)
	}
	if _, err := f.AgentToken(ctx, nodeA, s.ID); err != nil {
		t.Error(err)
	}
}

func TestEndNode(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a1, a2, b := f.begin(nodeA), f.begin(nodeA), f.begin(nodeB)
	must(t, f.EndNode(t.Context(), nodeA, "deregistered"))
	f.wantStatus(a1.ID, sekisho.SessionTerminated, "deregistered")
	f.wantStatus(a2.ID, sekisho.SessionTerminated, "deregistered")
	f.wantStatus(b.ID, sekisho.SessionConnecting, "")
}

func TestRecover(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	const many = 450 // more than two pages
	for range many {
		f.begin(nodeA)
	}
	ended, connected := f.begin(nodeA), f.begin(nodeA)
	must(t, f.Terminate(ctx, ended.ID, "before"))
	f.SessionStatus(f.t.Context(), connected.ID, sekisho.SessionConnected)

	clear(f.open)
	f.start()
	must(t, f.Recover(ctx))
	f.wantStatus(connected.ID, sekisho.SessionDisconnected, "")
	if len(f.open) != 0 {
		t.Errorf("%d sessions were opened before the server serves", len(f.open))
	}
	must(t, f.ResumeAll(ctx))
	if len(f.open) != many+1 || f.open[ended.ID] {
		t.Errorf("%d sessions open, the ended one: %v", len(f.open), f.open[ended.ID])
	}
	f.wantStatus(connected.ID, sekisho.SessionDisconnected, "") // until its ends are connected again
	f.wantStatus(ended.ID, sekisho.SessionTerminated, "before")

	clear(f.open)
	f.start()
	f.openErr = errors.New("disk full")
	must(t, f.Recover(ctx))
	must(t, f.ResumeAll(ctx))
	for id, s := range f.store.sessions {
		if s.Status.Active() {
			t.Errorf("%s is %s although it cannot be recorded", id, s.Status)
		}
	}
}

// A session that is ended before it is resumed ends in the relay, too, so that
// its recording has the reason.
func TestSessionsEndBeforeTheyAreResumed(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	terminated, restarted := f.begin(nodeA), f.begin(nodeB)
	clear(f.open)
	f.start()
	must(t, f.Recover(ctx))
	must(t, f.Terminate(ctx, terminated.ID, "by an administrator"))
	f.TaskComplete(ctx, nodeB, mgs.TaskComplete{TaskID: string(restarted.ID), FinalTaskStatus: mgs.TaskSuccess})
	f.wantStatus(terminated.ID, sekisho.SessionTerminated, "by an administrator")
	f.wantStatus(restarted.ID, sekisho.SessionTerminated, "")
	if len(f.finished) != 1 {
		t.Errorf("the relay finished %d sessions, want 1", len(f.finished))
	}
	must(t, f.ResumeAll(ctx))
	if len(f.open) > 0 {
		t.Errorf("sessions that have ended are open: %v", f.open)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	limited := func(node sekisho.NodeID, perOwner, perNode int) broker.Request {
		in := f.request(node)
		plan := *in.Plan
		plan.MaxPerOwner, plan.MaxPerNode = perOwner, perNode
		in.Plan = &plan
		return in
	}
	first := f.begin(nodeA)
	_, err := f.Start(ctx, limited(nodeB, 1, 0))
	wantError(t, err, sekisho.CodeLimit, "user/alice already has 1 ")
	_, err = f.Start(ctx, limited(nodeA, 0, 1))
	wantError(t, err, sekisho.CodeLimit, string(nodeA)+" already has 1 ")
	bob := limited(nodeB, 1, 1)
	owner := *bob.Owner
	owner.ARN, owner.UserName = "arn:aws:iam::123456789012:user/bob", "bob"
	bob.Owner = &owner
	if _, err := f.Start(ctx, bob); err != nil {
		t.Errorf("another's session on another node counts: %v", err)
	}
	must(t, f.Terminate(ctx, first.ID, ""))
	if _, err := f.Start(ctx, limited(nodeA, 1, 1)); err != nil {
		t.Errorf("an ended session counts: %v", err)
	}
}

func TestPlanIsFollowed(t *testing.T) {
	t.Parallel()
	f := setup(t)
	in := f.request(nodeA)
	in.Document, in.Version = "Doc", "4"
	in.Plan = &ssmdoc.Plan{
		Content: []byte(
			`{"sessionType":"InteractiveCommands"}`,
		), Parameters: map[string]any{"command": "id"}, RunAsUser: "ops",
		IdleTimeout: 5 * time.Minute, MaxDuration: time.Hour, OmitInput: true,
	}
	s, err := f.Start(t.Context(), in)
	must(t, err)
	kept, err := f.Session(t.Context(), s.ID)
	must(t, err)
	if kept.DocumentName != "Doc" || kept.DocumentVersion != "4" || kept.RunAsUser != "ops" ||
		kept.IdleTimeout != 5*time.Minute ||
		kept.MaxDuration != time.Hour ||
		!kept.OmitInput {
		t.Errorf("%+v", kept)
	}
	task, err := mgs.ParseBody[mgs.AgentTask](f.links[nodeA][0].Payload)
	must(t, err)
	p, err := task.Payload()
	must(t, err)
	if p.DocumentName != "Doc" || p.RunAsUser != "ops" || p.Parameters["command"] != "id" ||
		string(p.DocumentContent) != string(in.Plan.Content) {
		t.Errorf("%+v", p)
	}
}

// failingStore is a store whose sessions cannot be changed while err is set.
type failingStore struct {
	*memStore
	err error
}

func (s *failingStore) UpdateSession(
	ctx context.Context,
	id sekisho.SessionID,
	change func(*sekisho.Session) error,
) error {
	if s.err != nil {
		return s.err
	}
	return s.memStore.UpdateSession(ctx, id, change)
}

func TestFailedEndsAreRetried(t *testing.T) {
	t.Parallel()
	f := setup(t)
	store := &failingStore{memStore: f.store}
	var ended []sekisho.Session
	f.Broker = broker.New(broker.Config{
		Store: store, Relay: relay{f}, Links: links{f}, Nodes: nodes{}, Logs: logPlaces{f},
		Log:   slog.New(slog.DiscardHandler),
		Ended: func(s sekisho.Session) { ended = append(ended, s) },
	})
	s := f.begin(nodeA)
	store.err = errors.New("the disk is full")
	f.SessionEnded(t.Context(), s.ID, sekisho.SessionTerminated, "bye")
	delete(f.open, s.ID)
	f.wantStatus(s.ID, sekisho.SessionConnecting, "")
	if _, err := f.Attachable(t.Context(), s.ID); sekisho.CodeOf(err) != sekisho.CodeNotFound || f.open[s.ID] {
		t.Errorf("a leg may attach to an ended session: %v", err)
	}
	f.RetryEnds(t.Context())
	f.wantStatus(s.ID, sekisho.SessionConnecting, "")
	store.err = nil
	f.RetryEnds(t.Context())
	f.wantStatus(s.ID, sekisho.SessionTerminated, "bye")
	f.RetryEnds(t.Context())
	if len(ended) != 1 {
		t.Errorf("the end was announced %d times", len(ended))
	}
}

// A session that cannot be checked does not keep the others from ending.
func TestOneFailedCheckDoesNotKeepOtherSessions(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var sessions []sekisho.SessionID
	for range 3 {
		s := f.begin(nodeA)
		must(t, f.store.UpdateSession(t.Context(), s.ID, func(s *sekisho.Session) error {
			s.Permission = &sekisho.SessionPermission{}
			return nil
		}))
		sessions = append(sessions, s.ID)
	}
	broken := errors.New("the policies cannot be read")
	if err := f.EachLapsing(t.Context(), func(s *sekisho.Session) (string, error) {
		if s.ID == sessions[1] {
			return "", broken
		}
		return "the window closed", nil
	}); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
	for i, id := range sessions {
		s, err := f.Session(t.Context(), id)
		must(t, err)
		if s.Status.Active() != (i == 1) {
			t.Errorf("session %d is %s", i, s.Status)
		}
	}
}
