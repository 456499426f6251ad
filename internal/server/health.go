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
	"syscall"
	"time"

	"sekisho/internal/api/sekishoapi"
	"sekisho/internal/version"
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
	problems []problem
}

// problem is a reason why the server does not work.
type problem struct {
	code string // for programs
	text string
}

// Codes of problems.
const (
	databaseTaken       = "DatabaseTaken"
	databaseClaimLost   = "DatabaseClaimLost"
	databaseNotWritable = "DatabaseNotWritable"
	diskNotWritable     = "DiskNotWritable"
	auditNotStored      = "AuditNotStored"
	recordingsUnsealed  = "RecordingsUnsealed"
	recordingStoreFull  = "RecordingStoreFull"
	recordingStoreFails = "RecordingStoreFails"
	integrityFindings   = "IntegrityFindings"
	serverDraining      = "Draining"
	memberWithoutLease  = "MemberWithoutLease"
)

// check returns the problems that keep the server from working; none if it works.
func (s *Server) check(ctx context.Context) []problem {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	if time.Since(s.state.checked) < healthEvery {
		return s.state.problems
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTimeout)
	defer cancel()
	var problems []problem
	bad := func(code, text string, err error) {
		problems = append(problems, problem{code, text})
		s.cfg.Log.WarnContext(ctx, "health check failed", "problem", text, "error", err, "cause", errors.Unwrap(err))
	}
	if s.state.taken.Load() {
		bad(databaseTaken, "another server uses the database", nil)
	} else if s.claim.Lost() {
		bad(databaseClaimLost, "the connection that claims the database was lost", nil)
	}
	if s.member != nil {
		if problem := s.member.Problem(); problem != "" {
			bad(memberWithoutLease, "this member cannot act for the cluster: it has no lease", errors.New(problem))
		}
	}
	if err := s.db.Probe(ctx); err != nil {
		bad(databaseNotWritable, "the database cannot be written", err)
	}
	if err := probeDisk(s.cfg.DataDir); err != nil {
		bad(diskNotWritable, "the data directory cannot be written", err)
	}
	if s.state.trailFailed.Load() {
		bad(auditNotStored, "the last audit events could not be stored", nil)
	}
	if n := s.unsealed.count(); n > 0 {
		bad(recordingsUnsealed, fmt.Sprintf("%d recordings could not be sealed", n), nil)
	}
	if x := s.recorder.StoreState(); x.Full {
		bad(recordingStoreFull, "nothing can be recorded: too much waits for the store of recordings", nil)
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
		lines := make([]string, len(problems))
		for i, p := range problems {
			lines[i] = p.text
		}
		s.say(w, http.StatusServiceUnavailable, strings.Join(lines, "\n"))
		return
	}
	lines := []string{"ok"}
	// The server works, so a load balancer must not remove it.
	for _, p := range s.warnings() {
		lines = append(lines, p.text)
	}
	s.say(w, http.StatusOK, strings.Join(lines, "\n"))
}

// warnings returns the problems with which the server works.
func (s *Server) warnings() []problem {
	var found []problem
	if n := len(s.findings()); n > 0 {
		text := fmt.Sprintf("recordings and audit trail: %d problems", n)
		found = append(found, problem{integrityFindings, text})
	}
	if text := s.storeProblem(); text != "" {
		found = append(found, problem{recordingStoreFails, text})
	}
	return found
}

// currentHealth returns the state of this server, for the API.
func (s *Server) currentHealth(ctx context.Context) (*sekishoapi.Health, error) {
	store, now := s.recorder.StoreState(), s.now()
	out := &sekishoapi.Health{
		Status: sekishoapi.Healthy, Version: version.String(), StartedAt: s.started, CheckedAt: now,
		NodesConnected: s.Channels.Count(), SessionsActive: s.relay.Count(),
		RecordingBytes: s.recordingBytes.Load(), RecordingsUnsealed: s.unsealed.count(),
		Store: store.Store, StoreWaitingBytes: store.Waiting, StoreWaitingRecordings: store.Recordings,
		Problems: []sekishoapi.HealthProblem{},
	}
	var err error
	if out.DiskBytes, out.DiskFreeBytes, err = diskSpace(s.cfg.DataDir); err != nil {
		return nil, err
	}
	add := func(status sekishoapi.HealthStatus, found []problem) {
		for _, p := range found {
			out.Status = status
			out.Problems = append(out.Problems, sekishoapi.HealthProblem{Code: p.code, Text: p.text, Status: status})
		}
	}
	add(sekishoapi.Degraded, s.warnings())
	if s.state.draining.Load() {
		add(sekishoapi.Degraded, []problem{{serverDraining, "the server is draining: load balancers send it no requests"}})
	}
	add(sekishoapi.Failing, s.check(ctx))
	return out, nil
}

// diskSpace returns the size and the free space of the file system of dir.
func diskSpace(dir string) (total, free int64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", dir, err)
	}
	return int64(st.Blocks) * int64(st.Bsize), int64(st.Bavail) * int64(st.Bsize), nil
}

func (s *Server) say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if _, err := fmt.Fprintln(w, text); err != nil {
		s.cfg.Log.Debug("could not deliver the health response", "error", err)
	}
}
