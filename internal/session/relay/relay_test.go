package relay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
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

const sid = sekisho.SessionID("alice-abc")

// pipe is one connection of a session with the test at its far end.
type pipe struct {
	in     chan []byte // to the relay
	out    chan []byte // from the relay
	closed chan struct{}
	once   sync.Once
	reason string

	recycled int // frames that were recycled; guarded by the session's mutex
}

func newPipe() *pipe {
	return &pipe{in: make(chan []byte, 100000), out: make(chan []byte, 100000), closed: make(chan struct{})}
}

func (p *pipe) Read(ctx context.Context) ([]byte, error) {
	select {
	case b := <-p.in:
		return b, nil
	case <-p.closed:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipe) Write(ctx context.Context, frames ...[]byte) error {
	for _, b := range frames {
		select {
		case p.out <- bytes.Clone(b):
		case <-p.closed:
			return io.ErrClosedPipe
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Recycle implements [relay.Recycler]. It destroys the frame, so that a test
// fails if the frame is still used.
func (p *pipe) Recycle(frame []byte) {
	p.recycled++
	for i := range frame {
		frame[i] = 0xff
	}
}

func (p *pipe) Close(reason string) {
	p.once.Do(func() { p.reason = reason; close(p.closed) })
}

// drain returns the messages that have arrived so far.
func (p *pipe) drain(t *testing.T) []mgs.Message {
	t.Helper()
	synctest.Wait()
	var all []mgs.Message
	for {
		select {
		case b := <-p.out:
			m, err := mgs.Parse(b)
			if err != nil {
				t.Fatalf("the relay sent a bad frame: %v", err)
			}
			all = append(all, m)
		default:
			return all
		}
	}
}

func (p *pipe) send(m mgs.Message) { p.in <- m.AppendTo(nil) }

// tape is a recording in memory.
type tape struct {
	mu     sync.Mutex
	events []string
	fail   bool
	kind   string
}

func (r *tape) add(kind, s string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail {
		return errors.New("disk full")
	}
	r.events = append(r.events, kind+":"+s)
	return nil
}
func (r *tape) Output(p []byte) error { return r.add("o", string(p)) }
func (r *tape) Input(p []byte) error  { return r.add("i", string(p)) }
func (r *tape) Resize(c, l int) error { return r.add("r", fmt.Sprintf("%dx%d", c, l)) }
func (r *tape) SetKind(t string, _ []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kind = t
	return nil
}
func (r *tape) Echo(on bool) { _ = r.add("echo", strconv.FormatBool(on)) }
func (r *tape) Copy(fromClient bool, p []byte) error {
	return r.add("copy", strconv.FormatBool(fromClient)+" "+string(p))
}
func (r *tape) Disconnected(by bool) error { return r.add("disconnected", strconv.FormatBool(by)) }
func (r *tape) Marker(s string) error      { return r.add("m", s) }
func (r *tape) Seal(e relay.Exit) error {
	if e.Status >= 0 {
		return r.add("seal", fmt.Sprintf("%s exit %d", e.Reason, e.Status))
	}
	return r.add("seal", e.Reason)
}

func (r *tape) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.events, " ")
}

// world is a relay with one open session.
type world struct {
	*relay.Relay
	t    *testing.T
	ctx  context.Context
	tape *tape

	mu       sync.Mutex
	statuses []sekisho.SessionStatus
	ended    []string
	errs     map[*pipe]error
}

func (w *world) Start(context.Context, *sekisho.Session) (relay.RecordWriter, error) {
	return w.tape, nil
}

func (w *world) SessionStatus(_ context.Context, _ sekisho.SessionID, s sekisho.SessionStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.statuses = append(w.statuses, s)
}

func (w *world) SessionEnded(_ context.Context, id sekisho.SessionID, s sekisho.SessionStatus, details string) {
	// The end is not stored yet: a connection at this time must not open the
	// session again.
	late := newPipe()
	if err := w.ServeClient(w.ctx, id, late, relay.Peer{}); err == nil || !w.Live(id) {
		w.t.Errorf("a leg was let into an ended session: %v", err)
	}
	if m, err := mgs.Parse(<-late.out); err != nil || m.Type != mgs.TypeChannelClosed {
		w.t.Errorf("a late leg received %s, %v", m.Type, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = append(w.ended, string(s)+": "+details)
}

func (w *world) endings() string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.ended, " | ")
}

// with runs f in a bubble of virtual time.
func with(t *testing.T, s sekisho.Session, f func(w *world)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &world{t: t, ctx: ctx, tape: &tape{}, errs: map[*pipe]error{}}
		w.Relay = relay.New(relay.Config{Recorder: w, Observer: w, Log: slog.New(slog.DiscardHandler)})
		go w.Run(ctx)
		s.ID, s.Target, s.StartedAt = sid, "mi-0123456789abcdef0", time.Now()
		if err := w.Open(ctx, &s); err != nil {
			t.Fatal(err)
		}
		f(w)
		cancel()
		synctest.Wait()
	})
}

func (w *world) attach(
	serve func(context.Context, sekisho.SessionID, relay.Conn, relay.Peer) error,
	peer relay.Peer,
) *pipe {
	p := newPipe()
	go func() {
		err := serve(w.ctx, sid, p, peer)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.errs[p] = err
	}()
	synctest.Wait()
	return p
}

func (w *world) agent() *pipe  { return w.attach(w.ServeAgent, relay.Peer{}) }
func (w *world) client() *pipe { return w.attach(w.ServeClient, relay.Peer{}) }

func output(seq int64, s string) mgs.Message {
	return mgstest.StreamData(mgs.TypeOutputStreamData, seq, mgs.PayloadOutput, []byte(s))
}

func input(seq int64, s string) mgs.Message {
	return mgstest.StreamData(mgs.TypeInputStreamData, seq, mgs.PayloadOutput, []byte(s))
}

// say describes messages briefly: "0=hello", "ack 0", "channel_closed".
func say(all []mgs.Message) string {
	var parts []string
	for _, m := range all {
		switch m.Type {
		case mgs.TypeInputStreamData, mgs.TypeOutputStreamData:
			parts = append(parts, fmt.Sprintf("%d=%s", m.Seq, m.Payload))
		case mgs.TypeAcknowledge:
			a, err := mgs.ParseAck(m.Payload)
			if err != nil {
				parts = append(parts, err.Error())
				continue
			}
			parts = append(parts, fmt.Sprintf("ack %d", a.Seq))
		case mgs.TypeChannelClosed:
			c, _ := mgs.ParseBody[mgs.ChannelClosed](m.Payload)
			parts = append(parts, strings.TrimSpace("closed "+c.Output))
		default:
			parts = append(parts, m.Type)
		}
	}
	return strings.Join(parts, ", ")
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

// wantReason checks that got is a status or message followed by a reason with these
// facts. What else the reason says is for people.
func wantReason(t *testing.T, what, got, prefix string, facts ...string) {
	t.Helper()
	reason, ok := strings.CutPrefix(got, prefix)
	for _, fact := range facts {
		ok = ok && strings.Contains(reason, fact)
	}
	if !ok {
		t.Errorf("%s: got %q, want %s with %q", what, got, prefix, facts)
	}
}

func frame(m mgs.Message) []byte { return m.AppendTo(nil) }

func ackOf(m mgs.Message) mgs.Message { return mgs.NewAck(&m) }

func TestFramesPassUnchangedAndAreRecordedFirst(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		o, i := output(0, "$ "), input(0, "ls\r")
		agent.send(o)
		client.send(i)
		client.send(mgstest.StreamData(mgs.TypeInputStreamData, 1, mgs.PayloadSize, []byte(`{"cols":113,"rows":37}`)))
		synctest.Wait()
		if got := <-client.out; !bytes.Equal(got, o.AppendTo(nil)) {
			t.Error("the agent's frame was changed on its way")
		}
		if got := <-agent.out; !bytes.Equal(got, i.AppendTo(nil)) {
			t.Error("the client's frame was changed on its way")
		}
		if got := w.tape.String(); !strings.Contains(got, "o:$ ") || !strings.Contains(got, "i:ls\r") ||
			!strings.Contains(got, "r:113x37") {
			t.Errorf("recorded: %q", got)
		}
		client.send(ackOf(o))
		want(t, "the agent hears", say(agent.drain(t)), `1={"cols":113,"rows":37}, ack 0`)
	})
}

func TestOutputThatCannotBeRecordedIsNotShown(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		w.tape.fail = true
		agent.send(output(0, "secret"))
		got := say(client.drain(t))
		if strings.Contains(got, "secret") {
			t.Errorf("the client saw %q", got)
		}
		wantReason(t, "the client", got, "closed ", "recorded")
		wantReason(t, "end", w.endings(), "Failed: ", "recorded")
	})
}

func TestFramesOutOfOrderLeaveInOrder(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		agent.send(output(0, "a"))
		agent.send(output(2, "c"))
		agent.send(output(3, "d"))
		want(t, "before the gap is filled", say(client.drain(t)), "0=a")
		agent.send(output(1, "b"))
		want(t, "after", say(client.drain(t)), "1=b, 2=c, 3=d")
		want(t, "recording", w.tape.String(), "o:a o:b o:c o:d")
	})
}

// The real plugin never acknowledges a frame twice, and the real agent repeats
// only its oldest: one lost acknowledgement would block the session forever.
func TestTheRelayRepeatsLostAcknowledgements(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		first := output(0, "a")
		agent.send(first)
		client.drain(t)
		client.send(ackOf(first))
		want(t, "the client's own", say(agent.drain(t)), "ack 0")
		agent.send(first) // the acknowledgement was lost after the relay
		want(t, "the repeat", say(agent.drain(t)), "ack 0")
		want(t, "the client is not bothered", say(client.drain(t)), "")
		want(t, "recorded once", w.tape.String(), "o:a")
	})
}

// An acknowledgement is lost with its connection, and the real plugin never
// acknowledges the message again.
func TestALaterAcknowledgementCoversAnEarlierConnection(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		var sent []mgs.Message
		for i := range 4 {
			sent = append(sent, output(int64(i), "x"))
			agent.send(sent[i])
		}
		client.drain(t)
		client.Close("")
		synctest.Wait()
		client = w.client()
		want(t, "written again", say(client.drain(t)), "0=x, 1=x, 2=x, 3=x")
		client.send(ackOf(sent[3]))
		want(t, "the agent hears", say(agent.drain(t)), "ack 0, ack 1, ack 2, ack 3")
	})
}

// AWS's agent does so while it connects to the port of a session: it silently
// refuses the first frame, and keeps later ones.
func TestTheFirstFrameIsResentToAReceiverThatWasNotReady(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		var sent []mgs.Message
		for i := range 3 {
			sent = append(sent, input(int64(i), string(rune('a'+i))))
			client.send(sent[i])
		}
		want(t, "all", say(agent.drain(t)), "0=a, 1=b, 2=c")
		agent.send(ackOf(sent[1]))
		agent.send(ackOf(sent[2]))
		want(t, "the client receives only these", say(client.drain(t)), "ack 1, ack 2")
		client.send(sent[0])
		want(t, "the first is passed on again", say(agent.drain(t)), "0=a")
		client.send(sent[1])
		want(t, "what the agent keeps is not", say(agent.drain(t)), "")
		want(t, "but answered", say(client.drain(t)), "ack 1")
		agent.Close("")
		synctest.Wait()
		agent = w.agent()
		want(t, "nor is it for a new connection", say(agent.drain(t)), "0=a")
		agent.send(ackOf(sent[0]))
		want(t, "ready at last", say(client.drain(t)), "ack 0")
		client.send(input(3, "d"))
		want(t, "and on it goes", say(agent.drain(t)), "3=d")
	})
}

func TestAnUnacknowledgedRepeatIsForwarded(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		first := output(0, "a")
		agent.send(first)
		want(t, "first", say(client.drain(t)), "0=a")
		agent.send(first)
		want(t, "again", say(client.drain(t)), "0=a")
		want(t, "recorded once", w.tape.String(), "o:a")
	})
}

func TestOutputWaitsForTheClientAndArrivesOnceInOrder(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent := w.agent()
		for i := range 5 {
			agent.send(output(int64(i), string(rune('a'+i))))
		}
		synctest.Wait()
		client := w.client()
		want(t, "first client", say(client.drain(t)), "0=a, 1=b, 2=c, 3=d, 4=e")
		client.send(ackOf(output(0, "")))
		client.send(ackOf(output(1, "")))
		synctest.Wait()
		client.Close("")
		synctest.Wait()
		agent.send(output(5, "f"))
		synctest.Wait()
		again := w.client()
		want(t, "after its return", say(again.drain(t)), "2=c, 3=d, 4=e, 5=f")
		want(t, "recording", w.tape.String(), "o:a o:b o:c o:d o:e o:f")
	})
}

func TestInputWaitsForAnAgentThatReconnects(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		client.send(input(0, "a"))
		want(t, "before", say(agent.drain(t)), "0=a")
		agent.Close("")
		synctest.Wait()
		client.send(input(1, "b"))
		synctest.Wait()
		again := w.agent()
		want(t, "after", say(again.drain(t)), "0=a, 1=b")
		want(t, "no end", w.endings(), "")
	})
}

func TestExitReachesTheClientAfterAllOutput(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		last := output(0, "logout\r\n")
		agent.send(last)
		agent.send(mgs.NewAgentSessionState(string(sid), mgs.SessionStateTerminating))
		want(t, "the client sees", say(client.drain(t)), "0=logout\r\n")
		want(t, "no end before the client has it", w.endings(), "")
		client.send(ackOf(last))
		want(t, "the client then sees", say(client.drain(t)), "closed")
		want(t, "end", w.endings(), "Terminated: ")
		want(t, "recording", w.tape.String(), "o:logout\r\n seal:")
		<-client.closed
		synctest.Wait()
		if w.Live(sid) {
			t.Error("the session is still open")
		}
	})
}

func TestABadFrameClosesItsOwnChannelOnly(t *testing.T) {
	bad := map[string][]byte{
		"empty":                   {},
		"truncated":               frame(output(0, "x"))[:60],
		"lying header length":     append([]byte{0, 0, 255, 255}, frame(output(0, "x"))[4:]...),
		"wrong direction":         frame(input(0, "x")),
		"acknowledges itself":     frame(ackOf(output(0, "x"))),
		"malformed ack":           frame(mgs.New(mgs.TypeAcknowledge, []byte("{"))),
		"altered payload":         append(frame(output(0, "xy"))[:121], 'z'),
		"malformed session state": frame(mgs.New(mgs.TypeAgentSessionState, []byte("[]"))),
	}
	for name, frame := range bad {
		t.Run(name, func(t *testing.T) {
			with(t, sekisho.Session{}, func(w *world) {
				agent, client := w.agent(), w.client()
				agent.in <- frame
				synctest.Wait()
				select {
				case <-agent.closed:
				default:
					t.Fatal("the channel stays open")
				}
				if !strings.Contains(agent.reason, "protocol error") {
					t.Errorf("reason = %q", agent.reason)
				}
				want(t, "the client does not notice", say(client.drain(t)), "")
				want(t, "no end", w.endings(), "")
				again := w.agent()
				again.send(output(0, "on"))
				want(t, "the session resumes", say(client.drain(t)), "0=on")
			})
		})
	}
}

// TestAcknowledgedAcknowledgements: some clients acknowledge everything. That
// does not acknowledge output with the same number.
func TestAcknowledgedAcknowledgements(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		key := input(0, "k")
		client.send(key)
		agent.send(output(0, "a"))
		agent.drain(t)
		ack := ackOf(key)
		agent.send(ack)
		client.drain(t)
		client.send(mgs.NewAckOf(mgs.TypeAcknowledge, ack.ID, 0))
		client.send(mgs.NewAckOf(mgs.TypeChannelClosed, ack.ID, 0))
		want(t, "the agent", say(agent.drain(t)), "")
		client.Close("")
		synctest.Wait()
		want(t, "output of that number is not taken for acknowledged", say(w.client().drain(t)), "0=a")
	})
}

func TestDeadlines(t *testing.T) {
	t.Run("the agent never connects", func(t *testing.T) {
		with(t, sekisho.Session{}, func(w *world) {
			client := w.client()
			<-time.After(30 * time.Second)
			wantReason(t, "the client", say(client.drain(t)), "closed ", "mi-0123456789abcdef0", "25s")
			wantReason(t, "end", w.endings(), "Failed: ", "mi-0123456789abcdef0", "25s")
		})
	})
	t.Run("the agent dies", func(t *testing.T) {
		with(t, sekisho.Session{}, func(w *world) {
			agent, client := w.agent(), w.client()
			agent.Close("")
			<-time.After(10 * time.Second)
			want(t, "it may come back", say(client.drain(t)), "")
			<-time.After(10 * time.Second)
			wantReason(t, "the client", say(client.drain(t)), "closed ", "mi-0123456789abcdef0", "15s")
		})
	})
	t.Run("no client connects", func(t *testing.T) {
		with(t, sekisho.Session{}, func(w *world) {
			agent := w.agent()
			<-time.After(3 * time.Minute)
			wantReason(t, "the agent", say(agent.drain(t)), "closed ", "client", "2m0s")
		})
	})
	t.Run("idle", func(t *testing.T) {
		with(t, sekisho.Session{IdleTimeout: 10 * time.Minute}, func(w *world) {
			agent, client := w.agent(), w.client()
			<-time.After(9 * time.Minute)
			client.send(input(0, "x"))
			<-time.After(9 * time.Minute)
			want(t, "typing keeps it", say(client.drain(t)), "")
			<-time.After(2 * time.Minute)
			wantReason(t, "then", say(client.drain(t)), "closed ", "idle", "10m0s")
			agent.drain(t)
		})
	})
	t.Run("maximum duration", func(t *testing.T) {
		with(t, sekisho.Session{MaxDuration: time.Hour}, func(w *world) {
			agent, client := w.agent(), w.client()
			for i := range 70 {
				agent.send(output(int64(i), "x"))
				<-time.After(time.Minute)
			}
			_, end, _ := strings.Cut(say(client.drain(t)), "closed ")
			wantReason(t, "the client", end, "", "maximum", "1h0m0s")
		})
	})
}

func TestMemoryIsBoundedWhileTheClientIsAway(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent := w.agent()
		block := strings.Repeat("x", 64<<10)
		for i := range 1000 { // 64 MB
			agent.send(output(int64(i), block))
		}
		paused := false
		for _, m := range agent.drain(t) {
			paused = paused || m.Type == mgs.TypePausePublication
		}
		if !paused {
			t.Error("the agent was not asked to pause")
		}
		client := w.client()
		got := client.drain(t)
		held := 0
		for i, m := range got {
			if m.Seq != int64(i) {
				t.Fatalf("frame %d has number %d", i, m.Seq)
			}
			held += len(m.Payload)
		}
		if held > 17<<20 || held < 4<<20 {
			t.Errorf("%d bytes were held", held)
		}
		// Dropped frames are not acknowledged, so the agent resends them and
		// nothing is lost.
		for _, m := range got {
			client.send(ackOf(m))
		}
		resumed := false
		for _, m := range agent.drain(t) {
			resumed = resumed || m.Type == mgs.TypeStartPublication
		}
		if !resumed {
			t.Error("the agent was not asked to resume")
		}
		agent.send(output(int64(len(got)), "next"))
		want(t, "next", say(client.drain(t)), fmt.Sprintf("%d=next", len(got)))
	})
}

func TestANewerConnectionReplacesTheOlder(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, first := w.agent(), w.client()
		second := w.client()
		synctest.Wait()
		<-first.closed
		agent.send(output(0, "a"))
		want(t, "the newer gets it", say(second.drain(t)), "0=a")
	})
}

// answering is a connection whose peer answers pings as long as it is open,
// and never after gone is closed.
type answering struct {
	*pipe
	gone chan struct{}
}

func (a answering) Ping(ctx context.Context) error {
	select {
	case <-a.closed:
		return io.EOF
	case <-a.gone:
		<-ctx.Done()
		return ctx.Err()
	default:
		return nil
	}
}

// TestAnAgentThatAnswersIsNotReplaced: an agent is replaced by another connection
// with its identity only if it no longer answers.
func TestAnAgentThatAnswersIsNotReplaced(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		first := answering{newPipe(), make(chan struct{})}
		go func() { _ = w.ServeAgent(w.ctx, sid, first, relay.Peer{}) }()
		synctest.Wait()
		second := newPipe()
		if err := w.ServeAgent(w.ctx, sid, second, relay.Peer{}); !errors.Is(err, relay.ErrAgentLive) {
			t.Errorf("beside a live agent: %v", err)
		}
		<-second.closed
		client := w.client()
		first.send(output(0, "mine"))
		synctest.Wait()
		want(t, "output of the live agent", say(client.drain(t)), "0=mine")

		close(first.gone) // half open: the peer vanished unnoticed
		third := w.agent()
		synctest.Wait()
		<-first.closed
		third.send(output(1, "back"))
		synctest.Wait()
		want(t, "output after the replacement", say(client.drain(t)), "1=back")
	})
}

func TestAnEndedSessionAcceptsNoConnection(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		w.End(w.ctx, sid, sekisho.Ending{Status: sekisho.SessionTerminated, Details: "done"})
		w.End(w.ctx, sid, sekisho.Ending{Status: sekisho.SessionTerminated, Details: "twice"})
		want(t, "once", w.endings(), "Terminated: done")
		p := newPipe()
		if err := w.ServeClient(w.ctx, sid, p, relay.Peer{}); !errors.Is(err, relay.ErrNotOpen) {
			t.Errorf("a leg was served: %v", err)
		}
		if err := relay.Farewell(w.ctx, &sekisho.Session{ID: sid, Details: "done"}, p); err != nil {
			t.Error(err)
		}
		<-p.closed
		want(t, "the client receives", say(p.drain(t)), "closed done")
	})
}

// A peer that does not read when the session ends, and keeps sending, still
// receives the end.
func TestTheEndReachesAPeerThatKeepsSending(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(map[bool]string{false: "ended", true: "recording failed"}[fails], func(t *testing.T) {
			with(t, sekisho.Session{}, func(w *world) {
				agent := w.agent()
				client := newPipe()
				client.out = make(chan []byte)
				go func() { _ = w.ServeClient(w.ctx, sid, client, relay.Peer{}) }()
				agent.send(output(0, "x"))
				synctest.Wait() // it is being written
				if fails {
					w.tape.mu.Lock()
					w.tape.fail = true
					w.tape.mu.Unlock()
				} else {
					w.End(w.ctx, sid, sekisho.Ending{Status: sekisho.SessionTerminated, Details: "done"})
				}
				client.send(input(0, "k"))
				synctest.Wait()
				var got []mgs.Message
				for open := true; open; {
					select {
					case b := <-client.out:
						m, err := mgs.Parse(b)
						if err != nil {
							t.Fatal(err)
						}
						got = append(got, m)
					case <-client.closed:
						open = false
					}
				}
				end := "done"
				if fails {
					end = "recorded"
				}
				wantReason(t, "the client sees", say(got), "0=x, closed ", end)
			})
		})
	}
}

func TestBothEndsContinueAfterARestart(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent := w.agent()
		agent.send(output(41, "k")) // its oldest unacknowledged frame
		agent.send(output(42, "l"))
		synctest.Wait()
		client := w.client()
		want(t, "the client", say(client.drain(t)), "41=k, 42=l")
		client.send(input(7, "x"))
		want(t, "the agent", say(agent.drain(t)), "7=x")
		w.Shutdown()
		<-agent.closed
		<-client.closed
		want(t, "stopping is no end", w.endings(), "")
		if strings.Contains(w.tape.String(), "seal") {
			t.Error("the recording was sealed")
		}
	})
}

func TestASessionOfAnEarlierProcessGetsTimeToReconnect(t *testing.T) {
	with(t, sekisho.Session{Status: sekisho.SessionConnected}, func(w *world) {
		<-time.After(40 * time.Second)
		want(t, "both may come back", w.endings(), "")
		agent := w.agent()
		<-time.After(time.Hour)
		want(t, "a sleeping client is waited for", w.endings(), "")
		agent.Close("")
	})
	t.Run("not forever", func(t *testing.T) {
		with(t, sekisho.Session{Status: sekisho.SessionDisconnected}, func(w *world) {
			<-time.After(time.Minute)
			wantReason(t, "end", w.endings(), "Terminated: ", "mi-0123456789abcdef0", "15s")
		})
	})
}

func TestStatusFollowsTheConnections(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent := w.agent()
		client := w.client()
		client.Close("")
		synctest.Wait()
		agent.drain(t)
		want(t, "statuses", fmt.Sprint(w.statuses), "[Connecting Connected Disconnected]")
	})
}

// TestEchoIsForTheRecording: the agent's report on the echo of its terminal
// reaches the recording before the following prompt, and does not reach the
// client.
func TestEchoIsForTheRecording(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		agent.send(mgs.NewAgentSessionState(string(sid), mgs.SessionStateEchoOff))
		agent.send(output(0, "Password: "))
		synctest.Wait() // otherwise the two directions have no order
		client.send(input(0, "hunter2"))
		synctest.Wait()
		agent.send(mgs.NewAgentSessionState(string(sid), mgs.SessionStateEchoOn))
		synctest.Wait()
		want(t, "recording", w.tape.String(), "echo:false o:Password:  i:hunter2 echo:true")
		for _, m := range client.drain(t) {
			if m.Type == mgs.TypeAgentSessionState {
				t.Error("the client was sent the state of the terminal")
			}
		}
	})
}

// TestKindReachesTheRecording: the recording gets the session type from the
// handshake, and the end of each connection.
func TestKindReachesTheRecording(t *testing.T) {
	with(t, sekisho.Session{}, func(w *world) {
		agent, client := w.agent(), w.client()
		m := mgs.New(
			mgs.TypeOutputStreamData,
			[]byte(`{"AgentVersion":"4.0.0","RequestedClientActions":[{"ActionType":"SessionType",`+
				`"ActionParameters":{"SessionType":"Port","Properties":{"portNumber":"22"}}}]}`),
		)
		m.PayloadType = mgs.PayloadHandshakeRequest
		agent.send(m)
		synctest.Wait()
		flag := mgs.New(mgs.TypeInputStreamData, mgs.FlagDisconnectToPort.Bytes())
		flag.PayloadType = mgs.PayloadFlag
		client.send(flag)
		synctest.Wait()
		want(t, "kind", w.tape.kind, "Port")
		want(t, "recording", w.tape.String(), "disconnected:true")
	})
}
