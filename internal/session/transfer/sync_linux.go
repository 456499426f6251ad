package transfer

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// canSyncLater reports whether one call syncs all files of a file system.
const canSyncLater = true

// syncFileSystem writes everything on the file system of f to the disk.
func syncFileSystem(f *os.File) error { return unix.Syncfs(int(f.Fd())) }

// device returns the number of a file's file system.
func device(st fs.FileInfo) uint64 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return sys.Dev
	}
	return 0
}
