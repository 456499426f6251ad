// Package recfile reads and writes the file of a recording, format 2: typed
// records with timestamps, in blocks that are compressed, encrypted, chained
// by their digests and signed. docs/formats/recording.md describes every byte.
//
// A [Writer] appends records. Once Append has returned, the kernel has the data: it is in one of
// two small, encrypted tail files until the block to which it belongs is in the main file. A
// [Reader] opens a file at any time offset. [Verify] checks a file with only the public keys.
package recfile

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Kind is the kind of a record's content.
type Kind byte

// Kinds of records. A reader skips kinds that it does not know.
const (
	Output      Kind = 'o' // bytes that the terminal or the command showed
	Input       Kind = 'i' // bytes that were typed
	HiddenInput Kind = 'h' // uvarint: number of typed bytes that were not kept
	Resize      Kind = 'r' // uvarint columns, uvarint rows
	Marker      Kind = 'm' // UTF-8 text
	Exit        Kind = 'x' // varint status, UTF-8 reason
	Keyframe    Kind = 'k' // uvarint columns, uvarint rows, the screen as a terminal sequence
	Connection  Kind = 'c' // JSON: a forwarded connection
	File        Kind = 'f' // JSON: a copied file
	Type        Kind = 't' // JSON: the type of the session
	JoinedInput Kind = 'j' // input of a person who joined: see AppendJoined
	Payload     Kind = 'p' // direction, uvarint number of the connection, bytes that it carried
)

// Record is one record of a recording.
type Record struct {
	Kind Kind
	Time time.Duration // since the start of the recording
	Data []byte        // valid until the next record is read
}

const (
	headerSize = 128
	// Overhead is the size of a block without its payload, in bytes.
	Overhead = headerSize + ed25519.SignatureSize

	frameHeader = 28

	// BlockSize is approximately how many bytes of records a block holds.
	BlockSize = 256 << 10
	// MaxRecord limits the data of one record, in bytes.
	MaxRecord = 64 << 10
	// maxKeyframe limits a keyframe, in bytes. A larger one is omitted.
	maxKeyframe = 1 << 20
	// maxPlain limits a decompressed block, in bytes.
	maxPlain = 4 << 20
	// maxHeader limits the payload of block 0, in bytes.
	maxHeader = 64 << 10
	// maxIndex limits the index, in bytes.
	maxIndex = maxPlain

	maxMicros = int64(100 * 365 * 24 * time.Hour / time.Microsecond)
)

const magic = "SBK2"

type blockKind byte

const (
	headerBlock blockKind = iota
	recordsBlock
	indexBlock
)

const (
	flagCompressed = 1 << iota
	flagEncrypted
	flagKeyframe
	knownFlags = flagCompressed | flagEncrypted | flagKeyframe
)

// Digest is the SHA-256 of a block.
type Digest [sha256.Size]byte

// String returns d in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// KeyID names a signing key: the first 8 bytes of the SHA-256 of its
// SubjectPublicKeyInfo.
type KeyID [8]byte

// Totals are the sums from the start of the recording to the end of a block.
type Totals struct {
	Records int64
	Out     int64 // bytes shown
	In      int64 // bytes typed, kept or not
	Last    time.Duration
}

// blockHeader precedes the payload of a block.
type blockHeader struct {
	kind    blockKind
	flags   byte
	stored  uint32 // bytes of payload in the file
	plain   uint32 // bytes of payload after decompression
	records uint32 // in this block
	number  uint64
	first   int64 // µs of the first record
	totals  Totals
	nonce   [12]byte
	key     KeyID
	prev    Digest
}

func (h *blockHeader) encode(b []byte) {
	clear(b[:headerSize])
	copy(b, magic)
	b[4], b[5] = byte(h.kind), h.flags
	binary.BigEndian.PutUint32(b[8:], h.stored)
	binary.BigEndian.PutUint32(b[12:], h.plain)
	binary.BigEndian.PutUint32(b[16:], h.records)
	binary.BigEndian.PutUint64(b[24:], h.number)
	binary.BigEndian.PutUint64(b[32:], uint64(h.first))
	binary.BigEndian.PutUint64(b[40:], uint64(h.totals.Last.Microseconds()))
	binary.BigEndian.PutUint64(b[48:], uint64(h.totals.Records))
	binary.BigEndian.PutUint64(b[56:], uint64(h.totals.Out))
	binary.BigEndian.PutUint64(b[64:], uint64(h.totals.In))
	copy(b[72:], h.nonce[:])
	copy(b[88:], h.key[:])
	copy(b[96:], h.prev[:])
}

var errHeader = errors.New("this is not the beginning of a block")

func decodeHeader(b []byte) (h blockHeader, err error) {
	if string(b[:4]) != magic {
		return h, errHeader
	}
	h.kind, h.flags = blockKind(b[4]), b[5]
	h.stored = binary.BigEndian.Uint32(b[8:])
	h.plain = binary.BigEndian.Uint32(b[12:])
	h.records = binary.BigEndian.Uint32(b[16:])
	h.number = binary.BigEndian.Uint64(b[24:])
	h.first = int64(binary.BigEndian.Uint64(b[32:]))
	last := int64(binary.BigEndian.Uint64(b[40:]))
	h.totals.Records = int64(binary.BigEndian.Uint64(b[48:]))
	h.totals.Out = int64(binary.BigEndian.Uint64(b[56:]))
	h.totals.In = int64(binary.BigEndian.Uint64(b[64:]))
	copy(h.nonce[:], b[72:])
	copy(h.key[:], b[88:])
	copy(h.prev[:], b[96:])
	limit := uint32(maxPlain)
	switch h.kind {
	case headerBlock:
		limit = maxHeader
	case recordsBlock:
	case indexBlock:
		limit = maxIndex
	default:
		return h, fmt.Errorf("block of unknown kind %d", h.kind)
	}
	switch {
	case h.flags&^knownFlags != 0 || b[6]|b[7]|b[20]|b[21]|b[22]|b[23]|b[84]|b[85]|b[86]|b[87] != 0:
		return h, errors.New("the block header has unknown bits set")
	case h.plain > limit || h.stored > limit+limit/64+1024:
		return h, fmt.Errorf("a block of %d bytes, %d unpacked, is too large", h.stored, h.plain)
	case h.first < 0 || last < h.first || last > maxMicros || h.totals.Records < 0 || h.totals.Out < 0 || h.totals.In < 0:
		return h, errors.New("the block header has numbers out of range")
	}
	h.totals.Last = time.Duration(last) * time.Microsecond
	return h, nil
}

// size returns the size of the block in the file, in bytes.
func (h *blockHeader) size() int64 { return Overhead + int64(h.stored) }

const signPurpose = "sekisho recording block 2\n"

func signedText(sum []byte) []byte { return append([]byte(signPurpose), sum...) }

// KeySize is the size of the key that a recording is encrypted with.
const KeySize = 32

func newAEAD(key []byte) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("recfile: a key of %d bytes instead of %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("recfile: %w", err)
	}
	return cipher.NewGCM(block)
}

// Additional data of GCM: a letter that distinguishes blocks from frames, and the header.
const (
	blockAAD = 'B'
	frameAAD = 'T'
)

// The coders are created and used once when the package is initialized. They hold channels, which
// must not belong to the synctest bubble of whichever test compresses first.
var (
	encoder = newEncoder()
	decoder = newDecoder()
)

func newEncoder() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
		zstd.WithEncoderConcurrency(2), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are constant
	}
	e.EncodeAll([]byte{0}, nil)
	return e
}

func newDecoder() *zstd.Decoder {
	d, err := zstd.NewReader(
		nil,
		zstd.WithDecoderConcurrency(2),
		zstd.WithDecoderMaxMemory(maxPlain),
		zstd.WithDecoderLowmem(true),
	)
	if err != nil {
		panic(err) // the options are constant
	}
	return d
}

const (
	sampleSize = 4 << 10
	minGain    = 32 // 1/32 of the size must be saved
)

// pack compresses p, and reports whether that is worth it.
func pack(dst, p []byte) ([]byte, bool) {
	if len(p) < 64 {
		return nil, false
	}
	e := encoder
	if len(p) > 16*sampleSize {
		var sample [3 * sampleSize]byte
		copy(sample[:], p[:sampleSize])
		copy(sample[sampleSize:], p[len(p)/2:][:sampleSize])
		copy(sample[2*sampleSize:], p[len(p)-sampleSize:])
		if got := len(e.EncodeAll(sample[:], dst)) - len(dst); got > len(sample)-len(sample)/minGain {
			return nil, false
		}
	}
	out := e.EncodeAll(p, dst)
	return out, len(out)-len(dst) < len(p)-len(p)/minGain
}

// unpack decompresses p to exactly size bytes.
func unpack(p []byte, size uint32) ([]byte, error) {
	out, err := decoder.DecodeAll(p, make([]byte, 0, size))
	if err != nil {
		return nil, fmt.Errorf("the block cannot be decompressed: %w", err)
	}
	if len(out) != int(size) {
		return nil, fmt.Errorf("the block decompresses to %d bytes instead of %d", len(out), size)
	}
	return out, nil
}

// appendRecord appends a record. prev is the time of the previous record in the block, in µs; 0 for
// the first.
func appendRecord(dst []byte, kind Kind, prev, at int64, data ...[]byte) []byte {
	n := 0
	for _, d := range data {
		n += len(d)
	}
	dst = append(dst, byte(kind))
	dst = binary.AppendUvarint(dst, uint64(at-prev))
	dst = binary.AppendUvarint(dst, uint64(n))
	for _, d := range data {
		dst = append(dst, d...)
	}
	return dst
}

var errRecord = errors.New("a record is cut short or out of range")

// parseRecord parses the first record of p. at is the time of the previous record, in µs.
func parseRecord(p []byte, at int64) (r Record, rest []byte, now int64, err error) {
	if len(p) == 0 {
		return r, nil, 0, errRecord
	}
	r.Kind = Kind(p[0])
	p = p[1:]
	delta, n := binary.Uvarint(p)
	if n <= 0 || delta > uint64(maxMicros) {
		return r, nil, 0, errRecord
	}
	p = p[n:]
	size, n := binary.Uvarint(p)
	if n <= 0 || size > uint64(len(p)-n) {
		return r, nil, 0, errRecord
	}
	p = p[n:]
	now = at + int64(delta)
	if now > maxMicros {
		return r, nil, 0, errRecord
	}
	r.Time = time.Duration(now) * time.Microsecond
	r.Data = p[:size:size]
	return r, p[size:], now, nil
}

// count adds one record to the totals.
func (t *Totals) count(r Record) {
	t.Records++
	t.Last = max(t.Last, r.Time)
	switch r.Kind {
	case Output:
		t.Out += int64(len(r.Data))
	case Input:
		t.In += int64(len(r.Data))
	case HiddenInput:
		if n, ok := HiddenBytes(r.Data); ok {
			t.In += n
		}
	case JoinedInput:
		if _, p, hidden, ok := ParseJoined(r.Data); ok {
			t.In += int64(len(p)) + hidden
		}
	case Resize, Marker, Exit, Keyframe, Connection, File, Type, Payload:
	}
}

// HiddenBytes returns the number in the data of a HiddenInput record.
func HiddenBytes(data []byte) (int64, bool) {
	n, used := binary.Uvarint(data)
	return int64(n), used == len(data) && n < 1<<40
}

// Size returns the columns and rows in the data of a Resize or Keyframe record, and the data after
// them.
func Size(data []byte) (cols, rows int, rest []byte, ok bool) {
	c, n := binary.Uvarint(data)
	if n <= 0 || c > 1<<16 {
		return 0, 0, nil, false
	}
	r, m := binary.Uvarint(data[n:])
	if m <= 0 || r > 1<<16 {
		return 0, 0, nil, false
	}
	return int(c), int(r), data[n+m:], true
}

// AppendSize appends columns and rows for a Resize record.
func AppendSize(dst []byte, cols, rows int) []byte {
	dst = binary.AppendUvarint(dst, uint64(max(cols, 0)))
	return binary.AppendUvarint(dst, uint64(max(rows, 0)))
}

// AppendJoined appends the data of a JoinedInput record: who typed, and the input. If the input is
// hidden, the record holds only its length.
func AppendJoined(dst []byte, by string, p []byte, hidden bool) []byte {
	if hidden {
		dst = append(dst, 1)
	} else {
		dst = append(dst, 0)
	}
	dst = append(binary.AppendUvarint(dst, uint64(len(by))), by...)
	if hidden {
		return binary.AppendUvarint(dst, uint64(len(p)))
	}
	return append(dst, p...)
}

// ParseJoined returns the parts of a JoinedInput record. hidden is the number
// of bytes that were not kept.
func ParseJoined(data []byte) (by string, p []byte, hidden int64, ok bool) {
	if len(data) == 0 || data[0] > 1 {
		return "", nil, 0, false
	}
	size, n := binary.Uvarint(data[1:])
	if n <= 0 || size > uint64(len(data)-1-n) {
		return "", nil, 0, false
	}
	rest := data[1+n:]
	by, p = string(rest[:size]), rest[size:]
	if data[0] == 0 {
		return by, p, 0, true
	}
	hidden, ok = HiddenBytes(p)
	return by, nil, hidden, ok
}

// AppendPayload appends the prefix of the bytes in a Payload record.
func AppendPayload(dst []byte, connection int64, fromClient bool) []byte {
	direction := byte(0)
	if fromClient {
		direction = 1
	}
	return binary.AppendUvarint(append(dst, direction), uint64(connection))
}

// ParsePayload returns the parts of a Payload record.
func ParsePayload(data []byte) (connection int64, fromClient bool, p []byte, ok bool) {
	if len(data) == 0 || data[0] > 1 {
		return 0, false, nil, false
	}
	v, n := binary.Uvarint(data[1:])
	if n <= 0 || v > 1<<62 {
		return 0, false, nil, false
	}
	return int64(v), data[0] == 1, data[1+n:], true
}

// ExitStatus returns status and reason from the data of an Exit record.
func ExitStatus(data []byte) (status int, reason string, ok bool) {
	v, n := binary.Varint(data)
	if n <= 0 || v != int64(int32(v)) {
		return 0, "", false
	}
	return int(v), string(data[n:]), true
}

// AppendExit appends status and reason for an Exit record.
func AppendExit(dst []byte, status int, reason string) []byte {
	return append(binary.AppendVarint(dst, int64(status)), reason...)
}

// Flaw is a place where a file differs from what was written.
type Flaw struct {
	Block    int64
	From, To int64         // bytes of the file
	Start    time.Duration // of the affected part, if known
	Problem  string
}

// Error names block, bytes and problem.
func (f *Flaw) Error() string {
	return fmt.Sprintf("block %d (bytes %d to %d): %s", f.Block, f.From, f.To, f.Problem)
}
