//go:build !unix

package transfer

import "io/fs"

// umask is empty: this system has none.
func umask() fs.FileMode { return 0 }

const (
	nonblock = 0
	careful  = 0
)

// ownAlone is unknown on this system, so interrupted copies start again.
func ownAlone(fs.FileInfo) bool { return false }
