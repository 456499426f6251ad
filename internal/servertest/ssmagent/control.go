package ssmagent

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"time"

	"sekisho/internal/wire/id"
	"sekisho/internal/wire/mgs"
)

// Intervals at which a connection is checked.
const (
	pingEvery  = 54 * time.Second
	pongWithin = 60 * time.Second
)

// open opens a channel and sends its first frame.
func (a *Agent) open(ctx context.Context, kind, name string, first func(token string) []byte) (Conn, error) {
	token, err := a.cfg.Gateway.Token(ctx, kind, name)
	if err != nil {
		return nil, err
	}
	conn, err := a.cfg.Gateway.Dial(ctx, kind, name)
	if err != nil {
		return nil, err
	}
	if err := conn.Write(ctx, true, first(token)); err != nil {
		conn.Drop()
		return nil, err
	}
	return conn, nil
}

func (a *Agent) openControl(ctx context.Context) error {
	conn, err := a.open(ctx, "control-channel", a.cfg.ID, func(token string) []byte {
		b, err := mgs.MarshalBody(mgs.OpenControlChannel{
			MessageSchemaVersion: mgs.SchemaVersion10, RequestID: id.UUID(), TokenValue: token, AgentVersion: Version,
			PlatformType: "linux",
		})
		if err != nil {
			panic(err) // strings always marshal
		}
		return b
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.control = conn
	a.mu.Unlock()
	return nil
}

func (a *Agent) keepControl(ctx context.Context) {
	for first := true; ; first = false {
		if !first {
			// However the last connection ended.
			if !a.rest(ctx, time.Duration(rand.Int64N(int64(2500*time.Millisecond)))) {
				return
			}
		}
		if err := a.retry(ctx, ControlSchedule(), func() error { return a.openControl(ctx) }); err != nil {
			return
		}
		a.mu.Lock()
		conn := a.control
		a.mu.Unlock()
		stop := a.ping(ctx, conn)
		err := a.readFrames(ctx, conn, a.order)
		stop()
		conn.Drop()
		a.log.Info("control channel ended", "error", err)
		if ctx.Err() != nil {
			return
		}
	}
}

// ping pings conn at intervals, and drops it if there is no answer.
func (a *Agent) ping(ctx context.Context, conn Conn) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for wait(ctx, pingEvery) {
			ctx, cancel := context.WithTimeout(ctx, pongWithin)
			err := conn.Ping(ctx)
			cancel()
			if err != nil {
				conn.Drop()
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// readFrames passes frames to handle until the connection ends.
func (a *Agent) readFrames(ctx context.Context, conn Conn, handle func(ctx context.Context, m *mgs.Message)) error {
	for {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		if len(frame) < 4 || uint64(binary.BigEndian.Uint32(frame))+4 > uint64(len(frame)) {
			<-ctx.Done()
			return errDeaf
		}
		// The original does not check the digest.
		m, err := mgs.Peek(frame)
		if err != nil {
			a.log.Warn("ignored", "error", err)
			continue
		}
		handle(ctx, &m)
	}
}

// order executes an order of the server on the control channel.
func (a *Agent) order(ctx context.Context, m *mgs.Message) {
	switch m.Type {
	case mgs.TypeInteractiveShell:
		task, err := mgs.ParseBody[mgs.AgentTask](m.Payload)
		if err != nil {
			return // like AWS's agent, without a report
		}
		p, err := task.Payload()
		if err != nil {
			return
		}
		a.start(ctx, p)
	case mgs.TypeAgentJob:
		a.job(ctx, m)
	case mgs.TypeAgentJobReplyAck:
		a.replied(m)
	case mgs.TypeChannelClosed:
		closed, err := mgs.ParseBody[mgs.ChannelClosed](m.Payload)
		if err != nil {
			return
		}
		a.mu.Lock()
		w := a.sessions[closed.SessionID]
		a.mu.Unlock()
		if w != nil {
			w.cancel()
		}
	case mgs.TypeAgentTaskAcknowledge:
		ack, err := mgs.ParseBody[mgs.TaskAcknowledge](m.Payload)
		if err != nil {
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if done := a.acks[ack.MessageID.String()]; done != nil {
			close(done)
			delete(a.acks, ack.MessageID.String())
		}
	}
}

// tell reports the end of a session: three times at most, a second apart.
func (a *Agent) tell(ctx context.Context, session, status, output string) {
	ident := mgs.NewUUID()
	done := make(chan struct{})
	a.mu.Lock()
	a.acks[ident.String()] = done
	a.mu.Unlock()
	for try := 1; try <= 3; try++ {
		m := mgs.NewTaskComplete(mgs.TaskComplete{
			TaskID: session, FinalTaskStatus: status, InstanceID: a.cfg.ID, Output: output, RetryNumber: try,
		})
		m.ID = ident
		a.say(ctx, m)
		t := time.NewTimer(time.Second)
		select {
		case <-done:
			t.Stop()
			return
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.acks, ident.String())
	a.told = append(a.told, session)
}
