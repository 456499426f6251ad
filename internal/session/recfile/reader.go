package recfile

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
	"time"
)

// BlockInfo describes a block of records in the main file.
type BlockInfo struct {
	Number      int64
	Offset      int64 // in the file
	Size        int64 // in the file
	First, Last time.Duration
	Totals      Totals // at its end
	Keyframe    bool   // it begins with a keyframe
	index       bool
}

func infoOf(h *blockHeader, at int64) BlockInfo {
	return BlockInfo{
		Number: int64(h.number), Offset: at, Size: h.size(), First: time.Duration(h.first) * time.Microsecond,
		Last: h.totals.Last, Totals: h.totals, Keyframe: h.flags&flagKeyframe != 0, index: h.kind == indexBlock,
	}
}

func (b *BlockInfo) flaw(problem string) *Flaw {
	return &Flaw{Block: b.Number, From: b.Offset, To: b.Offset + b.Size, Start: b.First, Problem: problem}
}

// appendIndex appends the content of the index block: one entry for each block
// before it.
func appendIndex(dst []byte, blocks []BlockInfo) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(blocks)))
	var last BlockInfo
	for _, b := range blocks {
		flags := byte(0)
		if b.Keyframe {
			flags |= 1
		}
		dst = append(dst, flags)
		dst = binary.AppendUvarint(dst, uint64(b.Size))
		dst = binary.AppendUvarint(dst, uint64((b.First - last.Last).Microseconds()))
		dst = binary.AppendUvarint(dst, uint64((b.Last - b.First).Microseconds()))
		dst = binary.AppendUvarint(dst, uint64(b.Totals.Records-last.Totals.Records))
		dst = binary.AppendUvarint(dst, uint64(b.Totals.Out-last.Totals.Out))
		dst = binary.AppendUvarint(dst, uint64(b.Totals.In-last.Totals.In))
		last = b
	}
	return dst
}

var errIndex = errors.New("the index cannot be parsed")

func parseIndex(p []byte, end int64) ([]BlockInfo, error) {
	next := func() int64 {
		v, n := binary.Uvarint(p)
		if n <= 0 || v > 1<<56 {
			p = nil
			return -1
		}
		p = p[n:]
		return int64(v)
	}
	count := next()
	if count < 1 || count > int64(len(p)) {
		return nil, errIndex
	}
	blocks := make([]BlockInfo, 0, count)
	var b BlockInfo
	for i := range count {
		if len(p) < 7 {
			return nil, errIndex
		}
		b.Number, b.Offset, b.Keyframe = i, b.Offset+b.Size, p[0]&1 != 0
		p = p[1:]
		if b.Size = next(); b.Size < Overhead || b.Offset+b.Size > end {
			return nil, errIndex
		}
		gap, length := next(), next()
		if gap < 0 || length < 0 || gap+length > maxMicros {
			return nil, errIndex
		}
		b.First = b.Last + time.Duration(gap)*time.Microsecond
		b.Last = b.First + time.Duration(length)*time.Microsecond
		records, out, in := next(), next(), next()
		if records < 0 || out < 0 || in < 0 || b.Last.Microseconds() > maxMicros {
			return nil, errIndex
		}
		b.Totals.Records += records
		b.Totals.Out += out
		b.Totals.In += in
		b.Totals.Last = b.Last
		blocks = append(blocks, b)
	}
	if b.Offset+b.Size != end || len(p) > 0 {
		return nil, errIndex
	}
	return blocks, nil
}

// Reader reads a file of format 2.
type Reader struct {
	r      io.ReaderAt
	size   int64
	header []byte
	aead   cipher.AEAD
	blocks []BlockInfo
	tail   [][]byte // records that are not in a block yet
}

// Open reads the header of a file of size bytes.
func Open(r io.ReaderAt, size int64) (*Reader, error) {
	f := &Reader{r: r, size: size}
	h, err := f.headerAt(0)
	if err != nil {
		return nil, err
	}
	if h.kind != headerBlock || h.number != 0 || h.flags != 0 || h.stored != h.plain {
		return nil, &Flaw{To: headerSize, Problem: "the file does not begin with a header"}
	}
	f.header = make([]byte, h.stored)
	if ok, err := readFull(r, f.header, headerSize); !ok {
		return nil, cutShort(&Flaw{To: size, Problem: "the header is cut short"}, err)
	}
	return f, nil
}

// Header returns the content of block 0.
func (f *Reader) Header() []byte { return f.header }

// Unlock sets the key that the recording is encrypted with.
func (f *Reader) Unlock(key []byte) (err error) {
	f.aead, err = newAEAD(key)
	return err
}

// cutShort returns the error of reading, or the flaw if the file ended. A file
// that cannot be read now is not damaged.
func cutShort(flaw, err error) error {
	if err != nil {
		return err
	}
	return flaw
}

func (f *Reader) headerAt(at int64) (blockHeader, error) {
	var b [headerSize]byte
	if at+headerSize > f.size {
		return blockHeader{}, &Flaw{From: at, To: f.size, Problem: "a block is cut short"}
	}
	if ok, err := readFull(f.r, b[:], at); !ok {
		return blockHeader{}, cutShort(&Flaw{From: at, To: f.size, Problem: "a block is cut short"}, err)
	}
	h, err := decodeHeader(b[:])
	if err != nil {
		return h, &Flaw{From: at, To: at + headerSize, Problem: err.Error()}
	}
	return h, nil
}

// UseIndex reads the list of blocks from the index block at offset at, which the seal names. If the
// index cannot be read, [Reader.Blocks] scans the file.
func (f *Reader) UseIndex(at int64) error {
	h, err := f.headerAt(at)
	if err != nil {
		return err
	}
	if h.kind != indexBlock || at+h.size() > f.size {
		return errIndex
	}
	p := make([]byte, h.stored)
	if ok, err := readFull(f.r, p, at+headerSize); !ok {
		return cutShort(errIndex, err)
	}
	if h.flags&flagCompressed != 0 {
		if p, err = unpack(p, h.plain); err != nil {
			return err
		}
	}
	blocks, err := parseIndex(p, at)
	if err != nil {
		return err
	}
	f.blocks = blocks
	return nil
}

// UseTail adds the records that a Writer has not written to the file yet: see [Writer.Tail].
func (f *Reader) UseTail(blocks []BlockInfo, records [][]byte) { f.blocks, f.tail = blocks, records }

// Blocks returns the blocks of the file. The first is the header. If the file ends within a block,
// Blocks returns those before it.
func (f *Reader) Blocks() ([]BlockInfo, error) {
	if f.blocks != nil {
		return f.blocks, nil
	}
	var blocks []BlockInfo
	for at := int64(0); at < f.size; {
		h, err := f.headerAt(at)
		if at+headerSize > f.size || err == nil && at+h.size() > f.size {
			break
		}
		if err != nil {
			return blocks, err
		}
		if int(h.number) != len(blocks) {
			return blocks, &Flaw{Block: int64(len(blocks)), From: at, To: at + h.size(),
				Problem: fmt.Sprintf("found block %d instead of block %d", h.number, len(blocks))}
		}
		if h.kind != indexBlock {
			blocks = append(blocks, infoOf(&h, at))
		}
		at += h.size()
	}
	f.blocks = blocks
	return blocks, nil
}

// block returns the records of a block.
func (f *Reader) block(i int) ([]byte, error) {
	info := f.blocks[i]
	if info.Size < Overhead || info.Size > maxPlain+maxPlain/64+1024+Overhead {
		return nil, info.flaw("its size is out of range")
	}
	b := make([]byte, 1+info.Size)
	if ok, err := readFull(f.r, b[1:], info.Offset); !ok {
		return nil, cutShort(info.flaw("it is cut short"), err)
	}
	h, err := decodeHeader(b[1:])
	if err != nil {
		return nil, info.flaw(err.Error())
	}
	if int64(h.number) != info.Number || h.size() != info.Size {
		return nil, info.flaw("it is not the block that belongs here")
	}
	if h.kind != recordsBlock {
		return nil, nil
	}
	if f.aead == nil {
		return nil, errors.New("recfile: the recording is locked: its key is missing")
	}
	if h.flags&flagEncrypted == 0 {
		return nil, info.flaw("it is not encrypted")
	}
	b[0] = blockAAD
	sealed := b[1+headerSize:][:h.stored]
	plain, err := f.aead.Open(sealed[:0], h.nonce[:], sealed, b[:1+headerSize])
	if err != nil {
		return nil, info.flaw("it cannot be decrypted: it was altered, or comes from another recording")
	}
	if h.flags&flagCompressed != 0 {
		if plain, err = unpack(plain, h.plain); err != nil {
			return nil, info.flaw(err.Error())
		}
	}
	if len(plain) != int(h.plain) {
		return nil, info.flaw("its size differs from the one in its header")
	}
	return plain, nil
}

// Cursor reads records one after the other.
type Cursor struct {
	f    *Reader
	next int // block
	p    []byte
	at   int64
}

// Records returns a cursor at the beginning.
func (f *Reader) Records() (*Cursor, error) { return f.RecordsFrom(0) }

// RecordsFrom returns a cursor at the beginning of a block.
func (f *Reader) RecordsFrom(block int) (*Cursor, error) {
	if _, err := f.Blocks(); err != nil {
		return nil, err
	}
	return &Cursor{f: f, next: block}, nil
}

// Block returns the number of the block that the last record was in.
func (c *Cursor) Block() int { return c.next - 1 }

// Seek returns a cursor that begins with a keyframe, or at the beginning of
// the recording, from which the screen at time t can be rendered.
func (f *Reader) Seek(t time.Duration) (*Cursor, error) {
	blocks, err := f.Blocks()
	if err != nil {
		return nil, err
	}
	i := sort.Search(len(blocks), func(i int) bool { return blocks[i].First > t })
	for i--; i > 0 && !blocks[i].Keyframe; i-- {
		continue
	}
	return &Cursor{f: f, next: max(i, 0)}, nil
}

// Next returns the next record, or io.EOF at the end.
func (c *Cursor) Next() (Record, error) {
	for len(c.p) == 0 {
		switch n := c.next - len(c.f.blocks); {
		case n < 0:
			p, err := c.f.block(c.next)
			if err != nil {
				return Record{}, err
			}
			c.p = p
		case n < len(c.f.tail):
			c.p = c.f.tail[n]
		default:
			return Record{}, io.EOF
		}
		c.next++
		c.at = 0
	}
	r, rest, now, err := parseRecord(c.p, c.at)
	if err != nil {
		if c.next > len(c.f.blocks) {
			return Record{}, err
		}
		return Record{}, c.f.blocks[c.next-1].flaw(err.Error())
	}
	c.p, c.at = rest, now
	return r, nil
}

// Duration returns the time of the last record.
func (f *Reader) Duration() (time.Duration, error) {
	blocks, err := f.Blocks()
	if err != nil || len(blocks) == 0 {
		return 0, err
	}
	last := blocks[len(blocks)-1].Last
	for _, p := range f.tail {
		for at := int64(0); len(p) > 0; {
			r, rest, now, err := parseRecord(p, at)
			if err != nil {
				return 0, err
			}
			last, p, at = r.Time, rest, now
		}
	}
	return last, nil
}

// Size returns the size of the file.
func (f *Reader) Size() int64 { return f.size }
