package recfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Resume continues a file left by a stopped process. It verifies the blocks, truncates one that was not written
// completely, and moves the content of the tails into the main file. A *Flaw means that the file differs from what was
// written. cfg.Cols and Rows must be the same as before; cfg.Header is ignored.
func Resume(cfg Config, keys KeyFunc) (*Writer, error) {
	w, err := newWriter(cfg)
	if err != nil {
		return nil, err
	}
	st, err := cfg.Main.Stat()
	if err != nil {
		return nil, fmt.Errorf("recfile: %w", err)
	}
	v := newVerifier(io.NewSectionReader(cfg.Main, 0, st.Size()), st.Size(), keys)
	for err == nil {
		err = v.next()
	}
	torn := errors.Is(err, errTorn)
	if !torn && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if v.count == 0 {
		return nil, &Flaw{Problem: "the file has no beginning"}
	}
	if err := v.signatures(cfg.Main); err != nil {
		return nil, err
	}
	if v.last.kind == indexBlock { // the process crashed between writing index and seal
		v.dropIndex()
		torn = true
	}
	if torn {
		if err := cfg.Main.Truncate(v.offset); err != nil {
			return nil, fmt.Errorf("recfile: cut a torn block: %w", err)
		}
	}
	w.totals = v.last.totals
	m := &w.main
	m.size, m.next, m.digest, m.blocks = v.offset, uint64(v.count), v.digest, v.blocks
	w.cur = &block{number: m.next}
	if err := w.restoreScreen(); err != nil {
		return nil, err
	}
	if err := w.takeTails(); err != nil {
		return nil, err
	}
	return w, nil
}

// restoreScreen renders the output since the last keyframe.
func (w *Writer) restoreScreen() error {
	m := &w.main
	r := &Reader{r: w.cfg.Main, blocks: m.blocks, aead: w.aead}
	from := 0
	for i, b := range m.blocks {
		if b.Keyframe {
			from, m.keyframes, m.framed = i, true, b.First.Microseconds()
		}
	}
	for i := from; i < len(m.blocks) && m.screen != nil; i++ {
		plain, err := r.block(i)
		if err != nil {
			return err
		}
		if err := m.render(plain); err != nil {
			return m.blocks[i].flaw(err.Error())
		}
	}
	return nil
}

// takeTails moves the content of the tails into the main file. Each tail holds one block: the next
// one, and the one after it if the first was being written when the process stopped.
func (w *Writer) takeTails() error {
	for range 2 {
		plain, err := w.readTail(w.cfg.Tails[w.main.next%2], w.main.next)
		if err != nil {
			return err
		}
		if len(plain) == 0 {
			break
		}
		b := w.cur
		b.plain = plain
		totals := w.totals
		for p, at := plain, int64(0); len(p) > 0; {
			r, rest, now, err := parseRecord(p, at)
			if err != nil {
				return &Flaw{
					Block:   int64(b.number),
					From:    w.main.size,
					To:      w.main.size,
					Problem: "the tail: " + err.Error(),
				}
			}
			if b.records == 0 {
				b.first = now
			}
			b.records++
			b.last = now
			totals.count(r)
			p, at = rest, now
		}
		b.totals = totals
		w.nonce(w.main.nonce[:])
		if err := w.main.writeRecords(&w.cfg, w.aead, b); err != nil {
			return err
		}
		w.totals = totals
		w.cur = &block{number: w.main.next}
	}
	// A tail of a later block means that the main file was truncated.
	for _, t := range w.cfg.Tails {
		n, ok, err := w.tailNumber(t)
		if err != nil {
			return err
		}
		if ok && n > w.main.next {
			return &Flaw{Block: int64(w.main.next), From: w.main.size, To: w.main.size, Problem: fmt.Sprintf(
				"the file ends before this block, although block %d was begun: the file was truncated", n)}
		}
	}
	return nil
}

// readTail returns the block's records in the tail.
func (w *Writer) readTail(t Storage, number uint64) ([]byte, error) {
	var plain []byte
	var at int64
	for i := uint32(0); ; i++ {
		n, frame, records, err := w.readFrame(t, at)
		if err != nil {
			return nil, err
		}
		if records == nil || n != number || frame != i || len(plain)+len(records) > maxPlain-maxKeyframe {
			return plain, nil
		}
		plain = append(plain, records...)
		at += frameHeader + int64(len(records)+w.aead.Overhead())
	}
}

func (w *Writer) tailNumber(t Storage) (number uint64, ok bool, err error) {
	n, _, records, err := w.readFrame(t, 0)
	return n, records != nil, err
}

// readFrame reads a frame of a tail; records is nil if there is no complete one.
func (w *Writer) readFrame(t Storage, at int64) (number uint64, frame uint32, records []byte, err error) {
	var head [1 + frameHeader]byte
	head[0] = frameAAD
	if ok, err := readFull(t, head[1:], at); !ok {
		return 0, 0, nil, err
	}
	number, frame = binary.BigEndian.Uint64(head[1:]), binary.BigEndian.Uint32(head[9:])
	size := binary.BigEndian.Uint32(head[13:])
	if size > MaxAppend*2 || int(size) < w.aead.Overhead() {
		return 0, 0, nil, nil
	}
	sealed := make([]byte, size)
	if ok, err := readFull(t, sealed, at+frameHeader); !ok {
		return 0, 0, nil, err
	}
	records, err = w.aead.Open(sealed[:0], head[17:29], sealed, head[:17])
	if err != nil || len(records) == 0 {
		return 0, 0, nil, nil //nolint:nilerr // torn, or from an earlier block
	}
	return number, frame, records, nil
}

// readFull reports whether p could be filled.
func readFull(r io.ReaderAt, p []byte, at int64) (bool, error) {
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return true, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return false, nil
	}
	return false, fmt.Errorf("recfile: %w", err)
}
