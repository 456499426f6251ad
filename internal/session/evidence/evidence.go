// Package evidence makes and verifies evidence bundles: one file with the
// recording of a session, the key to read it, its transcript, the audit events
// about it, the decision that allowed it, and proofs that the server wrote all
// of this and when. docs/formats/evidence.md describes the file.
package evidence

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"sort"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/session/export"
	"sekisho/internal/session/record"
)

// Format names the format in a manifest.
const Format = "sekisho-evidence-1"

// Names of the files of a bundle other than those of the recording.
const (
	ManifestFile   = "manifest.json"
	KeyFile        = "content.key"
	TranscriptFile = "transcript.txt"
	LedgerFile     = "ledger.ndjson"
	AuditFile      = "audit.ndjson"
	HeadsFile      = "heads.json"
	DecisionFile   = "decision.json"
)

const (
	// before and after define how much of the audit trail around the recording a bundle contains.
	// Witnesses receive heads every ten seconds.
	before = 10 * time.Second
	after  = 20 * time.Second
	// maxRecords limits the audit records of a bundle.
	maxRecords = 500_000
	auditPage  = 500
)

// Trail is the audit trail, as its store keeps it.
type Trail interface {
	audit.Reader
	LookupAudit(ctx context.Context, q audit.Query) ([]audit.Record, error)
}

// auditLine is one line of audit.ndjson.
type auditLine struct {
	Seq  int64  `json:"seq"`
	Hash []byte `json:"hash"`
	Body string `json:"body"` // the event as JSON, byte for byte
}

// headsFile is the content of heads.json.
type headsFile struct {
	Anchor audit.Head   `json:"anchor"` // of the record before the first one; zero at the beginning of the trail
	Heads  []audit.Head `json:"heads"`
}

// Decision is the content of decision.json: why policy let the session start.
type Decision struct {
	EventID   string            `json:"event_id"`
	EventName string            `json:"event_name"`
	Time      time.Time         `json:"time"`
	Session   sekisho.SessionID `json:"session"`
	Principal string            `json:"principal"`
	Reason    string            `json:"reason"` // names the deciding statement
}

// starts are the calls that start a session.
var starts = []string{"StartSession"}

// about reports whether an audit event is about a session. A session has two names, which end in
// the same random characters.
func about(body []byte, id sekisho.SessionID) bool {
	const unique = 16 // characters that no other session shares
	if i := strings.LastIndexByte(string(id), '-'); i >= 0 && len(id)-i > unique {
		return bytes.Contains(body, []byte(id[i:]))
	}
	return bytes.Contains(body, []byte(`"`+id+`"`))
}

// decisionOf returns the decision of the event that started the session; nil
// if the event is another one.
func decisionOf(e *audit.Event, body []byte, id sekisho.SessionID) *Decision {
	for _, name := range starts {
		if e.EventName == name && e.ErrorCode == "" && about(body, id) {
			return &Decision{
				EventID: e.ID, EventName: e.EventName, Time: e.Time, Session: id, Principal: e.UserIdentity.ARN, Reason: e.Reason,
			}
		}
	}
	return nil
}

// writer adds files to a bundle and notes their digests.
type writer struct {
	zip   *zip.Writer
	files []record.ManifestFile
}

// counted forwards and counts the bytes that are written.
type counted struct {
	w   io.Writer
	sum hash.Hash
	n   int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	return n, err
}

func (w *writer) add(name string, method uint16, fill func(io.Writer) error) error {
	part, err := w.zip.CreateHeader(&zip.FileHeader{Name: name, Method: method})
	if err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	c := &counted{w: part, sum: sha256.New()}
	if err := fill(c); err != nil {
		return err
	}
	w.files = append(w.files, record.ManifestFile{Name: name, Size: c.n, SHA256: hex.EncodeToString(c.sum.Sum(nil))})
	return nil
}

func (w *writer) addJSON(name string, v any) error {
	return w.add(name, zip.Deflate, func(out io.Writer) error { return json.NewEncoder(out).Encode(v) })
}

// Write writes the bundle of a session whose recording is sealed.
func Write(ctx context.Context, out io.Writer, rec *record.Recorder, trail Trail, id sekisho.SessionID) error {
	sum, err := rec.Stat(id)
	if err != nil {
		return err
	}
	if !sum.Sealed {
		return sekisho.Errorf(sekisho.CodeConflict, "The recording of session %s is not sealed yet.", id)
	}
	w := &writer{zip: zip.NewWriter(out)}
	if err := rec.EachFile(id, func(name string, content io.Reader) error {
		return w.add(name, zip.Store, func(out io.Writer) error {
			_, err := io.Copy(out, content)
			return err
		})
	}); err != nil {
		return err
	}
	key, err := rec.ContentKey(id)
	if err != nil {
		return err
	}
	stored, err := rec.Open(id)
	if err != nil {
		return err
	}
	defer stored.Close()
	err = w.add(KeyFile, zip.Store, func(out io.Writer) error {
		_, err := out.Write(key)
		return err
	})
	if err == nil {
		err = w.add(
			TranscriptFile,
			zip.Deflate,
			func(out io.Writer) error { return export.Write(out, stored.CastReader(), export.Text) },
		)
	}
	if err == nil {
		err = w.add(
			LedgerFile,
			zip.Deflate,
			func(out io.Writer) error { return rec.LedgerSegment(out, id, sum.SealedAt.Add(after)) },
		)
	}
	if err == nil {
		err = writeAudit(ctx, w, trail, id, sum)
	}
	if err != nil {
		return err
	}
	line, err := rec.SignManifest(record.Manifest{Format: Format, Session: id, Made: time.Now().UTC(), Files: w.files})
	if err == nil {
		err = w.add(ManifestFile, zip.Deflate, func(out io.Writer) error {
			_, err := out.Write(line)
			return err
		})
	}
	return errors.Join(err, w.zip.Close())
}

// lastBefore returns the number of the last record up to a time.
func lastBefore(ctx context.Context, trail Trail, t time.Time) (int64, error) {
	found, err := trail.LookupAudit(ctx, audit.Query{End: t, Limit: 1})
	if err != nil || len(found) == 0 {
		return 0, err
	}
	return found[0].Seq, nil
}

func writeAudit(ctx context.Context, w *writer, trail Trail, id sekisho.SessionID, sum record.Summary) error {
	from, err := lastBefore(ctx, trail, sum.Start.Add(-before))
	if err != nil {
		return err
	}
	to, err := lastBefore(ctx, trail, sum.SealedAt.Add(after))
	if err != nil {
		return err
	}
	all, err := trail.AuditHeads(ctx)
	if err != nil {
		return err
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Seq < all[j].Seq })
	first := sort.Search(len(all), func(i int) bool { return all[i].Seq > from })
	last := min(sort.Search(len(all), func(i int) bool { return all[i].Seq >= to })+1, len(all))
	heads := headsFile{Heads: all[min(first, last):last]}
	if first > 0 {
		heads.Anchor = all[first-1]
	}
	end := heads.Anchor.Seq
	if n := len(heads.Heads); n > 0 {
		end = heads.Heads[n-1].Seq
	}
	if end-heads.Anchor.Seq > maxRecords {
		return sekisho.Errorf(
			sekisho.CodeInvalid,
			"During session %s the audit trail grew by %d records; a bundle can hold at most %d.",
			id,
			end-heads.Anchor.Seq,
			maxRecords,
		)
	}
	var decision *Decision
	err = w.add(AuditFile, zip.Deflate, func(out io.Writer) error {
		lines := json.NewEncoder(out)
		for seq := heads.Anchor.Seq; seq < end; {
			records, err := trail.AuditAfter(ctx, seq, auditPage)
			if err != nil {
				return err
			}
			if len(records) == 0 {
				return fmt.Errorf("evidence: audit record %d is missing", seq+1)
			}
			for _, r := range records {
				if r.Seq > end {
					return nil
				}
				seq = r.Seq
				if err := lines.Encode(auditLine{r.Seq, r.Hash, string(r.Body)}); err != nil {
					return err
				}
				if e, err := r.Event(); err == nil && decision == nil {
					decision = decisionOf(&e, r.Body, id)
				}
			}
		}
		return nil
	})
	if err == nil {
		err = w.addJSON(HeadsFile, heads)
	}
	if err == nil {
		err = w.addJSON(DecisionFile, decision)
	}
	return err
}
