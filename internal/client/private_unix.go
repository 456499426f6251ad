//go:build unix

package client

import "io/fs"

// private reports whether only the owner can read a file of this mode.
func private(mode fs.FileMode) bool { return mode&0o077 == 0 }
