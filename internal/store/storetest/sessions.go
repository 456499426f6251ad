package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/session/broker"
	"sekisho/internal/wire/id"
)

func session(sessionID string, minute int) *sekisho.Session {
	return &sekisho.Session{
		ID: sekisho.SessionID(sessionID), Target: "mi-0123456789abcdef0", Status: sekisho.SessionConnecting,
		Owner: "arn:aws:iam::123456789012:user/alice", OwnerUserID: "AIDAEXAMPLE", OwnerUser: "alice",
		AccessKeyID: "AKIAEXAMPLE", Lease: "user:AIDAEXAMPLE key:AKIAEXAMPLE",
		DocumentName: "SSM-SessionManagerRunShell", Reason: "größer; ' --", Details: "so", StartedAt: at(minute),
		EndedAt:  at(minute + 1),
		SourceIP: "192.0.2.7", MaxDuration: 90*time.Minute + time.Nanosecond, IdleTimeout: 20 * time.Minute,
		Recording:       sekisho.RecordingEncrypted,
		DocumentVersion: "3", RunAsUser: "ops", OmitInput: true, RecordForwards: true, RecordingDays: 30,
		DisableCopy: true, DisablePaste: true,
		Logs: sekisho.SessionLogs{
			Bucket:   "logs",
			Key:      "nodes/alice.log",
			Group:    "/sessions",
			Stream:   "alice",
			Reported: true,
			Problem:  "größer",
		},
		AgentProcess: "5d1c",
		Permission: &sekisho.SessionPermission{
			Principal: sekisho.Principal{
				Type: sekisho.PrincipalUser,
				ARN:  "arn:aws:iam::123456789012:user/alice",
				Tags: map[string]string{"k": "v"},
			},
			Document: "Doc", UserAgent: "aws-cli/2", ClientIP: "192.0.2.7",
		},
	}
}

// firstToken is a token unlike all others.
func firstToken() broker.Token {
	return broker.Token{Hash: []byte(id.Secret()), Subject: "s", Leg: broker.ClientLeg, ExpiresAt: at(50)}
}

// Sessions runs the conformance suite of [broker.Store]; open returns an
// empty store.
func Sessions(t *testing.T, open func(t *testing.T) broker.Store) {
	t.Run("limits of concurrent sessions", func(t *testing.T) {
		t.Parallel()
		const most, tries = 3, 12
		s, ctx := open(t), t.Context()
		var wg sync.WaitGroup
		var created, refused atomic.Int64
		for i := range tries {
			wg.Go(func() {
				x := session(fmt.Sprintf("s%d", i), 1)
				x.Status = sekisho.SessionConnecting
				err := s.CreateSession(ctx, x, firstToken(),
					broker.Limit{Most: tries, Owner: x.Owner}, broker.Limit{Most: most, Target: x.Target})
				reached, ok := errors.AsType[*broker.LimitError](err)
				switch {
				case err == nil:
					created.Add(1)
				case ok && reached.Target == x.Target && reached.Active == most:
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if created.Load() != most || refused.Load() != tries-most {
			t.Errorf("%d sessions were created and %d refused", created.Load(), refused.Load())
		}
	})
	t.Run("missing sessions are not found", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		_, err := s.Session(ctx, "nope")
		wantCode(t, err, sekisho.CodeNotFound)
		err = s.UpdateSession(ctx, "nope", func(*sekisho.Session) error { return errors.New("called") })
		wantCode(t, err, sekisho.CodeNotFound)
		all, err := s.Sessions(ctx, broker.Query{Active: true, Limit: 10})
		must(t, err)
		same(t, 0, len(all))
		_, err = s.Sessions(ctx, broker.Query{After: "nope", Limit: 10})
		wantCode(t, err, sekisho.CodeNotFound)
	})

	t.Run("sessions are returned unchanged", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		bare := &sekisho.Session{ID: "bare", Status: sekisho.SessionTerminated, StartedAt: at(2)}
		for _, want := range []*sekisho.Session{session("alice-1", 1), bare} {
			must(t, s.CreateSession(ctx, want, firstToken()))
			got, err := s.Session(ctx, want.ID)
			must(t, err)
			same(t, want, got)
		}
	})

	t.Run("a session and its first token are stored together or not at all", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		first, second := firstToken(), firstToken()
		must(t, s.CreateSession(ctx, session("a", 1), first))
		wantCode(t, s.CreateSession(ctx, session("a", 1), second), sekisho.CodeConflict)
		got, err := s.UseToken(ctx, first.Hash, at(2))
		must(t, err)
		same(t, first, got)
		_, err = s.UseToken(ctx, second.Hash, at(2))
		wantCode(t, err, sekisho.CodeNotFound)
	})

	t.Run("an update stores every field", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateSession(ctx, &sekisho.Session{ID: "a", Status: sekisho.SessionConnecting}, firstToken()))
		want := session("a", 2)
		want.Status = sekisho.SessionFailed
		must(t, s.UpdateSession(ctx, "a", func(x *sekisho.Session) error { *x = *want; return nil }))
		got, err := s.Session(ctx, "a")
		must(t, err)
		same(t, want, got)
	})

	t.Run("an update that fails changes nothing", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateSession(ctx, session("b", 3), firstToken()))
		no := errors.New("no")
		err := s.UpdateSession(ctx, "b", func(x *sekisho.Session) error { x.Reason = "changed"; return no })
		wantErr(t, err, no)
		got, err := s.Session(ctx, "b")
		must(t, err)
		same(t, session("b", 3), got)
	})

	t.Run("a session that ends moves to the history", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateSession(ctx, session("a", 1), firstToken()))
		must(t, s.CreateSession(ctx, session("b", 3), firstToken()))
		fail := func(x *sekisho.Session) error { x.Status = sekisho.SessionFailed; return nil }
		must(t, s.UpdateSession(ctx, "a", fail))
		wantSessions(t, s, broker.Query{Limit: 9}, "a")
		wantSessions(t, s, broker.Query{Active: true, Limit: 9}, "b")
	})

	t.Run("one of simultaneous updates ends a session", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateSession(ctx, session("a", 1), firstToken()))
		ended := errors.New("ended")
		var won atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				err := s.UpdateSession(ctx, "a", func(x *sekisho.Session) error {
					if !x.Status.Active() {
						return ended
					}
					x.Status = sekisho.SessionTerminated
					return nil
				})
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, ended):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%d updates ended the session, want 1", won.Load())
		}
	})

	t.Run("filters", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		for i, x := range []struct {
			id     string
			status sekisho.SessionStatus
			target sekisho.NodeID
			owner  string
		}{
			{"s0", sekisho.SessionConnected, "mi-a", "alice"},
			{"s1", sekisho.SessionConnecting, "mi-b", "bob"},
			{"s2", sekisho.SessionDisconnected, "mi-a", "bob"},
			{"s3", sekisho.SessionTerminated, "mi-a", "alice"},
			{"s4", sekisho.SessionTerminating, "mi-b", "alice"},
			{"s5", sekisho.SessionFailed, "mi-b", "bob"},
		} {
			one := session(x.id, 10*i)
			one.Status, one.Target, one.Owner = x.status, x.target, x.owner
			switch x.id {
			case "s1":
				one.Permission = nil
			case "s5":
				one.Permission.AccessRequest = "oi-1"
			}
			must(t, s.CreateSession(ctx, one, firstToken()))
		}
		for _, tc := range []struct {
			name string
			q    broker.Query
			want []string
		}{
			{"active", broker.Query{Active: true}, []string{"s2", "s1", "s0"}},
			{"history", broker.Query{}, []string{"s5", "s4", "s3"}},
			{"target", broker.Query{Active: true, Target: "mi-a"}, []string{"s2", "s0"}},
			{"owner", broker.Query{Active: true, Owner: "bob"}, []string{"s2", "s1"}},
			{"target and owner", broker.Query{Active: true, Target: "mi-a", Owner: "bob"}, []string{"s2"}},
			{"status", broker.Query{Status: sekisho.SessionFailed}, []string{"s5"}},
			{"a status of the other state", broker.Query{Active: true, Status: sekisho.SessionFailed}, nil},
			{"ID", broker.Query{ID: "s3"}, []string{"s3"}},
			{"ID of the other state", broker.Query{Active: true, ID: "s3"}, nil},
			{"after", broker.Query{Active: true, StartedAfter: at(10)}, []string{"s2"}},
			{"before", broker.Query{Active: true, StartedBefore: at(10)}, []string{"s0"}},
			{"between", broker.Query{StartedAfter: at(30), StartedBefore: at(50)}, []string{"s4"}},
			{"just in time", broker.Query{AccessType: "JustInTime"}, []string{"s5"}},
			{"standard", broker.Query{AccessType: "Standard"}, []string{"s4", "s3"}},
			{"standard and owner", broker.Query{AccessType: "Standard", Owner: "bob"}, nil},
			{"lapsing", broker.Query{Active: true, Lapsing: true}, []string{"s2", "s0"}},
			{"quotes are text", broker.Query{Active: true, Owner: "' OR 1=1 --"}, nil},
			{"wildcards are text", broker.Query{Active: true, Target: "mi-%"}, nil},
		} {
			tc.q.Limit = 10
			t.Run(tc.name, func(t *testing.T) { wantSessions(t, s, tc.q, tc.want...) })
		}
	})

	t.Run("pages", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		var want []string
		for i := range 7 {
			name := fmt.Sprintf("s%d", i)
			// Groups of three have the same start.
			must(t, s.CreateSession(ctx, session(name, 30-i/3), firstToken()))
			want = append(want, name)
		}
		for size := 1; size <= 8; size++ {
			var got []string
			q := broker.Query{Active: true, Limit: size}
			for {
				page, err := s.Sessions(ctx, q)
				must(t, err)
				if len(page) > size {
					t.Fatalf("a page of %d has %d", size, len(page))
				}
				for _, x := range page {
					got = append(got, string(x.ID))
					q.After = x.ID
				}
				if len(page) < size {
					break
				}
			}
			same(t, want, got)
		}
	})

	t.Run("a page follows a session that has ended since", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		for i := range 5 {
			must(t, s.CreateSession(ctx, session(fmt.Sprintf("s%d", i), 30), firstToken()))
		}
		end := func(x *sekisho.Session) error { x.Status = sekisho.SessionTerminated; return nil }
		must(t, s.UpdateSession(ctx, "s2", end))
		wantSessions(t, s, broker.Query{Active: true, After: "s2", Limit: 2}, "s3", "s4")
	})

	t.Run("a token is used once", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		want := broker.Token{Hash: []byte("h\x001"), Subject: "alice-1", Leg: broker.AgentLeg, ExpiresAt: at(10)}
		must(t, s.PutToken(ctx, want))
		_, err := s.UseToken(ctx, []byte("h\x002"), at(1))
		wantCode(t, err, sekisho.CodeNotFound)
		_, err = s.UseToken(ctx, nil, at(1))
		wantCode(t, err, sekisho.CodeNotFound)
		got, err := s.UseToken(ctx, want.Hash, at(1))
		must(t, err)
		same(t, want, got)
		_, err = s.UseToken(ctx, want.Hash, at(1))
		wantCode(t, err, sekisho.CodeConflict)
	})

	t.Run("a token expires", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.PutToken(ctx, broker.Token{Hash: []byte("h"), ExpiresAt: at(10)}))
		_, err := s.UseToken(ctx, []byte("h"), at(10))
		wantCode(t, err, sekisho.CodeExpired)
		_, err = s.UseToken(ctx, []byte("h"), at(10).Add(-time.Microsecond)) // the late attempt did not use it
		wantCode(t, err, "")
	})

	t.Run("one of simultaneous uses of a token succeeds", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		token := broker.Token{Hash: []byte("h"), Subject: "s", Leg: broker.ClientLeg, ExpiresAt: at(10)}
		must(t, s.PutToken(ctx, token))
		var won atomic.Int32
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				switch _, err := s.UseToken(ctx, []byte("h"), at(1)); sekisho.CodeOf(err) {
				case "":
					won.Add(1)
				case sekisho.CodeConflict:
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("the token was used %d times, want once", won.Load())
		}
	})

	t.Run("old tokens are dropped", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.PutToken(ctx, broker.Token{Hash: []byte("old"), ExpiresAt: at(1)}))
		must(t, s.PutToken(ctx, broker.Token{Hash: []byte("used"), ExpiresAt: at(3)}))
		must(t, s.PutToken(ctx, broker.Token{Hash: []byte("new"), ExpiresAt: at(3)}))
		_, err := s.UseToken(ctx, []byte("used"), at(0))
		must(t, err)
		must(t, s.DropTokens(ctx, at(2)))
		_, err = s.UseToken(ctx, []byte("old"), at(0))
		wantCode(t, err, sekisho.CodeNotFound)
		_, err = s.UseToken(ctx, []byte("used"), at(0)) // replays are recognized until the token would have expired
		wantCode(t, err, sekisho.CodeConflict)
		_, err = s.UseToken(ctx, []byte("new"), at(0))
		wantCode(t, err, "")
	})
}

func wantSessions(t *testing.T, s broker.Store, q broker.Query, want ...string) {
	t.Helper()
	found, err := s.Sessions(t.Context(), q)
	must(t, err)
	var got []string
	for _, x := range found {
		got = append(got, string(x.ID))
	}
	same(t, want, got)
}
