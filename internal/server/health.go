package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// healthEvery bounds how often the checks run, because anyone can request them.
	healthEvery   = time.Second
	healthTimeout = 5 * time.Second
	// probeBytes must fit on the disk. It is more than a file system reserves for small files.
	probeBytes = 256 << 10
)

// health is the server's own state.
type health struct {
	draining    atomic.Bool
	taken       atomic.Bool // another server has taken the database
	trailFailed atomic.Bool // the last batch of audit events could not be stored

	mu       sync.Mutex
	checked  time.Time
	problems []string
}

// check returns the problems that keep the server from working; none if it works.
func (s *Server) check(ctx context.Context) []string {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	if time.Since(s.state.checked) < healthEvery {
		return s.state.problems
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTimeout)
	defer cancel()
	var problems []string
	bad := func(what string, err error) {
		problems = append(problems, what)
		s.cfg.Log.WarnContext(ctx, "health check failed", "problem", what, "error", err, "cause", errors.Unwrap(err))
	}
	if s.state.taken.Load() {
		bad("another server uses the database", nil)
	} else if s.claim.Lost() {
		bad("the connection that claims the database was lost", nil)
	}
	if err := s.db.Probe(ctx); err != nil {
		bad("the database cannot be written", err)
	}
	if err := probeDisk(s.cfg.DataDir); err != nil {
		bad("the data directory cannot be written", err)
	}
	if s.state.trailFailed.Load() {
		bad("the last audit events could not be stored", nil)
	}
	if n := s.unsealed.count(); n > 0 {
		bad(fmt.Sprintf("%d recordings could not be sealed", n), nil)
	}
	if x := s.recorder.StoreState(); x.Full {
		bad("nothing can be recorded: too much waits for the store of recordings", nil)
	}
	s.state.problems, s.state.checked = problems, time.Now()
	return problems
}

// probeDisk writes a file as large as a recording's next pieces.
func probeDisk(dir string) error {
	path := filepath.Join(dir, ".probe")
	err := os.WriteFile(path, bytes.Repeat([]byte{1}, probeBytes), 0o600)
	return errors.Join(err, os.Remove(path))
}

// live answers that the process serves requests.
func (s *Server) live(w http.ResponseWriter, _ *http.Request) { s.say(w, http.StatusOK, "ok") }

// ready tells load balancers whether the server should get requests.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if s.state.draining.Load() {
		s.say(w, http.StatusServiceUnavailable, "draining")
		return
	}
	if problems := s.check(r.Context()); len(problems) > 0 {
		s.say(w, http.StatusServiceUnavailable, strings.Join(problems, "\n"))
		return
	}
	text := "ok"
	if n := len(s.findings()); n > 0 {
		// The server works, so a load balancer must not remove it.
		text += fmt.Sprintf("\nrecordings and audit trail: %d problems", n)
	}
	if problem := s.storeProblem(); problem != "" {
		text += "\n" + problem
	}
	s.say(w, http.StatusOK, text)
}

func (s *Server) say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if _, err := fmt.Fprintln(w, text); err != nil {
		s.cfg.Log.Debug("could not deliver the health response", "error", err)
	}
}
