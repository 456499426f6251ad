//go:build !unix

package client

import "os"

// notifyResize does nothing where no signal tells of a new size: the session
// keeps the size it began with.
func notifyResize(chan os.Signal) {}
