// Package transfer copies a file or a folder between two machines over any
// reliable connection. It compares copies by their SHA-256, resumes interrupted
// ones, and keeps modes and modification times.
//
// Neither side trusts the other. The receiver chooses the name of the copy,
// writes nothing outside it and follows no symbolic link below it. Modes are
// limited by the receiver's umask, and an existing file keeps its mode.
//
// # Protocol
//
// A frame is a kind, four bytes of length and a body. The sender describes the
// source (hello), then sends an entry for each folder and file. For a file, the
// receiver replies with what it already has (offer); the sender replies with the
// offset it starts at (begin), then sends the data and the digest of the whole
// file; the receiver moves the file into place (accepted). After the last entry,
// both sides send done. Either side can abort with an error.
//
// Small files go in batches, so that a folder of many does not wait for two
// replies per file. A receiver that takes batches says so in its first offer. The
// sender then describes up to that many files at once (files), the receiver
// replies with as many offers at once (offers), and the sender sends begin, data
// and digest of each file. One accepted replies to the whole batch. Both sides
// never send at the same time, so a connection needs no buffer.
//
// # Durability
//
// As with scp and rsync, the system writes new files to the disk in its own time: a
// power failure soon after a copy can lose or empty them. With Options.Sync on either
// side, a successful copy is on the disk: a file that was sent alone is synced before
// it gets its name, and the file systems of the others once, before done. Until then
// the folder is marked as incomplete, so that the same copy run again compares its
// files by their digests. A file that replaces another is always synced first: at any
// moment, one of the two is on the disk.
package transfer

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"sekisho/internal/safetext"
)

type kind byte

const (
	kindHello    kind = 'h'
	kindEntry    kind = 'e'
	kindOffer    kind = 'o'
	kindBegin    kind = 'b'
	kindData     kind = 'd'
	kindEnd      kind = 'z'
	kindAccepted kind = 'a'
	kindNote     kind = 'n'
	kindDone     kind = 'q'
	kindError    kind = 'x'
	kindFiles    kind = 'f'
	kindOffers   kind = 'p'
)

// maxBody limits the body of a frame, in bytes.
const maxBody = 64 << 10

const (
	// maxBatch is the most files of a batch: its offers fit in one frame.
	maxBatch = 512
	// maxSmall is the size up to which a file goes in a batch.
	maxSmall = 1 << 20
)

// version is the version of the protocol.
const version = 1

type hello struct {
	Version int    `json:"version"`
	Name    string `json:"name"` // base name of the source
	Dir     bool   `json:"dir"`
	Sync    bool   `json:"sync,omitempty"` // see Options.Sync
}

// entry is one folder or file. Its path, with slashes, is relative to the source,
// and empty for the source itself.
type entry struct {
	Path  string `json:"path"`
	Dir   bool   `json:"dir"`
	Mode  uint32 `json:"mode"`
	MTime int64  `json:"mtime"` // nanoseconds since 1970
	Size  int64  `json:"size"`
}

// offer describes the beginning of a file that the receiver already has.
type offer struct {
	Offset int64  `json:"offset"`
	SHA256 string `json:"sha256,omitempty"` // empty for an offset of 0
	// Batch is the most files of a batch that the receiver takes. A receiver
	// without batches leaves it out.
	Batch int `json:"batch,omitempty"`
}

type begin struct {
	Offset int64 `json:"offset"`
}

type end struct {
	SHA256 string `json:"sha256"`
}

type message struct {
	Text string `json:"text"`
}

// PeerError is an error on the other side.
type PeerError struct{ Text string }

// Error implements error. The text is the peer's and may contain anything.
func (e *PeerError) Error() string { return e.Text }

// Item is a copied file.
type Item struct {
	Path    string // path on this side
	Size    int64
	SHA256  string
	Resumed int64 // size of the part that already existed
}

// Options configure a copy. Nil functions are not called.
type Options struct {
	// Progress is called as a file is copied.
	Progress func(path string, done, size int64)
	// Copied is called when a file is complete.
	Copied func(Item)
	// Note is called for each file that is skipped. The text may be the peer's.
	Note func(text string)
	// Sync makes the receiver write the files to the disk before the copy succeeds. It can be set
	// on either side.
	Sync bool
	// Name is the base name that the receiver gives the copy if the
	// destination is an existing folder. A receiver that requested a source
	// sets it. Empty means the name that the sender chooses.
	Name string
}

func (o *Options) progress(path string, done, size int64) {
	if o.Progress != nil {
		o.Progress(path, done, size)
	}
}

func (o *Options) copied(i Item) {
	if o.Copied != nil {
		o.Copied(i)
	}
}

func (o *Options) note(text string) {
	if o.Note != nil {
		o.Note(text)
	}
}

// wire reads and writes frames. What was written is sent at the latest before the
// next frame is read.
type wire struct {
	r  *bufio.Reader
	w  *bufio.Writer
	in []byte
}

// Sizes of the buffers. Together with what the data channel adds, what was written
// fits into one of its messages.
const (
	readSize  = 32 << 10
	writeSize = 240 << 10
)

func newWire(conn io.ReadWriter) *wire {
	return &wire{
		r: bufio.NewReaderSize(conn, readSize), w: bufio.NewWriterSize(conn, writeSize), in: make([]byte, maxBody),
	}
}

func (w *wire) raw(k kind, body []byte) error {
	var head [5]byte
	head[0] = byte(k)
	binary.BigEndian.PutUint32(head[1:], uint32(len(body)))
	if _, err := w.w.Write(head[:]); err != nil {
		return &writeError{err}
	}
	if _, err := w.w.Write(body); err != nil {
		return &writeError{err}
	}
	return nil
}

// flush sends what was written.
func (w *wire) flush() error {
	if err := w.w.Flush(); err != nil {
		return &writeError{err}
	}
	return nil
}

// writeError is an error of the connection. The peer may have given the reason
// before it closed the connection.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

func (w *wire) send(k kind, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxBody {
		return fmt.Errorf("cannot copy: a path is too long (%d bytes)", len(body))
	}
	return w.raw(k, body)
}

// next sends what was written and returns the next frame. The body is valid until
// the next call. An error from the peer is a *PeerError.
func (w *wire) next() (kind, []byte, error) {
	if err := w.flush(); err != nil {
		return 0, nil, err
	}
	return w.frame()
}

// want is next for a frame of one kind.
func (w *wire) want(want kind) ([]byte, error) {
	k, body, err := w.next()
	if err == nil && k != want {
		err = unexpected(k)
	}
	return body, err
}

// frame reads a frame.
func (w *wire) frame() (kind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(w.r, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, fmt.Errorf("lost the other side: %w", err)
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxBody {
		return 0, nil, fmt.Errorf("the other side broke the protocol: frame of %d bytes", n)
	}
	body := w.in[:n]
	if _, err := io.ReadFull(w.r, body); err != nil {
		return 0, nil, fmt.Errorf("lost the other side: %w", err)
	}
	if kind(head[0]) == kindError {
		var m message
		if json.Unmarshal(body, &m) != nil || m.Text == "" {
			m.Text = "the other side failed without giving a reason"
		}
		return 0, nil, &PeerError{m.Text}
	}
	return kind(head[0]), body, nil
}

func unexpected(k kind) error {
	return fmt.Errorf("the other side broke the protocol: unexpected frame %q", rune(k))
}

func decode(body []byte, v any) error {
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("the other side broke the protocol: %w", err)
	}
	return nil
}

// fail sends err to the peer, unless it came from the peer.
func (w *wire) fail(err error) error {
	if _, theirs := errors.AsType[*PeerError](err); !theirs {
		_ = w.send(kindError, message{clip(err.Error())}) // the peer may be gone
		_ = w.flush()
	}
	return err
}

// maxText limits the text of errors and notes, in bytes.
const maxText = 4 << 10

func clip(s string) string { return safetext.Clip(s, maxText) }

func nanos(t time.Time) int64 { return t.UnixNano() }
