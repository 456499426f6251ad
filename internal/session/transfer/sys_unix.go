//go:build unix

package transfer

import (
	"io/fs"
	"os"
	"syscall"
)

// careful keeps an open from following a link, and from being held up by a
// pipe that stands where a file was.
const (
	nonblock = syscall.O_NONBLOCK
	careful  = syscall.O_NOFOLLOW | nonblock
)

// ownAlone reports whether a file is this user's and has no second name.
func ownAlone(st fs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(sys.Uid) == os.Geteuid() && sys.Nlink == 1
}
