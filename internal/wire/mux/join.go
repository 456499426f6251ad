package mux

import (
	"io"
	"sync"
)

// HalfCloser is a connection one of whose directions can end by itself: a
// [Stream], a TCP connection, a Unix socket.
type HalfCloser interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Join copies between two connections until both directions have ended, and
// closes them.
func Join(a, b HalfCloser) {
	var both sync.WaitGroup
	for _, way := range []struct{ from, to HalfCloser }{{a, b}, {b, a}} {
		both.Go(func() {
			// No shortcuts from socket to socket: a stream has none.
			_, err := io.CopyBuffer(struct{ io.Writer }{way.to}, struct{ io.Reader }{way.from}, make([]byte, CopySize))
			if err == nil {
				err = way.to.CloseWrite()
			}
			if err != nil { // one is broken: so is the pair
				_ = a.Close()
				_ = b.Close()
			}
		})
	}
	both.Wait()
	_ = a.Close()
	_ = b.Close()
}
