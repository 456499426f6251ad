// Package output carries what a program writes to a session's channel: little
// of it waits, and no character is torn.
package output

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unicode/utf8"
)

// size is how much output may wait for the channel. While it is full
// the program is not read, and so it waits.
const size = 32 << 10

// Buffer is output on its way. What gathers while the channel is busy goes out
// as one.
type Buffer struct {
	mu     sync.Mutex
	change sync.Cond
	b      []byte
	eof    bool // nothing more comes
	closed bool // nothing more is wanted
}

// New returns an empty buffer.
func New() *Buffer {
	o := &Buffer{}
	o.change.L = &o.mu
	return o
}

// Fill reads r to its end.
func (o *Buffer) Fill(r io.Reader) {
	chunk := make([]byte, 16<<10)
	for {
		// Any error is the end: the terminal of an ended process fails with EIO.
		n, err := r.Read(chunk)
		o.mu.Lock()
		for len(o.b)+n > size && !o.closed {
			o.change.Wait()
		}
		o.b = append(o.b, chunk[:n]...)
		o.eof = o.eof || err != nil
		end := o.eof || o.closed
		o.change.Broadcast()
		o.mu.Unlock()
		if end {
			return
		}
	}
}

// Send gives everything to send, which must not keep it, up to the end of
// what Fill reads.
func (o *Buffer) Send(send func([]byte) error) error {
	var b []byte
	for {
		b = o.take(b[:0])
		if len(b) == 0 {
			return nil
		}
		if err := send(b); err != nil {
			return fmt.Errorf("send output: %w", err)
		}
	}
}

// take waits for output and moves it to the end of b. Nothing is the end. A
// character that is not whole yet stays behind: who shows or records output
// frame by frame need not put characters together.
func (o *Buffer) take(b []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		n := len(o.b)
		if !o.eof {
			n -= unfinished(o.b)
		}
		if n > 0 || o.eof || o.closed {
			b = append(b, o.b[:n]...)
			o.b = append(o.b[:0], o.b[n:]...)
			o.change.Broadcast()
			return b
		}
		o.change.Wait()
	}
}

// Close has Fill and Send return. What has not been sent is forgotten.
func (o *Buffer) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.b = nil
	o.change.Broadcast()
}

// Deadliner is a file that a Read of which can be ended.
type Deadliner interface {
	io.Reader
	SetReadDeadline(t time.Time) error
}

// pipeSize is what the kernel keeps for a reader.
const pipeSize = 64 << 10

// Tail reads from a file until its deadline has passed. Data that was written by then
// is still read, even if the reads come late because the client is slow.
type Tail struct {
	From Deadliner
	left int // once the deadline has passed
	late bool
}

// Read implements io.Reader.
func (t *Tail) Read(b []byte) (int, error) {
	if t.late {
		b = b[:min(len(b), t.left)]
		if len(b) == 0 {
			return 0, io.EOF
		}
	}
	n, err := t.From.Read(b)
	switch {
	case t.late:
		t.left -= n
	case errors.Is(err, os.ErrDeadlineExceeded):
		t.late, t.left = true, pipeSize
		// Read the data that is available, without waiting for more.
		if err := t.From.SetReadDeadline(time.Now().Add(lastLook)); err != nil {
			return n, err
		}
		if n == 0 {
			return t.Read(b)
		}
		err = nil
	}
	return n, err
}

// lastLook is how long a file is read once its time is over.
const lastLook = 100 * time.Millisecond

// unfinished is the number of bytes at the end of b that begin a UTF-8
// character whose rest is still to come.
func unfinished(b []byte) int {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		c := b[len(b)-i]
		if utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-i:]) {
				return i
			}
			return 0
		}
	}
	return 0
}
