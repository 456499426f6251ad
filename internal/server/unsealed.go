package server

import (
	"log/slog"
	"sync"

	"sekisho"
	"sekisho/internal/session/record"
)

// unsealed are recordings whose session has ended and that could not be sealed
// then: the disk may have been full.
type unsealed struct {
	log *slog.Logger

	mu   sync.Mutex
	left map[sekisho.SessionID]func() error
}

// seal seals a recording now or, if that fails, when retry is called.
func (u *unsealed) seal(rec *record.Recording, session sekisho.SessionID, exit record.Exit) error {
	seal := func() error {
		_, err := rec.Seal(exit)
		return err
	}
	err := seal()
	if err != nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.left == nil {
			u.left = map[sekisho.SessionID]func() error{}
		}
		u.left[session] = seal
	}
	return err
}

// retry tries again to seal the remaining recordings.
func (u *unsealed) retry() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for session, seal := range u.left {
		if err := seal(); err != nil {
			u.log.Warn("a recording still cannot be sealed", "session", session, "error", err)
			continue
		}
		delete(u.left, session)
		u.log.Info("a recording was sealed late", "session", session)
	}
}

func (u *unsealed) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.left)
}
