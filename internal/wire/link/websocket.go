package link

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// socket is a WebSocket connection after its handshake (RFC 6455), without
// extensions. One goroutine may read; any number may write.
type socket struct {
	conn   io.ReadWriteCloser
	br     *bufio.Reader
	client bool // this is the client, which masks
	// unmasked makes a client mask with zeros, which has no effect. Masking protects
	// proxies that parse the traffic; they cannot within TLS.
	unmasked bool
	limit    int // bytes of a message

	began time.Time
	heard atomic.Int64 // age when data last arrived

	reading  chanMutex
	readWait *watch // guarded by reading
	control  [maxControl]byte

	writing   chanMutex
	writeWait *watch // guarded by writing
	closeSent bool   // guarded by writing

	closing   atomic.Bool   // this side has begun to close the connection
	closed    chan struct{} // closed with the connection
	closeOnce sync.Once

	pingMu sync.Mutex
	pings  uint64
	pongs  map[string]chan struct{}
}

// chanMutex is a mutex whose acquisition can be canceled.
type chanMutex chan struct{}

func (m chanMutex) unlock() { <-m }

const (
	maxControl = 125
	bufferSize = 4 << 10
	// closeWait bounds sending a close frame, and waiting for the peer's.
	closeWait = 5 * time.Second
	// controlWait bounds sending a pong.
	controlWait = 5 * time.Second
	// maxTLSRecord is the most that one TLS record holds.
	maxTLSRecord = 16 << 10
)

// Opcodes of WebSocket frames (RFC 6455, section 5.2).
const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

const (
	bitFin    = 0x80
	bitsRsv   = 0x70
	bitMasked = 0x80

	length16 = 126 // the length follows in 2 bytes
	length64 = 127 // in 8 bytes

	maxHeader = 14
)

// closeError reports the peer's close frame.
type closeError struct {
	code   Code
	reason string
}

func (e *closeError) Error() string {
	return "the peer closed the connection (" + strconv.Itoa(int(e.code)) + ": " + strconv.Quote(e.reason) + ")"
}

// closeNone stands for a close frame without a code.
const closeNone Code = 1005

// newSocket returns the socket of a connection. It reads from from.
func newSocket(conn io.ReadWriteCloser, from io.Reader, client bool, limit int) *socket {
	s := &socket{
		conn: conn, client: client, limit: limit, began: time.Now(), closed: make(chan struct{}),
		reading: make(chanMutex, 1), writing: make(chanMutex, 1),
	}
	s.br = bufio.NewReaderSize(noting{s, from}, bufferSize)
	return s
}

// noting reads for a socket and records when data last arrived.
type noting struct {
	s    *socket
	from io.Reader
}

func (n noting) Read(p []byte) (int, error) {
	got, err := n.from.Read(p)
	if got > 0 {
		n.s.heard.Store(int64(n.s.age()))
	}
	return got, err
}

// age is the time since the connection was opened.
func (s *socket) age() time.Duration { return time.Since(s.began) }

// never is the context of an operation that ends only with the connection.
var never context.Context

// watch closes the connection when a context ends while an operation that uses it is in
// progress. Successive operations reuse it because most have the same context.
type watch struct {
	ctx    context.Context
	active atomic.Bool
	stop   func() bool
}

// enter locks m. Until leave, the end of ctx closes the connection.
func (s *socket) enter(ctx context.Context, m chanMutex, at **watch) (*watch, error) {
	var done <-chan struct{}
	if ctx != never {
		done = ctx.Done()
	}
	select {
	case m <- struct{}{}:
	case <-done:
		return nil, ctx.Err()
	case <-s.closed:
		return nil, net.ErrClosed
	}
	if s.isClosed() {
		m.unlock()
		return nil, net.ErrClosed
	}
	if ctx == never {
		return nil, nil
	}
	w := *at
	if w == nil || w.ctx != ctx {
		if w != nil {
			w.stop()
		}
		w = &watch{ctx: ctx}
		w.stop = context.AfterFunc(ctx, func() {
			if w.active.Load() {
				s.drop()
			}
		})
		*at = w
	}
	w.active.Store(true)
	if err := ctx.Err(); err != nil {
		w.active.Store(false)
		m.unlock()
		return nil, err
	}
	return w, nil
}

// leave ends what enter began, and returns what err means.
func (s *socket) leave(w *watch, m chanMutex, err error) error {
	closed := s.isClosed()
	if _, said := errors.AsType[*closeError](err); err != nil && !said && !errors.Is(err, ErrTooBig) && closed {
		err = net.ErrClosed
	}
	if w != nil {
		w.active.Store(false)
		if cause := w.ctx.Err(); cause != nil && errors.Is(err, net.ErrClosed) {
			err = cause
		}
		if closed {
			w.stop()
		}
	}
	m.unlock()
	return err
}

func (s *socket) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// drop closes the connection.
func (s *socket) drop() {
	s.closeOnce.Do(func() {
		close(s.closed)
		_ = s.conn.Close() // nothing can be done about it
	})
}

// frameHeader is the header of a frame.
type frameHeader struct {
	fin    bool
	op     byte
	length int64
	mask   uint32
	masked bool
}

var errProtocol = errors.New("the peer broke the WebSocket protocol")

func (s *socket) readHeader() (h frameHeader, err error) {
	b, err := s.br.Peek(2)
	if err != nil {
		return h, err
	}
	if b[0]&bitsRsv != 0 {
		return h, fmt.Errorf("%w: reserved bits are set", errProtocol)
	}
	h.fin, h.op, h.masked = b[0]&bitFin != 0, b[0]&0x0f, b[1]&bitMasked != 0
	size, more := 2, 0
	switch n := b[1] &^ bitMasked; n {
	case length16:
		more = 2
	case length64:
		more = 8
	default:
		h.length = int64(n)
	}
	size += more
	if h.masked {
		size += 4
	}
	if b, err = s.br.Peek(size); err != nil {
		return h, err
	}
	switch more {
	case 2:
		h.length = int64(binary.BigEndian.Uint16(b[2:]))
	case 8:
		h.length = int64(binary.BigEndian.Uint64(b[2:]))
	}
	if h.masked {
		h.mask = binary.LittleEndian.Uint32(b[size-4:])
	}
	if _, err := s.br.Discard(size); err != nil {
		return h, err
	}
	switch {
	case h.length < 0:
		err = fmt.Errorf("%w: negative length", errProtocol)
	case h.masked == s.client:
		err = fmt.Errorf("%w: masked by the wrong side", errProtocol)
	}
	return h, err
}

// next returns the header of the next frame of data. It handles control frames.
func (s *socket) next() (frameHeader, error) {
	for {
		h, err := s.readHeader()
		if err != nil {
			return h, err
		}
		switch h.op {
		case opContinuation, opText, opBinary:
			return h, nil
		case opClose, opPing, opPong:
			if err := s.handleControl(h); err != nil {
				return h, err
			}
		default:
			return h, fmt.Errorf("%w: opcode %d", errProtocol, h.op)
		}
	}
}

func (s *socket) handleControl(h frameHeader) error {
	if h.length > maxControl || !h.fin {
		return fmt.Errorf("%w: control frame of %d bytes", errProtocol, h.length)
	}
	b := s.control[:h.length]
	if _, err := io.ReadFull(s.br, b); err != nil {
		return err
	}
	xor(b, h.mask)
	switch h.op {
	case opPing:
		late := time.AfterFunc(controlWait, s.drop)
		defer late.Stop()
		return s.write(never, opPong, b)
	case opPong:
		s.pingMu.Lock()
		defer s.pingMu.Unlock()
		if pong, ok := s.pongs[string(b)]; ok {
			close(pong)
			delete(s.pongs, string(b))
		}
		return nil
	}
	e := &closeError{code: closeNone}
	if len(b) == 1 {
		return fmt.Errorf("%w: close frame of 1 byte", errProtocol)
	}
	if len(b) >= 2 {
		e.code, e.reason = Code(binary.BigEndian.Uint16(b)), string(b[2:])
	}
	_ = s.sendClose(b) // the peer has closed and may be gone
	s.drop()
	return e
}

// read reads the next message into the capacity of buf.
func (s *socket) read(ctx context.Context, buf []byte) (op byte, b []byte, err error) {
	w, err := s.enter(ctx, s.reading, &s.readWait)
	if err != nil {
		return 0, nil, err
	}
	op, b, err = s.message(buf[:0])
	switch {
	case errors.Is(err, ErrTooBig):
		_ = s.sendClose(closePayload(CloseTooBig, "")) // the error is the caller's
	case errors.Is(err, errProtocol):
		_ = s.sendClose(closePayload(CloseProtocol, ""))
	}
	return op, b, s.leave(w, s.reading, err)
}

func (s *socket) message(b []byte) (op byte, _ []byte, err error) {
	for {
		h, err := s.next()
		if err != nil {
			return 0, nil, err
		}
		if (h.op == opContinuation) != (op != 0) {
			return 0, nil, fmt.Errorf("%w: a message in the middle of another, or none", errProtocol)
		}
		if h.op != opContinuation {
			op = h.op
		}
		if h.length > int64(s.limit-len(b)) {
			return 0, nil, ErrTooBig
		}
		start, end := len(b), len(b)+int(h.length)
		if end > cap(b) {
			grown := newBuffer(end)
			copy(grown, b)
			b = grown
		}
		b = b[:end]
		if _, err := io.ReadFull(s.br, b[start:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, nil, err
		}
		xor(b[start:], h.mask)
		if h.fin {
			return op, b, nil
		}
	}
}

// buffered reports whether the whole next message has already arrived. It reports false while
// close reads, and if a control frame is next: after that, a read may have to wait.
func (s *socket) buffered() bool {
	select {
	case s.reading <- struct{}{}:
		defer s.reading.unlock()
	default:
		return false
	}
	n := s.br.Buffered()
	if n < 2 {
		return false
	}
	b, _ := s.br.Peek(n) // it is buffered
	if op := b[0] & 0x0f; b[0]&bitFin == 0 || op != opBinary && op != opText {
		return false
	}
	size, length := 2, int(b[1]&^bitMasked)
	if b[1]&bitMasked != 0 {
		size += 4
	}
	switch {
	case length == length64:
		return false // larger than the buffer
	case length == length16 && n < 4:
		return false
	case length == length16:
		size, length = size+2, int(binary.BigEndian.Uint16(b[2:]))
	}
	return n >= size+length
}

// xor masks or unmasks b.
func xor(b []byte, mask uint32) {
	if mask == 0 {
		return
	}
	wide := uint64(mask)<<32 | uint64(mask)
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(mask >> (8 * (i & 3)))
	}
}

// recordBuffers are buffers of one TLS record.
var recordBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, maxTLSRecord)
	return &b
}}

// write writes messages.
func (s *socket) write(ctx context.Context, op byte, messages ...[]byte) error {
	w, err := s.enter(ctx, s.writing, &s.writeWait)
	if err != nil {
		return err
	}
	err = net.ErrClosed
	if !s.closeSent {
		err = s.writeLocked(op, messages)
	}
	if op == opClose {
		s.closeSent = true
	}
	return s.leave(w, s.writing, err)
}

func (s *socket) writeLocked(op byte, messages [][]byte) error {
	buf := recordBuffers.Get().(*[]byte)
	defer recordBuffers.Put(buf)
	w := recordWriter{to: s.conn, buf: (*buf)[:0]}
	for _, p := range messages {
		var head [maxHeader]byte
		h := append(head[:0], bitFin|op)
		switch n := len(p); {
		case n < length16:
			h = append(h, byte(n))
		case n < 1<<16:
			h = binary.BigEndian.AppendUint16(append(h, length16), uint16(n))
		default:
			h = binary.BigEndian.AppendUint64(append(h, length64), uint64(n))
		}
		var mask uint32
		if s.client {
			h[1] |= bitMasked
			if !s.unmasked {
				var key [4]byte
				_, _ = rand.Read(key[:]) // never fails
				mask = binary.LittleEndian.Uint32(key[:])
			}
			h = binary.LittleEndian.AppendUint32(h, mask)
		}
		if err := w.write(h, 0); err != nil {
			return err
		}
		if err := w.write(p, mask); err != nil {
			return err
		}
	}
	return w.flush()
}

// recordWriter makes writes of the size of a TLS record, and copies as little as possible.
type recordWriter struct {
	to  io.Writer
	buf []byte
}

func (w *recordWriter) write(p []byte, mask uint32) error {
	for len(p) > 0 {
		if len(w.buf) == 0 && mask == 0 && len(p) >= cap(w.buf) {
			whole := len(p) / cap(w.buf) * cap(w.buf)
			if _, err := w.to.Write(p[:whole]); err != nil {
				return err
			}
			p = p[whole:]
			continue
		}
		n := min(len(p), cap(w.buf)-len(w.buf))
		if mask != 0 && n < len(p) {
			n &^= 3 // the mask restarts with its first byte
		}
		if n > 0 {
			at := len(w.buf)
			w.buf = append(w.buf, p[:n]...)
			xor(w.buf[at:], mask)
			p = p[n:]
		}
		if len(p) > 0 {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *recordWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.to.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}

// ping sends a ping and waits for its pong.
func (s *socket) ping(ctx context.Context) error {
	pong := make(chan struct{})
	s.pingMu.Lock()
	s.pings++
	name := strconv.FormatUint(s.pings, 10)
	if s.pongs == nil {
		s.pongs = make(map[string]chan struct{})
	}
	s.pongs[name] = pong
	s.pingMu.Unlock()
	defer func() {
		s.pingMu.Lock()
		defer s.pingMu.Unlock()
		delete(s.pongs, name)
	}()
	if err := s.write(ctx, opPing, []byte(name)); err != nil {
		return err
	}
	select {
	case <-pong:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return net.ErrClosed
	}
}

func closePayload(code Code, reason string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
}

func (s *socket) sendClose(payload []byte) error {
	late := time.AfterFunc(closeWait, s.drop)
	defer late.Stop()
	return s.write(never, opClose, payload)
}

// close sends a close frame and waits for the peer's answer. It always closes the
// connection.
func (s *socket) close(code Code, reason string) error {
	defer s.drop()
	if s.closing.Swap(true) {
		return nil
	}
	if err := s.sendClose(closePayload(code, reason)); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	late := time.AfterFunc(closeWait, s.drop)
	defer late.Stop()
	// An active reader receives the answer; without one it is read here.
	w, err := s.enter(never, s.reading, &s.readWait)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	err = s.leave(w, s.reading, s.skipToClose())
	if _, ok := errors.AsType[*closeError](err); ok || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// skipToClose reads up to the peer's close frame.
func (s *socket) skipToClose() error {
	for {
		h, err := s.next()
		if err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, s.br, h.length); err != nil {
			return err
		}
	}
}

// acceptKey returns the response to the key of an upgrade request.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // the protocol demands it
	return base64.StdEncoding.EncodeToString(sum[:])
}
