package recfile

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"sekisho/internal/session/screen"
)

// A transcript is the text that a person saw, line by line. It is made from a recording for
// searching, is not part of it, and can be recreated at any time. It is a sequence of chunks,
// compressed and encrypted with a key derived from the recording's, and ends with an empty chunk:
//
//	0   4  bytes stored
//	4   4  bytes unpacked
//	8  12  nonce
//	20     AES-256-GCM of zstd of lines; additional data: the number of the
//	       chunk (8 bytes) and bytes 0 to 7
//
// A line is a uvarint of µs since the start, a uvarint of its length, and the
// text in UTF-8.
const (
	chunkHeader = 20
	chunkSize   = 1 << 20
	// maxTranscript limits the text of one recording, in bytes.
	maxTranscript = 256 << 20
	// maxLine limits a line, in bytes: it allows four bytes for each column of the widest screen.
	// The name of a file fits, too.
	maxLine = screen.MaxCols * utf8.UTFMax
)

func transcriptKey(key []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, key, nil, "sekisho transcript", KeySize)
}

// Line is a line of text that a person saw.
type Line struct {
	Time time.Duration // when the line left the screen or was erased
	Text string
}

// Lines renders the recording and calls visit with each line, and with a description of each
// connection and file, until visit returns false.
func (f *Reader) Lines(visit func(Line) bool) error {
	c, err := f.Records()
	if err != nil {
		return err
	}
	s := screen.New(80, 24)
	var now time.Duration
	more := true
	s.Gone = func(text string) {
		if more && text != "" {
			more = visit(Line{now, text})
		}
	}
	for more {
		r, err := c.Next()
		if errors.Is(err, io.EOF) {
			s.Flush()
			return nil
		}
		if err != nil {
			return err
		}
		now = r.Time
		switch r.Kind {
		case Output:
			_, _ = s.Write(r.Data) // never fails
		case Resize:
			if cols, rows, _, ok := Size(r.Data); ok {
				s.Resize(cols, rows)
			}
		case Connection, File:
			if text, ok := Describe(r); ok {
				more = more && visit(Line{now, text})
			}
		case Input, HiddenInput, JoinedInput, Marker, Exit, Keyframe, Type, Payload:
		}
	}
	return nil
}

// paceSize is how much text is made, in bytes, between two calls of pace.
const paceSize = 32 << 10

// WriteTranscript writes the transcript of f, which key has unlocked. It calls pace, unless that is
// nil, again and again while it works: to let others use the processor, or to stop with an error.
func WriteTranscript(w io.Writer, f *Reader, key []byte, pace func() error) error {
	k, err := transcriptKey(key)
	if err != nil {
		return fmt.Errorf("recfile: %w", err)
	}
	a, err := newAEAD(k)
	if err != nil {
		return err
	}
	var plain []byte
	var number uint64
	total, paced := 0, 0
	flush := func() error {
		packed := encoder.EncodeAll(plain, nil)
		var aad [16]byte
		binary.BigEndian.PutUint64(aad[:], number)
		binary.BigEndian.PutUint32(aad[8:], uint32(len(packed)+a.Overhead()))
		binary.BigEndian.PutUint32(aad[12:], uint32(len(plain)))
		out := make([]byte, chunkHeader, chunkHeader+len(packed)+a.Overhead())
		copy(out, aad[8:])
		rand.Read(out[8:chunkHeader]) // never fails: see crypto/rand
		_, err := w.Write(a.Seal(out, out[8:chunkHeader], packed, aad[:]))
		plain = plain[:0]
		number++
		return err
	}
	var failed error
	err = f.Lines(func(l Line) bool {
		plain = binary.AppendUvarint(plain, uint64(l.Time.Microseconds()))
		plain = binary.AppendUvarint(plain, uint64(len(l.Text)))
		plain = append(plain, l.Text...)
		total += len(l.Text)
		if paced += len(l.Text); pace != nil && paced >= paceSize {
			paced = 0
			if failed = pace(); failed != nil {
				return false
			}
		}
		if len(plain) >= chunkSize {
			failed = flush()
		}
		return failed == nil && total < maxTranscript
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if len(plain) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	return flush() // the empty one
}

var errTranscript = errors.New("recfile: the transcript was altered or cut")

// SearchTranscript calls visit with each line of a transcript that contains the query, ignoring the
// case of ASCII letters, until visit returns false.
func SearchTranscript(r io.Reader, key []byte, query string, visit func(Line) bool) error {
	k, err := transcriptKey(key)
	if err != nil {
		return fmt.Errorf("recfile: %w", err)
	}
	a, err := newAEAD(k)
	if err != nil {
		return err
	}
	want := lower([]byte(query))
	var sealed, folded []byte
	for number := uint64(0); ; number++ {
		var head [chunkHeader]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return errTranscript
		}
		stored, size := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
		if stored > 2*chunkSize || size > chunkSize+2*maxLine {
			return errTranscript
		}
		if cap(sealed) < int(stored) {
			sealed = make([]byte, stored)
		}
		sealed = sealed[:stored]
		if _, err := io.ReadFull(r, sealed); err != nil {
			return errTranscript
		}
		var aad [16]byte
		binary.BigEndian.PutUint64(aad[:], number)
		copy(aad[8:], head[:8])
		packed, err := a.Open(sealed[:0], head[8:], sealed, aad[:])
		if err != nil {
			return errTranscript
		}
		if size == 0 {
			return nil
		}
		plain, err := unpack(packed, size)
		if err != nil {
			return errTranscript
		}
		folded = append(folded[:0], plain...)
		if more, err := searchChunk(plain, lower(folded), want, visit); !more || err != nil {
			return err
		}
	}
}

// searchChunk first looks for want in folded, because most chunks do not contain it.
func searchChunk(plain, folded, want []byte, visit func(Line) bool) (more bool, err error) {
	if !bytes.Contains(folded, want) {
		return true, nil
	}
	for p := plain; len(p) > 0; {
		micros, n := binary.Uvarint(p)
		if n <= 0 {
			return false, errTranscript
		}
		size, m := binary.Uvarint(p[n:])
		if m <= 0 || size > uint64(len(p)-n-m) {
			return false, errTranscript
		}
		from := len(plain) - len(p) + n + m
		if bytes.Contains(folded[from:from+int(size)], want) {
			if !visit(Line{time.Duration(micros) * time.Microsecond, string(plain[from : from+int(size)])}) {
				return false, nil
			}
		}
		p = p[n+m+int(size):]
	}
	return true, nil
}

// lower makes ASCII letters lower-case, in place.
func lower(b []byte) []byte {
	for i, c := range b {
		if c-'A' < 26 {
			b[i] = c + 'a' - 'A'
		}
	}
	return b
}
