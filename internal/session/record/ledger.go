package record

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"sekisho"
)

// Kinds of ledger entries, as they are stored.
const (
	ledgerStarted = "started"
	ledgerSealed  = "sealed"
	// A sealed recording was removed, by policy or by an administrator.
	ledgerRemoved  = "removed"
	ledgerHeld     = "held"     // it must not be removed
	ledgerReleased = "released" // it can be removed again
)

// entry is one line of ledger.ndjson.
type entry struct {
	N       int64             `json:"n"` // counted from 0
	Key     string            `json:"key"`
	Kind    string            `json:"kind"`
	Session sekisho.SessionID `json:"session"`
	Path    string            `json:"path"`
	Time    time.Time         `json:"time"`
	Seal    string            `json:"seal,omitempty"` // SHA-256 of seal.json
	Reason  string            `json:"reason,omitempty"`
	Prev    string            `json:"prev"` // SHA-256 of the line before, without its line feed
}

// ledgerWalker follows a ledger line by line.
type ledgerWalker struct {
	keys  Keys
	br    *bufio.Reader
	count int64
	head  string
	size  int64
	torn  bool
	line  []byte // that next returned, without its line feed; valid until the next call
	// segment means that the lines can begin in the middle of a ledger.
	segment bool
	// chainOnly means that next checks the chain of hashes but no signature. The caller checks the
	// last one with verifyLast: it covers all lines before it, because each has the hash of the
	// one before.
	chainOnly bool
	last      []byte // a copy of the last line, if chainOnly

	// for scan
	lines int64 // read so far
	bad   int64 // lines without a valid signature since the last valid one
	// peeked is the next line, or peekErr why there is none, if it was read ahead.
	peeked  []byte
	peekErr error
}

func newLedgerWalker(r io.Reader, keys Keys) *ledgerWalker {
	return &ledgerWalker{keys: keys, br: bufio.NewReaderSize(r, maxSignedLine+1)}
}

// peek returns the entry of the next line, if it is valid.
func (w *ledgerWalker) peek() (entry, bool) {
	line, err := w.readLine()
	if err != nil {
		w.peekErr = err
		return entry{}, false
	}
	w.peeked = bytes.Clone(line)
	var e entry
	err = w.verify(w.peeked, &e)
	return e, err == nil
}

// readLine returns the next line without its line feed.
func (w *ledgerWalker) readLine() ([]byte, error) {
	if line, err := w.peeked, w.peekErr; line != nil || err != nil {
		w.peeked, w.peekErr = nil, nil
		return line, err
	}
	line, err := w.br.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF):
		w.torn = len(line) > 0
		return nil, io.EOF
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, w.flaw("it is too long")
	case err != nil:
		return nil, fmt.Errorf("record: %s: %w", LedgerFile, err)
	}
	return line[:len(line)-1], nil
}

// scan is next for a check: it continues after a flaw, so that a damaged line does not make the
// recordings in the lines after it look unknown. The entry is valid unless its kind is "".
func (w *ledgerWalker) scan() (entry, *Flaw, error) {
	line, err := w.readLine()
	w.lines++
	if flaw, ok := errors.AsType[*Flaw](err); ok {
		flaw.Line = w.lines
		w.bad++
		for { // the rest of the line
			_, err := w.br.ReadSlice('\n')
			if !errors.Is(err, bufio.ErrBufferFull) {
				return entry{}, flaw, nil // the next call reports err
			}
		}
	}
	if err != nil {
		return entry{}, nil, err
	}
	var e entry
	if err := w.verify(line, &e); err != nil {
		w.bad++
		return entry{}, &Flaw{File: LedgerFile, Line: w.lines, Problem: err.Error()}, nil
	}
	var flaw *Flaw
	missing, misplaced := e.N-w.count-w.bad, e.N < w.count
	if missing > 0 {
		line = bytes.Clone(line) // peek overwrites it
		if after, ok := w.peek(); ok && after.N >= w.count && after.N < e.N {
			misplaced = true // the lines continue where they were before it
		}
	}
	switch {
	case misplaced:
		return entry{}, &Flaw{
			File: LedgerFile, Line: w.lines, Kind: Inserted, Problem: fmt.Sprintf("entry %d does not belong here", e.N),
		}, nil
	case missing > 0:
		flaw = &Flaw{
			File: LedgerFile, Line: e.N - missing + 1, LastLine: e.N, Kind: Missing,
			Problem: fmt.Sprintf("missing before entry %d", e.N),
		}
	case w.bad == 0 && e.Prev != w.head:
		flaw = &Flaw{File: LedgerFile, Line: w.lines, Problem: "it does not follow the line before it"}
	}
	w.count, w.bad, w.line, w.head = e.N+1, 0, line, hexDigest(line)
	return e, flaw, nil
}

func (w *ledgerWalker) next() (entry, error) {
	line, err := w.readLine()
	if err != nil {
		return entry{}, err
	}
	size := int64(len(line)) + 1
	var e entry
	if w.chainOnly {
		_, _, err = decodeSigned(line, &e)
		w.last = append(w.last[:0], line...)
	} else {
		err = w.verify(line, &e)
	}
	if w.segment && err == nil && w.size == 0 {
		w.count, w.head = e.N, e.Prev
	}
	switch {
	case err != nil:
		return entry{}, w.flaw(err.Error())
	case e.N != w.count:
		return entry{}, w.flaw(fmt.Sprintf("found entry %d instead of entry %d", e.N, w.count))
	case e.Prev != w.head:
		return entry{}, w.flaw("it does not follow the line before it")
	}
	w.count++
	w.line, w.head = line, hexDigest(line)
	w.size += size
	return e, nil
}

func (w *ledgerWalker) verify(line []byte, e *entry) error {
	return unsign(line, purposeLedger, e, func() (ed25519.PublicKey, bool) {
		pub, ok := w.keys[e.Key]
		return pub, ok
	})
}

// verifyLast checks the signature of the last line, if there is one.
func (w *ledgerWalker) verifyLast() error {
	if w.count == 0 {
		return nil
	}
	var e entry
	if err := w.verify(w.last, &e); err != nil {
		return &Flaw{File: LedgerFile, Line: w.count, Problem: err.Error()}
	}
	return nil
}

func (w *ledgerWalker) flaw(problem string) *Flaw {
	return &Flaw{File: LedgerFile, Line: w.count + 1, Problem: problem}
}

// ledger appends to ledger.ndjson.
type ledger struct {
	mu   sync.Mutex
	f    file
	sign ed25519.PrivateKey
	key  string

	count    int64
	head     string // digest of the last line
	lastSeal string // digest of the last seal
	size     int64
	// started holds the recordings that have no seal.
	started map[sekisho.SessionID]string
	held    map[sekisho.SessionID]bool
	// removing holds the directories of recordings that were removed before this process started. A
	// crash might have left some of their files.
	removing []string
	// present holds all recordings that were not removed, with their directories, until uploads
	// takes over the map; nil after that.
	present map[sekisho.SessionID]string
}

// openLedger reads the whole ledger, because a server must not extend one that was tampered with.
// Verify checks each signature, in the background of a running server too.
func openLedger(f *os.File, signer ed25519.PrivateKey, key string, keys Keys) (*ledger, error) {
	l := &ledger{
		f:       f,
		sign:    signer,
		key:     key,
		started: make(map[sekisho.SessionID]string),
		held:    make(map[sekisho.SessionID]bool),
		present: make(map[sekisho.SessionID]string),
	}
	w := newLedgerWalker(f, keys)
	w.chainOnly = true // to verify each signature of a large ledger would delay the start
	for {
		e, err := w.next()
		if errors.Is(err, io.EOF) {
			err = w.verifyLast()
			if err == nil {
				break
			}
		}
		if err != nil {
			return nil, err
		}
		switch e.Kind {
		case ledgerStarted, ledgerSealed, ledgerHeld, ledgerReleased:
			l.take(e)
			l.present[e.Session] = e.Path
		case ledgerRemoved:
			l.take(e)
			delete(l.present, e.Session)
			l.removing = append(l.removing, e.Path)
		default:
			return nil, &Flaw{File: LedgerFile, Line: w.count, Problem: fmt.Sprintf("unknown kind %q", e.Kind)}
		}
	}
	l.count, l.head, l.size = w.count, w.head, w.size
	if w.torn {
		if err := f.Truncate(w.size); err != nil {
			return nil, fmt.Errorf("record: %s: cut torn line: %w", LedgerFile, err)
		}
	}
	return l, nil
}

// append adds an entry; l.mu is held.
func (l *ledger) append(e entry) error {
	st, err := l.f.Stat()
	if err != nil {
		return fmt.Errorf("record: %s: %w", LedgerFile, err)
	}
	if st.Size() != l.size {
		return fmt.Errorf("record: %s: another process has written to it or truncated it: it has %d bytes instead of %d",
			LedgerFile, st.Size(), l.size)
	}
	e.N, e.Key, e.Prev, e.Time = l.count, l.key, l.head, time.Now().UTC()
	line, err := sign(l.sign, purposeLedger, e)
	if err != nil {
		return err
	}
	head := hexDigest(line)
	line = append(line, '\n')
	if _, err := l.f.Write(line); err != nil {
		// A torn line would make the next one unreadable.
		err = errors.Join(err, l.f.Truncate(l.size))
		return fmt.Errorf("record: %s: %w", LedgerFile, err)
	}
	l.count++
	l.head = head
	l.size += int64(len(line))
	l.take(e)
	return nil
}

// take updates l with an entry.
func (l *ledger) take(e entry) {
	switch e.Kind {
	case ledgerStarted:
		l.started[e.Session] = e.Path
	case ledgerSealed:
		delete(l.started, e.Session)
		l.lastSeal = e.Seal
	case ledgerHeld:
		l.held[e.Session] = true
	case ledgerReleased, ledgerRemoved:
		delete(l.held, e.Session)
	}
}

// begin lists a recording as started, unless it is listed already.
func (l *ledger) begin(id sekisho.SessionID, path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.started[id]; ok {
		return nil
	}
	return l.append(entry{Kind: ledgerStarted, Session: id, Path: path})
}

func (l *ledger) knows(id sekisho.SessionID) (path string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	path, ok = l.started[id]
	return path, ok
}

// file is the subset of *os.File that recordings and the ledger use.
type file interface {
	io.Writer
	Stat() (os.FileInfo, error)
	Truncate(size int64) error
	Sync() error
	Close() error
}
