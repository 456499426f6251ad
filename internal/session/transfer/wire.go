// Package transfer copies a file or a folder between two machines over any
// reliable connection. What arrives is compared by its SHA-256; what was
// interrupted goes on where it stopped; modes and times of modification are
// kept. Neither side believes the other about paths: nothing is written
// outside the folder that the receiver chose, and no symbolic link is
// followed below the path that was named.
//
// # The conversation
//
// Frames are a kind, four bytes of length and a body. The sender says what is
// coming (hello), then, for every folder and file, an entry. For a file the
// receiver answers with what it already has of it (offer), the sender says
// where it begins, sends data and the digest of the whole file, and the
// receiver puts the file in its place (accepted). After the last entry each
// side says done. Either may end it all with an error.
package transfer

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
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
)

// maxBody bounds a frame, data included.
const maxBody = 64 << 10

// version is that of the conversation.
const version = 1

type hello struct {
	Version int    `json:"version"`
	Name    string `json:"name"` // of what is sent
	Dir     bool   `json:"dir"`
}

// entry is one folder or file. Its path, with slashes, is below what is sent;
// empty for that itself.
type entry struct {
	Path  string `json:"path"`
	Dir   bool   `json:"dir"`
	Mode  uint32 `json:"mode"`
	MTime int64  `json:"mtime"` // nanoseconds since 1970
	Size  int64  `json:"size"`
}

// offer is the beginning of a file that the receiver has already.
type offer struct {
	Offset int64  `json:"offset"`
	SHA256 string `json:"sha256"`
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

// PeerError is what went wrong at the other side.
type PeerError struct{ Text string }

// Error implements error. The text is the peer's: it may hold anything.
func (e *PeerError) Error() string { return e.Text }

// Item is a file that was copied.
type Item struct {
	Path    string // where it is on this side
	Size    int64
	SHA256  string
	Resumed int64 // how much of it was there before
}

// Options are what a copy tells. Nil functions are not called.
type Options struct {
	// Progress is called as a file is copied.
	Progress func(path string, done, size int64)
	// Copied is called when a file is complete.
	Copied func(Item)
	// Note is called with what is left out. The text may be the peer's.
	Note func(text string)
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

// wire is a connection that carries frames.
type wire struct {
	r   *bufio.Reader
	w   io.Writer
	out []byte
	in  []byte
}

func newWire(conn io.ReadWriter) *wire {
	return &wire{r: bufio.NewReaderSize(conn, 32<<10), w: conn, in: make([]byte, maxBody)}
}

func (w *wire) raw(k kind, body []byte) error {
	b := append(w.out[:0], byte(k))
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	w.out = append(b, body...)
	_, err := w.w.Write(w.out)
	return err
}

func (w *wire) send(k kind, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxBody {
		return fmt.Errorf("a path of %d bytes is too long to be copied", len(body))
	}
	return w.raw(k, body)
}

// next returns the next frame; its body is good until the one after it. An
// error of the peer comes as *PeerError.
func (w *wire) next() (kind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(w.r, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, fmt.Errorf("the other side is gone: %w", err)
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxBody {
		return 0, nil, fmt.Errorf("the other side broke the protocol: frame of %d bytes", n)
	}
	body := w.in[:n]
	if _, err := io.ReadFull(w.r, body); err != nil {
		return 0, nil, fmt.Errorf("the other side is gone: %w", err)
	}
	if kind(head[0]) == kindError {
		var m message
		if json.Unmarshal(body, &m) != nil || m.Text == "" {
			m.Text = "the other side failed and does not say why"
		}
		return 0, nil, &PeerError{m.Text}
	}
	return kind(head[0]), body, nil
}

func unexpected(k kind) error {
	return fmt.Errorf("the other side broke the protocol: %q came out of turn", rune(k))
}

func decode(body []byte, v any) error {
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("the other side broke the protocol: %w", err)
	}
	return nil
}

// fail tells the peer about err, unless it is the peer's own.
func (w *wire) fail(err error) error {
	if _, theirs := errors.AsType[*PeerError](err); !theirs {
		_ = w.send(kindError, message{clip(err.Error())}) // it may be gone
	}
	return err
}

func clip(s string) string {
	const most = 4 << 10
	if len(s) > most {
		return s[:most]
	}
	return s
}

func nanos(t time.Time) int64 { return t.UnixNano() }
