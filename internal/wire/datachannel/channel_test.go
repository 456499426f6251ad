package datachannel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"sekisho/internal/wire/datachannel"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mgs/mgstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func output(seq int64, payload string) mgs.Message {
	return mgstest.StreamData(mgs.TypeOutputStreamData, seq, mgs.PayloadOutput, []byte(payload))
}

func send(t *testing.T, c *datachannel.Channel, payload string) {
	t.Helper()
	if err := c.Send(t.Context(), mgs.PayloadOutput, []byte(payload)); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c *datachannel.Channel, want string) {
	t.Helper()
	_, b, err := c.Receive(t.Context())
	if err != nil || string(b) != want {
		t.Errorf("received %q, %v; want %q", b, err, want)
	}
}

// TestBadLines tests the package's guarantee: over any line, both streams arrive complete,
// once and in order.
func TestBadLines(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		f := faults{
			drop:      rapid.Float64Range(0, 0.2).Draw(rt, "drop"),
			duplicate: rapid.Float64Range(0, 0.3).Draw(rt, "duplicate"),
			delay:     time.Duration(rapid.IntRange(0, 200).Draw(rt, "delay ms")) * time.Millisecond,
			reorder:   rapid.Bool().Draw(rt, "reorder"),
			cutAfter:  rapid.SampledFrom([]int{0, 7, 30, 200}).Draw(rt, "cut after"),
		}
		seed := rapid.Uint64().Draw(rt, "seed")
		sizes := [2][]int{
			rapid.SliceOfN(rapid.IntRange(1, 3000), 1, 30).Draw(rt, "agent sends"),
			rapid.SliceOfN(rapid.IntRange(1, 3000), 1, 30).Draw(rt, "client sends"),
		}
		window := rapid.SampledFrom([]int{0, 1, 3}).Draw(rt, "window frames")
		receiveFrames := rapid.SampledFrom([]int{0, 2}).Draw(rt, "receive frames")
		var failure error
		synctest.Test(t, func(*testing.T) {
			failure = exchange(f, seed, sizes, datachannel.Config{WindowFrames: window, ReceiveFrames: receiveFrames})
		})
		if failure != nil {
			rt.Fatal(failure)
		}
	})
}

// exchange sends messages of the given sizes both ways and compares.
func exchange(f faults, seed uint64, sizes [2][]int, cfg datachannel.Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour) // of virtual time
	defer cancel()
	agentCfg, clientCfg := cfg, cfg
	agentCfg.Role, clientCfg.Role = datachannel.AgentLeg, datachannel.ClientLeg
	ends := [2]*datachannel.Channel{datachannel.New(agentCfg), datachannel.New(clientCfg)}
	var sent [2][]byte
	var got [2][]byte
	var errs [4]error
	rng := rand.New(rand.NewPCG(seed, 3))
	for i := range ends {
		if seed%5 != 0 {
			ends[i].SetChecksums()
		}
		n := 0
		for _, size := range sizes[i] {
			n += size
		}
		sent[i] = make([]byte, n)
		for j := range sent[i] {
			sent[i][j] = byte(rng.Uint32())
		}
	}
	lineCtx, cut := context.WithCancel(ctx)
	var lines, work sync.WaitGroup
	lines.Go(func() { connect(lineCtx, ends[0], ends[1], f, seed) })
	for i := range ends {
		work.Go(func() {
			rest := sent[i]
			for _, size := range sizes[i] {
				if err := ends[i].Send(ctx, mgs.PayloadOutput, rest[:size]); err != nil {
					errs[i] = fmt.Errorf("send: %w", err)
					return
				}
				rest = rest[size:]
			}
			if err := ends[i].Drain(ctx); err != nil {
				errs[i] = fmt.Errorf("drain: %w", err)
			}
		})
		work.Go(func() {
			var err error
			if got[i], err = receiveAll(ctx, ends[i], len(sent[1-i])); err != nil {
				errs[2+i] = fmt.Errorf("receive: %w", err)
			}
		})
	}
	work.Wait()
	cut()
	lines.Wait()
	for i := range ends {
		if !bytes.Equal(got[i], sent[1-i]) {
			errs[i] = errors.Join(
				errs[i],
				fmt.Errorf("end %d received %d bytes that differ from the %d sent", i, len(got[i]), len(sent[1-i])),
			)
		}
		if reason, closed := ends[i].Closed(); closed {
			errs[i] = errors.Join(errs[i], fmt.Errorf("end %d closed: %s", i, reason))
		}
	}
	return errors.Join(errs[:]...)
}

func TestFramesAreAsStockPeersExpect(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		role  datachannel.Role
		typ   string
		flags uint64
	}{
		{datachannel.AgentLeg, mgs.TypeOutputStreamData, mgs.FlagSYN},
		{datachannel.ClientLeg, mgs.TypeInputStreamData, 0},
	} {
		c := datachannel.New(datachannel.Config{Role: tc.role})
		p := attach(t, c)
		if err := c.Send(t.Context(), mgs.PayloadSize, bytes.Repeat([]byte("x"), 1500)); err != nil {
			t.Fatal(err)
		}
		first, second := p.read(), p.read()
		if first.Type != tc.typ || first.Seq != 0 || first.Flags != tc.flags || first.PayloadType != mgs.PayloadSize ||
			len(first.Payload) != 1024 || first.SchemaVersion != 1 {
			t.Errorf("first: %+v", first)
		}
		if second.Seq != 1 || second.Flags != 0 || len(second.Payload) != 476 || second.ID == first.ID {
			t.Errorf("second: %+v", second)
		}
		if err := c.Send(t.Context(), mgs.PayloadOutput, nil); err != nil {
			t.Fatal(err)
		}
		c.SetMaxPayload(4096)
		if err := c.Send(t.Context(), mgs.PayloadOutput, make([]byte, 4096)); err != nil {
			t.Fatal(err)
		}
		if m := p.read(); m.Seq != 2 || len(m.Payload) != 4096 {
			t.Errorf("third: %d, %d bytes", m.Seq, len(m.Payload))
		}

		peerType := mgs.TypeInputStreamData
		if tc.role == datachannel.ClientLeg {
			peerType = mgs.TypeOutputStreamData
		}
		m := mgstest.StreamData(peerType, 0, mgs.PayloadStdErr, []byte("hello"))
		p.write(m)
		pt, b, err := c.Receive(t.Context())
		if err != nil || pt != mgs.PayloadStdErr || string(b) != "hello" {
			t.Errorf("received %d %q %v", pt, b, err)
		}
		got := p.read()
		a, err := mgs.ParseAck(got.Payload)
		want := mgs.Acknowledge{Type: peerType, ID: m.ID, Seq: 0, Sequential: true}
		if err != nil || a != want || got.Flags != 3 || got.Seq != 0 || got.PayloadType != 0 {
			t.Errorf("acknowledgement %+v with body %+v (%v)", got, a, err)
		}
	}
}

func TestDuplicatesAreAcknowledgedAgain(t *testing.T) {
	t.Parallel()
	c := datachannel.New(datachannel.Config{Role: datachannel.ClientLeg})
	p := attach(t, c)
	m := output(0, "a")
	for range 3 {
		p.write(m)
		if seq := p.readAck(); seq != 0 {
			t.Errorf("message %d was acknowledged", seq)
		}
	}
	p.write(output(1, "b"))
	receive(t, c, "a")
	receive(t, c, "b")
}

func TestEarlyMessagesWaitForTheGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := datachannel.New(datachannel.Config{Role: datachannel.ClientLeg})
		p := attach(t, c)
		p.write(output(2, "c"))
		p.write(output(1, "b"))
		p.write(output(1, "b"))
		synctest.Wait()
		p.none()
		p.write(output(0, "a"))
		for want := range int64(3) {
			if got := p.readAck(); got != want {
				t.Errorf("message %d was acknowledged, want %d", got, want)
			}
		}
		for _, want := range []string{"a", "b", "c"} {
			receive(t, c, want)
		}
	})
}

func TestResendTiming(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := datachannel.New(datachannel.Config{Role: datachannel.AgentLeg})
		p := attach(t, c)
		send(t, c, "first")
		send(t, c, "second")
		start := time.Now()
		oldest := p.read()
		newer := p.read()
		// Only the oldest is sent again, unchanged, at growing intervals.
		for i, want := range []time.Duration{200, 600, 1400, 2400, 3400} {
			m := p.read()
			if m.Seq != 0 || m.ID != oldest.ID || m.CreatedMillis != oldest.CreatedMillis {
				t.Fatalf("repetition %d is %+v", i, m)
			}
			if at := time.Since(start); at != want*time.Millisecond {
				t.Errorf("repetition %d after %v, want %v", i, at, want*time.Millisecond)
			}
		}
		p.ack(oldest)
		if m := p.read(); m.Seq != 1 || m.ID != newer.ID {
			t.Errorf("then came %+v", m)
		}
		p.ack(newer)
		synctest.Wait()
		if err := c.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if pause(t.Context(), time.Hour) == nil {
			p.none()
		}
	})
}

func TestTimeoutFollowsRoundTrip(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := datachannel.New(datachannel.Config{Role: datachannel.AgentLeg})
		p := attach(t, c)
		// The reference is the estimate that the stock ends compute.
		rtt, rttVar := 100*time.Millisecond, time.Duration(0)
		const trip = 20 * time.Millisecond
		for range 50 {
			send(t, c, "x")
			m := p.read()
			if err := pause(t.Context(), trip); err != nil {
				t.Fatal(err)
			}
			p.ack(m)
			if err := c.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			rttVar = rttVar*3/4 + (rtt-trip).Abs()/4
			rtt = rtt*7/8 + trip/8
		}
		want := min(time.Second, rtt+max(10*time.Millisecond, 4*rttVar))
		send(t, c, "lost")
		p.read()
		start := time.Now()
		p.read()
		if got := time.Since(start); got != want || got > 40*time.Millisecond {
			t.Errorf("resent after %v, want %v", got, want)
		}
	})
}

func TestReconnectResendsInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := datachannel.New(datachannel.Config{Role: datachannel.AgentLeg})
		p := attach(t, c)
		for _, s := range []string{"a", "b", "c", "d"} {
			send(t, c, s)
		}
		var sent []mgs.Message
		for range 4 {
			sent = append(sent, p.read())
		}
		p.ack(sent[0])
		p.ack(sent[2])
		synctest.Wait()
		if err := p.hangUp(); !errors.Is(err, errCut) {
			t.Errorf("Serve: %v", err)
		}
		send(t, c, "e") // nobody is connected
		start := time.Now()
		p = attach(t, c)
		for i, want := range []int64{1, 3, 4} {
			m := p.read()
			if m.Seq != want || i < 2 && m.ID != sent[want].ID {
				t.Errorf("got message %d, want %d", m.Seq, want)
			}
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("it took %v", waited)
		}
	})
}

func TestLateAcknowledgementsAfterReconnect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := datachannel.New(datachannel.Config{Role: datachannel.AgentLeg})
		p := attach(t, c)
		var sent []mgs.Message
		for range 40 {
			send(t, c, "x")
			sent = append(sent, p.read())
		}
		_ = p.hangUp()
		// The new connection accepts only the first batch, so most messages are not yet
		// resent when the acknowledgements of the first transmission arrive.
		near, far := pipe(1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Serve(ctx, near) }()
		p = &peer{t: t, conn: far}
		synctest.Wait() // otherwise a late batch might be the first to be sent
		for _, m := range sent {
			p.ack(m)
		}
		if err := c.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		send(t, c, "fresh")
		for {
			if m := p.read(); string(m.Payload) == "fresh" {
				break
			} else if m.Seq > 20 {
				t.Fatalf("message %d was sent again though acknowledged", m.Seq)
			}
		}
		cancel()
		<-done
	})
}

func TestNewConnectionReplacesOld(t *testing.T) {
	t.Parallel()
	c := datachannel.New(datachannel.Config{Role: datachannel.AgentLeg})
	old := attach(t, c)
	send(t, c, "a")
	old.read()
	fresh := attach(t, c)
	if m := fresh.read(); m.Seq != 0 {
		t.Errorf("%+v", m)
	}
	if err := old.ended(); !errors.Is(err, context.Canceled) {
		t.Errorf("the old Serve: %v", err)
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]datachannel.Config{
		"frames": {WindowFrames: 3},
		"bytes":  {WindowBytes: 3 * (mgs.Overhead + 1)},
	} {
		synctest.Test(t, func(t *testing.T) {
			cfg.Role = datachannel.AgentLeg
			c := datachannel.New(cfg)
			p := attach(t, c)
			var sent []string
			done := make(chan struct{})
			go func() {
				defer close(done)
				for i := range 5 {
					if err := c.Send(t.Context(), mgs.PayloadOutput, []byte{byte('0' + i)}); err != nil {
						t.Error(err)
					}
					sent = append(sent, fmt.Sprint(i))
				}
			}()
			synctest.Wait()
			if len(sent) != 3 {
				t.Fatalf("%s: %d messages fit", name, len(sent))
			}
			first, second := p.read(), p.read()
			p.read()
			// A full window does not delay acknowledgements.
			p.write(mgstest.StreamData(mgs.TypeInputStreamData, 0, mgs.PayloadOutput, []byte("key")))
			if seq := p.readAck(); seq != 0 {
				t.Errorf("%s: acknowledged %d", name, seq)
			}
			p.ack(first)
			synctest.Wait()
			if len(sent) != 4 {
				t.Errorf("%s: %d messages after one acknowledgement", name, len(sent))
			}
			p.ack(second)
			<-done
		})
	}
}

// TestDrainWithin: the time limit counts from the peer's last acknowledgement.
func TestDrainWithin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const patience = 10 * time.Minute
		c := datachannel.New(datachannel.Config{Role: datachannel.AgentLeg})
		defer c.Close("")
		send(t, c, "one")
		send(t, c, "two")
		done := make(chan error, 1)
		go func() { done <- c.DrainWithin(t.Context(), patience) }()
		<-time.After(9 * time.Minute)
		p := attach(t, c)
		p.ack(p.read())
		p.read()
		_ = p.hangUp()
		<-time.After(9 * time.Minute)
		select {
		case err := <-done:
			t.Fatalf("given up after 9 minutes: %v", err)
		default:
		}
		began := time.Now()
		if err := <-done; !errors.Is(err, datachannel.ErrStalled) || time.Since(began) > time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if n, all := c.Sent(); n != 2 || all {
			t.Errorf("sent %d, all acknowledged: %v", n, all)
		}
		go func() { done <- c.DrainWithin(t.Context(), patience) }()
		<-time.After(9 * time.Minute)
		p = attach(t, c)
		p.ack(p.read())
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = p.hangUp()
	})
}

func TestPausedPublication(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := datachannel.New(datachannel.Config{Role: datachannel.AgentLeg})
		p := attach(t, c)
		p.write(mgs.NewPublication(false))
		synctest.Wait()
		send(t, c, "held")
		p.write(mgstest.StreamData(mgs.TypeInputStreamData, 0, mgs.PayloadOutput, []byte("key")))
		p.readAck() // acknowledgements continue
		if err := pause(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		p.none()
		p.write(mgs.NewPublication(true))
		if m := p.read(); string(m.Payload) != "held" {
			t.Errorf("%+v", m)
		}
		p.write(mgs.NewPublication(false))
		synctest.Wait()
		_ = p.hangUp()
		if m := attach(t, c).read(); string(m.Payload) != "held" {
			t.Errorf("a new connection is still paused: %+v", m)
		}
	})
}

func TestSlowReceiverSlowsSender(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := datachannel.New(datachannel.Config{Role: datachannel.ClientLeg, ReceiveFrames: 200})
		p := attach(t, c)
		payload := strings.Repeat("x", 1024)
		for i := range int64(300) {
			p.write(output(i, payload))
		}
		synctest.Wait()
		var acked int64
		for len(p.conn.in) > 0 {
			if got := p.readAck(); got != acked {
				t.Fatalf("acknowledged %d, want %d", got, acked)
			}
			acked++
		}
		if acked < 50 || acked > 64 {
			t.Errorf("%d of 300 messages were acknowledged and none was taken", acked)
		}
		if len(p.conn.out) != 99 { // 200 are held, one is in the reader's hand
			t.Errorf("%d messages wait in the connection", len(p.conn.out))
		}
		for range 300 {
			receive(t, c, payload)
		}
		for acked < 300 {
			if got := p.readAck(); got != acked {
				t.Fatalf("acknowledged %d, want %d", got, acked)
			}
			acked++
		}
	})
}

func TestDuplicatesOfWaitingMessagesAreNotAcknowledged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := datachannel.New(datachannel.Config{Role: datachannel.ClientLeg, MaxReceivePayload: 1 << 20})
		p := attach(t, c)
		large := strings.Repeat("x", 100<<10) // more than is acknowledged ahead
		p.write(output(0, large))
		p.write(output(0, large))
		synctest.Wait()
		p.none()
		receive(t, c, large)
		if p.readAck() != 0 {
			t.Error("not acknowledged when taken")
		}
	})
}

func TestChannelClosed(t *testing.T) {
	t.Parallel()
	c := datachannel.New(datachannel.Config{Role: datachannel.ClientLeg})
	p := attach(t, c)
	p.write(output(0, "last words"))
	p.write(mgs.NewChannelClosed("mi-0", "alice-x", "idle too long"))
	err := p.ended()
	ce, ok := errors.AsType[*datachannel.ClosedError](err)
	if !ok || !ce.Remote || ce.Peer || ce.Reason != "idle too long" {
		t.Errorf("Serve: %+v", err)
	}
	receive(t, c, "last words")
	if _, _, err := c.Receive(t.Context()); !errors.Is(err, datachannel.ErrClosed) ||
		!strings.Contains(err.Error(), "idle too long") {
		t.Errorf("Receive: %v", err)
	}
	if err := c.Send(t.Context(), mgs.PayloadOutput, []byte("x")); !errors.Is(err, datachannel.ErrClosed) {
		t.Errorf("Send: %v", err)
	}
	if err := c.SendControl(mgs.NewAgentSessionState("alice-x", mgs.SessionStateConnected)); !errors.Is(
		err,
		datachannel.ErrClosed,
	) {
		t.Errorf("SendControl: %v", err)
	}
	if reason, closed := c.Closed(); !closed || reason != "idle too long" {
		t.Errorf("Closed: %q, %v", reason, closed)
	}
	near, _ := pipe(1)
	if err := c.Serve(t.Context(), near); !errors.Is(err, datachannel.ErrClosed) {
		t.Errorf("Serve once more: %v", err)
	}
	<-c.Done()
}

func TestCloseReleasesAllWaiters(t *testing.T) {
	t.Parallel()
	c := datachannel.New(datachannel.Config{Role: datachannel.AgentLeg, WindowFrames: 1})
	p := attach(t, c)
	send(t, c, "a")
	p.read()
	errs := make(chan error, 5)
	for _, f := range []func() error{
		func() error { return c.Send(t.Context(), mgs.PayloadOutput, []byte("b")) },
		func() error { return c.Send(t.Context(), mgs.PayloadOutput, []byte("c")) },
		func() error { return c.Drain(t.Context()) },
		func() error { _, _, err := c.Receive(t.Context()); return err },
		func() error { _, _, err := c.Receive(t.Context()); return err },
	} {
		go func() { errs <- f() }()
	}
	c.Close("enough")
	for range 5 {
		if err := <-errs; !errors.Is(err, datachannel.ErrClosed) || !strings.Contains(err.Error(), "enough") {
			t.Errorf("got %v", err)
		}
	}
	if err := p.ended(); !errors.Is(err, datachannel.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
}

func TestContextReleasesWaiters(t *testing.T) {
	t.Parallel()
	c := datachannel.New(datachannel.Config{Role: datachannel.AgentLeg, WindowFrames: 1})
	send(t, c, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Send(ctx, mgs.PayloadOutput, []byte("b")); !errors.Is(err, context.Canceled) {
		t.Errorf("Send: %v", err)
	}
	if err := c.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Drain: %v", err)
	}
	if _, _, err := c.Receive(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Receive: %v", err)
	}
	near, _ := pipe(1)
	if err := c.Serve(ctx, near); !errors.Is(err, context.Canceled) {
		t.Errorf("Serve: %v", err)
	}
}

func TestViolationsCloseTheChannel(t *testing.T) {
	t.Parallel()
	frame := func(m mgs.Message) []byte { return m.AppendTo(nil) }
	ackOf := func(typ string, seq int64) []byte { return frame(mgs.NewAckOf(typ, mgs.NewUUID(), seq)) }
	lying := frame(output(0, "x"))
	lying[3] = 200
	for name, tc := range map[string]struct {
		frame []byte
		want  string
	}{
		"rubbish":      {[]byte("rubbish"), "shorter"},
		"lying header": {lying, "header length"},
		"our own direction": {frame(mgstest.StreamData(mgs.TypeInputStreamData, 0, mgs.PayloadOutput, []byte("x"))),
			"direction"},
		"too large":          {frame(output(0, strings.Repeat("x", 2001))), "2001 bytes"},
		"ack of the future":  {ackOf(mgs.TypeInputStreamData, 1), "never sent"},
		"ack of their own":   {ackOf(mgs.TypeOutputStreamData, 0), "acknowledgement of output_stream_data"},
		"ack that is no ack": {frame(mgs.New(mgs.TypeAcknowledge, []byte("{}"))), "acknowledgement"},
	} {
		c := datachannel.New(datachannel.Config{Role: datachannel.ClientLeg, MaxReceivePayload: 2000})
		p := attach(t, c)
		send(t, c, "x")
		p.writeRaw(tc.frame)
		ce, ok := errors.AsType[*datachannel.ClosedError](p.ended())
		if !ok || !ce.Peer || ce.Remote || !strings.Contains(ce.Reason, tc.want) {
			t.Errorf("%s: %+v, want a reason with %q", name, ce, tc.want)
		}
	}
}

func TestWhatIsIgnored(t *testing.T) {
	t.Parallel()
	c := datachannel.New(datachannel.Config{Role: datachannel.ClientLeg, ReceiveFrames: 10})
	p := attach(t, c)
	send(t, c, "x")
	m := p.read()
	p.ack(m)
	p.ack(m)                       // a duplicate
	p.write(output(10, "far out")) // beyond the window
	p.write(output(1<<62, "much further"))
	p.write(mgs.NewAgentSessionState("alice-x", mgs.SessionStateConnected))
	p.write(mgs.New("of_some_later_day", []byte("{}")))
	p.write(mgs.NewAckOf(mgs.TypeAcknowledge, mgs.NewUUID(), 99)) // some peers acknowledge everything
	p.write(output(0, "a"))
	receive(t, c, "a")
	for i := range int64(9) {
		p.write(output(1+i, "b"))
		receive(t, c, "b")
	}
	p.write(output(10, "its turn")) // a dropped message is accepted when it is resent
	receive(t, c, "its turn")
}

func TestConcurrentSendsDoNotMix(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		agent := datachannel.New(datachannel.Config{Role: datachannel.AgentLeg, WindowFrames: 2, MaxPayload: 10})
		client := datachannel.New(datachannel.Config{Role: datachannel.ClientLeg})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { connect(ctx, agent, client, faults{}, 1) })
		for i := range 5 {
			wg.Go(func() {
				for range 10 {
					if err := agent.Send(ctx, mgs.PayloadOutput, bytes.Repeat([]byte{byte('a' + i)}, 95)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for range 50 {
			got, err := receiveAll(ctx, client, 95)
			if err != nil || bytes.Count(got, got[:1]) != 95 {
				t.Fatalf("%q, %v", got, err)
			}
		}
		cancel()
		wg.Wait()
	})
}

// TestChecksums: frames carry checksums if both the peer and the connection accept them.
// Other connections get digests, also in frames that are resent.
func TestChecksums(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := datachannel.New(datachannel.Config{Role: datachannel.AgentLeg})
		serve := func(sums bool) (far *conn, stop func()) {
			near, far := pipe(10)
			near.sums = sums
			done := make(chan struct{})
			go func() { defer close(done); _ = c.Serve(t.Context(), near) }()
			synctest.Wait()
			return far, func() { near.cutNow(); <-done }
		}
		next := func(far *conn, want bool) {
			t.Helper()
			_, frame, err := far.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := bytes.Equal(frame[80:108], make([]byte, 28)); got != want {
				t.Errorf("checksum: %t, want %t", got, want)
			}
			if _, err := mgs.Parse(frame); err != nil {
				t.Error(err)
			}
		}
		far, stop := serve(true)
		send(t, c, "before the peer is known")
		next(far, false)
		c.SetChecksums()
		send(t, c, "after")
		next(far, true)
		stop()
		far, stop = serve(false)
		next(far, false)
		next(far, false)
		send(t, c, "more")
		next(far, false)
		stop()
	})
}

func TestControl(t *testing.T) {
	t.Parallel()
	c := datachannel.New(datachannel.Config{Role: datachannel.AgentLeg})
	send(t, c, "data")
	if err := c.SendControl(mgs.NewAgentSessionState("alice-x", mgs.SessionStateConnected)); err != nil {
		t.Fatal(err)
	}
	p := attach(t, c)
	if m := p.read(); m.Type != mgs.TypeAgentSessionState {
		t.Errorf("first came %s", m.Type)
	}
	if m := p.read(); m.Type != mgs.TypeOutputStreamData || m.Seq != 0 {
		t.Errorf("then came %s %d", m.Type, m.Seq)
	}
	_ = p.hangUp()
	for range 64 {
		if err := c.SendControl(mgs.NewPublication(true)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.SendControl(mgs.NewPublication(true)); err == nil {
		t.Error("control messages pile up without bound")
	}
}

// FuzzServe feeds a channel arbitrary input, as a hostile peer could.
func FuzzServe(f *testing.F) {
	var seed []byte
	for _, m := range []mgs.Message{
		output(0, "a"), output(2, "c"), mgs.NewAckOf(mgs.TypeInputStreamData, mgs.NewUUID(), 0),
		mgs.NewPublication(false), mgs.NewChannelClosed("mi-0", "s", "bye"),
	} {
		frame := m.AppendTo(nil)
		seed = append(seed, byte(len(frame)))
		seed = append(seed, frame...)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, script []byte) {
		c := datachannel.New(datachannel.Config{Role: datachannel.ClientLeg, ReceiveFrames: 8, ReceiveBytes: 4096})
		if err := c.Send(t.Context(), mgs.PayloadOutput, []byte("x")); err != nil {
			t.Fatal(err)
		}
		_ = c.Serve(t.Context(), &scripted{script: script})
		c.Close("")
		if _, _, err := c.Receive(t.Context()); !errors.Is(err, datachannel.ErrClosed) {
			t.Fatal(err)
		}
	})
}

// scripted plays length-prefixed messages, then fails.
type scripted struct{ script []byte }

func (s *scripted) Read(context.Context) (bool, []byte, error) {
	if len(s.script) == 0 {
		return false, nil, errCut
	}
	n := min(int(s.script[0]), len(s.script)-1)
	b := s.script[1 : 1+n]
	s.script = s.script[1+n:]
	return true, b, nil
}

func (s *scripted) Write(context.Context, ...[]byte) error { return nil }

// fastConn is a pipe whose messages live in a few buffers, to measure the
// channel rather than the pipe.
type fastConn struct {
	in, out         chan []byte
	inFree, outFree chan []byte
	last            []byte
}

func fastPipe() (a, b *fastConn) {
	const n = 1024
	ab, ba := make(chan []byte, n), make(chan []byte, n)
	abFree, baFree := make(chan []byte, n+1), make(chan []byte, n+1)
	for range n + 1 {
		abFree <- nil
		baFree <- nil
	}
	return &fastConn{
			in:      ba,
			out:     ab,
			inFree:  baFree,
			outFree: abFree,
		}, &fastConn{
			in:      ab,
			out:     ba,
			inFree:  abFree,
			outFree: baFree,
		}
}

func (c *fastConn) Read(ctx context.Context) (bool, []byte, error) {
	if c.last != nil {
		c.inFree <- c.last
		c.last = nil
	}
	select {
	case c.last = <-c.in:
		return true, c.last, nil
	case <-ctx.Done():
		return false, nil, ctx.Err()
	}
}

func (c *fastConn) Write(ctx context.Context, frames ...[]byte) error {
	for _, b := range frames {
		select {
		case buf := <-c.outFree:
			c.out <- append(buf[:0], b...)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func BenchmarkStream(b *testing.B) {
	for _, size := range []int{1024, 32 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			agent := datachannel.New(datachannel.Config{Role: datachannel.AgentLeg, MaxPayload: size})
			client := datachannel.New(datachannel.Config{Role: datachannel.ClientLeg})
			near, far := fastPipe()
			ctx, cancel := context.WithCancel(b.Context())
			var wg sync.WaitGroup
			wg.Go(func() { _ = agent.Serve(ctx, near) })
			wg.Go(func() { _ = client.Serve(ctx, far) })
			p := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			wg.Go(func() {
				for range b.N {
					if err := agent.Send(ctx, mgs.PayloadOutput, p); err != nil {
						return
					}
				}
			})
			for range b.N {
				if _, _, err := client.Receive(ctx); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			cancel()
			wg.Wait()
		})
	}
}
