package record

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"sekisho"
)

const (
	sealFormat  = "sekisho-seal-2"
	sealFormat1 = "sekisho-seal-1"
)

// Seal is the content of seal.json without the signature.
type Seal struct {
	Format  string            `json:"format"`
	Key     string            `json:"key"` // fingerprint of the signing key
	Session sekisho.SessionID `json:"session"`
	Path    string            `json:"path"` // under the directory of recordings

	FileBytes int64  `json:"file_bytes,omitempty"` // of session.rec
	Blocks    int64  `json:"blocks,omitempty"`
	Head      string `json:"head,omitempty"`  // SHA-256 of the last block
	Index     int64  `json:"index,omitempty"` // where the index begins in session.rec

	// The following fields are in seals of format 1.
	HeaderSHA256 string `json:"header_sha256,omitempty"` // of the cast's first line, line feed included
	CastBytes    int64  `json:"cast_bytes,omitempty"`
	CastSHA256   string `json:"cast_sha256,omitempty"`
	Checkpoints  int64  `json:"checkpoints,omitempty"`
	ChainHead    string `json:"chain_head,omitempty"` // SHA-256 of the last checkpoint, without its line feed

	Events   int64     `json:"events"`
	BytesOut int64     `json:"bytes_out"`
	BytesIn  int64     `json:"bytes_in"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	Micros   int64     `json:"duration_us"`
	Status   int       `json:"status"`
	Reason   string    `json:"reason"`
	// Encrypted means that agent and client encrypted the session end to end, in which case the
	// recording has no content.
	Encrypted bool `json:"encrypted,omitempty"`
	// RecordingDays is how many days the recording is kept; 0 = as long as the
	// policy of the server says.
	RecordingDays int       `json:"recording_days,omitempty"`
	SealedAt      time.Time `json:"sealed_at"`
	// Damage describes what was already wrong when the seal was made; the seal then proves only
	// that nothing was changed since. FileSHA256 is the digest of session.rec, and ChainSHA256 that
	// of the chain in format 1. They are set only together with Damage.
	Damage      string `json:"damage,omitempty"`
	FileSHA256  string `json:"file_sha256,omitempty"`
	ChainSHA256 string `json:"chain_sha256,omitempty"`
	Previous    string `json:"previous"` // SHA-256 of the previous seal.json; "" for the first
}

// parseSeal verifies and decodes the content of a seal.json.
func parseSeal(text []byte, keys Keys) (*Seal, error) {
	if len(text) == 0 || text[len(text)-1] != '\n' {
		return nil, &Flaw{File: SealFile, Problem: "it is cut short"}
	}
	var s Seal
	err := unsign(text[:len(text)-1], purposeSeal, &s, func() (ed25519.PublicKey, bool) {
		pub, ok := keys[s.Key]
		return pub, ok
	})
	if err == nil && s.Format != sealFormat && s.Format != sealFormat1 {
		err = fmt.Errorf("its format %q is not supported", s.Format)
	}
	if err != nil {
		return nil, &Flaw{File: SealFile, Problem: err.Error()}
	}
	return &s, nil
}

// seal signs s, lists it in the ledger and creates seal.json. The file exists under a temporary
// name before the ledger names it, so after a crash in between, finishSeal can complete the work.
func (r *Recorder) seal(dir string, s *Seal) (text []byte, err error) {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	s.Key, s.Path, s.Previous = r.key, dir, r.ledger.lastSeal
	s.SealedAt = time.Now().UTC()
	text, err = sign(r.signer, purposeSeal, s)
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	tmp := path.Join(dir, sealTemp)
	if err := r.writeSync(tmp, text); err != nil {
		return nil, err
	}
	if _, ok := r.ledger.started[s.Session]; !ok {
		if err := r.ledger.append(entry{Kind: ledgerStarted, Session: s.Session, Path: dir}); err != nil {
			return nil, err
		}
	}
	if err := r.ledger.append(entry{Kind: ledgerSealed, Session: s.Session, Path: dir,
		Seal: hexDigest(text)}); err != nil {
		return nil, err
	}
	if err := r.ledger.f.Sync(); err != nil {
		return nil, fmt.Errorf("record: %s: %w", LedgerFile, err)
	}
	if err := r.placeSeal(dir); err != nil {
		return nil, err
	}
	r.sealed(s.Session, dir)
	return text, nil
}

const sealTemp = SealFile + ".tmp"

func (r *Recorder) placeSeal(dir string) error {
	if err := r.root.Rename(path.Join(dir, sealTemp), path.Join(dir, SealFile)); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	d, err := r.root.Open(dir)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("record: sync %s: %w", dir, err)
	}
	return nil
}

// finishSeal renames a seal that the ledger names but that still has its temporary name because of
// a crash. It reports whether there was one.
func (r *Recorder) finishSeal(id sekisho.SessionID, dir string) (bool, error) {
	text, err := r.readSmall(path.Join(dir, sealTemp))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	digest := hexDigest(text)
	f, err := r.root.Open(LedgerFile)
	if err != nil {
		return false, fmt.Errorf("record: %w", err)
	}
	defer f.Close()
	for w := newLedgerWalker(f, r.keys); ; {
		e, err := w.next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if e.Kind == ledgerSealed && e.Session == id && e.Seal == digest {
			err := r.placeSeal(dir)
			if err == nil {
				r.sealed(id, dir)
			}
			return true, err
		}
	}
}

// sealDamaged seals a recording that cannot be continued, in its present state.
func (r *Recorder) sealDamaged(id sekisho.SessionID, dir string, exit Exit, flaw error) error {
	s := &Seal{
		Format:  sealFormat,
		Session: id,
		Status:  exit.Status,
		Reason:  text(exit.Reason),
		Damage:  text(flaw.Error()),
	}
	var err error
	if r.isFormat1(dir) {
		s.Format = sealFormat1
		if s.CastSHA256, s.CastBytes, err = r.digest(path.Join(dir, CastFile)); err != nil {
			return err
		}
		if s.ChainSHA256, _, err = r.digest(path.Join(dir, ChainFile)); err != nil {
			return err
		}
	} else if s.FileSHA256, s.FileBytes, err = r.digest(path.Join(dir, MainFile)); err != nil {
		return err
	}
	_, err = r.seal(dir, s)
	return err
}

// digest returns the SHA-256 and the length of a file; "" if there is no such file.
func (r *Recorder) digest(name string) (string, int64, error) {
	f, err := r.openRegular(name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return "", 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return "", 0, fmt.Errorf("record: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}
