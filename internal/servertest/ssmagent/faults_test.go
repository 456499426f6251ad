package ssmagent_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sekisho"
	"sekisho/internal/servertest/ssmagent"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mgs/mgstest"
)

const shell = "Standard_Stream"

// numbers is what "seq n" prints in a terminal.
func numbers(n int) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "%d\r\n", i)
	}
	return b.String()
}

// whole runs a session of a shell to its end and checks all output.
func (w *world) whole() {
	w.t.Helper()
	w.start(sekisho.Session{}, shell, nil)
	c := w.attach()
	c.prints(w.ctx, "$ ")
	c.typed(w.ctx, "seq 3000\r")
	c.prints(w.ctx, "3000\r\n$ ")
	c.typed(w.ctx, "echo one; echo two\r")
	c.prints(w.ctx, "two\r\n$ ")
	// If the client has acknowledged a message, the agent does not keep it: it
	// resends only its oldest message, and would resend nothing else.
	for range 60 {
		synctest.Wait()
		if w.agent.Backlog() == 0 {
			break
		}
		<-time.After(time.Second)
	}
	if n := w.agent.Backlog(); n > 0 {
		w.t.Errorf("%d messages were never acknowledged to the agent", n)
	}
	c.typed(w.ctx, "exit\r")
	if why := c.reason(w.ctx); why != "" {
		w.t.Errorf("the user sees %q", why)
	}
	want := "$ seq 3000\r\n" + numbers(3000) + "$ echo one; echo two\r\none\r\ntwo\r\n$ exit\r\n"
	if got := c.output.String(); got != want {
		w.t.Errorf("the person saw %d bytes, not %d: %.200q", len(got), len(want), got)
	}
	w.gone()
}

// Lost and doubled frames do not change what the user sees.
func TestFramesLostAndDoubled(t *testing.T) {
	for _, tc := range []struct {
		name string
		lose func(n int, kind string, fromServer bool, m *mgs.Message) int
	}{
		{"none", func(int, string, bool, *mgs.Message) int { return 1 }},
		{"acknowledgements to the agent", func(n int, kind string, fromServer bool, m *mgs.Message) int {
			if kind == "data-channel" && fromServer && m.Type == mgs.TypeAcknowledge && n%5 == 0 {
				return 0
			}
			return 1
		}},
		{"output of the agent", func(n int, kind string, fromServer bool, m *mgs.Message) int {
			if kind == "data-channel" && !fromServer && m.Type == mgs.TypeOutputStreamData && n%7 == 0 {
				return 0
			}
			return 1
		}},
		{"acknowledgements of the agent", func(n int, kind string, fromServer bool, m *mgs.Message) int {
			if kind == "data-channel" && !fromServer && m.Type == mgs.TypeAcknowledge && n%2 == 0 {
				return 0
			}
			return 1
		}},
		{"everything twice", func(int, string, bool, *mgs.Message) int { return 2 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			with(t, ssmagent.Config{}, func(w *world) {
				n := 0
				w.mu.Lock()
				w.lose = func(kind string, fromServer bool, m *mgs.Message) int {
					n++
					return tc.lose(n, kind, fromServer, m)
				}
				w.mu.Unlock()
				w.whole()
			})
		})
	}
}

// An agent whose data channel breaks is back within six seconds, and nothing
// is lost or doubled.
func TestDataChannelBreaks(t *testing.T) {
	with(t, ssmagent.Config{}, func(w *world) {
		w.start(sekisho.Session{}, shell, nil)
		c := w.attach()
		c.prints(w.ctx, "$ ")
		c.typed(w.ctx, "seq 20000\r")
		for range 5 {
			<-time.After(20 * time.Millisecond)
			w.cut("data-channel")
		}
		w.set("data-channel", true)
		w.cut("data-channel")
		c.typed(w.ctx, "echo typed meanwhile\r")
		<-time.After(2 * time.Second)
		w.set("data-channel", false)
		c.prints(w.ctx, "typed meanwhile\r\n$ ")
		want := "$ seq 20000\r\n" + numbers(20000) + "$ echo typed meanwhile\r\ntyped meanwhile\r\n$ "
		if got := c.output.String(); got != want {
			t.Errorf("the person saw %d bytes, not %d", len(got), len(want))
		}
		if len(w.endings()) != 0 {
			t.Errorf("ended: %v", w.endings())
		}
	})
}

// The agent gives up its data channel after six attempts without a report. The
// user sees why, and the remaining worker is ended.
func TestAgentGivesUp(t *testing.T) {
	with(t, ssmagent.Config{}, func(w *world) {
		w.start(sekisho.Session{}, shell, nil)
		c := w.attach()
		c.prints(w.ctx, "$ ")
		before := w.asked("data-channel")
		w.set("data-channel", true)
		w.cut("data-channel")
		<-time.After(10 * time.Second)
		if n := w.asked("data-channel") - before; n != 6 {
			t.Errorf("%d attempts, want 6", n)
		}
		w.set("data-channel", false) // too late
		if why := c.reason(w.ctx); !strings.Contains(why, "did not reconnect") {
			t.Errorf("the user sees %q", why)
		}
		w.gone()
		if n := w.asked("data-channel") - before; n != 6 {
			t.Errorf("%d attempts in total, want 6", n)
		}
	})
}

// The agent treats every end of a connection as a failure. After one response
// that the session has ended, it stops retrying.
func TestTheAgentStopsRetryingAfterTheEnd(t *testing.T) {
	with(t, ssmagent.Config{}, func(w *world) {
		w.start(sekisho.Session{}, shell, nil)
		c := w.attach()
		c.prints(w.ctx, "$ ")
		w.relay.End(w.ctx, sid, sekisho.Ending{Status: sekisho.SessionTerminated, Details: "Terminated by alice."})
		if why := c.reason(w.ctx); why != "Terminated by alice." {
			t.Errorf("the user sees %q", why)
		}
		w.gone()
		<-time.After(time.Minute)
		if n := w.asked("data-channel"); n > 3 {
			t.Errorf("the agent requested %d tokens, want at most 3", n)
		}
		if done := w.completions(); len(done) != 1 || done[0].FinalTaskStatus != mgs.TaskSuccess ||
			len(w.agent.Untold()) != 0 {
			t.Errorf("reports that arrived: %+v; reports without an answer: %v", done, w.agent.Untold())
		}
	})
}

func TestIdleAndMaximumDuration(t *testing.T) {
	for _, tc := range []struct {
		name    string
		session sekisho.Session
		keys    bool // the user types all the time
		want    string
		after   time.Duration
	}{
		{"idle", sekisho.Session{IdleTimeout: time.Minute, MaxDuration: time.Hour}, false, "1m0s",
			61 * time.Second},
		{"not idle", sekisho.Session{IdleTimeout: time.Minute, MaxDuration: 10 * time.Minute}, true,
			"10m0s", 600 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			with(t, ssmagent.Config{}, func(w *world) {
				began := time.Now()
				w.start(tc.session, shell, nil)
				c := w.attach()
				c.prints(w.ctx, "$ ")
				for tc.keys && time.Since(began) < tc.after-40*time.Second {
					c.typed(w.ctx, "echo here\r")
					<-time.After(30 * time.Second)
				}
				if why := c.reason(w.ctx); !strings.Contains(why, tc.want) {
					t.Errorf("the user sees %q", why)
				}
				if d := time.Since(began); d < tc.after-2*time.Second || d > tc.after+5*time.Second {
					t.Errorf("it lasted %s", d)
				}
				w.gone()
				if done := w.completions(); len(done) != 1 {
					t.Errorf("the agent reported %d ends", len(done))
				}
			})
		})
	}
}

// The agent's handshake ends after 15 seconds, with or without a client. A
// client that connects later sees why.
func TestHandshakeWithoutAClient(t *testing.T) {
	with(t, ssmagent.Config{}, func(w *world) {
		w.start(
			sekisho.Session{},
			"NonInteractiveCommands",
			map[string]any{"linux": map[string]any{"commands": "echo hi"}},
		)
		<-time.After(20 * time.Second)
		if got := w.endings(); len(got) != 1 || !strings.Contains(got[0], "Failed: ") ||
			!strings.Contains(got[0], "Handshake timed out") {
			t.Errorf("%q", got)
		}
		w.gone()
	})
}

// A client that connects late but in time gets its session.
func TestClientConnectsLate(t *testing.T) {
	with(t, ssmagent.Config{}, func(w *world) {
		w.start(
			sekisho.Session{},
			"NonInteractiveCommands",
			map[string]any{"linux": map[string]any{"commands": "echo hi"}},
		)
		<-time.After(14 * time.Second)
		c := w.attach()
		if why := c.reason(w.ctx); why != "" || c.output.String() != "hi\n" {
			t.Errorf("%q, told %q", c.output.String(), why)
		}
		w.gone()
	})
}

// The agent reports that the handshake is complete a moment before it handles
// input, and may acknowledge the client's response only after that. No input
// is lost, and the client's program is not disturbed.
func TestTheEndOfTheHandshake(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  ssmagent.Config
	}{
		{"in the usual order", ssmagent.Config{}},
		{"handled late", ssmagent.Config{NotesLate: 80 * time.Millisecond}},
		{"acknowledged late", ssmagent.Config{AcksLate: true}},
		{"both", ssmagent.Config{NotesLate: 80 * time.Millisecond, AcksLate: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.cfg.DialPort = func(context.Context, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() { _, _ = io.Copy(theirs, theirs) }()
				return ours, nil
			}
			with(t, tc.cfg, func(w *world) {
				w.start(sekisho.Session{}, "Port", map[string]any{"portNumber": "7"})
				c := newPlugin(t, w.clientDial())
				w.client = c
				c.brittleAfter = 50 * time.Millisecond
				go c.run(w.ctx)
				c.until(w.ctx, "the handshake", func() bool { return c.greeted })
				c.typed(w.ctx, "typed at once")
				c.prints(w.ctx, "typed at once")
			})
		})
	}
}

// The agent reports the end of a session at most three times. The server
// acknowledges it whether or not it knows the session, and again if the
// response is lost.
func TestTheEndIsReportedUntilAcknowledged(t *testing.T) {
	for lost := range 4 {
		t.Run(fmt.Sprint(lost, " lost"), func(t *testing.T) {
			with(t, ssmagent.Config{}, func(w *world) {
				n := 0
				w.mu.Lock()
				w.lose = func(_ string, _ bool, m *mgs.Message) int {
					if m.Type == mgs.TypeAgentTaskAcknowledge {
						if n++; n <= lost {
							return 0
						}
					}
					return 1
				}
				w.mu.Unlock()
				w.start(sekisho.Session{}, shell, nil)
				c := w.attach()
				c.prints(w.ctx, "$ ")
				c.typed(w.ctx, "exit\r")
				c.reason(w.ctx)
				w.gone()
				<-time.After(10 * time.Second)
				if got, want := len(w.completions()), min(lost+1, 3); got != want {
					t.Errorf("the server received %d reports, want %d", got, want)
				}
				if got := len(w.endings()); got != 1 {
					t.Errorf("the session ended %d times", got)
				}
				if untold := len(w.agent.Untold()); (untold == 1) != (lost == 3) {
					t.Errorf("%d reports of the end got no answer", untold)
				}
			})
		})
	}
}

// Sessions continue without the control channel, and the agent is back soon.
func TestControlChannelBreaks(t *testing.T) {
	with(t, ssmagent.Config{}, func(w *world) {
		w.start(sekisho.Session{}, shell, nil)
		c := w.attach()
		c.prints(w.ctx, "$ ")
		w.cut("control-channel")
		c.typed(w.ctx, "echo still here\r")
		c.prints(w.ctx, "still here\r\n$ ")
		<-time.After(3 * time.Second)
		if !w.channels.Connected(nodeID) {
			t.Error("the node is not back after three seconds")
		}
		// After a long time without the server, the agent reconnects by its
		// schedule.
		w.set("control-channel", true)
		w.cut("control-channel")
		<-time.After(90 * time.Second)
		if n := w.asked("control-channel"); n > 8 {
			t.Errorf("%d requests for a control channel, want at most 8", n)
		}
		w.set("control-channel", false)
		<-time.After(4 * time.Minute)
		if !w.channels.Connected(nodeID) {
			t.Error("the node did not come back")
		}
		c.typed(w.ctx, "exit\r")
		c.reason(w.ctx)
		w.gone()
	})
}

// When a session ends while the control channel is down, the relay ends the
// worker over the data channel.
func TestTerminatedWhileTheAgentIsAway(t *testing.T) {
	with(t, ssmagent.Config{}, func(w *world) {
		w.start(sekisho.Session{}, shell, nil)
		c := w.attach()
		c.prints(w.ctx, "$ ")
		w.set("control-channel", true)
		w.cut("control-channel")
		synctest.Wait()
		w.relay.End(w.ctx, sid, sekisho.Ending{Status: sekisho.SessionTerminated, Details: "bye"})
		if why := c.reason(w.ctx); why != "bye" {
			t.Errorf("the user sees %q", why)
		}
		w.gone() // by channel_closed on the data channel
	})
}

// A session starts once, however often the agent receives the task.
func TestStartedTwice(t *testing.T) {
	with(t, ssmagent.Config{}, func(w *world) {
		w.start(sekisho.Session{}, shell, nil)
		w.command(shell, nil)
		c := w.attach()
		c.prints(w.ctx, "$ ")
		w.command(shell, nil)
		c.typed(w.ctx, "echo once\r")
		c.prints(w.ctx, "once\r\n$ ")
		if n := w.asked("data-channel"); n != 1 || w.agent.Workers() != 1 {
			t.Errorf("%d tokens, %d workers", n, w.agent.Workers())
		}
	})
}

// An agent that cannot read its task reports nothing. The user sees the
// failure once the start times out.
func TestTaskThatTheAgentCannotRead(t *testing.T) {
	with(t, ssmagent.Config{}, func(w *world) {
		s := sekisho.Session{ID: sid, Target: nodeID, StartedAt: time.Now()}
		if err := w.relay.Open(w.ctx, &s); err != nil {
			t.Fatal(err)
		}
		c := w.attach()
		m := mgs.New(mgs.TypeInteractiveShell, []byte(`{"Content":"not JSON"}`))
		if err := w.channels.Deliver(w.ctx, nodeID, m.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		if why := c.reason(w.ctx); !strings.Contains(why, "25s") {
			t.Errorf("the user sees %q", why)
		}
	})
}

// If nothing listens on the port, the agent's worker dies without a report.
func TestWorkerDies(t *testing.T) {
	refused := func(context.Context, string) (net.Conn, error) { return nil, errors.New("connection refused") }
	with(t, ssmagent.Config{DialPort: refused}, func(w *world) {
		w.start(sekisho.Session{}, "Port", map[string]any{"portNumber": "7"})
		c := w.attach()
		began := time.Now()
		if why := c.reason(w.ctx); !strings.Contains(why, "did not reconnect") {
			t.Errorf("the user sees %q", why)
		}
		if d := time.Since(began); d > 20*time.Second {
			t.Errorf("after %s", d)
		}
		w.gone()
	})
}

// A worker that no longer reads is ended through its control channel.
func TestDeafAgent(t *testing.T) {
	with(t, ssmagent.Config{}, func(w *world) {
		w.start(sekisho.Session{}, shell, nil)
		c := w.attach()
		c.prints(w.ctx, "$ ")
		w.mu.Lock()
		var agent *wire
		for _, o := range w.open {
			if o.kind == "data-channel" {
				agent = o
			}
		}
		w.mu.Unlock()
		agent.in <- packet{b: []byte("\xff\xff\xff\xffa header that lies")}
		c.typed(w.ctx, "echo anybody?\r")
		<-time.After(5 * time.Second)
		if strings.Contains(c.output.String(), "anybody") {
			t.Fatal("the agent still receives input after the malformed frame")
		}
		w.relay.End(w.ctx, sid, sekisho.Ending{Status: sekisho.SessionTerminated, Details: ""})
		c.reason(w.ctx)
		w.gone()
	})
}

// The relay does not forward frames that no honest client sends, because they
// would make the agent deaf.
func TestHarmfulFramesAreNotForwarded(t *testing.T) {
	with(t, ssmagent.Config{}, func(w *world) {
		w.start(sekisho.Session{}, shell, nil)
		c := w.attach()
		c.prints(w.ctx, "$ ")
		m := mgstest.StreamData(mgs.TypeInputStreamData, 0, mgs.PayloadOutput, []byte("x"))
		frame := m.AppendTo(nil)
		frame[0] = 0xff
		c.mu.Lock()
		conn := c.conn
		c.mu.Unlock()
		if err := conn.Write(w.ctx, false, frame); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c.typed(w.ctx, "echo hears\r")
		c.prints(w.ctx, "hears\r\n$ ")
	})
}

func TestSchedules(t *testing.T) {
	t.Parallel()
	for range 100 {
		next := ssmagent.DataSchedule().Delays()
		total := time.Duration(0)
		for range ssmagent.DataSchedule().Attempts {
			total += next()
		}
		if total < 3*time.Second || total >= 6300*time.Millisecond {
			t.Errorf("the data channel is given up after %s", total)
		}
		next = ssmagent.ControlSchedule().Delays()
		if d := next(); d < 5*time.Second || d >= 15*time.Second {
			t.Errorf("first wait: %s", d)
		}
		for range 20 {
			next()
		}
		if d := next(); d < 40*time.Minute || d >= time.Hour {
			t.Errorf("longest wait: %s", d)
		}
	}
}
