package record

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"sekisho"
	"sekisho/internal/session/recfile"
)

const purposeEvidence = "sekisho evidence 1"

// Manifest lists the files of an evidence bundle.
type Manifest struct {
	Format  string            `json:"format"`
	Key     string            `json:"key"` // fingerprint of the signing key
	Session sekisho.SessionID `json:"session"`
	Made    time.Time         `json:"made"`
	Files   []ManifestFile    `json:"files"`
}

// ManifestFile is one file of a bundle.
type ManifestFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// SignManifest returns m as a signed line, line feed included.
func (r *Recorder) SignManifest(m Manifest) ([]byte, error) {
	m.Key = r.key
	line, err := sign(r.signer, purposeEvidence, m)
	if err != nil {
		return nil, err
	}
	return append(line, '\n'), nil
}

// ParseManifest verifies and decodes a manifest from [Recorder.SignManifest].
func ParseManifest(text []byte, keys Keys) (*Manifest, error) {
	line, ok := bytes.CutSuffix(text, []byte("\n"))
	if !ok {
		return nil, errors.New("it is cut short")
	}
	var m Manifest
	if err := unsign(line, purposeEvidence, &m, func() (ed25519.PublicKey, bool) {
		pub, ok := keys[m.Key]
		return pub, ok
	}); err != nil {
		return nil, err
	}
	return &m, nil
}

// ContentKey returns the key with which a session's recording is encrypted; nil in format 1.
// Whoever has it can read the recording.
func (a *Archive) ContentKey(id sekisho.SessionID) ([]byte, error) {
	s, err := a.Open(id)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if s.Reader == nil {
		return nil, nil
	}
	return a.unlock(s.Reader, s.Header)
}

// OpenFiles opens a recording from its files and its content key, without a
// server.
func OpenFiles(fsys fs.FS, key []byte) (*Stored, error) {
	if f, err := fsys.Open(CastFile); err == nil {
		st, err := f.Stat()
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("record: %w", err)
		}
		again := &reopened{fsys: fsys, name: CastFile}
		return &Stored{f: again, cast: io.NewSectionReader(again, 0, st.Size())}, nil
	}
	f, err := fsys.Open(MainFile)
	if err != nil {
		return nil, missing(err, MainFile)
	}
	st, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	s := &Stored{f: &reopened{fsys: fsys, name: MainFile}}
	if s.Reader, err = recfile.Open(s.f, st.Size()); err != nil {
		return nil, errors.Join(flawOf(err), s.Close())
	}
	if s.Header, _, err = decodeHeader(s.Reader.Header()); err != nil {
		return nil, errors.Join(&Flaw{File: MainFile, Problem: err.Error()}, s.Close())
	}
	if err := s.Unlock(key); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// CastReader returns the whole recording as an asciicast.
func (s *Stored) CastReader() io.Reader {
	if s.cast != nil {
		return io.NewSectionReader(s.cast, 0, s.cast.Size())
	}
	return &castReader{s: s}
}

// castReader converts a recording while it is being read.
type castReader struct {
	s   *Stored
	e   exporter
	end bool
}

// Read implements io.Reader.
func (r *castReader) Read(p []byte) (int, error) {
	const piece = 64 << 10
	for len(r.e.buf) == 0 {
		if r.end {
			return 0, io.EOF
		}
		var err error
		if r.end, err = r.e.convert(r.s, r.e.offset, piece); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.e.buf)
	r.e.buf = r.e.buf[n:]
	r.e.offset += int64(n)
	return n, nil
}

// LedgerSegment writes the lines of the ledger from the start of a recording up to the first line
// that follows its seal and was written after until. If there is no such line, it writes up to the
// end.
func (a *Archive) LedgerSegment(w io.Writer, id sekisho.SessionID, until time.Time) error {
	f, err := a.openRegular(LedgerFile, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	in := newLedgerWalker(f, a.keys)
	begun, sealed := false, false
	for {
		e, err := in.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		begun = begun || e.Session == id
		if !begun {
			continue
		}
		sealed = sealed || e.Session == id && e.Kind == ledgerSealed
		if _, err := w.Write(append(in.line, '\n')); err != nil {
			return err
		}
		if sealed && e.Time.After(until) {
			break
		}
	}
	if !sealed {
		return &Flaw{
			File:    LedgerFile,
			Kind:    Missing,
			Problem: fmt.Sprintf("it has no line for the seal of session %s", id),
		}
	}
	return nil
}

// LedgerProof is the result of checking a segment of the ledger.
type LedgerProof struct {
	Sealed int64 // number of the line with the seal, counted from 1
	// Heads maps the number of each line to its digest.
	Heads map[int64]string
}

// CheckLedgerSegment verifies a segment from [Archive.LedgerSegment]. seal is the content of
// seal.json.
func CheckLedgerSegment(r io.Reader, keys Keys, id sekisho.SessionID, seal []byte) (*LedgerProof, error) {
	w := newLedgerWalker(r, keys)
	w.segment = true
	proof := &LedgerProof{Heads: make(map[int64]string)}
	for {
		e, err := w.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		proof.Heads[w.count] = w.head
		if e.Kind == ledgerSealed && e.Session == id {
			if e.Seal != hexDigest(seal) {
				return nil, &Flaw{File: LedgerFile, Line: w.count, Problem: "it names another seal"}
			}
			proof.Sealed = w.count
		}
	}
	if w.torn {
		return nil, &Flaw{
			File:    LedgerFile,
			Line:    w.count + 1,
			Kind:    Truncated,
			Problem: "it is cut off within the line",
		}
	}
	if proof.Sealed == 0 {
		return nil, &Flaw{File: LedgerFile, Kind: Missing, Problem: "the line with the seal is missing"}
	}
	return proof, nil
}

// Encrypted reports whether agent and client encrypted the session end to end, in which case the
// recording has no content.
func (s *Stored) Encrypted() (bool, error) {
	if s.Reader == nil {
		return false, nil
	}
	_, encrypted, err := beginning(s.Reader)
	return encrypted, err
}
