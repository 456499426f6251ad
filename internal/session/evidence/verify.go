package evidence

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"sekisho"
	"sekisho/internal/activity/audit"
	"sekisho/internal/session/export"
	"sekisho/internal/session/record"
)

const (
	maxManifest = 16 << 10
	maxFiles    = 32
	// maxPart limits the parts that are read into memory as a whole, in bytes.
	maxPart = 1 << 30
)

// Report is what a bundle proves.
type Report struct {
	Session  sekisho.SessionID
	Manifest *record.Manifest
	Decision *Decision
	Events   []audit.Event // about the session, in order
	// Encrypted says that the content was encrypted end to end.
	Encrypted bool
	// Witnessed reports that a witness knew of the seal and of the session's last event, so the
	// server cannot have written them later.
	Witnessed bool
	Problems  []string
}

func (r *Report) problem(file, format string, args ...any) {
	r.Problems = append(r.Problems, file+": "+fmt.Sprintf(format, args...))
}

// IsBundle reports whether an archive is an evidence bundle.
func IsBundle(z *zip.Reader) bool {
	return slices.ContainsFunc(z.File, func(f *zip.File) bool { return f.Name == ManifestFile })
}

// Verify checks a bundle with only the public keys, and compares it with the statements of
// witnesses. The report names every part that is wrong.
func Verify(z *zip.Reader, keys record.Keys, witnesses []record.Witness) *Report {
	rep := &Report{}
	text, err := readPart(z, ManifestFile, maxManifest)
	if err != nil {
		rep.problem(ManifestFile, "%v", err)
		return rep
	}
	m, err := record.ParseManifest(text, keys)
	if err != nil {
		rep.problem(ManifestFile, "%v", err)
		return rep
	}
	if m.Format != Format {
		rep.problem(ManifestFile, "format %.40q is not supported", m.Format)
		return rep
	}
	rep.Manifest, rep.Session = m, m.Session
	if !rep.checkFiles(z, m) {
		return rep
	}
	if _, err := record.Verify(z, keys, m.Session); err != nil {
		rep.problem("recording", "%v", err)
	}
	rep.checkTranscript(z)
	proof := rep.checkLedger(z, keys)
	records := rep.checkAudit(z, keys)
	rep.checkWitnesses(keys, witnesses, proof, records)
	return rep
}

func readPart(z *zip.Reader, name string, limit int64) ([]byte, error) {
	f, err := z.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("it is missing")
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	return b, err
}

// checkFiles compares the archive with its manifest. Unless all files are unchanged, nothing else
// is worth checking.
func (r *Report) checkFiles(z *zip.Reader, m *record.Manifest) bool {
	if len(z.File) > maxFiles {
		r.problem("bundle", "it has %d files", len(z.File))
		return false
	}
	listed := make(map[string]bool)
	for _, f := range m.Files {
		listed[f.Name] = true
	}
	seen := make(map[string]bool)
	for _, f := range z.File {
		if f.Name != ManifestFile && !listed[f.Name] {
			r.problem(f.Name, "it does not belong to the bundle")
		}
		if seen[f.Name] {
			r.problem(f.Name, "it occurs twice")
		}
		seen[f.Name] = true
	}
	for _, want := range m.Files {
		f, err := z.Open(want.Name)
		if err != nil {
			r.problem(want.Name, "it is missing")
			continue
		}
		sum := sha256.New()
		n, err := io.Copy(sum, io.LimitReader(f, want.Size+1))
		err = errors.Join(err, f.Close())
		switch {
		case err != nil:
			r.problem(want.Name, "it cannot be read: %v", err)
		case n != want.Size || hex.EncodeToString(sum.Sum(nil)) != want.SHA256:
			r.problem(want.Name, "it was altered")
		}
	}
	return len(r.Problems) == 0
}

// checkTranscript compares the transcript with one made from the recording.
func (r *Report) checkTranscript(z *zip.Reader) {
	key, err := readPart(z, KeyFile, 1<<10)
	if err != nil {
		r.problem(KeyFile, "%v", err)
		return
	}
	s, err := record.OpenFiles(z, key)
	if err != nil {
		r.problem(KeyFile, "the recording cannot be opened: %v", err)
		return
	}
	defer s.Close()
	made, kept := sha256.New(), sha256.New()
	text := &notice{w: made}
	if err := export.Write(text, s.CastReader(), export.Text); err != nil {
		r.problem("recording", "%v", err)
		return
	}
	r.Encrypted = text.found
	f, err := z.Open(TranscriptFile)
	if err != nil {
		r.problem(TranscriptFile, "it is missing")
		return
	}
	_, err = io.Copy(kept, f)
	if err := errors.Join(err, f.Close()); err != nil {
		r.problem(TranscriptFile, "it cannot be read: %v", err)
	} else if !bytes.Equal(made.Sum(nil), kept.Sum(nil)) {
		r.problem(TranscriptFile, "it does not match the recording")
	}
}

// notice looks for the notice of an encrypted session in a transcript.
type notice struct {
	w     io.Writer
	rest  []byte
	found bool
}

func (n *notice) Write(p []byte) (int, error) {
	want := []byte("  # " + export.EncryptedNotice + "\n")
	n.rest = append(n.rest, p...)
	n.found = n.found || bytes.Contains(n.rest, want)
	n.rest = append(n.rest[:0], n.rest[max(0, len(n.rest)-len(want)):]...)
	return n.w.Write(p)
}

func (r *Report) checkLedger(z *zip.Reader, keys record.Keys) *record.LedgerProof {
	seal, err := readPart(z, record.SealFile, maxManifest)
	if err != nil {
		r.problem(record.SealFile, "%v", err)
		return nil
	}
	lines, err := readPart(z, LedgerFile, maxPart)
	if err != nil {
		r.problem(LedgerFile, "%v", err)
		return nil
	}
	proof, err := record.CheckLedgerSegment(bytes.NewReader(lines), keys, r.Session, seal)
	if err != nil {
		r.problem("ledger", "%v", err)
	}
	return proof
}

func (r *Report) checkAudit(z *zip.Reader, keys record.Keys) []audit.Record {
	var heads headsFile
	text, err := readPart(z, HeadsFile, maxPart)
	if err == nil {
		err = json.Unmarshal(text, &heads)
	}
	if err != nil {
		r.problem(HeadsFile, "%v", err)
		return nil
	}
	if text, err = readPart(z, AuditFile, maxPart); err != nil {
		r.problem(AuditFile, "%v", err)
		return nil
	}
	var records []audit.Record
	var found *Decision
	for in := json.NewDecoder(bytes.NewReader(text)); in.More(); {
		var line auditLine
		if err := in.Decode(&line); err != nil {
			r.problem(AuditFile, "record %d: %v", len(records)+1, err)
			return nil
		}
		rec, err := audit.RecordOf(line.Seq, line.Hash, []byte(line.Body))
		if err != nil {
			r.problem(AuditFile, "%v", err)
			return nil
		}
		records = append(records, rec)
		if e, err := rec.Event(); err == nil && about(rec.Body, r.Session) {
			r.Events = append(r.Events, e)
			if found == nil {
				found = decisionOf(&e, rec.Body, r.Session)
			}
		}
	}
	var problems []*audit.BrokenError
	fewest := -1
	for _, pub := range keys {
		if p := audit.CheckSegment(pub, heads.Anchor, records, heads.Heads); fewest < 0 || len(p) < fewest {
			problems, fewest = p, len(p)
		}
	}
	for _, p := range problems {
		r.problem(AuditFile, "%v", p)
	}
	r.checkDecision(z, found)
	return records
}

func (r *Report) checkDecision(z *zip.Reader, found *Decision) {
	var kept *Decision
	text, err := readPart(z, DecisionFile, maxPart)
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	switch {
	case err != nil:
		r.problem(DecisionFile, "%v", err)
	case found == nil:
		r.problem(DecisionFile, "the audit trail of the bundle has no event that started the session")
	case kept == nil || !kept.Time.Equal(found.Time) || kept.EventID != found.EventID || kept.Reason != found.Reason ||
		kept.Principal != found.Principal || kept.EventName != found.EventName || kept.Session != found.Session:
		r.problem(DecisionFile, "it does not match the audit trail")
	default:
		r.Decision = kept
	}
}

// checkWitnesses compares the proofs with what witnesses know.
func (r *Report) checkWitnesses(
	keys record.Keys,
	witnesses []record.Witness,
	proof *record.LedgerProof,
	records []audit.Record,
) {
	if proof == nil || len(records) == 0 {
		return
	}
	var last int64 // event about the session
	for _, rec := range records {
		if about(rec.Body, r.Session) {
			last = rec.Seq
		}
	}
	sealed, trail := false, false
	for _, w := range witnesses {
		if digest, ok := proof.Heads[w.LedgerLines]; ok {
			if digest != w.LedgerDigest {
				r.problem(
					LedgerFile,
					"line %d differs from the one that a witness has known since %s",
					w.LedgerLines,
					w.Time.UTC().Format("2006-01-02 15:04:05Z"),
				)
			} else if w.LedgerLines >= proof.Sealed {
				sealed = true
			}
		}
		i := w.AuditSeq - records[0].Seq
		if i < 0 || i >= int64(len(records)) {
			continue
		}
		head := audit.Head{Seq: w.AuditSeq, Hash: w.AuditHash, Time: w.AuditTime, Signature: w.AuditSignature}
		good := false
		for _, pub := range keys {
			good = good || head.Vouches(pub, records[i])
		}
		if !good {
			r.problem(
				AuditFile,
				"record %d differs from the one that a witness has known since %s",
				w.AuditSeq,
				w.Time.UTC().Format("2006-01-02 15:04:05Z"),
			)
		} else if w.AuditSeq >= last {
			trail = true
		}
	}
	r.Witnessed = sealed && trail
}
