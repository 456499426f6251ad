//go:build unix

package client

import (
	"os"
	"os/signal"
	"syscall"
)

// watchSize sends to changed when the size of a terminal changes, until stop is
// called.
func watchSize(_ *os.File, changed chan os.Signal) (stop func()) {
	signal.Notify(changed, syscall.SIGWINCH)
	return func() { signal.Stop(changed) }
}

// prepareOutput does nothing: these terminals interpret control sequences.
func prepareOutput(*os.File) (restore func()) { return func() {} }
