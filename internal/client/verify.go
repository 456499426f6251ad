package client

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"sekisho"
	"sekisho/internal/session/record"
)

// Verification is the result of verifying a recording.
type Verification struct {
	SessionID      string `json:"SessionId"`
	Verified       bool
	Problem        string // the first problem found
	Sealed         bool
	Live           bool
	KeyFingerprint string
}

// VerifySession has the server verify its recording of a session.
func (c *Client) VerifySession(ctx context.Context, sessionID string) (Verification, error) {
	var out Verification
	err := c.call(ctx, "sekisho", "Sekisho.VerifySessionRecording", sessionInput{sessionID}, &out)
	return out, err
}

// VerifyBundle verifies a recording without a server. name is the directory of a
// recording or a ZIP bundle; keyFile contains public keys in PEM format, which
// must not come from the bundle itself.
func VerifyBundle(name, keyFile string) (Verification, error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return Verification{}, fmt.Errorf("public key: %w", err)
	}
	keys, err := record.ParseKeys(text)
	if err != nil {
		return Verification{}, fmt.Errorf("public key %s: %w", keyFile, err)
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
			return Verification{}, sekisho.Errorf(sekisho.CodeInvalid, "%s is not a recording bundle: %w.", Printable(name), err)
		}
		defer func() { _ = archive.Close() }()
		fsys = archive
	}
	s, err := record.Verify(fsys, keys, "")
	out := Verification{SessionID: string(s.SessionID), Sealed: s.Sealed}
	if flaw, ok := errors.AsType[*record.Flaw](err); ok {
		out.Problem = flaw.Error()
		return out, nil
	}
	out.Verified = err == nil
	return out, err
}
