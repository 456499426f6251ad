package audit

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"slices"
)

// RecordOf returns a record from its stored parts.
func RecordOf(seq int64, hash, body []byte) (Record, error) {
	r := Record{Seq: seq, Hash: hash, Body: body}
	e, err := r.Event()
	if err != nil {
		return r, err
	}
	r.Index = indexOf(&e)
	return r, nil
}

// CheckSegment verifies consecutive records of a trail: they follow anchor, the head of the record
// before them, and heads cover all of them. The zero anchor precedes the first record.
func CheckSegment(pub ed25519.PublicKey, anchor Head, records []Record, heads []Head) []*BrokenError {
	c := checker{pub: pub, seq: anchor.Seq, signed: anchor.Seq, prev: anchor.Hash}
	if anchor.Seq == 0 {
		c.prev = make([]byte, sha256.Size)
	} else if !ed25519.Verify(pub, anchor.message(), anchor.Signature) {
		c.add(broken(Altered, anchor.Seq, "the signature of its head is invalid"))
	}
	c.heads = slices.SortedFunc(slices.Values(heads), func(a, b Head) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, r := range records {
		c.record(r)
	}
	c.end()
	if c.seq > c.signed {
		c.add(broken(Unsigned, c.signed+1, "no signed head covers it and the records after it"))
	}
	return c.problems
}

// Vouches reports whether h, a head from another source, is valid and matches r.
func (h Head) Vouches(pub ed25519.PublicKey, r Record) bool {
	return h.Seq == r.Seq && ed25519.Verify(pub, h.message(), h.Signature) && bytes.Equal(h.Hash, r.Hash)
}
