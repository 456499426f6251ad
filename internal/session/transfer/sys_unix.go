//go:build unix

package transfer

import (
	"io/fs"
	"os"
	"sync"
	"syscall"
)

// umask returns the process's umask. The system has no way to read it without
// setting it: for that moment files are private.
var umask = sync.OnceValue(func() fs.FileMode {
	mask := syscall.Umask(0o077)
	syscall.Umask(mask)
	return fs.FileMode(mask) & fs.ModePerm
})

// careful makes an open fail on a symbolic link and not block on a pipe.
const (
	nonblock = syscall.O_NONBLOCK
	careful  = syscall.O_NOFOLLOW | nonblock
)

// ownAlone reports whether a file belongs to this user and has one name.
func ownAlone(st fs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(sys.Uid) == os.Geteuid() && sys.Nlink == 1
}
