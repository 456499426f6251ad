package event_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/activity/event"
)

const account, region = "123456789012", "eu-central-1"

// receiver is an endpoint whose responses a test controls.
type receiver struct {
	mu       sync.Mutex
	answer   func(e got) error // nil = it accepts all
	took     []string          // subjects, or sessions' reasons, in the order of arrival
	ids      map[string]int    // how often each ID arrived
	tries    []time.Time
	now, max int // requests in flight
}

// got is a received event.
type got struct {
	ID     string
	Type   string `json:"detail-type"`
	Detail struct {
		Session string `json:"session-id"`
		Node    string `json:"instance-id"`
		Reason  string
		State   string
		Cause   string
		Name    string `json:"instance-name"`
	}
}

func (r *receiver) Address() string { return "https://hooks.example" }
func (r *receiver) Close()          {}

func (r *receiver) Deliver(ctx context.Context, id string, body []byte) error {
	var e got
	if err := json.Unmarshal(body, &e); err != nil || e.ID != id {
		return fmt.Errorf("%s: %w: %s", id, err, body)
	}
	r.mu.Lock()
	r.tries = append(r.tries, time.Now())
	r.now++
	r.max = max(r.max, r.now)
	answer := r.answer
	r.mu.Unlock()
	var err error
	if answer != nil {
		err = answer(e)
	}
	if err == nil {
		err = ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now--
	if err == nil {
		if r.ids == nil {
			r.ids = map[string]int{}
		}
		r.ids[id]++
		r.took = append(r.took, strings.TrimSpace(e.Detail.Session+" "+e.Detail.Reason))
	}
	return err
}

func (r *receiver) set(answer func(e got) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.took)
}

func (r *receiver) attempts() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.tries)
}

// most is the largest number of simultaneous requests.
func (r *receiver) most() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.max
}

// times is how often an event arrived.
func (r *receiver) times(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ids[id]
}

// want checks that these events have arrived. The order of events of different
// sessions does not matter.
func (r *receiver) want(t *testing.T, want ...string) {
	t.Helper()
	have := r.all()
	slices.Sort(have)
	slices.Sort(want)
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("arrived (-want +got)\n%s", d)
	}
}

// fixture is a bus in a bubble that can be stopped and restarted.
type fixture struct {
	*event.Bus
	t     *testing.T
	store *memStore
	nodes *nodes
	cfg   event.Config
	log   *logText
	stop  func()
}

// logText returns what was logged.
type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type nodes struct {
	mu  sync.Mutex
	all map[sekisho.NodeID]*sekisho.Node
	err error
}

func (n *nodes) Node(_ context.Context, id sekisho.NodeID) (*sekisho.Node, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return nil, n.err
	}
	if n.all[id] == nil {
		return nil, sekisho.Errorf(sekisho.CodeNotFound, "no %s", id)
	}
	c := *n.all[id]
	return &c, nil
}

func (n *nodes) Nodes(context.Context) ([]*sekisho.Node, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []*sekisho.Node
	for _, x := range n.all {
		if x.DeregisteredAt.IsZero() {
			c := *x
			all = append(all, &c)
		}
	}
	return all, nil
}

// bubble runs a test with a bus in its own bubble.
func bubble(t *testing.T, cfg event.Config, test func(t *testing.T, f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{
			t:     t,
			store: newMemStore(),
			nodes: &nodes{all: map[sekisho.NodeID]*sekisho.Node{}},
			log:   &logText{},
		}
		cfg.Store, cfg.Nodes, cfg.Origin, cfg.Log = f.store, f.nodes, event.Origin{
			Account: account,
			Region:  region,
		}, slog.New(
			slog.NewTextHandler(f.log, nil),
		)
		f.cfg = cfg
		f.start()
		test(t, f)
		f.stop()
	})
}

func (f *fixture) start() {
	f.t.Helper()
	b, err := event.New(f.t.Context(), f.cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.Bus = b
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.Run(ctx)
	}()
	f.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		if err := b.Flush(context.Background()); err != nil {
			f.t.Error(err)
		}
	})
	synctest.Wait()
}

func (f *fixture) restart() {
	f.t.Helper()
	f.stop()
	f.start()
}

// say publishes the start of a session.
func (f *fixture) say(session, reason string) {
	f.Publish(f.Origin().Started(&sekisho.Session{
		ID: sekisho.SessionID(session), Target: "mi-0123456789abcdef0", Reason: reason, StartedAt: time.Now(),
	}))
}

func (f *fixture) after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (f *fixture) tally(webhook string) event.Tally {
	f.t.Helper()
	for _, w := range f.Webhooks() {
		if w.Webhook == webhook {
			kept := f.store.tally(webhook)
			if d := cmp.Diff(w.Tally, kept); d != "" {
				f.t.Errorf("in memory and in the store (-memory +store)\n%s", d)
			}
			return w.Tally
		}
	}
	f.t.Fatalf("no webhook %s", webhook)
	return event.Tally{}
}

var errDown = errors.New("connection refused")

func down(got) error { return errDown }

// An endpoint that is down is retried at growing intervals up to a minute, and
// receives everything soon after it is up.
func TestBackoff(t *testing.T) {
	t.Parallel()
	r := &receiver{answer: down}
	bubble(t, event.Config{Webhooks: []event.Webhook{{Name: "w", Endpoint: r}}}, func(t *testing.T, f *fixture) {
		f.say("alice-1", "one")
		f.after(time.Hour)
		tries := r.attempts()
		if n := len(tries); n < 60 || n > 140 {
			t.Errorf("tried %d times in an hour", n)
		}
		for i := 1; i < len(tries); i++ {
			gap := tries[i].Sub(tries[i-1])
			most := time.Minute
			if i < 7 {
				most = min(most, time.Second<<(i-1))
			}
			if gap < most/2 || gap > most {
				t.Errorf("gap %d is %s, want %s to %s", i, gap, most/2, most)
			}
		}
		s := f.Webhooks()[0]
		if s.Failures != len(tries) || s.LastFailure != "connection refused" || s.Waiting != 1 ||
			!s.RetryAt.After(time.Now()) {
			t.Errorf("%+v", s)
		}
		f.say("alice-2", "two")
		f.say("alice-3", "three")
		r.set(nil)
		f.after(time.Minute)
		r.want(t, "alice-1 one", "alice-2 two", "alice-3 three")
		if s := f.Webhooks()[0]; s.Failures != 0 || s.Waiting != 0 || !s.RetryAt.IsZero() || s.Delivered != 3 {
			t.Errorf("%+v", s)
		}
		f.tally("w")
		if n := strings.Count(f.log.String(), "webhook failing"); n != 1 {
			t.Errorf("the failure was logged %d times:\n%s", n, f.log)
		}
	})
}

// Events that cannot be delivered for a long time are given up, logged and
// counted.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	r := &receiver{answer: down}
	bubble(
		t,
		event.Config{Webhooks: []event.Webhook{{Name: "w", Endpoint: r, GiveUpAfter: 2 * time.Hour}}},
		func(t *testing.T, f *fixture) {
			for i := range 50 {
				f.say(fmt.Sprintf("old-%d", i), "")
			}
			f.after(time.Hour)
			f.say("young-1", "")
			if got := f.tally("w"); got.GivenUp != 0 {
				t.Errorf("%+v after an hour", got)
			}
			f.after(time.Hour + 3*time.Minute)
			if got := f.tally("w"); got.GivenUp != 50 || got.LastFailure != "connection refused" ||
				f.store.waiting() != 1 {
				t.Errorf("%+v, %d wait", got, f.store.waiting())
			}
			if n := strings.Count(f.log.String(), "gave up delivering"); n != 50 {
				t.Errorf("said %d times", n)
			}
			r.set(nil)
			f.after(time.Minute)
			r.want(t, "young-1")
		},
	)
}

// An event that the receiver refuses delays later events of the same session,
// and no others.
func TestRefusedEvent(t *testing.T) {
	t.Parallel()
	r := &receiver{answer: func(e got) error {
		if e.Detail.Reason == "poison" {
			return &event.Failure{Err: errors.New("it answered 400"), Refused: true}
		}
		return nil
	}}
	bubble(
		t,
		event.Config{Webhooks: []event.Webhook{{Name: "w", Endpoint: r, GiveUpAfter: 3 * time.Hour}}},
		func(t *testing.T, f *fixture) {
			f.say("alice-1", "poison")
			f.say("alice-1", "after it")
			f.say("bob-1", "beside it")
			f.after(time.Second)
			r.want(t, "bob-1 beside it")
			f.after(2 * time.Hour)
			tries := len(r.attempts())
			if tries < 10 || tries > 40 {
				t.Errorf("tried %d times in two hours", tries)
			}
			f.after(2 * time.Hour)
			r.want(t, "bob-1 beside it", "alice-1 after it")
			if got := f.tally("w"); got.GivenUp != 1 || got.Delivered != 2 {
				t.Errorf("%+v", got)
			}
		},
	)
}

// Events of one session arrive in order, however long each takes. Events of
// several sessions are delivered concurrently, up to a limit.
func TestOrderAndConcurrency(t *testing.T) {
	t.Parallel()
	r := &receiver{answer: func(e got) error {
		<-time.After(time.Duration(1+len(e.ID+e.Detail.Reason)*7%5) * time.Second)
		return nil
	}}
	bubble(
		t,
		event.Config{Webhooks: []event.Webhook{{Name: "w", Endpoint: r, Concurrency: 3}}},
		func(t *testing.T, f *fixture) {
			want := map[string][]string{}
			for i := range 30 {
				who := fmt.Sprintf("s-%d", i%5)
				f.say(who, fmt.Sprintf("%d%s", i, strings.Repeat("x", i%4)))
				want[who] = append(want[who], fmt.Sprintf("%s %d%s", who, i, strings.Repeat("x", i%4)))
			}
			f.after(time.Hour)
			have := map[string][]string{}
			for _, s := range r.all() {
				who, _, _ := strings.Cut(s, " ")
				have[who] = append(have[who], s)
			}
			if d := cmp.Diff(want, have); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if n := r.most(); n != 3 {
				t.Errorf("%d were under way at once", n)
			}
		},
	)
}

// A receiver that hangs and one that is down do not delay others.
func TestReceiversDoNotDelayEachOther(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	slow, away, good := &receiver{}, &receiver{answer: down}, &receiver{}
	bubble(t, event.Config{Webhooks: []event.Webhook{
		{Name: "slow", Endpoint: slow}, {Name: "away", Endpoint: away}, {Name: "good", Endpoint: good},
	}}, func(t *testing.T, f *fixture) {
		hang = make(chan struct{})
		slow.set(func(got) error { <-hang; return nil })
		for i := range 100 {
			f.say(fmt.Sprintf("s-%d", i), "")
		}
		synctest.Wait()
		if n := len(good.all()); n != 100 {
			t.Errorf("%d arrived", n)
		}
		if n := slow.most(); n != 4 || len(slow.all()) != 0 {
			t.Errorf("%d under way", n)
		}
		close(hang)
		synctest.Wait()
		if n := len(slow.all()); n != 100 {
			t.Errorf("%d arrived at the slow one", n)
		}
	})
}

// The queue is bounded: the oldest event is dropped and counted.
func TestBoundedQueue(t *testing.T) {
	t.Parallel()
	r := &receiver{answer: down}
	bubble(
		t,
		event.Config{Webhooks: []event.Webhook{{Name: "w", Endpoint: r}}, Limits: event.Limits{Queue: 5}},
		func(t *testing.T, f *fixture) {
			for i := range 12 {
				f.say(fmt.Sprintf("s-%d", i), "")
				f.after(time.Millisecond)
			}
			f.restart()
			if got := f.tally("w"); got.Dropped != 7 || f.store.waiting() != 5 {
				t.Errorf("%+v, %d wait", got, f.store.waiting())
			}
			if !strings.Contains(f.log.String(), "dropped the oldest") {
				t.Errorf("not said:\n%s", f.log)
			}
			r.set(nil)
			f.after(time.Minute)
			r.want(t, "s-7", "s-8", "s-9", "s-10", "s-11")
			if got := f.tally("w"); got.Delivered != 5 || got.Dropped != 7 {
				t.Errorf("%+v", got)
			}
		},
	)
}

// Publishing never waits, even if nothing can be stored. Events that are lost
// then are counted.
func TestPublishNeverWaits(t *testing.T) {
	t.Parallel()
	r := &receiver{}
	bubble(
		t,
		event.Config{Webhooks: []event.Webhook{{Name: "w", Endpoint: r}}, Limits: event.Limits{Inbox: 3}},
		func(t *testing.T, f *fixture) {
			hang := make(chan struct{})
			f.store.mu.Lock()
			f.store.hang = hang
			f.store.mu.Unlock()
			f.say("first", "")
			synctest.Wait() // it is being stored
			began := time.Now()
			for i := range 10 {
				f.say(fmt.Sprintf("s-%d", i), "")
			}
			if time.Since(began) != 0 {
				t.Errorf("waited %s", time.Since(began))
			}
			f.store.mu.Lock()
			f.store.hang = nil
			f.store.mu.Unlock()
			close(hang)
			f.after(time.Second)
			r.want(t, "first", "s-7", "s-8", "s-9")
			if got := f.tally("w"); got.Dropped != 7 {
				t.Errorf("%+v", got)
			}
		},
	)
}

// A store that fails for a while loses no events.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	r := &receiver{}
	bubble(t, event.Config{Webhooks: []event.Webhook{{Name: "w", Endpoint: r}}}, func(t *testing.T, f *fixture) {
		fail := func(err error) {
			f.store.mu.Lock()
			defer f.store.mu.Unlock()
			f.store.broken = err
		}
		fail(errDisk)
		f.say("s-1", "")
		f.after(10 * time.Second)
		f.say("s-2", "")
		f.after(10 * time.Second)
		if n := strings.Count(f.log.String(), "could not store events"); n != 1 {
			t.Errorf("said %d times", n)
		}
		fail(nil)
		f.after(time.Second)
		r.want(t, "s-1", "s-2")
		if got := f.tally("w"); got.Dropped != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// A server that restarts delivers the events that waited, and repeats those
// that were in flight.
func TestRestart(t *testing.T) {
	t.Parallel()
	r := &receiver{answer: down}
	bubble(
		t,
		event.Config{
			Webhooks: []event.Webhook{{Name: "w", Endpoint: r}, {Name: "gone", Endpoint: &receiver{answer: down}}},
		},
		func(t *testing.T, f *fixture) {
			f.say("s-1", "")
			f.say("s-2", "")
			f.after(2 * time.Hour)
			f.stop()
			f.say("s-3", "") // at the very end
			if err := f.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.cfg.Webhooks = f.cfg.Webhooks[:1]
			r.set(nil)
			f.start() // immediately: the receiver may be the reason for the restart
			r.want(t, "s-1", "s-2", "s-3")
			if !strings.Contains(f.log.String(), "no longer configured") || f.store.waiting() != 0 {
				t.Errorf("what waited for another webhook: %d\n%s", f.store.waiting(), f.log)
			}

			// A delivery that is cut off is repeated as the same event.
			var cut string
			hang := make(chan struct{})
			r.set(func(e got) error { cut = e.ID; <-hang; return nil })
			f.say("s-4", "")
			synctest.Wait()
			go close(hang)
			f.stop()
			r.set(nil)
			f.start()
			f.after(time.Second)
			if n := r.times(cut); n < 1 || f.store.greatest() != 4 {
				t.Errorf("%s arrived %d times; the last is %d", cut, n, f.store.greatest())
			}
		},
	)
}

// An endpoint that asks for a pause gets one.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	r := &receiver{
		answer: func(got) error { return &event.Failure{Err: errors.New("it answered 429"), After: 10 * time.Minute} },
	}
	bubble(t, event.Config{Webhooks: []event.Webhook{{Name: "w", Endpoint: r}}}, func(t *testing.T, f *fixture) {
		f.say("s-1", "")
		f.say("s-2", "")
		f.after(9 * time.Minute)
		if n := len(r.attempts()); n > 4 { // those that were in flight at once
			t.Errorf("tried %d times", n)
		}
		r.set(nil)
		f.after(2 * time.Minute)
		if n := len(r.all()); n != 2 {
			t.Errorf("%d arrived", n)
		}
	})
}

// A webhook receives the events that match its pattern.
func TestPatternOfWebhook(t *testing.T) {
	t.Parallel()
	some, err := event.ParsePattern(
		[]byte(`{"detail": {"reason": [{"prefix": "ticket"}], "instance-name": ["web-1"]}}`),
	)
	if err != nil {
		t.Fatal(err)
	}
	r, all := &receiver{}, &receiver{}
	bubble(
		t,
		event.Config{
			Webhooks: []event.Webhook{{Name: "some", Endpoint: r, Pattern: some}, {Name: "all", Endpoint: all}},
		},
		func(t *testing.T, f *fixture) {
			f.set(func(n *sekisho.Node) { n.Name = "web-1" })
			f.say("s-1", "ticket 7")
			f.say("s-2", "curiosity")
			f.after(time.Second)
			r.want(t, "s-1 ticket 7")
			all.want(t, "s-1 ticket 7", "s-2 curiosity")
		},
	)
}

// Calls in AWS's format are sent to webhooks that ask for them, and are not
// stored.
func TestCallsAreSentOnRequestOnly(t *testing.T) {
	t.Parallel()
	pattern := func(text string) *event.Pattern {
		p, err := event.ParsePattern([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	none, vague, aws, other := &receiver{}, &receiver{}, &receiver{}, &receiver{}
	hooks := []event.Webhook{
		{
			Name:     "none",
			Endpoint: none,
		}, {Name: "vague", Endpoint: vague, Pattern: pattern(`{"account":["` + account + `"]}`)},
		{
			Name:     "other",
			Endpoint: other,
			Pattern:  pattern(`{"source":["aws.ssm"],"detail":{"eventName":["TerminateSession"]}}`),
		},
		// This pattern is from AWS's guide to Session Manager.
		{
			Name:     "aws",
			Endpoint: aws,
			Pattern: pattern(
				`{"source":["aws.ssm"],"detail-type":["AWS API Call via CloudTrail"],` +
					`"detail":{"eventSource":["ssm.amazonaws.com"],"eventName":["StartSession"]}}`,
			),
		},
	}
	for _, tc := range []struct {
		hooks []event.Webhook
		kept  int
	}{{hooks[:3], 1}, {hooks, 2}} {
		bubble(t, event.Config{Webhooks: tc.hooks}, func(t *testing.T, f *fixture) {
			f.Publish(
				f.Origin().
					Call("ssm", time.Now(), json.RawMessage(`{"eventSource":"ssm.amazonaws.com","eventName":"StartSession"}`)),
			)
			f.say("s-1", "")
			f.Publish(f.Origin().Call("ssm", time.Now(), json.RawMessage(`{`))) // which cannot be parsed
			f.after(time.Second)
			all, err := f.Events(t.Context(), event.Query{Limit: 10})
			if err != nil || len(all) != tc.kept {
				t.Errorf("%d events are kept, %v", len(all), err)
			}
			if !strings.Contains(f.log.String(), "cannot be encoded") {
				t.Errorf("not said:\n%s", f.log)
			}
		})
	}
	none.want(t, "s-1", "s-1")
	vague.want(t, "s-1", "s-1")
	aws.want(t, "")
	other.want(t)
}

// TestEventsExpire: old events are removed, and the removal is reported.
func TestEventsExpire(t *testing.T) {
	t.Parallel()
	var removed []event.Removal
	cfg := event.Config{MaxAge: time.Hour, Removed: func(_ context.Context, r event.Removal) {
		removed = append(removed, r)
	}}
	bubble(t, cfg, func(t *testing.T, f *fixture) {
		f.say("s-0", "")
		f.after(30 * time.Minute)
		f.say("s-1", "")
		f.after(31 * time.Minute)
		for range 2 { // the second removes nothing, and reports nothing
			if err := f.Expire(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		all, err := f.Events(t.Context(), event.Query{Limit: 10})
		if err != nil || len(all) != 1 || all[0].Subject != "s-1" {
			t.Errorf("%+v, %v", all, err)
		}
		if want := []event.Removal{{Events: 1, First: 1, Last: 1}}; !slices.Equal(removed, want) {
			t.Errorf("removed %+v", removed)
		}
	})
}

// The newest events can be listed, and they are bounded, too.
func TestEventsKept(t *testing.T) {
	t.Parallel()
	bubble(t, event.Config{Limits: event.Limits{Keep: 3}}, func(t *testing.T, f *fixture) {
		for i := range 5 {
			f.say(fmt.Sprintf("s-%d", i), "")
			f.after(time.Second)
		}
		all, err := f.Events(t.Context(), event.Query{Limit: 10})
		if err != nil || len(all) != 3 || all[0].Subject != "s-4" || all[0].Type != event.SessionStarted ||
			!json.Valid(all[0].Body) {
			t.Errorf("%+v, %v", all, err)
		}
	})
}
