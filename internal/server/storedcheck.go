package server

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"sekisho"
	"sekisho/internal/session/record"
)

const (
	// storedCheckPause is the pause between two rounds of checking the store's content.
	storedCheckPause = time.Hour
	// storedCheckRetry is the pause after the store has failed.
	storedCheckRetry = time.Minute
	// storedCheckBurst bounds what is read at once, in bytes.
	storedCheckBurst = 4 << 20
)

// storedCheck is the state of checking the content of the store of recordings. It reads everything
// again and again, at a bounded rate.
type storedCheck struct {
	mu       sync.Mutex
	findings map[sekisho.SessionID]Finding
	// recordings and bytes are those of the round in progress.
	recordings, bytes int64
	completed         time.Time // end of the last complete round
}

// StoredCheckState is the progress of checking the content of the store.
type StoredCheckState struct {
	Recordings int64 // verified in the round in progress
	Bytes      int64 // read in the round in progress
	Completed  time.Time
}

func (c *storedCheck) state() StoredCheckState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return StoredCheckState{c.recordings, c.bytes, c.completed}
}

func (c *storedCheck) found() []Finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Finding
	for _, f := range c.findings {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b Finding) int { return cmp.Compare(a.Subject, b.Subject) })
	return all
}

// note stores the result for a recording. It reports whether the finding is new.
func (c *storedCheck) note(id sekisho.SessionID, f *Finding) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.findings[id]
	if f == nil {
		delete(c.findings, id)
		return false
	}
	if c.findings == nil {
		c.findings = make(map[sekisho.SessionID]Finding)
	}
	if known || len(c.findings) < maxFindings {
		c.findings[id] = *f
	}
	return !known
}

// watchStored checks the content of the store until ctx ends.
func (s *Server) watchStored(ctx context.Context) {
	perSecond := s.cfg.Recordings.CheckRate
	if s.cfg.Recordings.Store == nil || perSecond <= 0 {
		return
	}
	limiter := rate.NewLimiter(rate.Limit(perSecond), storedCheckBurst)
	pause := firstCheck
	for {
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		pause = storedCheckPause
		if err := s.checkStored(ctx, limiter); err != nil {
			if ctx.Err() != nil {
				return
			}
			s.cfg.Log.Warn("could not check the content of the store of recordings", "error", err)
			pause = storedCheckRetry
		}
	}
}

// checkStored checks the content of every recording in the store once. It begins at a random one: a
// server that restarts often must not check the same recordings again and again.
func (s *Server) checkStored(ctx context.Context, limiter *rate.Limiter) error {
	all := slices.Collect(s.recorder.All())
	if n := len(all); n > 0 {
		i := rand.IntN(n)
		all = append(all[i:], all[:i]...)
	}
	s.stored.mu.Lock()
	s.stored.recordings, s.stored.bytes = 0, 0
	s.stored.mu.Unlock()
	wait := func(ctx context.Context, n int) error {
		for left := n; left > 0; left -= storedCheckBurst {
			if err := limiter.WaitN(ctx, min(left, storedCheckBurst)); err != nil {
				return err
			}
		}
		s.stored.mu.Lock()
		defer s.stored.mu.Unlock()
		s.stored.bytes += int64(n)
		return nil
	}
	known := make(map[sekisho.SessionID]bool, len(all))
	for _, id := range all {
		known[id] = true
		if err := s.checkStoredRecording(ctx, id, wait); err != nil {
			return err
		}
	}
	s.stored.mu.Lock()
	defer s.stored.mu.Unlock()
	s.stored.completed = time.Now()
	for id := range s.stored.findings {
		if !known[id] {
			delete(s.stored.findings, id) // it was removed
		}
	}
	return nil
}

func (s *Server) checkStoredRecording(
	ctx context.Context, id sekisho.SessionID, wait func(context.Context, int) error,
) error {
	stored, err := s.recorder.CheckStored(ctx, id, wait)
	flaw, isFlaw := errors.AsType[*record.Flaw](err)
	switch {
	case sekisho.IsNotFound(err) || isFlaw && !s.recorder.Sealed(id): // removed meanwhile
		return nil
	case isFlaw:
		f := Finding{string(cmp.Or(flaw.Kind, record.Altered)), "recording", string(id), "in the store: " + flaw.Error()}
		if s.stored.note(id, &f) {
			s.report(ctx, f, time.Now(), len(s.findings()))
		}
		return nil
	case err != nil:
		return err
	}
	if stored {
		s.stored.note(id, nil)
		s.stored.mu.Lock()
		s.stored.recordings++
		s.stored.mu.Unlock()
	}
	return nil
}

// findings returns those of the last check of the data and of the checks of the store's content.
func (s *Server) findings() []Finding {
	var all []Finding
	if found := s.integrity.Load(); found != nil {
		all = slices.Clone(found.Findings)
	}
	for _, f := range s.stored.found() {
		if !slices.ContainsFunc(all, f.same) {
			all = append(all, f)
		}
	}
	return all
}

// same reports whether two findings are about the same problem.
func (f Finding) same(g Finding) bool {
	return f.Kind == g.Kind && f.Where == g.Where && f.Subject == g.Subject
}
