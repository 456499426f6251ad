// Package mux runs many streams over one connection, in the way of smux
// version 1, which AWS's agent and session-manager-plugin speak on forwarded
// ports.
//
// The protocol gives a receiver no means to slow one stream and not the
// others. So what a slow reader has not taken is put into a file that has no
// name, and the others go on; a stream that is alone slows its sender instead.
// Each direction of a stream ends by itself, as with TCP.
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

// The commands.
const (
	cmdOpen byte = iota
	cmdEnd       // nothing more comes in this direction
	cmdData
	cmdNothing // keeps a connection alive
)

// maxData is what one frame carries: half of what every peer takes, so that
// streams alternate often.
const maxData = 16 << 10

// maxStreams bounds what a peer can make us hold.
const maxStreams = 4096

// maxWaiting is how many streams of the peer wait for Accept.
const maxWaiting = 256

// ErrClosed is the error of a session or stream that was closed on this side.
var ErrClosed = errors.New("mux: closed")

// errStalled is why a stream ends whose reader leaves too much behind.
var errStalled = fmt.Errorf("mux: the reader left more than %d MiB", maxSpill>>20)

// Session is one connection with its streams. All methods may be called
// concurrently.
type Session struct {
	conn io.ReadWriteCloser

	writing sync.Mutex
	frame   []byte

	mu      sync.Mutex
	change  sync.Cond // with any change of what a stream holds, or of how many there are
	streams map[uint32]*Stream
	next    uint32
	arrived chan *Stream
	err     error
	done    chan struct{}
	reading sync.WaitGroup
}

// Client returns the session of the side that opened the connection.
func Client(conn io.ReadWriteCloser) *Session { return start(conn, 1) }

// Server returns the session of the side that was called.
func Server(conn io.ReadWriteCloser) *Session { return start(conn, 2) }

func start(conn io.ReadWriteCloser, first uint32) *Session {
	s := &Session{
		conn: conn, streams: make(map[uint32]*Stream), next: first, arrived: make(chan *Stream, maxWaiting),
		done: make(chan struct{}), frame: make([]byte, 0, headerSize+maxData),
	}
	s.change.L = &s.mu
	s.reading.Go(func() { s.end(s.read()) })
	return s
}

// Open opens a stream.
func (s *Session) Open() (*Stream, error) {
	s.mu.Lock()
	if s.err != nil {
		defer s.mu.Unlock()
		return nil, s.err
	}
	if len(s.streams) >= maxStreams {
		s.mu.Unlock()
		return nil, fmt.Errorf("mux: %d streams are open", maxStreams)
	}
	st := &Stream{s: s, id: s.next}
	s.next += 2
	s.streams[st.id] = st
	s.change.Broadcast()
	s.mu.Unlock()
	if err := s.write(cmdOpen, st.id, nil); err != nil {
		return nil, err
	}
	return st, nil
}

// Accept waits for the peer to open a stream.
func (s *Session) Accept() (*Stream, error) {
	select {
	case st := <-s.arrived:
		return st, nil
	case <-s.done:
		s.mu.Lock()
		defer s.mu.Unlock()
		return nil, s.err
	}
}

// Done is closed when the session is over.
func (s *Session) Done() <-chan struct{} { return s.done }

// Close ends the session and its streams, and waits until the connection is
// no longer read.
func (s *Session) Close() error {
	s.end(ErrClosed)
	s.reading.Wait()
	return nil
}

func (s *Session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	for _, st := range s.streams {
		if !st.theirEnd {
			st.theirEnd, st.readErr = true, err
		}
	}
	s.change.Broadcast()
	close(s.done)
	_ = s.conn.Close() // there is nobody to tell
}

func (s *Session) write(cmd byte, id uint32, p []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	b := append(s.frame[:0], version, cmd)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(p)))
	b = binary.LittleEndian.AppendUint32(b, id)
	b = append(b, p...)
	_, err := s.conn.Write(b)
	return err
}

// read is the one reader of the connection. It returns why it ended.
func (s *Session) read() error {
	r := bufio.NewReaderSize(s.conn, 64<<10)
	var header [headerSize]byte
	data := make([]byte, 64<<10)
	for {
		if _, err := io.ReadFull(r, header[:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // of no stream is it known to be the end
			}
			return err
		}
		if header[0] != version {
			return fmt.Errorf("mux: frame of version %d", header[0])
		}
		n := int(binary.LittleEndian.Uint16(header[2:]))
		if _, err := io.ReadFull(r, data[:n]); err != nil {
			return err
		}
		if err := s.take(header[1], binary.LittleEndian.Uint32(header[4:]), data[:n]); err != nil {
			return err
		}
	}
}

func (s *Session) take(cmd byte, id uint32, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[id]
	switch cmd {
	case cmdNothing:
	case cmdOpen:
		if st != nil || id%2 == s.next%2 || len(s.streams) >= maxStreams {
			return fmt.Errorf("mux: stream %d cannot be opened", id)
		}
		st = &Stream{s: s, id: id, taken: time.Now()}
		select {
		case s.arrived <- st:
			s.streams[id] = st
			s.change.Broadcast()
		default:
			return fmt.Errorf("mux: more than %d streams wait", maxWaiting)
		}
	case cmdEnd:
		if st != nil && !st.theirEnd {
			st.theirEnd = true
			s.settle(st)
			s.change.Broadcast()
		}
	case cmdData:
		if st == nil || st.theirEnd || len(data) == 0 {
			return nil // closed on our side meanwhile
		}
		s.slow(st)
		if st.theirEnd {
			return nil
		}
		if err := st.held.put(data); err != nil {
			st.theirEnd, st.readErr = true, err
		}
		s.change.Broadcast()
	default:
		return fmt.Errorf("mux: command %d", cmd)
	}
	return nil
}

// slow has the sender of a stream that is alone wait with us for the stream's
// reader. What waits with it may be the opening of another stream, where it is
// the peer that opens them: such a wait has an end.
func (s *Session) slow(st *Stream) {
	alone := func() bool {
		return st.held.len() >= slowAt && len(s.streams) == 1 && s.err == nil && !st.theirEnd
	}
	if !alone() {
		return
	}
	ends := time.Time{}
	if s.next%2 == 0 {
		now := time.Now()
		switch {
		case now.Sub(st.taken) < stallTime:
			ends = now.Add(stallTime)
		case st.held.len() < freeSpill:
			return
		default:
			ends = now.Add(trickleTime)
		}
		wake := time.AfterFunc(ends.Sub(now), s.change.Broadcast)
		defer wake.Stop()
	}
	for alone() && (ends.IsZero() || time.Now().Before(ends)) {
		s.change.Wait()
	}
}

// settle forgets a stream that has ended both ways.
func (s *Session) settle(st *Stream) {
	if st.ourEnd && st.theirEnd {
		delete(s.streams, st.id)
		s.change.Broadcast()
	}
}

// Stream is one stream of a session. One goroutine may read while another
// writes.
type Stream struct {
	s  *Session
	id uint32

	// Guarded by s.mu.
	held     spill
	taken    time.Time // when something was last read
	ourEnd   bool
	theirEnd bool
	readErr  error // instead of io.EOF
}

// Read implements io.Reader.
func (st *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	for st.held.len() == 0 {
		if st.theirEnd {
			if st.readErr != nil {
				return 0, st.readErr
			}
			return 0, io.EOF
		}
		st.s.change.Wait()
	}
	n, err := st.held.take(p)
	st.taken = time.Now()
	st.s.change.Broadcast()
	return n, err
}

// Write implements io.Writer.
func (st *Stream) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		st.s.mu.Lock()
		switch {
		case st.s.err != nil:
			err = st.s.err
		case st.ourEnd:
			err = ErrClosed
		}
		st.s.mu.Unlock()
		if err != nil {
			return n, err
		}
		piece := p[:min(len(p), maxData)]
		if err := st.s.write(cmdData, st.id, piece); err != nil {
			return n, err
		}
		n += len(piece)
		p = p[len(piece):]
	}
	return n, nil
}

// CloseWrite says that nothing more will be written. Reading goes on.
func (st *Stream) CloseWrite() error {
	st.s.mu.Lock()
	if st.ourEnd || st.s.err != nil {
		defer st.s.mu.Unlock()
		return st.s.err
	}
	st.ourEnd = true
	st.s.mu.Unlock()
	err := st.s.write(cmdEnd, st.id, nil)
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	st.s.settle(st)
	return err
}

// Close ends the stream both ways. What was not read is forgotten.
func (st *Stream) Close() error {
	err := st.CloseWrite()
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	if !st.theirEnd {
		st.theirEnd, st.readErr = true, ErrClosed
	}
	st.held.drop()
	st.s.settle(st)
	st.s.change.Broadcast()
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}
