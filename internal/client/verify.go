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

// Verification is what is known of a recording after it was looked at.
type Verification struct {
	SessionID      string `json:"SessionId"`
	Verified       bool
	Problem        string // the first place that is wrong
	Sealed         bool
	Live           bool
	KeyFingerprint string
}

// VerifySession has the server verify the recording it keeps of a session.
func (c *Client) VerifySession(ctx context.Context, session string) (Verification, error) {
	var out Verification
	err := c.call(ctx, "sekisho", "Sekisho.VerifySessionRecording", sessionInput{session}, &out)
	return out, err
}

// VerifyBundle verifies a recording from files alone: name is the directory of
// a recording or a bundle in ZIP format, and keyFile holds public keys as PEM.
// They must come from elsewhere than the bundle, which proves nothing about
// keys of its own.
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
			return Verification{}, sekisho.Errorf(sekisho.CodeInvalid, "%s is no bundle: %w.", Printable(name), err)
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
