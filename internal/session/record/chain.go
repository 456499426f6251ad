package record

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"sekisho"
)

// checkpoint is one line of session.chain.
type checkpoint struct {
	N       int64             `json:"n"`                 // counted from 0
	Session sekisho.SessionID `json:"session,omitempty"` // in line 0
	Key     string            `json:"key,omitempty"`     // in line 0, and when the key changes
	Offset  int64             `json:"offset"`            // bytes of the cast covered
	Events  int64             `json:"events"`            // event lines up to there
	Micros  int64             `json:"time"`              // of the last of them, since the start
	Out     int64             `json:"out"`               // bytes shown and
	In      int64             `json:"in"`                // typed up to there
	Exit    *exitJSON         `json:"exit,omitempty"`    // in the last line, once the cast has ended
	SHA256  string            `json:"sha256"`            // of the cast up to Offset
	Prev    string            `json:"prev"`              // SHA-256 of the line before, without its line feed
}

type exitJSON struct {
	Status int    `json:"status"`
	Reason string `json:"reason"`
}

// walker follows chain and cast side by side.
type walker struct {
	keys  Keys
	want  sekisho.SessionID
	chain *bufio.Reader
	cast  io.Reader

	last  checkpoint
	count int64     // checkpoints passed
	head  string    // digest of the last of them
	size  int64     // bytes of chain they take
	key   string    // fingerprint in force
	hash  hash.Hash // of the cast up to last.Offset
	lines lineCount // of the cast up to last.Offset
	torn  bool      // the chain ends within a line
}

type lineCount int64

func (c *lineCount) Write(p []byte) (int, error) {
	*c += lineCount(bytes.Count(p, []byte("\n")))
	return len(p), nil
}

func newWalker(chain, cast io.Reader, keys Keys, want sekisho.SessionID) *walker {
	return &walker{
		keys: keys, want: want, cast: cast, hash: sha256.New(),
		chain: bufio.NewReaderSize(chain, maxSignedLine+1),
	}
}

// next passes one checkpoint and the part of the cast it covers. At the end
// of the chain it returns io.EOF; a *Flaw says what is wrong.
func (w *walker) next() error {
	line, err := w.chain.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF):
		w.torn = len(line) > 0
		return io.EOF
	case errors.Is(err, bufio.ErrBufferFull):
		return w.flaw("it is too long")
	case err != nil:
		return fmt.Errorf("record: %s: %w", ChainFile, err)
	}
	size := int64(len(line))
	line = line[:len(line)-1]
	var c checkpoint
	key := w.key
	err = unsign(line, purposeCheckpoint, &c, func() (ed25519.PublicKey, bool) {
		if c.Key != "" {
			key = c.Key
		}
		pub, ok := w.keys[key]
		return pub, ok
	})
	switch {
	case err != nil:
		return w.flaw(err.Error())
	case w.count == 0 && c.Session != w.want:
		return w.flaw(fmt.Sprintf("it belongs to another session, %q", c.Session))
	case c.N != w.count:
		return w.flaw(fmt.Sprintf("checkpoint %d stands where checkpoint %d belongs", c.N, w.count))
	case c.Prev != w.head:
		return w.flaw("it does not follow the line before it")
	case c.Offset < w.last.Offset || c.Events < w.last.Events || w.count > 0 && c.Session != "":
		return w.flaw("it contradicts the line before it")
	}

	first, from := int64(w.lines)+1, w.last.Offset
	n, err := io.CopyN(io.MultiWriter(w.hash, &w.lines), w.cast, c.Offset-from)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("record: %s: %w", CastFile, err)
	}
	if err != nil {
		return &Flaw{File: CastFile, From: from, To: c.Offset, Line: first, Problem: fmt.Sprintf(
			"the file ends at byte %d, checkpoint %d covers it up to byte %d", from+n, c.N, c.Offset)}
	}
	if hex.EncodeToString(w.hash.Sum(nil)) != c.SHA256 {
		return &Flaw{File: CastFile, From: from, To: c.Offset, Line: first, LastLine: int64(w.lines), Problem: fmt.Sprintf(
			"this is not what was recorded (checkpoint %d)", c.N)}
	}
	w.last, w.key, w.head = c, key, hexDigest(line)
	w.count++
	w.size += size
	return nil
}

func (w *walker) flaw(problem string) *Flaw {
	return &Flaw{File: ChainFile, Line: w.count + 1, Problem: problem}
}
