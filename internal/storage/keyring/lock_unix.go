//go:build unix

package keyring

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// locked runs f while no other process reads or rotates the keyring: during a rotation, a
// reader would mistake it for an interrupted one.
func (r *Ring) locked(f func() error) (err error) {
	l, err := os.OpenFile(r.path("keyring.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock the keyring: %w", err)
	}
	defer func() { err = errors.Join(err, l.Close()) }() // closing unlocks
	for {
		err := syscall.Flock(int(l.Fd()), syscall.LOCK_EX)
		if err == nil {
			return f()
		}
		if !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("lock the keyring: %w", err)
		}
	}
}
