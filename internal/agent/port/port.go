// Package port runs Port sessions: it forwards connections that the client accepts
// to a port of the node, to another host, or to a Unix socket.
//
// A session carries one connection, as for SSH, or many at once, multiplexed by
// package mux.
package port

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/agent/plugin"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mux"
)

// Mode is how a session carries connections.
type Mode int

// Values of Mode.
const (
	// Single is one connection. The session ends with it.
	Single Mode = iota
	// Serial is one connection after another, for clients that cannot multiplex.
	Serial
	// Many connections at once.
	Many
)

// Port is one Port session.
type Port struct {
	Mode Mode
	To   Destination
	// HalfClose means that the client distinguishes the end of one direction from the end of both.
	// AWS's client does not.
	HalfClose bool
	// SendResets says that it knows broken connections from ended ones.
	SendResets bool
	Log        *slog.Logger
}

// copySize is the size of reads from a connection.
const copySize = mgs.LargePayload

// Run carries connections until the client ends the session, its one
// connection ends, ctx ends or stream closes.
func (p *Port) Run(ctx context.Context, stream plugin.Stream) error {
	if p.Mode == Many {
		return p.many(ctx, stream)
	}
	return p.serial(ctx, stream)
}

// serial carries one connection at a time.
func (p *Port) serial(ctx context.Context, stream plugin.Stream) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, err := p.To.Dial(ctx)
	if err != nil {
		return p.unreachable(err)
	}
	var reading sync.WaitGroup
	defer reading.Wait()
	current := &line{conn: conn}
	defer current.close()
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), errOver) {
			current.close()
		} else {
			current.abort()
		}
	})
	defer stop()
	read := func(conn net.Conn) {
		reading.Go(func() {
			err := copyOut(ctx, stream, conn)
			if cut, ok := errors.AsType[*sendError](err); ok {
				current.abort() // the session is ending
				if p.Mode == Single {
					cancel(cut)
				}
				return
			}
			if p.Mode == Single {
				cancel(errors.Join(errOver, err))
				return
			}
			if current.drop(conn) && err != nil {
				p.Log.Info("connection ended", "to", p.To.String(), "error", err)
			}
		})
	}
	read(conn)
	for {
		pt, b, err := stream.Receive(ctx)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			if errors.Is(err, errOver) {
				return nil
			}
			current.abort() // before the deferred close
			return err
		}
		switch pt {
		case mgs.PayloadOutput:
			conn := current.get()
			if conn == nil {
				if conn, err = p.To.Dial(ctx); err != nil {
					p.Log.Info("not connected", "to", p.To.String(), "error", err)
					tellRefused(ctx, stream)
					continue
				}
				if !current.set(conn) {
					continue // it was closed meanwhile
				}
				read(conn)
			}
			if _, err := conn.Write(b); err != nil {
				p.Log.Debug("input lost", "error", err)
			}
		case mgs.PayloadFlag:
			switch f, _ := mgs.ParseFlag(b); f { // malformed payloads match no flag
			case mgs.FlagTerminateSession:
				return plugin.ErrTerminate
			case mgs.FlagDisconnectToPort:
				p.disconnect(current)
			}
		}
	}
}

// disconnect handles the end of the client's connection. The destination of a single connection can
// still send.
func (p *Port) disconnect(current *line) {
	conn := current.get()
	if conn == nil {
		return
	}
	if half, ok := conn.(mux.HalfCloser); ok && p.Mode == Single {
		_ = half.CloseWrite() // it may already be closed
		current.inputEnded()
		return
	}
	current.drop(conn)
}

// errOver means that the only connection of a session has ended.
var errOver = errors.New("the connection has ended")

func (p *Port) unreachable(err error) error {
	if _, refused := errors.AsType[*sekisho.Error](err); refused {
		return err
	}
	return sekisho.Errorf(sekisho.CodeUnreachable, "The node could not connect to %s: %w.", p.To.String(), err)
}

// tellRefused reports to the client that the destination was unreachable.
func tellRefused(ctx context.Context, stream plugin.Stream) {
	// If this fails, the session fails too.
	_ = stream.Send(ctx, mgs.PayloadFlag, mgs.FlagConnectToPortError.Bytes())
}

// sendError is a failure of the session, not of the connection.
type sendError struct{ error }

func (e *sendError) Unwrap() error { return e.error }

// copyOut sends everything read from conn to the client. EOF is not an error. If
// the session fails, the error is a sendError.
func copyOut(ctx context.Context, stream plugin.Stream, conn io.Reader) error {
	buf := make([]byte, copySize)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			if err := stream.Send(ctx, mgs.PayloadOutput, buf[:n]); err != nil {
				return &sendError{err}
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// line is the current connection of a session that carries one at a time.
type line struct {
	mu     sync.Mutex
	conn   net.Conn // nil when there is none
	closed bool
	ended  bool // the client has ended its direction
}

func (l *line) get() net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

// set makes conn the current connection. After close, it closes conn and returns
// false.
func (l *line) set(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = conn.Close() // nothing was written
		return false
	}
	l.conn = conn
	return true
}

// drop closes conn and reports whether it was the current one.
func (l *line) drop(conn net.Conn) bool {
	_ = conn.Close() // it may already be closed
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != conn {
		return false
	}
	l.conn = nil
	return true
}

// inputEnded notes that conn has all that the client sent.
func (l *line) inputEnded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

// abort is close for a session that ended before its connection did: the
// destination must not take what it received for all.
func (l *line) abort() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	switch {
	case l.conn == nil:
	case l.ended:
		_ = l.conn.Close()
	default:
		mux.Abort(l.conn)
	}
}

func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.conn != nil {
		_ = l.conn.Close()
	}
}

// many carries connections at once.
func (p *Port) many(ctx context.Context, stream plugin.Stream) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel(nil)
	r, w := io.Pipe()
	m := mux.Server(struct {
		io.Reader
		io.Writer
		io.Closer
	}{r, plugin.Writer{Context: ctx, Stream: stream}, plugin.Closer(r.Close)})
	if p.SendResets {
		m.SendResets()
	}
	defer func() {
		_ = w.Close() // never fails
		_ = m.Close() // never fails
	}()
	stop := context.AfterFunc(ctx, func() { _ = w.CloseWithError(context.Cause(ctx)) })
	defer stop()
	all.Go(func() {
		for {
			st, err := m.Accept()
			if err != nil {
				cancel(
					fmt.Errorf("The client violated the port forwarding protocol: %w.", err),
				) // shown to the user
				return
			}
			all.Go(func() { p.carry(ctx, stream, st) })
		}
	})
	for {
		pt, b, err := stream.Receive(ctx)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return err
		}
		if plugin.Terminates(pt, b) {
			return plugin.ErrTerminate
		}
		if pt != mgs.PayloadOutput {
			continue
		}
		if _, err := w.Write(b); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return err
		}
	}
}

// lingerTime is how long a destination has to read the last data and close after the client has
// disconnected.
const lingerTime = 10 * time.Second

// carry connects one stream to a new connection.
func (p *Port) carry(ctx context.Context, stream plugin.Stream, st *mux.Stream) {
	defer func() { _ = st.Close() }() // if it fails, the session has ended
	conn, err := p.To.Dial(ctx)
	if err != nil {
		if ctx.Err() == nil {
			p.Log.Info("not connected", "to", p.To.String(), "error", err)
			tellRefused(ctx, stream)
		}
		mux.Abort(st)
		return
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { mux.Abort(conn); mux.Abort(st) })
	defer stop()
	var both sync.WaitGroup
	defer both.Wait()
	both.Go(func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{st}, make([]byte, mux.CopySize))
		if half, ok := conn.(mux.HalfCloser); ok && err == nil {
			err = half.CloseWrite()
		}
		switch {
		case err != nil: // one side broke, and so does the other
			mux.Abort(conn)
			mux.Abort(st)
		case !p.HalfClose:
			// The client has closed both directions and reads no more.
			_ = conn.SetReadDeadline(time.Now().Add(lingerTime))
		}
	})
	_, err = io.CopyBuffer(struct{ io.Writer }{st}, struct{ io.Reader }{conn}, make([]byte, mux.CopySize))
	if err == nil {
		err = st.CloseWrite()
	}
	switch {
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		mux.Abort(conn)
		mux.Abort(st)
	case err != nil || !p.HalfClose:
		// Such a client treats the end of our direction as the end of the connection.
		_ = st.Close()
		_ = conn.Close()
	}
}
