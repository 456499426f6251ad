package doctor

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"sekisho"
)

// Free space that the agent needs in its state directory, for its identity and for
// session logs until they are delivered.
const (
	minFree  = 16 << 20 // bytes
	minFiles = 64
)

// space is the free space on a file system.
type space struct {
	free, files uint64
	countsFiles bool // some file systems have no fixed number of files
	readOnly    bool
}

func (x *examination) disk(context.Context) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(x.state, &st); err != nil {
		return "", err
	}
	s := space{
		free: st.Bavail * uint64(
			st.Bsize,
		), files: st.Ffree, countsFiles: st.Files > 0, // signed on some platforms, never negative
		readOnly: st.Flags&unix.ST_RDONLY != 0,
	}
	return s.verdict(x.state)
}

func (s space) verdict(dir string) (string, error) {
	switch {
	case s.readOnly:
		return "", sekisho.Errorf(sekisho.CodeInvalid, "%s is on a read-only file system", dir).
			WithHint("Mount it for writing; check for disk errors with dmesg.")
	case s.free < minFree:
		return "", sekisho.Errorf(sekisho.CodeInvalid,
			"%s has %d KiB left, but the agent needs %d", dir, s.free>>10, minFree>>10).
			WithHint("Free space on its file system (df %s).", dir)
	case s.countsFiles && s.files < minFiles:
		return "", sekisho.Errorf(sekisho.CodeInvalid,
			"%s has %d inodes left, but the agent needs %d", dir, s.files, minFiles).
			WithHint("Delete files on its file system (df -i %s).", dir)
	}
	return fmt.Sprintf("%d MiB free in %s", s.free>>20, dir), nil
}
