package server

import (
	"log/slog"
	"sync"

	"sekisho"
	"sekisho/internal/session/record"
)

// unsealed are recordings of ended sessions that could not be sealed, for example because the disk
// was full.
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
			u.log.Warn("still cannot seal a recording", "session", session, "error", err)
			continue
		}
		delete(u.left, session)
		u.log.Info("sealed a recording late", "session", session)
	}
}

func (u *unsealed) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.left)
}
