package relay_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sekisho"
	"sekisho/internal/session/relay"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mgs/mgstest"
)

func (w *world) finish(e sekisho.Ending) {
	w.Finish(w.ctx, sid, e)
	synctest.Wait()
}

func exitCode(seq int64, code int) mgs.Message {
	return mgstest.StreamData(mgs.TypeOutputStreamData, seq, mgs.PayloadExitCode, mgs.AppendExitCode(nil, code))
}

// TestLastOutputWaitsForTheClient: a session that has ended keeps its last
// output for a disconnected client until the grace period ends.
func TestLastOutputWaitsForTheClient(t *testing.T) {
	for _, away := range []time.Duration{time.Second, 12 * time.Second, 2 * time.Minute, 9 * time.Minute} {
		t.Run(away.String(), func(t *testing.T) {
			with(t, sekisho.Session{}, func(w *world) {
				agent, client := w.agent(), w.client()
				client.Close("")
				synctest.Wait()
				tail, code := output(0, "RESULT"), exitCode(1, 7)
				agent.send(tail)
				agent.send(code)
				synctest.Wait()
				agent.Close("")
				w.finish(sekisho.Ending{Status: sekisho.SessionTerminated})
				<-time.After(away)
				want(t, "no end while the client is away", w.endings(), "")
				client = w.client()
				want(t, "the client", say(client.drain(t)), "0=RESULT, 1=EXIT_CODE: 7")
				client.send(ackOf(tail))
				want(t, "half taken", w.endings(), "")
				client.send(ackOf(code))
				want(t, "then", say(client.drain(t)), "closed")
				want(t, "end", w.endings(), "Terminated: ")
				want(t, "recording", w.tape.String(), "o:RESULT seal: exit 7")
			})
		})
	}
}

func TestLastOutputIsNotKeptForever(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		client.Close("")
		synctest.Wait()
		agent.send(output(0, "RESULT"))
		synctest.Wait()
		agent.Close("")
		w.finish(sekisho.Ending{Status: sekisho.SessionTerminated})
		<-time.After(11 * time.Minute)
		wantReason(t, "end", w.endings(), "Terminated: ", "acknowledge", "10m0s")
		if strings.Contains(w.tape.String(), "incomplete") {
			t.Errorf("the recording has everything, but says: %s", w.tape)
		}
	})
}

// TestLostOutputIsMarked: a recording whose end may be missing says so, and
// the client gets a reason.
func TestLostOutputIsMarked(t *testing.T) {
	const lost = "may be missing"
	own := sekisho.Session{AgentProcess: "p1"}
	for name, tt := range map[string]struct {
		session sekisho.Session
		lose    func(w *world, agent *pipe)
		why     string
		marked  bool
	}{
		"the agent reports undelivered output": {own, func(w *world, _ *pipe) {
			w.finish(sekisho.Ending{Status: sekisho.SessionTerminated, Incomplete: true})
		}, lost, true},
		"undelivered output that is recorded": {own, func(w *world, _ *pipe) {
			w.finish(sekisho.Ending{Status: sekisho.SessionTerminated, Incomplete: true, Messages: 1})
		}, "", false},
		"one message never arrives": {own, func(w *world, _ *pipe) {
			w.finish(sekisho.Ending{Status: sekisho.SessionTerminated, Incomplete: true, Messages: 2})
		}, lost, true},
		"AWS's agent ends while disconnected": {sekisho.Session{}, func(w *world, agent *pipe) {
			agent.Close("")
			<-time.After(5 * time.Second)
			w.finish(sekisho.Ending{Status: sekisho.SessionTerminated})
		}, lost, true},
		"a gap that is never filled": {sekisho.Session{}, func(w *world, agent *pipe) {
			agent.send(output(2, "late"))
			synctest.Wait()
			agent.Close("")
			w.finish(sekisho.Ending{Status: sekisho.SessionTerminated})
		}, lost, true},
		"AWS's agent does not reconnect": {sekisho.Session{}, func(_ *world, agent *pipe) {
			agent.Close("")
			<-time.After(20 * time.Second)
		}, "15s", true},
		"our agent does not reconnect": {own, func(w *world, agent *pipe) {
			agent.Close("")
			<-time.After(9 * time.Minute)
			want(w.t, "it may come back", w.endings(), "")
			<-time.After(2 * time.Minute)
		}, "10m0s", true},
		"an administrator ends it": {own, func(w *world, _ *pipe) {
			w.End(w.ctx, sid, sekisho.Ending{Status: sekisho.SessionTerminated, Details: "Terminated by bob."})
		}, "Terminated by bob.", false},
	} {
		t.Run(name, func(t *testing.T) {
			with(t, tt.session, func(w *world) {
				agent, client := w.agent(), w.client()
				first := output(0, "begin")
				agent.send(first)
				client.drain(t)
				client.send(ackOf(first))
				synctest.Wait()
				tt.lose(w, agent)
				<-time.After(3 * time.Second)
				got := say(client.drain(t))
				wantReason(t, "the client", got, "closed", tt.why)
				if tt.why == "" {
					want(t, "the client gets no reason", got, "closed")
				}
				if got := strings.Contains(w.tape.String(), "m:incomplete"); got != tt.marked {
					t.Errorf("marked as incomplete: %v; %s", got, w.tape)
				}
			})
		})
	}
}

// TestAcknowledgementLostWithItsConnection: AWS's plugin does not acknowledge
// repeated messages. One lost acknowledgement must block neither the session
// nor its end.
func TestAcknowledgementLostWithItsConnection(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		agent.send(output(0, "a"))
		client.drain(t) // it received it, but its acknowledgement is lost
		client.Close("")
		synctest.Wait()
		client = w.client()
		want(t, "it is repeated", say(client.drain(t)), "0=a")
		for range 3 {
			agent.send(output(0, "a"))
			<-time.After(400 * time.Millisecond)
		}
		want(t, "the relay acknowledges in its place", say(agent.drain(t)), "ack 0")
		client.drain(t)
		agent.send(mgs.NewAgentSessionState(string(sid), mgs.SessionStateTerminating))
		<-time.After(8 * time.Second)
		want(t, "the end is not held up", say(client.drain(t)), "closed")
	})
}

// TestRelayWaitsForAClientThatAcknowledgesRepeats: the relay does not
// acknowledge for a client that acknowledges repeated messages itself.
func TestRelayWaitsForAClientThatAcknowledgesRepeats(t *testing.T) {
	with(t, sekisho.Session{AgentProcess: "p1"}, func(w *world) {
		own := relay.Peer{Own: true}
		agent, client := w.agent(), w.attach(w.ServeClient, own)
		a := output(0, "a")
		agent.send(a)
		client.drain(t)
		client.Close("")
		synctest.Wait()
		client = w.attach(w.ServeClient, own)
		for range 5 {
			agent.send(a)
			<-time.After(time.Second)
		}
		want(t, "the agent", say(agent.drain(t)), "")
		client.send(ackOf(a))
		want(t, "then", say(agent.drain(t)), "ack 0")
	})
}

// slowTapes are recordings that take a second to seal.
type slowTapes struct {
	mu      sync.Mutex
	sealing int
	most    int
}

type slowTape struct {
	tape
	all *slowTapes
}

func (s *slowTapes) Start(context.Context, *sekisho.Session) (relay.RecordWriter, error) {
	return &slowTape{all: s}, nil
}

func (s *slowTape) Seal(relay.Exit) error {
	add := func(n int) {
		s.all.mu.Lock()
		defer s.all.mu.Unlock()
		s.all.sealing += n
		s.all.most = max(s.all.most, s.all.sealing)
	}
	add(1)
	<-time.After(time.Second)
	add(-1)
	return nil
}

type deafObserver struct{}

func (deafObserver) SessionStatus(context.Context, sekisho.SessionID, sekisho.SessionStatus) {}
func (deafObserver) SessionEnded(context.Context, sekisho.SessionID, sekisho.SessionStatus, string) {
}

// TestManySessionsEndAtOnce: few recordings are sealed at a time, because each
// one occupies a thread.
func TestManySessionsEndAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tapes := &slowTapes{}
		r := relay.New(relay.Config{Recorder: tapes, Observer: deafObserver{}, Log: slog.New(slog.DiscardHandler)})
		var all sync.WaitGroup
		for i := range 350 {
			id := sekisho.SessionID(fmt.Sprintf("alice-%d", i))
			if err := r.Open(t.Context(), &sekisho.Session{ID: id}); err != nil {
				t.Fatal(err)
			}
			all.Go(func() { r.End(t.Context(), id, sekisho.Ending{Status: sekisho.SessionTerminated}) })
		}
		all.Wait()
		if tapes.most > 16 {
			t.Errorf("%d recordings were sealed at once", tapes.most)
		}
	})
}

// TestRecorderIsSlow: starting one recording delays no other session.
func TestRecorderIsSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := &slowStart{stuck: make(chan struct{})}
		r := relay.New(relay.Config{Recorder: slow, Observer: deafObserver{}, Log: slog.New(slog.DiscardHandler)})
		opened := make(chan error, 2)
		open := func() { opened <- r.Open(t.Context(), &sekisho.Session{ID: "alice-slow"}) }
		go open()
		go open() // waits for the first one
		synctest.Wait()
		if err := r.Open(t.Context(), &sekisho.Session{ID: "alice-fast"}); err != nil || !r.Live("alice-fast") {
			t.Errorf("another session is held up: %v", err)
		}
		close(slow.stuck)
		if err := errors.Join(<-opened, <-opened); err != nil || slow.started != 2 {
			t.Errorf("%v, %d recordings", err, slow.started)
		}
	})
}

type slowStart struct {
	stuck   chan struct{}
	mu      sync.Mutex
	started int
}

func (s *slowStart) Start(_ context.Context, session *sekisho.Session) (relay.RecordWriter, error) {
	if session.ID == "alice-slow" {
		<-s.stuck
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started++
	return &tape{}, nil
}
