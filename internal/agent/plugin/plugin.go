// Package plugin contains what the plugins of all session types share. A plugin is the agent's code
// for one session type.
package plugin

import (
	"context"
	"errors"

	"sekisho/internal/wire/mgs"
)

// Stream is a session's data channel for a plugin: after the handshake, and decrypted.
type Stream interface {
	Send(ctx context.Context, pt mgs.PayloadType, p []byte) error
	// Receive returns the next payload, good until the next Receive.
	// Receive returns the next payload, good until the next Receive.
	Receive(ctx context.Context) (mgs.PayloadType, []byte, error)
}

// ErrTerminate ends a session at the client's request.
var ErrTerminate = errors.New("the client ended the session")

// Terminates reports whether a payload is the client's request to end the session.
func Terminates(pt mgs.PayloadType, b []byte) bool {
	if pt != mgs.PayloadFlag {
		return false
	}
	f, err := mgs.ParseFlag(b)
	return err == nil && f == mgs.FlagTerminateSession
}

// Writer adapts a stream for a multiplexer: everything written is sent as output.
type Writer struct {
	Context context.Context // bounds every write
	Stream  Stream
}

// Write implements io.Writer.
func (w Writer) Write(b []byte) (int, error) {
	if err := w.Stream.Send(w.Context, mgs.PayloadOutput, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Closer is a function that implements io.Closer.
type Closer func() error

// Close implements io.Closer.
func (c Closer) Close() error { return c() }
