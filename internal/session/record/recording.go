package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/session/cast"
	"sekisho/internal/session/recfile"
	"sekisho/internal/session/record/recstore"
)

// Recording is a recording being written. Its methods may be called concurrently. When Output, Outputs, Input, Resize
// or Marker returns nil, the kernel has the data. When one of them returns an error, no part of the data is in the
// recording, and the caller should end the session rather than continue it unrecorded.
type Recording struct {
	r   *Recorder
	dir string

	mu     sync.Mutex
	header Header
	w      *recfile.Writer
	files  recordingFiles
	parts  *recstore.Parts // of the main file; only the upload uses them
	filter inputFilter
	kind   *SessionKind // nil until known
	// forward counts connections in a session of type Port; otherwise nil.
	forward *forwarding
	// copying follows a copy of files; nil until one begins.
	copying *copying
	resumed bool // an earlier process began the recording
	// encrypted means that the session carries only ciphertext.
	encrypted bool

	exit   *Exit // once the recording has ended
	sealed *Summary
	closed bool
	// growing is closed when anything is recorded; nil if nobody waits.
	growing chan struct{}
}

// recordingFiles are the open files of a recording.
type recordingFiles struct {
	main  recfile.Storage
	tails [2]recfile.Storage
}

func (f *recordingFiles) close() error {
	var errs []error
	for _, s := range []recfile.Storage{f.main, f.tails[0], f.tails[1]} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

var errClosed = sekisho.Errorf(sekisho.CodeConflict, "The recording has ended.")

// Output records output of the terminal.
func (rec *Recording) Output(p []byte) error {
	return rec.Outputs([][]byte{p})
}

// Outputs records several frames of output with one write.
func (rec *Recording) Outputs(frames [][]byte) error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.forward != nil {
		return rec.count(fromDestination, frames)
	}
	if err := rec.appendLocked(recfile.Output, frames); err != nil {
		return err
	}
	for _, p := range frames {
		rec.filter.shown(p)
	}
	return nil
}

// count processes the data of a session that forwards connections.
func (rec *Recording) count(from int, frames [][]byte) error {
	if rec.sealed != nil || rec.closed || rec.exit != nil {
		return errClosed
	}
	var ended []*Connection
	for _, p := range frames {
		more, err := rec.forward.pass(from, p, time.Now())
		if err != nil {
			return err
		}
		ended = append(ended, more...)
	}
	return rec.appendConnections(ended)
}

// Input records typed input. If input is omitted, or the terminal does not echo, only the number of
// bytes is kept.
func (rec *Recording) Input(p []byte) error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.forward != nil {
		return rec.count(fromClient, [][]byte{p})
	}
	if rec.header.OmitInput || rec.filter.hides(p) {
		return rec.appendLocked(recfile.HiddenInput, [][]byte{binary.AppendUvarint(nil, uint64(len(p)))})
	}
	return rec.appendLocked(recfile.Input, [][]byte{p})
}

// Echo sets whether the terminal echoes input. Input that is not echoed, such as a password, is not
// kept. Until the first call of Echo, prompts for secrets are recognized by their words.
func (rec *Recording) Echo(on bool) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.filter.reported, rec.filter.echoOff = true, !on
}

// Resize records the size of the terminal. Sides beyond 2048 are recorded as
// 2048.
func (rec *Recording) Resize(cols, rows int) error {
	size := recfile.AppendSize(nil, min(max(cols, 1), maxSide), min(max(rows, 1), maxSide))
	return rec.append(recfile.Resize, [][]byte{size})
}

// Marker records a label in the timeline.
func (rec *Recording) Marker(label string) error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	err := rec.appendLocked(recfile.Marker, [][]byte{[]byte(text(label))})
	if err == nil && label == cast.EncryptedMarker {
		rec.encrypted = true
	}
	return err
}

func (rec *Recording) append(kind recfile.Kind, pieces [][]byte) error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.appendLocked(kind, pieces)
}

func (rec *Recording) appendLocked(kind recfile.Kind, pieces [][]byte) error {
	if rec.sealed != nil || rec.closed || rec.exit != nil {
		return errClosed
	}
	if err := rec.r.full(); err != nil {
		return err
	}
	at := time.Since(rec.header.Start)
	for len(pieces) > 0 {
		n, size := 0, 0
		for n < len(pieces) && (n == 0 || size+len(pieces[n]) <= recfile.MaxAppend) {
			size += len(pieces[n])
			n++
		}
		if size > recfile.MaxAppend { // a single piece
			half := [][]byte{pieces[0][:recfile.MaxAppend], pieces[0][recfile.MaxAppend:]}
			pieces = append(half, pieces[1:]...)
			continue
		}
		if err := rec.w.AppendAll(kind, at, pieces[:n]); err != nil {
			return fmt.Errorf("record: %w", err)
		}
		rec.r.waiting(size)
		rec.r.recorded.Add(int64(size))
		pieces = pieces[n:]
	}
	rec.grew()
	return nil
}

// Flush writes and signs everything since the last block.
func (rec *Recording) Flush() error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.closed || rec.sealed != nil {
		return nil
	}
	if !rec.w.Pending() {
		rec.w.Trim()
		return nil
	}
	if err := rec.w.Flush(); err != nil {
		return fmt.Errorf("record: %s: %w", rec.header.SessionID, err)
	}
	return nil
}

// Seal ends the recording. If it fails, it can be called again; otherwise [Recorder.Recover] seals
// the recording at the next start. If the recording is already sealed, Seal returns the same
// summary.
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
		if rec.forward != nil {
			if err := rec.appendConnections(rec.forward.finish(time.Now())); err != nil {
				return Summary{}, err
			}
		}
		if err := rec.finishCopy(); err != nil {
			return Summary{}, err
		}
		if err := rec.w.Append(recfile.Exit, now(), recfile.AppendExit(nil, exit.Status, exit.Reason)); err != nil {
			return Summary{}, fmt.Errorf("record: %w", err)
		}
		rec.exit = &exit
	}
	res, err := rec.w.Finish()
	if err != nil {
		return Summary{}, fmt.Errorf("record: %w", err)
	}
	start := rec.header.Start.UTC()
	text, err := rec.r.seal(rec.dir, &Seal{
		Format: sealFormat, Session: rec.header.SessionID, FileBytes: res.Size, Blocks: res.Blocks, Head: res.Digest.String(),
		Index:  res.Index,
		Events: res.Totals.Records, BytesOut: res.Totals.Out, BytesIn: res.Totals.In,
		Start: start, End: start.Add(res.Totals.Last), Micros: res.Totals.Last.Microseconds(),
		Status: rec.exit.Status, Reason: rec.exit.Reason, Encrypted: rec.encrypted,
		RecordingDays: rec.header.RecordingDays,
	})
	if err != nil {
		return Summary{}, err
	}
	s := rec.summary()
	s.Size, s.ChainHead = res.Size, res.Digest.String()
	s.Live, s.Sealed, s.SealedAt, s.Exit, s.SealDigest = false, true, time.Now().UTC(), *rec.exit, hexDigest(text)
	s.Encrypted = rec.encrypted
	rec.sealed = &s
	return s, errors.Join(rec.close(), rec.r.removeTails(rec.dir))
}

// Close closes the recording without sealing it. When the session continues after a restart of the
// server, [Recorder.Start] continues the recording.
func (rec *Recording) Close() error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.closed {
		return nil
	}
	var err error
	if rec.w.Pending() {
		err = rec.w.Flush()
	}
	return errors.Join(err, rec.close())
}

func (rec *Recording) close() error {
	rec.closed = true
	rec.grew()
	rec.r.forget(rec.header.SessionID)
	err := rec.w.Close()
	if err := errors.Join(err, rec.files.close()); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// Summary describes the present state of the recording.
func (rec *Recording) Summary() Summary {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.sealed != nil {
		return *rec.sealed
	}
	return rec.summary()
}

func (rec *Recording) summary() Summary {
	t := rec.w.Totals()
	return Summary{
		Header: rec.header, Duration: t.Last, BytesOut: t.Out, BytesIn: t.In, Events: t.Records, Live: !rec.closed, Format: 2,
	}
}

// snapshot describes the present state of the recording for a reader of its file: the valid size of
// the file, and the records that are not in it yet.
func (rec *Recording) snapshot() (s Summary, size int64, blocks []recfile.BlockInfo, records [][]byte) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.sealed != nil || rec.closed {
		return Summary{}, 0, nil, nil
	}
	size, blocks, records = rec.w.Tail()
	return rec.summary(), size, blocks, records
}
