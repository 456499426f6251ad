package client

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"sekisho"
	"sekisho/internal/session/evidence"
	"sekisho/internal/session/record"
)

// Verification is the result of verifying a recording.
type Verification struct {
	SessionID      string `json:"SessionId"`
	Verified       bool
	Problem        string // the first problem found
	Encrypted      bool   // end to end: the server saw no content
	Sealed         bool
	Live           bool
	KeyFingerprint string
	Evidence       *Evidence `json:",omitempty"` // of an evidence bundle
}

// Evidence is what an evidence bundle proves besides its recording.
type Evidence struct {
	Made      string
	Principal string   // who started the session
	Decision  string   // with the deciding statement
	Events    []string // of the audit trail, about the session
	Witnessed bool     // witnesses confirm all of it
	Problems  []string
}

// VerifySession has the server verify its recording of a session.
func (c *Client) VerifySession(ctx context.Context, sessionID string) (Verification, error) {
	var out Verification
	err := c.call(ctx, "sekisho", "Sekisho.VerifySessionRecording", sessionInput{sessionID}, &out)
	return out, err
}

// VerifyBundle verifies a recording without a server. name is the directory of a recording or a
// ZIP bundle; keyFile contains public keys in PEM format, which must not come from the bundle
// itself. Evidence bundles are compared with the witness files.
func VerifyBundle(name, keyFile string, witnessFiles ...string) (Verification, error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return Verification{}, fmt.Errorf("public key: %w", err)
	}
	keys, err := record.ParseKeys(text)
	if err != nil {
		return Verification{}, fmt.Errorf("public key %s: %w", keyFile, err)
	}
	var witnesses []record.Witness
	for _, w := range witnessFiles {
		text, err := os.ReadFile(w)
		if err != nil {
			return Verification{}, fmt.Errorf("witness: %w", err)
		}
		found, err := record.ParseWitnesses(text, keys)
		if err != nil {
			return Verification{}, sekisho.Errorf(sekisho.CodeInvalid, "witness %s: %w", Printable(w), err)
		}
		witnesses = append(witnesses, found...)
	}
	var fsys fs.FS
	switch st, err := os.Stat(name); {
	case err != nil:
		return Verification{}, fmt.Errorf("bundle: %w", err)
	case st.IsDir():
		fsys = os.DirFS(name)
	default:
		archive, err := zip.OpenReader(name)
		if err != nil {
			return Verification{}, sekisho.Errorf(
				sekisho.CodeInvalid,
				"%s is not a recording bundle: %w.",
				Printable(name),
				err,
			)
		}
		defer func() { _ = archive.Close() }()
		if evidence.IsBundle(&archive.Reader) {
			return verificationOf(evidence.Verify(&archive.Reader, keys, witnesses)), nil
		}
		fsys = archive
	}
	s, err := record.Verify(fsys, keys, "")
	out := Verification{SessionID: string(s.SessionID), Sealed: s.Sealed}
	if flaw, ok := errors.AsType[*record.Flaw](err); ok {
		out.Problem = flaw.Error()
		return out, nil
	}
	out.Verified, out.Encrypted = err == nil, s.Encrypted
	return out, err
}

func verificationOf(r *evidence.Report) Verification {
	out := Verification{
		SessionID: string(r.Session), Verified: len(r.Problems) == 0, Sealed: true, Encrypted: r.Encrypted,
		Evidence: &Evidence{Witnessed: r.Witnessed, Problems: r.Problems},
	}
	if len(r.Problems) > 0 {
		out.Problem = r.Problems[0]
	}
	if r.Manifest != nil {
		out.KeyFingerprint, out.Evidence.Made = r.Manifest.Key, r.Manifest.Made.UTC().Format(time.RFC3339)
	}
	if r.Decision != nil {
		out.Evidence.Principal, out.Evidence.Decision = r.Decision.Principal, r.Decision.Reason
	}
	for _, e := range r.Events {
		out.Evidence.Events = append(
			out.Evidence.Events,
			e.Time.UTC().Format(time.RFC3339)+" "+e.EventName+" "+e.UserIdentity.Name(),
		)
	}
	return out
}

// SaveEvidence writes the evidence bundle of a session to w.
func (c *Client) SaveEvidence(ctx context.Context, sessionID string, w io.Writer) error {
	var in struct {
		SessionID   string `json:"SessionId"`
		BundleID    string `json:"BundleId,omitempty"`
		StartOffset int64
	}
	in.SessionID = sessionID
	for {
		var page struct {
			BundleID               string `json:"BundleId"`
			Data                   []byte
			NextOffset, TotalBytes int64
		}
		if err := c.call(ctx, "sekisho", "Sekisho.GetSessionEvidence", in, &page); err != nil {
			return err
		}
		if len(page.Data) == 0 || page.NextOffset != in.StartOffset+int64(len(page.Data)) {
			return errors.New("the server's pages of the bundle are not consecutive")
		}
		if _, err := w.Write(page.Data); err != nil {
			return fmt.Errorf("bundle: %w", err)
		}
		if page.NextOffset >= page.TotalBytes {
			return nil
		}
		in.BundleID, in.StartOffset = page.BundleID, page.NextOffset
	}
}
