package server

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sekisho/internal/activity/audit"
)

const (
	// auditDir, below the data directory, has the exported segments of the audit trail.
	auditDir       = "audit"
	segmentSuffix  = ".ndjson.gz"
	segmentTemp    = "segment.tmp"
	maxPerRun      = 10 // segments of one run, so that other housekeeping is not delayed
	segmentPattern = "%012d-%012d" + segmentSuffix
)

// expireAudit exports the part of the audit trail whose retention has ended as signed segments, and
// then removes it from the database.
func (s *Server) expireAudit(ctx context.Context) error {
	if s.cfg.AuditMaxAge <= 0 {
		return nil
	}
	dir := filepath.Join(s.cfg.DataDir, auditDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for range maxPerRun {
		done, err := s.exportSegment(ctx, dir)
		if err != nil || done {
			return err
		}
	}
	return nil
}

// exportSegment exports one segment. It reports whether there was nothing left to export.
func (s *Server) exportSegment(ctx context.Context, dir string) (done bool, err error) {
	temp := filepath.Join(dir, segmentTemp)
	e, err := s.writeSegment(ctx, temp)
	if err != nil || e == nil {
		return true, errors.Join(err, removeIfThere(temp))
	}
	e.File = fmt.Sprintf(segmentPattern, e.First, e.Last)
	name := filepath.Join(dir, e.File)
	if err := os.Rename(temp, name); err != nil {
		return true, err
	}
	if err := syncDir(dir); err != nil {
		return true, err
	}
	err = s.trail.Record(ctx, s.serverEvent(audit.ExportEvent, map[string]any{
		"first": e.First, "last": e.Last, "hash": e.Hash, "file": e.File, "sha256": e.SHA256,
	}))
	if err == nil {
		err = s.trail.Sign(ctx)
	}
	if err == nil {
		err = s.db.Audit.DeleteAudit(ctx, e.Last)
	}
	if err != nil {
		return true, err
	}
	s.cfg.Log.Info("audit records were exported and removed", "first", e.First, "last", e.Last, "file", name)
	return false, nil
}

// writeSegment writes a segment and verifies what is in the file: what does not verify stays where
// it is.
func (s *Server) writeSegment(ctx context.Context, name string) (*audit.Export, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	e, err := audit.WriteSegment(ctx, f, s.db.Audit, s.now().Add(-s.cfg.AuditMaxAge))
	if err == nil && e != nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil || e == nil {
		return nil, err
	}
	found, digest, problems, err := readSegment(name, s.ring.PublicKey(), nil)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("the audit trail is not removed, because its export does not verify: %w", problems[0])
	}
	e.SHA256 = digest
	if found.Hash != e.Hash {
		return nil, errors.New("the audit trail is not removed, because its export is another one")
	}
	return e, nil
}

// readSegment verifies a segment and returns the SHA-256 of its file.
func readSegment(
	name string, key ed25519.PublicKey, visit func(audit.Record),
) (e *audit.Export, digest string, problems []*audit.BrokenError, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, "", nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	all := io.TeeReader(f, sum)
	if e, problems, err = audit.VerifySegment(all, key, visit); err != nil {
		return nil, "", nil, err
	}
	_, err = io.Copy(io.Discard, all)
	return e, hex.EncodeToString(sum.Sum(nil)), problems, err
}

func removeIfThere(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// exportedSegments verifies the exported segments of the audit trail that are in the data directory. Those
// that were moved away are not missed: the trail itself says that they were exported.
func (c *integrityCheck) exportedSegments(ctx context.Context, visit func(audit.Record),
	add func(Finding)) (map[string]string, error) {
	digests := make(map[string]string)
	if c.segments == "" {
		return digests, nil
	}
	entries, err := os.ReadDir(c.segments)
	if errors.Is(err, fs.ErrNotExist) {
		return digests, nil
	}
	if err != nil {
		return nil, err
	}
	var last *audit.Export
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasSuffix(name, segmentSuffix) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		found, digest, problems, err := readSegment(filepath.Join(c.segments, name), c.key, visit)
		if err != nil {
			add(Finding{"altered", "audit", name, err.Error()})
			continue
		}
		digests[name] = digest
		for _, p := range problems {
			add(Finding{string(p.Kind), "audit", name, p.Error()})
		}
		if found != nil && last != nil && found.First > last.Last+1 {
			add(Finding{"missing", "audit", name, fmt.Sprintf(
				"the segment with the records %d to %d is missing before it", last.Last+1, found.First-1)})
		}
		if found != nil {
			last = found
		}
	}
	return digests, nil
}

// auditSince is when the oldest record was stored that a check has seen; zero if it has seen the
// whole trail.
type auditSince struct {
	oldest int64
	at     time.Time
}

func (a *auditSince) take(r audit.Record) {
	if a.oldest == 0 || r.Seq < a.oldest {
		a.oldest, a.at = r.Seq, r.Time
	}
}

// misses reports whether the trail that was seen begins after a time.
func (a *auditSince) misses(at time.Time) bool { return a.oldest > 1 && at.Before(a.at) }
