//go:build !unix

package client

import "os"

// notifyResize does nothing on systems without a signal for size changes: the
// session keeps its initial size.
func notifyResize(chan os.Signal) {}
