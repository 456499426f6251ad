package mux

import (
	"io"
	"sync"
	"sync/atomic"
)

// HalfCloser is a connection whose directions can be closed separately: a [Stream], a TCP
// connection, a Unix socket.
type HalfCloser interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Abort closes a connection so that its peer sees that it broke: a TCP connection is reset.
// Truncated data must not look complete.
func Abort(c io.Closer) {
	switch c := c.(type) {
	case interface{ Reset() error }:
		_ = c.Reset() // fails if the connection has ended
	case interface {
		io.Closer
		SetLinger(seconds int) error
	}:
		_ = c.SetLinger(0) // fails if it is already closed
		_ = c.Close()
	default: // a Unix socket cannot be reset
		_ = c.Close()
	}
}

// Join copies between two connections until both directions have ended, and
// closes them. If one breaks, so does the other.
func Join(a, b HalfCloser) {
	var both sync.WaitGroup
	var whole [2]atomic.Bool // everything in this direction was delivered
	for i, way := range []struct{ from, to HalfCloser }{{a, b}, {b, a}} {
		both.Go(func() {
			// Hide ReadFrom and WriteTo: a stream cannot use socket-to-socket shortcuts.
			_, err := io.CopyBuffer(struct{ io.Writer }{way.to}, struct{ io.Reader }{way.from}, make([]byte, CopySize))
			if err == nil {
				err = way.to.CloseWrite()
			}
			switch {
			case err == nil:
				whole[i].Store(true)
			case whole[1-i].Load(): // everything for from was delivered, though perhaps not yet read
				Abort(way.to)
				_ = way.from.Close()
			default:
				Abort(way.to)
				Abort(way.from)
			}
		})
	}
	both.Wait()
	_ = a.Close()
	_ = b.Close()
}
