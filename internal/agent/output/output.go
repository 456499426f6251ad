// Package output forwards a program's output to a session's channel. It buffers little and never
// splits a UTF-8 sequence.
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

// size is the capacity of the buffer. While it is full, nothing is read from the program, which
// then blocks.
const size = 32 << 10

// Buffer is output to be sent. Output that accumulates while the channel is busy is sent together.
type Buffer struct {
	mu     sync.Mutex
	change sync.Cond
	b      []byte
	eof    bool // no more output follows
	closed bool // discard further output
}

// New returns an empty buffer.
func New() *Buffer {
	o := &Buffer{}
	o.change.L = &o.mu
	return o
}

// Fill reads r until its end.
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

// Send passes everything that Fill reads to send, which must not retain it.
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

// take waits for output and appends it to b. An empty result means the end. An incomplete character
// stays in the buffer, so that programs that show or record output frame by frame need not join
// characters.
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

// Close makes Fill and Send return. Unsent output is discarded.
func (o *Buffer) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.b = nil
	o.change.Broadcast()
}

// Deadliner is a file whose Read a deadline can interrupt.
type Deadliner interface {
	io.Reader
	SetReadDeadline(t time.Time) error
}

// pipeSize is the capacity of a pipe's kernel buffer.
const pipeSize = 64 << 10

// Tail reads from a file until its deadline has passed. It still reads data written before the
// deadline, even if it reads late because the client is slow.
type Tail struct {
	From Deadliner
	left int // bytes still to read after the deadline
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

// lastLook bounds each read after the deadline.
const lastLook = 100 * time.Millisecond

// unfinished returns the number of bytes at the end of b that begin an incomplete UTF-8 character.
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
