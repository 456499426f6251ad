package sekishoapi

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/session/evidence"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
)

const (
	// maxSpools bounds the bundles that are being downloaded.
	maxSpools = 4
	// spoolTime is how long a bundle is kept for its next page.
	spoolTime = 10 * time.Minute
	// maxBundle bounds a bundle.
	maxBundle = 8 << 30
)

type evidenceRequest struct {
	SessionID   string `json:"SessionId"`
	BundleID    string `json:"BundleId"` // from the first page; empty to create a bundle
	StartOffset int64
}

type evidenceAnswer struct {
	SessionID  string `json:"SessionId"`
	BundleID   string `json:"BundleId"`
	Data       []byte // Base64 on the wire
	NextOffset int64
	TotalBytes int64
}

// getSessionEvidence creates an evidence bundle and returns it page by page. A bundle contains
// audit records of other principals, so the caller must also be allowed to look those up.
func (d *door) getSessionEvidence(ctx context.Context, c *api.Call, in *evidenceRequest) (*evidenceAnswer, error) {
	var v awsproto.Constraints
	v.Require("sessionId", in.SessionID != "")
	v.Length("sessionId", in.SessionID, 0, 96)
	v.Length("bundleId", in.BundleID, 0, 64)
	v.Range("startOffset", in.StartOffset, 0, maxBundle)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "cloudtrail:LookupEvents", "*"); err != nil {
		return nil, err
	}
	if err := d.authorize(ctx, c, "sekisho:GetSessionEvidence", in.SessionID); err != nil {
		return nil, err
	}
	session, bundle := root.SessionID(in.SessionID), in.BundleID
	if bundle == "" {
		s, err := newSpool(session)
		if err != nil {
			return nil, err
		}
		err = evidence.Write(ctx, s, d.Recorder, d.AuditTrail, session)
		if err != nil {
			return nil, errors.Join(recordingError(in.SessionID, err), s.file.Close())
		}
		bundle = d.spools.keep(s)
	}
	data, total, err := d.spools.page(bundle, session, in.StartOffset)
	if err != nil {
		return nil, err
	}
	return &evidenceAnswer{
		SessionID: in.SessionID, BundleID: bundle, Data: data, NextOffset: in.StartOffset + int64(len(data)),
		TotalBytes: total,
	}, nil
}

// spool is a bundle that a client is downloading. It is in an unlinked file, encrypted with a key
// that only this process has.
type spool struct {
	id      string
	session root.SessionID
	file    *os.File
	block   cipher.Block
	out     cipher.Stream
	size    int64
	used    time.Time
}

func newSpool(session root.SessionID) (*spool, error) {
	f, err := os.CreateTemp("", "sekisho-evidence-")
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("evidence: %w", err), f.Close())
	}
	key := make([]byte, 32)
	rand.Read(key) // never fails: see crypto/rand
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &spool{id: id.UUID(), session: session, file: f, block: block, out: stream(block, 0)}, nil
}

// stream returns the key stream from the 16-byte block number from.
func stream(block cipher.Block, from int64) cipher.Stream {
	var iv [aes.BlockSize]byte
	binary.BigEndian.PutUint64(iv[8:], uint64(from))
	return cipher.NewCTR(block, iv[:])
}

// Write implements io.Writer.
func (s *spool) Write(p []byte) (int, error) {
	if s.size+int64(len(p)) > maxBundle {
		return 0, root.Errorf(
			root.CodeInvalid,
			"The bundle of session %s would be larger than %d bytes.",
			s.session,
			int64(maxBundle),
		)
	}
	sealed := make([]byte, len(p))
	s.out.XORKeyStream(sealed, p)
	n, err := s.file.Write(sealed)
	s.size += int64(n)
	return n, err
}

func (s *spool) read(offset int64) ([]byte, error) {
	from := offset - offset%aes.BlockSize
	b := make([]byte, min(maxPage+offset-from, s.size-from))
	if _, err := s.file.ReadAt(b, from); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	stream(s.block, from/aes.BlockSize).XORKeyStream(b, b)
	return b[offset-from:], nil
}

// spools keeps bundles until their last page has been fetched.
type spools struct {
	mu   sync.Mutex
	kept []*spool // the most recently used one is last
}

func (x *spools) keep(s *spool) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	for len(x.kept) > 0 && (len(x.kept) >= maxSpools || now.Sub(x.kept[0].used) > spoolTime) {
		_ = x.kept[0].file.Close() // the bundle is dropped in any case
		x.kept = x.kept[1:]
	}
	s.used = now
	x.kept = append(x.kept, s)
	return s.id
}

// page returns a part of a bundle, and removes the bundle after the last part.
func (x *spools) page(bundle string, session root.SessionID, offset int64) (data []byte, total int64, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, s := range x.kept {
		if s.id != bundle || s.session != session {
			continue
		}
		if offset > s.size {
			return nil, 0, root.Errorf(
				root.CodeInvalid,
				"Offset %d is beyond the end of the bundle, which has %d bytes.",
				offset,
				s.size,
			)
		}
		if data, err = s.read(offset); err != nil {
			return nil, 0, err
		}
		x.kept = append(x.kept[:i:i], x.kept[i+1:]...)
		if offset+int64(len(data)) == s.size {
			return data, s.size, s.file.Close()
		}
		s.used = time.Now()
		x.kept = append(x.kept, s)
		return data, s.size, nil
	}
	return nil, 0, root.Errorf(
		root.CodeNotFound,
		"There is no bundle %s of session %s. Start over without a BundleId.",
		cmp.Or(bundle, "-"),
		session,
	)
}
