package mux

import (
	"fmt"
	"io"
	"os"
	"time"
)

// A reader that reads nothing for stallTime has stalled: its stream can spill freeSpill
// bytes immediately, and more only frame by frame, one every trickleTime.
const (
	stallTime   = time.Second
	freeSpill   = 16 << 20
	trickleTime = 100 * time.Millisecond
)

// shareTime is how long the streams of a connection wait for the reader of a stream that
// holds slowAt bytes.
const shareTime = 50 * time.Millisecond

const (
	slowAt   = 1 << 20        // from this size the sender waits
	inMemory = slowAt + 1<<16 // beyond this, bytes go to a file; one more frame can arrive before the sender waits
	maxSpill = 1 << 30        // beyond this, the stream fails
)

// spill is a queue of bytes in memory that overflows to a file.
type spill struct {
	mem  []byte
	head int
	// The file holds the bytes that follow mem, from read to written.
	file          *os.File
	read, written int64
}

func (q *spill) len() int64 { return int64(len(q.mem)-q.head) + q.written - q.read }

func (q *spill) put(p []byte) error {
	if q.written == q.read && len(q.mem)-q.head+len(p) <= inMemory {
		if q.head > 0 && len(q.mem)+len(p) > cap(q.mem) {
			n := copy(q.mem, q.mem[q.head:])
			q.mem, q.head = q.mem[:n], 0
		}
		q.mem = append(q.mem, p...)
		return nil
	}
	if q.written+int64(len(p)) > maxSpill {
		return errStalled
	}
	if q.file == nil {
		f, err := os.CreateTemp("", "sekisho-")
		if err != nil {
			return fmt.Errorf("mux: %w", err)
		}
		if err := os.Remove(f.Name()); err != nil {
			_ = f.Close()
			return fmt.Errorf("mux: %w", err)
		}
		q.file = f
	}
	n, err := q.file.WriteAt(p, q.written)
	q.written += int64(n)
	if err != nil {
		return fmt.Errorf("mux: %w", err)
	}
	return nil
}

func (q *spill) take(p []byte) (int, error) {
	if q.head < len(q.mem) {
		n := copy(p, q.mem[q.head:])
		q.head += n
		if q.head == len(q.mem) {
			q.mem, q.head = q.mem[:0], 0
		}
		return n, nil
	}
	n, err := q.file.ReadAt(p[:min(int64(len(p)), q.written-q.read)], q.read)
	q.read += int64(n)
	if n > 0 {
		err = nil
	}
	if q.read == q.written {
		q.close()
	}
	if err != nil && err != io.EOF {
		return n, fmt.Errorf("mux: %w", err)
	}
	return n, err
}

func (q *spill) drop() {
	q.close()
	*q = spill{}
}

func (q *spill) close() {
	if q.file != nil {
		_ = q.file.Close() // its content is no longer needed
	}
	q.file, q.read, q.written = nil, 0, 0
}
