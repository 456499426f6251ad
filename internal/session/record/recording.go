package record

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/session/cast"
)

const (
	// A checkpoint follows after so much cast or, at the next event, so much
	// time: it bounds what a crash leaves unsigned, and costs a signature.
	defaultEvery   = 256 << 10
	checkpointTime = 5 * time.Second

	// maxSide bounds a terminal in a recording: a player that believed a
	// resize to 65535x65535 would need gigabytes.
	maxSide = 2048
)

// Recording is a recording being written. Its methods may be called
// concurrently. When one of Output, Outputs, Input, Resize, Marker returns
// nil, what it was given is in the kernel's hands; when it returns an error,
// nothing of it is in the recording and the session should not go on
// unrecorded.
type Recording struct {
	r   *Recorder
	dir string

	mu     sync.Mutex
	header Header
	enc    cast.Encoder
	buf    []byte
	out    int64
	in     int64

	cast  file
	hash  hash.Hash // of the cast so far
	size  int64     // bytes of the cast so far
	first string    // digest of its header line

	chain     file
	chainSize int64
	count     int64  // checkpoints
	head      string // digest of the last
	key       string // fingerprint in force in the chain
	marked    int64  // bytes of the cast covered by the last checkpoint
	markedAt  time.Duration

	exit   *Exit // once the cast has ended
	sealed *Summary
	closed bool
	broken error // set when a failed write could not be undone
}

var errClosed = sekisho.Errorf(sekisho.CodeConflict, "The recording has ended.")

// Output records what the terminal showed.
func (rec *Recording) Output(p []byte) error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	at, saved, err := rec.begin()
	if err != nil {
		return err
	}
	rec.buf = rec.enc.AppendOutput(rec.buf, at, p)
	if err := rec.commit(saved); err != nil {
		return err
	}
	rec.out += int64(len(p))
	return nil
}

// Outputs records several frames of output with one write.
func (rec *Recording) Outputs(frames [][]byte) error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	at, saved, err := rec.begin()
	if err != nil {
		return err
	}
	var n int64
	for _, p := range frames {
		rec.buf = rec.enc.AppendOutput(rec.buf, at, p)
		n += int64(len(p))
	}
	if err := rec.commit(saved); err != nil {
		return err
	}
	rec.out += n
	return nil
}

// Input records what was typed. If the recorder omits input, only the number
// of bytes is kept.
func (rec *Recording) Input(p []byte) error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	at, saved, err := rec.begin()
	if err != nil {
		return err
	}
	if !rec.header.OmitInput {
		rec.buf = rec.enc.AppendInput(rec.buf, at, p)
		if err := rec.commit(saved); err != nil {
			return err
		}
	}
	rec.in += int64(len(p))
	return nil
}

// Resize records the size of the terminal. Sides beyond 2048 are recorded as
// 2048.
func (rec *Recording) Resize(cols, rows int) error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	at, saved, err := rec.begin()
	if err != nil {
		return err
	}
	rec.buf = rec.enc.AppendResize(rec.buf, at, min(cols, maxSide), min(rows, maxSide))
	return rec.commit(saved)
}

// Marker records a label in the timeline.
func (rec *Recording) Marker(label string) error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	at, saved, err := rec.begin()
	if err != nil {
		return err
	}
	rec.buf = rec.enc.AppendMarker(rec.buf, at, label)
	return rec.commit(saved)
}

// Flush makes a checkpoint of what came since the last one.
func (rec *Recording) Flush() error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.closed || rec.sealed != nil || rec.size == rec.marked {
		return nil
	}
	return rec.checkpoint()
}

// Seal ends the recording. When it fails, it can be called again, or
// [Recorder.Recover] does it at the next start. When the recording is sealed
// already, it returns the same summary again.
func (rec *Recording) Seal(exit Exit) (Summary, error) {
	return rec.sealAt(exit, func() time.Duration { return time.Since(rec.header.Start) })
}

func (rec *Recording) sealAt(exit Exit, now func() time.Duration) (Summary, error) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.sealed != nil {
		return *rec.sealed, nil
	}
	if rec.closed {
		return Summary{}, errClosed
	}
	if rec.exit == nil {
		exit.Reason = text(exit.Reason)
		_, saved, err := rec.begin()
		if err != nil {
			return Summary{}, err
		}
		at := now()
		rec.buf = rec.enc.AppendTails(rec.buf, at)
		if exit.Reason != "" {
			rec.buf = rec.enc.AppendMarker(rec.buf, at, "ended: "+exit.Reason)
		}
		rec.buf = rec.enc.AppendExit(rec.buf, at, exit.Status)
		if err := rec.commit(saved); err != nil {
			return Summary{}, err
		}
		rec.exit = &exit
	}
	if rec.size != rec.marked {
		if err := rec.checkpoint(); err != nil {
			return Summary{}, err
		}
	}
	if err := errors.Join(rec.cast.Sync(), rec.chain.Sync()); err != nil {
		return Summary{}, fmt.Errorf("record: sync: %w", err)
	}
	start := rec.header.Start.UTC()
	seal, err := rec.r.seal(rec.dir, &Seal{
		Session: rec.header.SessionID, HeaderSHA256: rec.first, CastBytes: rec.size,
		CastSHA256: hex.EncodeToString(rec.hash.Sum(nil)), Checkpoints: rec.count, ChainHead: rec.head,
		Events: rec.enc.Events(), BytesOut: rec.out, BytesIn: rec.in,
		Start: start, End: start.Add(rec.enc.Last()), Micros: rec.enc.Last().Microseconds(),
		Status: rec.exit.Status, Reason: rec.exit.Reason,
	})
	if err != nil {
		return Summary{}, err
	}
	s := rec.summary()
	s.Live, s.Sealed, s.SealedAt, s.Exit, s.SealDigest = false, true, time.Now().UTC(), *rec.exit, hexDigest(seal)
	rec.sealed = &s
	return s, rec.close()
}

// Close lets go of the recording without sealing it: the session goes on
// after a restart of the server, and [Recorder.Start] continues there.
func (rec *Recording) Close() error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.closed {
		return nil
	}
	var err error
	if rec.size != rec.marked && rec.broken == nil {
		err = rec.checkpoint()
	}
	return errors.Join(err, rec.close())
}

func (rec *Recording) close() error {
	rec.closed = true
	rec.r.forget(rec.header.SessionID)
	if err := errors.Join(rec.cast.Close(), rec.chain.Close()); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// Summary describes the recording as it stands.
func (rec *Recording) Summary() Summary {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.sealed != nil {
		return *rec.sealed
	}
	return rec.summary()
}

func (rec *Recording) summary() Summary {
	return Summary{
		Header: rec.header, Duration: rec.enc.Last(), BytesOut: rec.out, BytesIn: rec.in,
		Events: rec.enc.Events(), CastBytes: rec.size, Live: !rec.closed, ChainHead: rec.head,
	}
}

// begin starts an event: its time, and the encoder as it must be again if the
// event cannot be written.
func (rec *Recording) begin() (at time.Duration, saved cast.Encoder, err error) {
	switch {
	case rec.sealed != nil || rec.closed || rec.exit != nil:
		return 0, saved, errClosed
	case rec.broken != nil:
		return 0, saved, rec.broken
	}
	at = time.Since(rec.header.Start)
	// A checkpoint covers what is there already: if it fails, the new event is
	// not in the recording, as its caller will be told.
	if n := rec.size - rec.marked; n >= rec.r.every || n > 0 && at-rec.markedAt >= checkpointTime {
		if err := rec.checkpoint(); err != nil {
			return 0, saved, err
		}
	}
	rec.buf = rec.buf[:0]
	return at, rec.enc, nil
}

// commit writes rec.buf to the cast.
func (rec *Recording) commit(saved cast.Encoder) error {
	if len(rec.buf) == 0 {
		return nil
	}
	if _, err := rec.cast.Write(rec.buf); err != nil {
		rec.enc = saved
		return rec.undo(CastFile, rec.cast, rec.size, err)
	}
	rec.hash.Write(rec.buf)
	rec.size += int64(len(rec.buf))
	if cap(rec.buf) > maxBuffer {
		rec.buf = nil
	}
	return nil
}

// maxBuffer is how much memory a recording keeps between events.
const maxBuffer = 1 << 20

// undo takes back the part of a write that was done before it failed.
func (rec *Recording) undo(name string, f file, size int64, cause error) error {
	err := fmt.Errorf("record: %s: %w", name, cause)
	if terr := f.Truncate(size); terr != nil {
		rec.broken = errors.Join(err, terr)
		return rec.broken
	}
	return err
}

func (rec *Recording) checkpoint() error {
	if rec.broken != nil {
		return rec.broken
	}
	c := checkpoint{
		N: rec.count, Offset: rec.size, Events: rec.enc.Events(), Micros: rec.enc.Last().Microseconds(),
		Out: rec.out, In: rec.in, SHA256: hex.EncodeToString(rec.hash.Sum(nil)), Prev: rec.head,
	}
	if rec.count == 0 {
		c.Session = rec.header.SessionID
	}
	if rec.key != rec.r.key {
		c.Key = rec.r.key
	}
	if rec.exit != nil {
		c.Exit = &exitJSON{rec.exit.Status, rec.exit.Reason}
	}
	line, err := sign(rec.r.signer, purposeCheckpoint, c)
	if err != nil {
		return err
	}
	head := hexDigest(line)
	line = append(line, '\n')
	if _, err := rec.chain.Write(line); err != nil {
		return rec.undo(ChainFile, rec.chain, rec.chainSize, err)
	}
	rec.chainSize += int64(len(line))
	rec.count++
	rec.head, rec.key = head, rec.r.key
	rec.marked, rec.markedAt = rec.size, time.Since(rec.header.Start)
	return nil
}

// writeHeader begins a new recording: header line and checkpoint 0.
func (rec *Recording) writeHeader() error {
	line, err := cast.AppendHeader(nil, rec.header.cast())
	if err != nil {
		return err
	}
	rec.buf, rec.first = line, hexDigest(line)
	if err := rec.commit(rec.enc); err != nil {
		return err
	}
	return rec.checkpoint()
}
