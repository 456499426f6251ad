// Package reverse accepts connections on the node and forwards them to the client:
// the opposite direction of a forwarded port.
package reverse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"

	"sekisho"
	"sekisho/internal/agent/plugin"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mux"
)

// maxConnections bounds the connections of one session; more wait.
const maxConnections = 1024

// Reverse is one session.
type Reverse struct {
	// Host is the loopback address to listen on, or localhost.
	Host string
	Port uint16
	Log  *slog.Logger
	// SendResets says that the client knows broken connections from ended ones.
	SendResets bool
}

// Check refuses addresses that other machines can reach, and privileged ports.
func (r *Reverse) Check() error {
	a, err := netip.ParseAddr(r.Host)
	if r.Host != "localhost" && (err != nil || !a.Unmap().IsLoopback()) {
		return sekisho.Errorf(
			sekisho.CodeDenied,
			"A node cannot listen for a client on %.100q: only on its loopback addresses.",
			r.Host,
		)
	}
	if r.Port < 1024 {
		return sekisho.Errorf(
			sekisho.CodeDenied,
			"A node cannot listen for a client on port %d: only on ports from 1024 up.",
			r.Port,
		)
	}
	return nil
}

// Run listens until the client or ctx ends the session.
func (r *Reverse) Run(ctx context.Context, stream plugin.Stream) error {
	if err := r.Check(); err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port))))
	if err != nil {
		return sekisho.Errorf(sekisho.CodeConflict, "The node cannot listen: %w.", err)
	}
	// The name localhost is what the machine's resolver says.
	if at, ok := l.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
		return errors.Join(
			sekisho.Errorf(sekisho.CodeDenied, "A node cannot listen for a client on %s: only on its loopback addresses.",
				l.Addr()),
			l.Close(),
		)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel(nil)
	in, w := io.Pipe()
	m := mux.Server(struct {
		io.Reader
		io.Writer
		io.Closer
	}{in, plugin.Writer{Context: ctx, Stream: stream}, plugin.Closer(func() error {
		cancel(errors.New(
			"the session's connection was lost"))
		return in.Close()
	})})
	if r.SendResets {
		m.SendResets()
	}
	stop := context.AfterFunc(ctx, func() {
		_ = l.Close() // Accept returns
		_ = w.CloseWithError(context.Cause(ctx))
		_ = m.Close() // and all streams fail
	})
	defer stop()
	all.Go(func() { r.accept(ctx, l, m, &all) })
	all.Go(func() {
		for { // the client opens no streams
			st, err := m.Accept()
			if err != nil {
				return
			}
			_ = st.Close()
		}
	})
	for {
		pt, b, err := stream.Receive(ctx)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			cancel(err)
			return err
		}
		if plugin.Terminates(pt, b) {
			cancel(plugin.ErrTerminate)
			return plugin.ErrTerminate
		}
		if pt != mgs.PayloadOutput {
			continue
		}
		if _, err := w.Write(b); err != nil {
			err = fmt.Errorf("the client violated the port forwarding protocol: %w", err)
			cancel(err)
			return err
		}
	}
}

func (r *Reverse) accept(ctx context.Context, l net.Listener, m *mux.Conn, all *sync.WaitGroup) {
	room := make(chan struct{}, maxConnections)
	for {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() == nil {
				r.Log.Warn("could not accept a connection", "error", err)
			}
			return
		}
		all.Go(func() {
			defer func() { <-room }()
			defer func() { _ = conn.Close() }()
			stop := context.AfterFunc(ctx, func() { mux.Abort(conn) })
			defer stop()
			st, err := m.Open()
			if err != nil {
				r.Log.Info("could not forward a connection", "error", err)
				mux.Abort(conn)
				return
			}
			mux.Join(conn.(*net.TCPConn), st)
		})
	}
}
