package setup

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// FreeSpace returns the bytes that an unprivileged user can still write to the
// file system of path, or of the nearest parent that exists.
func FreeSpace(path string) (free uint64, ok bool) {
	for {
		var st unix.Statfs_t
		if err := unix.Statfs(path, &st); err == nil {
			return st.Bavail * uint64(st.Bsize), true
		}
		parent := filepath.Dir(path)
		if parent == path {
			return 0, false
		}
		path = parent
	}
}
