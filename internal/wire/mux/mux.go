// Package mux runs many streams over one connection. It implements smux version 1, which
// AWS's agent and session-manager-plugin use for port forwarding.
//
// The protocol has no flow control per stream. Data that a slow reader has not read
// therefore goes to an unlinked temporary file, so that the other streams continue; a
// stream that is alone slows its sender instead. The directions of a stream end separately,
// as with TCP.
package mux

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// A frame is a version, a command, the length of what follows and the number
// of the stream, the latter two with the low byte first.
const (
	version    = 1
	headerSize = 8
)

// Commands of a frame, as in smux version 1.
const (
	cmdOpen byte = iota
	cmdEnd       // no more data in this direction
	cmdData
	cmdNothing // keeps a connection alive
	// cmdReset is Sekisho's own: the stream broke, so its data may be incomplete.
	cmdReset
)

// maxData is the most that one frame carries: about half of what every peer accepts, so
// that streams alternate often.
const maxData = 15<<10 - headerSize

// maxWrite is the most that one write to the underlying connection carries: frames that
// fill one message between Sekisho's client and agent.
const maxWrite = 4 * (headerSize + maxData)

// CopySize is the size of writes to a stream that needs the fewest writes to the underlying
// connection.
const CopySize = maxWrite / (headerSize + maxData) * maxData

// maxStreams bounds the streams that a peer can open.
const maxStreams = 4096

// maxWaiting is how many of the peer's streams can wait for Accept.
const maxWaiting = 256

// ErrClosed is the error of a connection or stream that was closed on this side.
var ErrClosed = errors.New("mux: closed")

// ErrReset is the error of a stream that the peer has reset.
var ErrReset = errors.New("mux: the other side of the connection broke")

// errStalled is the error of a stream whose reader leaves too much data unread.
var errStalled = fmt.Errorf("mux: the reader left more than %d MiB", maxSpill>>20)

// Conn is one connection and the streams that share it. All methods may be
// called concurrently.
type Conn struct {
	under io.ReadWriteCloser

	// The holder of writing writes the frames. Other writers add theirs to waiting, so that
	// one write carries the frames of many streams.
	writing sync.Mutex
	spare   []byte // the other buffer; guarded by writing

	gathering sync.Mutex
	waiting   []byte
	batch     uint64 // number of the batch in waiting
	written   uint64 // number of the last batch written
	writeErr  error  // of the first failed write

	mu      sync.Mutex
	change  sync.Cond // the connection's reader waits for it in slow
	streams map[uint32]*Stream
	next    uint32
	arrived chan *Stream
	err     error
	resets  bool // the peer supports cmdReset
	done    chan struct{}
	reading sync.WaitGroup
}

// Client returns the connection of the side that opened the connection.
func Client(conn io.ReadWriteCloser) *Conn { return start(conn, 1) }

// Server returns the connection of the side that accepted the connection.
func Server(conn io.ReadWriteCloser) *Conn { return start(conn, 2) }

func start(conn io.ReadWriteCloser, first uint32) *Conn {
	c := &Conn{
		under: conn, streams: make(map[uint32]*Stream), next: first, arrived: make(chan *Stream, maxWaiting),
		done: make(chan struct{}), batch: 1,
	}
	c.change.L = &c.mu
	c.reading.Go(func() { c.end(c.read()) })
	return c
}

// Open opens a stream.
func (c *Conn) Open() (*Stream, error) {
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, c.err
	}
	if len(c.streams) >= maxStreams {
		c.mu.Unlock()
		return nil, fmt.Errorf("mux: %d streams are open", maxStreams)
	}
	st := c.newStream(c.next)
	c.next += 2
	c.streams[st.id] = st
	c.change.Broadcast()
	c.mu.Unlock()
	if err := c.write(cmdOpen, st.id, nil); err != nil {
		return nil, err
	}
	return st, nil
}

func (c *Conn) newStream(id uint32) *Stream {
	st := &Stream{c: c, id: id, taken: time.Now()}
	st.ready.L = &c.mu
	return st
}

// Accept waits for the peer to open a stream.
func (c *Conn) Accept() (*Stream, error) {
	select {
	case st := <-c.arrived:
		return st, nil
	case <-c.done:
		c.mu.Lock()
		defer c.mu.Unlock()
		return nil, c.err
	}
}

// SendResets makes [Stream.Reset] send resets. Call it if the peer is Sekisho's.
func (c *Conn) SendResets() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resets = true
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Close ends the connection and its streams, and waits until the connection's reader has
// returned.
func (c *Conn) Close() error {
	c.end(ErrClosed)
	c.reading.Wait()
	return nil
}

func (c *Conn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	for _, st := range c.streams {
		if !st.theirEnd {
			st.theirEnd, st.readErr = true, err
		}
		st.ready.Broadcast()
	}
	c.change.Broadcast()
	close(c.done)
	_ = c.under.Close() // there is no one to report the error to
}

// write writes frames that carry p, which is at most CopySize long, and returns when they
// were written to the underlying connection.
func (c *Conn) write(cmd byte, id uint32, p []byte) error {
	c.gathering.Lock()
	left := len(c.waiting) == 0 || len(c.waiting)+headerSize*(len(p)/maxData+1)+len(p) <= maxWrite
	batch := c.batch
	if left {
		c.gather(cmd, id, p)
	}
	c.gathering.Unlock()

	c.writing.Lock()
	defer c.writing.Unlock()
	c.gathering.Lock()
	if left && c.written >= batch {
		defer c.gathering.Unlock()
		return c.writeErr
	}
	if !left {
		c.gather(cmd, id, p)
	}
	b := c.waiting
	batch = c.batch
	c.waiting, c.spare = c.spare[:0], nil
	c.batch++
	c.gathering.Unlock()

	_, err := c.under.Write(b)
	c.gathering.Lock()
	defer c.gathering.Unlock()
	c.spare, c.written = b[:0], batch
	if c.writeErr == nil {
		c.writeErr = err
	}
	return c.writeErr
}

// gather appends frames to waiting. The caller holds the mutex gathering.
func (c *Conn) gather(cmd byte, id uint32, p []byte) {
	for {
		piece := p[:min(len(p), maxData)]
		p = p[len(piece):]
		c.waiting = append(c.waiting, version, cmd)
		c.waiting = binary.LittleEndian.AppendUint16(c.waiting, uint16(len(piece)))
		c.waiting = binary.LittleEndian.AppendUint32(c.waiting, id)
		c.waiting = append(c.waiting, piece...)
		if len(p) == 0 {
			return
		}
	}
}

// read is the one reader of the connection. It returns why it ended.
func (c *Conn) read() error {
	const maxFrame = headerSize + 1<<16 - 1
	r := bufio.NewReaderSize(c.under, 2*maxFrame) // so that Peek rarely moves buffered data
	for {
		header, err := r.Peek(headerSize)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // no stream is known to be complete
			}
			return err
		}
		if header[0] != version {
			return fmt.Errorf("mux: frame of version %d", header[0])
		}
		frame, err := r.Peek(headerSize + int(binary.LittleEndian.Uint16(header[2:])))
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if err := c.take(frame[1], binary.LittleEndian.Uint32(frame[4:]), frame[headerSize:]); err != nil {
			return err
		}
		if _, err := r.Discard(len(frame)); err != nil {
			return err
		}
	}
}

func (c *Conn) take(cmd byte, id uint32, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.streams[id]
	switch cmd {
	case cmdNothing:
	case cmdOpen:
		if st != nil || id%2 == c.next%2 || len(c.streams) >= maxStreams {
			return fmt.Errorf("mux: stream %d cannot be opened", id)
		}
		st = c.newStream(id)
		select {
		case c.arrived <- st:
			c.streams[id] = st
			c.change.Broadcast()
		default:
			return fmt.Errorf("mux: more than %d streams wait", maxWaiting)
		}
	case cmdEnd:
		if st != nil && !st.theirEnd {
			st.theirEnd = true
			c.settle(st)
			st.ready.Broadcast()
			c.change.Broadcast()
		}
	case cmdReset:
		if st != nil {
			if !st.theirEnd {
				st.theirEnd, st.readErr = true, ErrReset
			}
			st.ourEnd = true
			c.settle(st)
			st.ready.Broadcast()
			c.change.Broadcast()
		}
	case cmdData:
		if st == nil || st.theirEnd || len(data) == 0 {
			return nil // closed on this side in the meantime
		}
		c.slow(st)
		if st.theirEnd {
			return nil
		}
		if err := st.held.put(data); err != nil {
			st.theirEnd, st.readErr = true, err
		}
		st.ready.Broadcast()
	default:
		return fmt.Errorf("mux: command %d", cmd)
	}
	return nil
}

// slow pauses reading from the connection, so that the sender waits for a stream's reader.
// If there are other streams, they wait too, so the pause is short and is not repeated
// until the reader has caught up.
func (c *Conn) slow(st *Stream) {
	if st.held.len() < slowAt {
		return
	}
	if len(c.streams) > 1 {
		c.slowShared(st)
		return
	}
	c.slowAlone(st)
}

// slowShared keeps streams that are read slowly, but are not stalled, out of files.
func (c *Conn) slowShared(st *Stream) {
	if st.behind {
		return
	}
	ends := time.Now().Add(shareTime)
	wake := time.AfterFunc(shareTime, c.change.Broadcast)
	defer wake.Stop()
	for st.held.len() >= slowAt && c.err == nil && !st.theirEnd {
		if !time.Now().Before(ends) {
			st.behind = true
			return
		}
		c.change.Wait()
	}
}

// slowAlone makes the sender of the only stream wait for the stream's reader. If the peer
// opens the streams, the opening of another one may be waiting too, so the wait is bounded.
func (c *Conn) slowAlone(st *Stream) {
	alone := func() bool {
		return st.held.len() >= slowAt && len(c.streams) == 1 && c.err == nil && !st.theirEnd
	}
	if !alone() {
		return
	}
	ends := time.Time{}
	if c.next%2 == 0 {
		now := time.Now()
		switch {
		case now.Sub(st.taken) < stallTime:
			ends = now.Add(stallTime)
		case st.held.len() < freeSpill:
			return
		default:
			ends = now.Add(trickleTime)
		}
		wake := time.AfterFunc(ends.Sub(now), c.change.Broadcast)
		defer wake.Stop()
	}
	for alone() && (ends.IsZero() || time.Now().Before(ends)) {
		c.change.Wait()
	}
}

// settle removes a stream whose two directions have ended.
func (c *Conn) settle(st *Stream) {
	if st.ourEnd && st.theirEnd {
		delete(c.streams, st.id)
		c.change.Broadcast()
	}
}

// Stream is one stream of a connection. One goroutine may read while another
// writes.
type Stream struct {
	c  *Conn
	id uint32

	// Guarded by c.mu.
	ready    sync.Cond // Read waits for it; other streams do not signal it
	held     spill
	taken    time.Time // when something was last read
	ourEnd   bool
	theirEnd bool
	readErr  error // instead of io.EOF
	behind   bool  // other streams do not wait for its reader until it has caught up
}

// Read implements io.Reader.
func (st *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	for st.held.len() == 0 {
		if st.theirEnd {
			if st.readErr != nil {
				return 0, st.readErr
			}
			return 0, io.EOF
		}
		st.ready.Wait()
	}
	n, err := st.held.take(p)
	st.taken = time.Now()
	if st.held.len() == 0 {
		st.behind = false
	}
	st.c.change.Broadcast()
	return n, err
}

// Write implements io.Writer.
func (st *Stream) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		st.c.mu.Lock()
		switch {
		case st.c.err != nil:
			err = st.c.err
		case st.ourEnd:
			err = ErrClosed
		}
		st.c.mu.Unlock()
		if err != nil {
			return n, err
		}
		piece := p[:min(len(p), CopySize)]
		if err := st.c.write(cmdData, st.id, piece); err != nil {
			return n, err
		}
		n += len(piece)
		p = p[len(piece):]
	}
	return n, nil
}

// CloseWrite ends the write direction. Reading continues.
func (st *Stream) CloseWrite() error {
	st.c.mu.Lock()
	if st.ourEnd || st.c.err != nil {
		defer st.c.mu.Unlock()
		return st.c.err
	}
	st.ourEnd = true
	st.c.mu.Unlock()
	err := st.c.write(cmdEnd, st.id, nil)
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	st.c.settle(st)
	return err
}

// Reset ends both directions of the stream because something broke: the peer must not treat
// the data it received as complete. A peer that does not support resets sees a normal end.
func (st *Stream) Reset() error {
	st.c.mu.Lock()
	if st.ourEnd && st.theirEnd || st.c.err != nil || !st.c.resets {
		st.c.mu.Unlock()
		return st.Close()
	}
	st.ourEnd = true
	if !st.theirEnd {
		st.theirEnd, st.readErr = true, ErrClosed
	}
	st.held.drop()
	st.c.settle(st)
	st.ready.Broadcast()
	st.c.change.Broadcast()
	st.c.mu.Unlock()
	return st.c.write(cmdReset, st.id, nil)
}

// Close ends both directions of the stream and discards unread data.
func (st *Stream) Close() error {
	err := st.CloseWrite()
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	if !st.theirEnd {
		st.theirEnd, st.readErr = true, ErrClosed
	}
	st.held.drop()
	st.c.settle(st)
	st.ready.Broadcast()
	st.c.change.Broadcast()
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}
