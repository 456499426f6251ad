package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mux"
)

// portForwarding is the type in the properties of a session whose client listens
// for connections. A Port session without it carries one connection, which is
// stdin and stdout.
const portForwarding = "LocalPortForwarding"

// lingerTime is how long a connection whose input has ended stays open while the
// node sends nothing.
const lingerTime = 5 * time.Second

// stdio connects in and out to the one connection of a session.
func (l *leg) stdio(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alive := make(chan struct{}, 1)
	go func() { // cannot be waited for: a Read of in may never return
		buf := make([]byte, l.payloadSize())
		_, err := io.CopyBuffer(&outputWriter{ctx: ctx, l: l}, onlyReader{in}, buf)
		if err != nil && ctx.Err() == nil {
			cancel(fmt.Errorf("input: %w", err))
			return
		}
		if l.hello.ours() {
			// The agent closes this direction; the other ends when the node closes it.
			_ = l.send(ctx, mgs.PayloadFlag, mgs.FlagDisconnectToPort.Bytes())
			return
		}
		idle := time.NewTimer(lingerTime)
		defer idle.Stop()
		for {
			select {
			case <-alive:
				idle.Reset(lingerTime)
			case <-idle.C:
				cancel(errInputOver)
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		pt, b, err := l.receive(ctx)
		if err != nil {
			if errors.Is(context.Cause(ctx), errInputOver) {
				l.terminateFlag(ctx)
				return nil
			}
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
		select {
		case alive <- struct{}{}:
		default:
		}
		if pt != mgs.PayloadOutput {
			continue
		}
		if _, err := out.Write(b); err != nil {
			return fmt.Errorf("output: %w", err)
		}
	}
}

// errInputOver ends a session whose input has ended and whose node is silent.
var errInputOver = errors.New("the input has ended")

// onlyReader hides WriteTo, which would not use the given buffer.
type onlyReader struct{ io.Reader }

// streams are the connections of one forwarding session.
type streams struct {
	l    *leg
	mux  *mux.Conn
	pipe *io.PipeWriter
	over chan struct{} // closed when the session has ended
	err  error         // why it ended; valid after over
}

// multiplex carries connections over the leg until it is closed or the session
// ends.
func (l *leg) multiplex(ctx context.Context, refused func()) *streams {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r, w := io.Pipe()
	s := &streams{l: l, pipe: w, over: make(chan struct{})}
	s.mux = mux.Client(struct {
		io.Reader
		io.Writer
		io.Closer
	}{r, &outputWriter{ctx: ctx, l: l}, closer(func() error { cancel(); return r.Close() })})
	if l.hello.offers(offerReset) {
		s.mux.SendResets()
	}
	go func() {
		defer close(s.over)
		defer cancel()
		s.err = s.receive(ctx, refused)
		_ = w.CloseWithError(io.ErrUnexpectedEOF) // never fails
		_ = s.mux.Close()                         // never fails
	}()
	return s
}

type closer func() error

// Close implements io.Closer.
func (c closer) Close() error { return c() }

func (s *streams) receive(ctx context.Context, refused func()) error {
	for {
		pt, b, err := s.l.receive(ctx)
		if err != nil {
			return err
		}
		switch pt {
		case mgs.PayloadOutput:
			if _, err := s.pipe.Write(b); err != nil {
				return fmt.Errorf("the node's agent violated the port forwarding protocol: %w", err)
			}
		case mgs.PayloadFlag:
			if f, err := mgs.ParseFlag(b); err == nil && f == mgs.FlagConnectToPortError {
				refused()
			}
		}
	}
}

// close ends the session normally.
func (s *streams) close(ctx context.Context) {
	select {
	case <-s.over:
	default:
		s.l.terminateFlag(ctx)
	}
	_ = s.mux.Close() // never fails
	<-s.over
}

// listenAsDocumented listens where the session document says, as AWS's client
// does.
func (l *leg) listenAsDocumented(ctx context.Context, on Callbacks) error {
	listener, err := l.documentedListener()
	if err != nil {
		return err
	}
	on.listening(listener.Addr().String())
	carried := l.multiplex(ctx, func() {
		on.notice("The node could not connect to port %s.", Printable(string(l.hello.PortNumber)))
	})
	err = serveListener(ctx, listener, carried.over, func() (mux.HalfCloser, error) { return carried.mux.Open() }, on)
	carried.close(ctx)
	switch {
	case errors.Is(carried.err, context.Canceled) && ctx.Err() == nil:
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return carried.err
}

func (l *leg) documentedListener() (net.Listener, error) {
	if l.hello.LocalConnectionType == "unix" || l.hello.LocalUnixSocket != "" {
		return listenUnix(l.hello.LocalUnixSocket)
	}
	port := first(string(l.hello.LocalPortNumber), "0")
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, sekisho.Errorf(
			sekisho.CodeInvalid,
			"The session's local port %q is not a port number.",
			Printable(port),
		)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("localhost", port))
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return listener, nil
}

// listenUnix listens on a Unix socket that only its owner can use.
func listenUnix(path string) (net.Listener, error) {
	if path == "" {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "The session document names no Unix socket to listen on.")
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen: %w", err), listener.Close())
	}
	return listener, nil
}

// serveListener connects each accepted connection to one from open, until ctx
// ends, over is closed or the listener fails. It waits for all connections.
func serveListener(
	ctx context.Context,
	listener net.Listener,
	over <-chan struct{},
	open func() (mux.HalfCloser, error),
	on Callbacks,
) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() {
		select {
		case <-ctx.Done():
		case <-over:
			cancel()
		}
		_ = listener.Close() // Accept returns
	})
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("listen: %w", err)
		}
		near, ok := conn.(mux.HalfCloser)
		if !ok {
			return fmt.Errorf("listen: connections of %T cannot be joined", conn)
		}
		all.Go(func() {
			stop := context.AfterFunc(ctx, func() { mux.Abort(near) })
			defer stop()
			far, err := open()
			if err != nil {
				on.notice("A connection could not be forwarded: %s", Printable(err.Error()))
				mux.Abort(near)
				return
			}
			stopFar := context.AfterFunc(ctx, func() { mux.Abort(far) })
			defer stopFar()
			mux.Join(near, far)
		})
	}
}
