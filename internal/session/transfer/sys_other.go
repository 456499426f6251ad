//go:build !unix

package transfer

import "io/fs"

const (
	nonblock = 0
	careful  = 0
)

// ownAlone cannot be known: what was interrupted begins anew.
func ownAlone(fs.FileInfo) bool { return false }
