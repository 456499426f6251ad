package objects

import (
	"crypto/md5"  //nolint:gosec // one of S3's checksums; not used for security
	"crypto/sha1" //nolint:gosec // as above
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/minio/crc64nvme"
	"github.com/zeebo/xxh3"
)

// The checksum algorithms of S3.
const (
	CRC32     = "CRC32"
	CRC32C    = "CRC32C"
	CRC64NVME = "CRC64NVME"
	MD5       = "MD5"
	SHA1      = "SHA1"
	SHA256    = "SHA256"
	SHA512    = "SHA512"
	XXHASH3   = "XXHASH3"
	XXHASH64  = "XXHASH64"
	XXHASH128 = "XXHASH128"
)

// The checksum types: of the whole content, or of the checksums of its parts.
const (
	FullObject = "FULL_OBJECT"
	Composite  = "COMPOSITE"
)

// nvme is the reflected polynomial of CRC64NVME.
const nvme = 0x9a6c9329ac4bc9b5

// Checksum is a checksum in addition to the MD5.
type Checksum struct {
	Algorithm string `json:"algorithm,omitempty"`
	Type      string `json:"type,omitempty"`
	Value     string `json:"value,omitempty"` // base64; of a composite followed by "-" and the number of parts
}

// algorithm describes a checksum algorithm.
type algorithm struct {
	size int // of a checksum, in bytes
	make func() hash.Hash
	// polynomial of a CRC; 0 for other checksums. Only CRCs of parts can be combined into
	// that of the object.
	polynomial uint64
}

var algorithms = map[string]algorithm{
	CRC32:     {4, func() hash.Hash { return crc32.NewIEEE() }, crc32.IEEE},
	CRC32C:    {4, func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }, crc32.Castagnoli},
	CRC64NVME: {8, func() hash.Hash { return crc64nvme.New() }, nvme},
	MD5:       {md5.Size, md5.New, 0},
	SHA1:      {sha1.Size, sha1.New, 0},
	SHA256:    {sha256.Size, sha256.New, 0},
	SHA512:    {sha512.Size, sha512.New, 0},
	XXHASH3:   {8, func() hash.Hash { return xxh3.New() }, 0},
	XXHASH64:  {8, func() hash.Hash { return xxhash.New() }, 0},
	XXHASH128: {16, func() hash.Hash { return xxh128{xxh3.New()} }, 0},
}

// xxh128 is the 128-bit variant of XXH3.
type xxh128 struct{ *xxh3.Hasher }

func (x xxh128) Sum(b []byte) []byte {
	sum := x.Sum128().Bytes()
	return append(b, sum[:]...)
}

func (xxh128) Size() int { return 16 }

// Algorithms lists the names of all algorithms, sorted.
func Algorithms() []string { return slices.Sorted(maps.Keys(algorithms)) }

// NewHash returns the hash of an algorithm, or nil for an unknown one.
func NewHash(name string) hash.Hash {
	if a, ok := algorithms[name]; ok {
		return a.make()
	}
	return nil
}

// KnownAlgorithm reports whether name is one of the algorithms.
func KnownAlgorithm(name string) bool { return algorithms[name].size > 0 }

// ValidChecksum reports whether value has the form of an algorithm's checksum.
func ValidChecksum(name, value string) bool {
	b, err := base64.StdEncoding.DecodeString(value)
	return err == nil && len(b) == algorithms[name].size
}

// typeFor is the checksum type of a multipart object for which asked was requested ("" =
// the default); ok is false for an invalid pair.
func typeFor(name, asked string) (string, bool) {
	switch {
	case name == CRC64NVME:
		return FullObject, asked == "" || asked == FullObject
	case asked == "":
		return Composite, true
	case algorithms[name].polynomial != 0:
		return asked, asked == FullObject || asked == Composite
	}
	return Composite, asked == Composite
}

// ofParts computes the checksum of an object from those of its parts.
func ofParts(name, kind string, parts []*Part) (string, error) {
	if kind == Composite {
		h := NewHash(name)
		for _, p := range parts {
			b, err := base64.StdEncoding.DecodeString(p.Checksum)
			if err != nil {
				return "", fmt.Errorf("stored checksum: %w", err)
			}
			h.Write(b)
		}
		return fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(h.Sum(nil)), len(parts)), nil
	}
	poly, width := algorithms[name].polynomial, algorithms[name].size
	var whole uint64
	for _, p := range parts {
		b, err := base64.StdEncoding.DecodeString(p.Checksum)
		if err != nil || len(b) != width {
			return "", fmt.Errorf("stored checksum %q", p.Checksum)
		}
		whole = combine(poly, whole, binary.BigEndian.Uint64(append(make([]byte, 8-width), b...)), p.Size)
	}
	out := binary.BigEndian.AppendUint64(nil, whole)
	return base64.StdEncoding.EncodeToString(out[8-width:]), nil
}

// combine returns the CRC of A followed by B from the CRCs of both and B's length: A's CRC
// is advanced over n zero bytes by repeatedly squaring the operator that advances it by one
// bit.
func combine(poly, a, b uint64, n int64) uint64 {
	var op [64]uint64 // column i is the image of bit i
	op[0] = poly
	for i := 1; i < 64; i++ {
		op[i] = 1 << (i - 1)
	}
	square := func() {
		var next [64]uint64
		for i := range op {
			next[i] = times(&op, op[i])
		}
		op = next
	}
	for range 3 { // from one bit to one byte
		square()
	}
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			a = times(&op, a)
		}
		square()
	}
	return a ^ b
}

func times(op *[64]uint64, v uint64) uint64 {
	var sum uint64
	for i := 0; v != 0; i, v = i+1, v>>1 {
		if v&1 != 0 {
			sum ^= op[i]
		}
	}
	return sum
}
