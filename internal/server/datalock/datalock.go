// Package datalock makes one process the only user of a data directory.
package datalock

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"sekisho"
)

// Server is the name of the lock that a server holds while it runs.
const Server = "sekishod.lock"

// Lock takes the lock called name in dir, which must exist, and returns a function that releases
// it. The end of the process also releases it. If another process holds the lock, the error has
// CodeInUse.
func Lock(dir, name string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = sekisho.Errorf(sekisho.CodeInUse, "another sekishod is using %s.", dir).WithHint("Stop it first.")
		}
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}
