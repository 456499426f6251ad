//go:build !norecording

package server

import "sekisho/internal/session/relay"

// measured is the recording of a session. The build tag norecording replaces it by one that keeps
// nothing, so that benchmarks can say what recording costs; no such program is released.
func measured(w relay.RecordWriter) relay.RecordWriter { return w }
