package recfile

import (
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"sekisho/internal/session/screen"
)

// Storage is the subset of *os.File that a Writer uses.
type Storage interface {
	io.ReaderAt
	io.WriterAt
	Stat() (os.FileInfo, error)
	Truncate(size int64) error
	Sync() error
	Close() error
}

// Config configures a Writer.
type Config struct {
	// Main becomes the recording. Tails hold records that are not in Main yet; they are no longer
	// needed once the recording is sealed.
	Main  Storage
	Tails [2]Storage
	// Header is the content of block 0, which is not encrypted.
	Header []byte
	// Key encrypts the recording. Each recording needs a key of its own.
	Key []byte
	// Sign signs blocks with the key named KeyID.
	Sign  func(message []byte) []byte
	KeyID KeyID
	// Cols and Rows are the initial size of the screen. Keyframes are written only after the first
	// Resize record, because a command without a terminal has no screen.
	Cols, Rows int
	// KeyframeBytes and KeyframeTime are the maximum output and time between two keyframes; 0 = 1
	// MiB and 1 minute.
	KeyframeBytes int64
	KeyframeTime  time.Duration
	// BlockSize is the size at which a block is full; 0 = 256 KiB.
	BlockSize int
	// BlockTime is the age of a block at which the next record begins a new one; 0 = 5 s.
	BlockTime time.Duration
}

// Writer appends to the file of a recording. It is not safe for concurrent
// use.
type Writer struct {
	cfg    Config
	aead   cipher.AEAD
	prefix [8]byte // of nonces; drawn for each Writer
	nonces uint32

	totals Totals // of everything appended
	cur    *block
	spare  *block
	tailAt int64
	frames uint32
	frame  []byte

	flight chan error // receives the result of the block that is being written; nil if there is none
	flying *block     // the block being written, or one that could not be written
	main   mainFile
	err    error // set once the recording cannot be continued

	finished *Result
}

// block is a block that is being filled.
type block struct {
	number  uint64
	plain   []byte // records
	first   int64
	last    int64
	records uint32
	totals  Totals // at its end
}

// mainFile is used only by the goroutine that writes the next block.
type mainFile struct {
	size      int64
	next      uint64 // number of the next block
	digest    Digest
	blocks    []BlockInfo
	screen    *screen.Screen // nil once it is clear that there is no terminal
	terminal  bool           // there has been a Resize
	shown     int64          // output since the last keyframe
	framed    int64          // µs of the last keyframe
	keyframes bool
	unshown   []byte // output that is not on the screen yet
	packed    []byte
	out       []byte
	nonce     [12]byte
}

func newWriter(cfg Config) (*Writer, error) {
	a, err := newAEAD(cfg.Key)
	if err != nil {
		return nil, err
	}
	if cfg.KeyframeBytes == 0 {
		cfg.KeyframeBytes = 1 << 20
	}
	if cfg.KeyframeTime == 0 {
		cfg.KeyframeTime = time.Minute
	}
	if cfg.BlockSize == 0 {
		cfg.BlockSize = BlockSize
	}
	if cfg.BlockTime == 0 {
		cfg.BlockTime = 5 * time.Second
	}
	w := &Writer{cfg: cfg, aead: a}
	rand.Read(w.prefix[:]) // never fails: see crypto/rand
	w.main.screen = screen.New(cfg.Cols, cfg.Rows)
	return w, nil
}

// Create begins a new file. The storage must be empty.
func Create(cfg Config) (*Writer, error) {
	w, err := newWriter(cfg)
	if err != nil {
		return nil, err
	}
	if len(cfg.Header) > maxHeader {
		return nil, errors.New("recfile: the header is too long")
	}
	h := blockHeader{kind: headerBlock, stored: uint32(len(cfg.Header)), plain: uint32(len(cfg.Header))}
	if err := w.main.write(&w.cfg, &h, cfg.Header); err != nil {
		return nil, err
	}
	w.cur = &block{number: w.main.next}
	return w, nil
}

// Totals returns the sums of everything appended.
func (w *Writer) Totals() Totals { return w.totals }

// Pending reports whether any record is not in the main file yet.
func (w *Writer) Pending() bool { return w.flying != nil || w.cur.records > 0 }

// Append records data, in several records if it is long. A time before that of the last record is
// replaced by the latter. If Append fails, no part of data is in the recording, and Append can be
// called again.
func (w *Writer) Append(kind Kind, at time.Duration, data []byte) error {
	return w.AppendAll(kind, at, [][]byte{data})
}

// MaxAppend limits the data of one call, in bytes.
const MaxAppend = 1 << 20

// AppendAll is Append for several pieces that arrived together.
func (w *Writer) AppendAll(kind Kind, at time.Duration, pieces [][]byte) error {
	if w.err != nil {
		return w.err
	}
	if len(pieces) == 0 {
		return nil
	}
	total := 0
	for _, p := range pieces {
		total += len(p)
	}
	if total > MaxAppend {
		return fmt.Errorf("recfile: cannot append %d bytes at once; the maximum is %d", total, MaxAppend)
	}
	now := max(at.Microseconds(), w.totals.Last.Microseconds())
	if w.cur.full(&w.cfg, now) {
		if err := w.cut(); err != nil {
			return err
		}
	}
	b := w.cur
	undo, totals := *b, w.totals
	from := len(b.plain)
	for _, data := range pieces {
		for first := true; first || len(data) > 0; first = false {
			piece := data[:min(len(data), MaxRecord)]
			data = data[len(piece):]
			if len(b.plain) == 0 {
				b.first = now
			}
			b.plain = appendRecord(b.plain, kind, b.last, now, piece)
			b.last = now
			b.records++
			w.totals.count(Record{Kind: kind, Time: time.Duration(now) * time.Microsecond, Data: piece})
		}
	}
	if err := w.writeFrame(b.plain[from:]); err != nil {
		plain := b.plain[:from]
		*b, w.totals = undo, totals
		b.plain = plain
		return err
	}
	b.totals = w.totals
	if len(b.plain) >= w.cfg.BlockSize && w.idle() {
		w.launch()
	}
	return nil
}

func (b *block) full(cfg *Config, now int64) bool {
	return len(b.plain) >= cfg.BlockSize || b.records > 0 && now-b.first >= cfg.BlockTime.Microseconds()
}

func (w *Writer) nonce(dst []byte) {
	w.nonces++
	if w.nonces == 0 {
		rand.Read(w.prefix[:])
	}
	copy(dst, w.prefix[:])
	binary.BigEndian.PutUint32(dst[8:], w.nonces)
}

// writeFrame puts records into the tail.
func (w *Writer) writeFrame(records []byte) error {
	f := slices.Grow(w.frame[:0], 1+frameHeader+len(records)+w.aead.Overhead())[:1+frameHeader]
	// The letter before the header is only part of the additional data.
	f[0] = frameAAD
	binary.BigEndian.PutUint64(f[1:], w.cur.number)
	binary.BigEndian.PutUint32(f[9:], w.frames)
	binary.BigEndian.PutUint32(f[13:], uint32(len(records)+w.aead.Overhead()))
	w.nonce(f[17:29])
	f = w.aead.Seal(f, f[17:29], records, f[:17])
	w.frame = f
	if cap(w.frame) > 1<<20 {
		w.frame = nil
	}
	if _, err := w.cfg.Tails[w.cur.number%2].WriteAt(f[1:], w.tailAt); err != nil {
		return fmt.Errorf("recfile: tail: %w", err)
	}
	w.tailAt += int64(len(f) - 1)
	w.frames++
	return nil
}

// idle reports whether no block is being written. It does not wait.
func (w *Writer) idle() bool {
	if w.flight == nil {
		return w.flying == nil
	}
	select {
	case err := <-w.flight:
		w.landed(err)
		return w.flying == nil
	default:
		return false
	}
}

func (w *Writer) landed(err error) {
	w.flight = nil
	if err == nil {
		w.spare, w.flying = w.flying, nil
	}
}

// settle waits for the block that is being written, and retries one that could not be written.
func (w *Writer) settle() error {
	if w.flight != nil {
		w.landed(<-w.flight)
	}
	if w.flying == nil {
		return nil
	}
	if err := w.main.writeRecords(&w.cfg, w.aead, w.flying); err != nil {
		return err
	}
	w.landed(nil)
	return nil
}

// cut starts writing the current block to the main file in another goroutine, so the keystroke that
// filled the block does not wait.
func (w *Writer) cut() error {
	if err := w.settle(); err != nil {
		return err
	}
	if w.cur.records > 0 {
		w.launch()
	}
	return nil
}

// launch requires that no block is being written. [Writer.settle] waits for the goroutine.
func (w *Writer) launch() {
	b := w.cur
	next := w.spare
	if next == nil {
		next = &block{}
	}
	w.spare = nil
	*next = block{number: b.number + 1, plain: next.plain[:0]}
	w.cur, w.flying, w.tailAt, w.frames = next, b, 0, 0
	w.nonce(w.main.nonce[:])
	done := make(chan error, 1)
	w.flight = done
	go func() { done <- w.main.writeRecords(&w.cfg, w.aead, b) }()
}

// Flush writes everything to the main file, which then ends with a signature.
func (w *Writer) Flush() error {
	if w.err != nil {
		return w.err
	}
	if err := w.cut(); err != nil {
		return err
	}
	if err := w.settle(); err != nil {
		return err
	}
	w.Trim()
	return nil
}

// Trim releases buffers, if no block is being written: a session that waits needs none.
func (w *Writer) Trim() {
	if w.idle() {
		w.spare, w.main.packed, w.main.out, w.main.unshown = nil, nil, nil, nil
	}
}

// keyframe returns a keyframe of the screen before the block b if one is due, and otherwise nil.
func (m *mainFile) keyframe(cfg *Config, b *block) []byte {
	if !m.terminal || m.keyframes && m.shown < cfg.KeyframeBytes && b.first-m.framed < cfg.KeyframeTime.Microseconds() {
		return nil
	}
	cols, rows := m.screen.Size()
	data := m.screen.Dump(AppendSize(nil, cols, rows))
	if len(data) > maxKeyframe {
		return nil
	}
	m.keyframes, m.shown, m.framed = true, 0, b.first
	return data
}

// maxUnsized is how much output is rendered, in bytes, before the terminal's size must be known.
const maxUnsized = 64 << 10

// render applies records to the screen, for later keyframes.
func (m *mainFile) render(records []byte) error {
	// Output is rendered together, so that the screen can skip text that scrolls off
	// within it.
	m.unshown = m.unshown[:0]
	for p, at := records, int64(0); len(p) > 0; {
		r, rest, now, err := parseRecord(p, at)
		if err != nil {
			return err
		}
		p, at = rest, now
		switch {
		case r.Kind != Output:
			m.showOutput()
			m.show(r)
		case len(p) == 0 && len(m.unshown) == 0:
			m.show(r)
		default:
			m.unshown = append(m.unshown, r.Data...)
		}
	}
	m.showOutput()
	return nil
}

func (m *mainFile) showOutput() {
	if len(m.unshown) > 0 {
		m.show(Record{Kind: Output, Data: m.unshown})
	}
	m.unshown = m.unshown[:0]
}

func (m *mainFile) show(r Record) {
	switch r.Kind {
	case Output:
		m.shown += int64(len(r.Data))
		if m.screen == nil {
			return
		}
		_, _ = m.screen.Write(r.Data) // never fails
		if !m.terminal && m.shown > maxUnsized {
			m.screen = nil
		}
	case Resize, Keyframe:
		cols, rows, dump, ok := Size(r.Data)
		if !ok {
			return
		}
		m.terminal = true
		if m.screen == nil || r.Kind == Keyframe {
			m.screen = screen.New(cols, rows)
		}
		m.screen.Resize(cols, rows)
		_, _ = m.screen.Write(dump)
	case Input, HiddenInput, JoinedInput, Marker, Exit, Connection, File, Type, Payload:
	}
}

// writeRecords writes b to the main file. After an error it can be called
// again.
func (m *mainFile) writeRecords(cfg *Config, a cipher.AEAD, b *block) error {
	shown, framed, had := m.shown, m.framed, m.keyframes
	h := blockHeader{
		kind: recordsBlock, flags: flagEncrypted, records: b.records, first: b.first, totals: b.totals, nonce: m.nonce,
	}
	plain := b.plain
	if k := m.keyframe(cfg, b); k != nil {
		// The keyframe comes first, because the records after it build on it.
		plain = appendRecord(make([]byte, 0, len(k)+len(b.plain)+32), Keyframe, 0, b.first, k)
		plain = appendShifted(plain, b.plain, b.first)
		h.flags |= flagKeyframe
		h.records++
	}
	h.plain = uint32(len(plain))
	if packed, ok := pack(m.packed[:0], plain); ok {
		plain, m.packed = packed, packed
		h.flags |= flagCompressed
	}
	h.stored = uint32(len(plain) + a.Overhead())
	if err := m.seal(cfg, a, &h, plain); err != nil {
		m.shown, m.framed, m.keyframes = shown, framed, had
		return err
	}
	return m.render(b.plain)
}

// appendShifted appends records that now follow a keyframe in their block: the time of the first
// one becomes relative to the keyframe.
func appendShifted(dst, records []byte, first int64) []byte {
	r, rest, _, err := parseRecord(records, 0)
	if err != nil {
		return append(dst, records...) // cannot happen: the Writer wrote it
	}
	dst = appendRecord(dst, r.Kind, first, first, r.Data)
	return append(dst, rest...)
}

// seal encrypts and writes a block. No nonce is used for two contents: a block that is written
// again after an error has exactly the same bytes, including its keyframe if it has one.
func (m *mainFile) seal(cfg *Config, a cipher.AEAD, h *blockHeader, plain []byte) error {
	m.finish(cfg, h)
	out := slices.Grow(m.out[:0], 1+headerSize+len(plain)+a.Overhead()+ed25519.SignatureSize)[:1+headerSize]
	m.out = out
	out[0] = blockAAD
	h.encode(out[1:])
	out = a.Seal(out, h.nonce[:], plain, out[:1+headerSize])
	return m.commit(cfg, h, out[1:])
}

// write writes a block that is not encrypted.
func (m *mainFile) write(cfg *Config, h *blockHeader, payload []byte) error {
	m.finish(cfg, h)
	out := make([]byte, headerSize, headerSize+len(payload)+64)
	h.encode(out)
	out = append(out, payload...)
	return m.commit(cfg, h, out)
}

func (m *mainFile) finish(cfg *Config, h *blockHeader) {
	h.number, h.prev, h.key = m.next, m.digest, cfg.KeyID
}

func (m *mainFile) commit(cfg *Config, h *blockHeader, b []byte) error {
	sum := sha256.New()
	sum.Write(b)
	sig := cfg.Sign(signedText(sum.Sum(nil)))
	sum.Write(sig)
	b = append(b, sig...)
	if _, err := cfg.Main.WriteAt(b, m.size); err != nil {
		// The part of the block that was written must not remain: readers would consider the block
		// torn.
		return errors.Join(fmt.Errorf("recfile: %w", err), cfg.Main.Truncate(m.size))
	}
	m.blocks = append(m.blocks, infoOf(h, m.size))
	m.size += int64(len(b))
	m.next++
	sum.Sum(m.digest[:0])
	return nil
}

// Result describes a finished file.
type Result struct {
	Size   int64
	Blocks int64
	Digest Digest // of the last block: it determines every byte of the file
	Index  int64  // where the index block begins
	Totals Totals
}

// Finish flushes, and writes the index. After an error it can be called again.
func (w *Writer) Finish() (Result, error) {
	if w.finished != nil {
		return *w.finished, nil
	}
	if err := w.Flush(); err != nil {
		return Result{}, err
	}
	m := &w.main
	at := m.size
	if n := len(m.blocks); n > 0 && m.blocks[n-1].index {
		at = m.blocks[n-1].Offset // an earlier Finish wrote it
	} else {
		index := appendIndex(nil, m.blocks)
		if len(index) > maxIndex {
			index = nil // readers scan the blocks instead
		}
		last := w.totals.Last.Microseconds()
		h := blockHeader{kind: indexBlock, plain: uint32(len(index)), first: last, totals: w.totals}
		if packed, ok := pack(nil, index); ok {
			index = packed
			h.flags |= flagCompressed
		}
		h.stored = uint32(len(index))
		if err := m.write(&w.cfg, &h, index); err != nil {
			return Result{}, err
		}
	}
	st, err := w.cfg.Main.Stat()
	if err == nil && st.Size() != m.size { // left behind by a write that failed
		err = w.cfg.Main.Truncate(m.size)
	}
	if err != nil {
		return Result{}, fmt.Errorf("recfile: %w", err)
	}
	if err := w.cfg.Main.Sync(); err != nil {
		return Result{}, fmt.Errorf("recfile: sync: %w", err)
	}
	w.err = errFinished
	w.finished = &Result{Size: m.size, Blocks: int64(m.next), Digest: m.digest, Index: at, Totals: w.totals}
	return *w.finished, nil
}

var errFinished = errors.New("recfile: the recording is finished")

// Exit returns status and reason if the last record is an Exit record. This can be the case only
// for a resumed file.
func (w *Writer) Exit() (status int, reason string, ok bool) {
	n := len(w.main.blocks)
	if n == 0 || w.cur.records > 0 {
		return 0, "", false
	}
	r := &Reader{r: w.cfg.Main, blocks: w.main.blocks, aead: w.aead}
	plain, err := r.block(n - 1)
	if err != nil {
		return 0, "", false
	}
	var last Record
	for p, at := plain, int64(0); len(p) > 0; {
		if last, p, at, err = parseRecord(p, at); err != nil {
			return 0, "", false
		}
	}
	if last.Kind != Exit {
		return 0, "", false
	}
	return ExitStatus(last.Data)
}

// Tail returns a copy of the records that are not in the main file, and the size of that file.
// Together they are the current recording.
func (w *Writer) Tail() (size int64, blocks []BlockInfo, records [][]byte) {
	if w.flight != nil {
		w.landed(<-w.flight)
	}
	if w.flying != nil {
		records = append(records, slices.Clone(w.flying.plain))
	}
	if w.cur.records > 0 {
		records = append(records, slices.Clone(w.cur.plain))
	}
	return w.main.size, slices.Clone(w.main.blocks), records
}

// Committed returns the size of the part of the main file that will not change any more, in bytes,
// unless [Writer.Finish] has been called.
func (w *Writer) Committed() int64 {
	if w.flight != nil {
		w.landed(<-w.flight)
	}
	return w.main.size
}

// Close waits for the block that is being written. It does not close the storage.
func (w *Writer) Close() error {
	if w.flight != nil {
		w.landed(<-w.flight)
	}
	w.err = errFinished
	return nil
}
