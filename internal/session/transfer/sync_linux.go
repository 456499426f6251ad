package transfer

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// canSyncLater reports whether one call syncs all files of a file system.
const canSyncLater = true

// syncFileSystem writes everything on the file system of f to the disk.
func syncFileSystem(f *os.File) error { return unix.Syncfs(int(f.Fd())) }

// setTimes sets the times of an open file, which spares looking it up by name. Kernels
// before 5.8 return an error.
func setTimes(f *os.File, t time.Time) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = unix.UtimesNanoAt(int(fd), "", []unix.Timespec{ts, ts}, unix.AT_EMPTY_PATH)
	})
	return errors.Join(err, failed)
}

// device returns the number of a file's file system.
func device(st fs.FileInfo) uint64 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return sys.Dev
	}
	return 0
}
