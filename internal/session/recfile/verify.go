package recfile

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

// KeyFunc returns the public key with an ID.
type KeyFunc func(KeyID) (ed25519.PublicKey, bool)

// errTorn reports that the file ends within a block.
var errTorn = errors.New("recfile: the file ends within a block")

// verifier follows the chain of a file. Signatures are checked at the end, because the last one
// covers everything before it through the digests.
type verifier struct {
	r    io.Reader
	size int64
	keys KeyFunc

	count  int64
	offset int64
	digest Digest
	last   blockHeader
	sum    Digest // signed by the last block's signature
	sig    [ed25519.SignatureSize]byte
	blocks []BlockInfo
	ended  bool // the index has been read
	hash   hash.Hash
	buf    []byte

	// before an index
	prevDigest Digest
	prevLast   blockHeader
}

func newVerifier(r io.Reader, size int64, keys KeyFunc) *verifier {
	return &verifier{r: r, size: size, keys: keys, hash: sha256.New(), buf: make([]byte, 128<<10)}
}

func (v *verifier) flaw(size int64, format string, args ...any) *Flaw {
	return &Flaw{
		Block:   v.count,
		From:    v.offset,
		To:      min(v.offset+size, v.size),
		Start:   v.last.totals.Last,
		Problem: fmt.Sprintf(format, args...),
	}
}

// next verifies one block. It returns io.EOF at the end, and errTorn if the file ends within a
// block.
func (v *verifier) next() error {
	if v.offset == v.size {
		return io.EOF
	}
	if v.ended {
		return v.flaw(v.size-v.offset, "it was added after the index")
	}
	var b [headerSize]byte
	if v.size-v.offset < headerSize {
		return errTorn
	}
	if _, err := io.ReadFull(v.r, b[:]); err != nil {
		return fmt.Errorf("recfile: %w", err)
	}
	h, err := decodeHeader(b[:])
	switch {
	case err != nil:
		return v.flaw(headerSize, "%s", err)
	case v.size-v.offset < h.size():
		return errTorn
	case int64(h.number) != v.count:
		return v.flaw(h.size(), "found block %d instead of block %d", h.number, v.count)
	case h.prev != v.digest:
		return v.flaw(
			h.size(),
			"it does not follow the block before it: one of the two was altered or comes from another recording",
		)
	case (h.kind == headerBlock) != (v.count == 0):
		return v.flaw(h.size(), "its kind does not belong here")
	case v.count > 0 && (h.totals.Records < v.last.totals.Records || h.totals.Out < v.last.totals.Out ||
		h.totals.In < v.last.totals.In ||
		h.first < v.last.totals.Last.Microseconds()):
		return v.flaw(h.size(), "it contradicts the block before it")
	}
	v.hash.Reset()
	v.hash.Write(b[:])
	for left := int64(h.stored); left > 0; {
		n, err := io.ReadFull(v.r, v.buf[:min(left, int64(len(v.buf)))])
		if err != nil {
			return fmt.Errorf("recfile: %w", err)
		}
		v.hash.Write(v.buf[:n])
		left -= int64(n)
	}
	if _, err := io.ReadFull(v.r, v.sig[:]); err != nil {
		return fmt.Errorf("recfile: %w", err)
	}
	v.prevDigest, v.prevLast = v.digest, v.last
	v.hash.Sum(v.sum[:0])
	v.hash.Write(v.sig[:])
	v.hash.Sum(v.digest[:0])
	v.blocks = append(v.blocks, infoOf(&h, v.offset))
	v.last = h
	v.ended = h.kind == indexBlock
	v.count++
	v.offset += h.size()
	return nil
}

// dropIndex steps back before the index block.
func (v *verifier) dropIndex() {
	n := len(v.blocks) - 1
	v.offset = v.blocks[n].Offset
	v.blocks = v.blocks[:n]
	v.count--
	v.digest, v.last = v.prevDigest, v.prevLast
}

func (v *verifier) signed(h *blockHeader, sum, sig []byte) error {
	pub, ok := v.keys(h.key)
	if !ok {
		return fmt.Errorf("it is signed with key %x…, which is not among those given", h.key[:])
	}
	if !ed25519.Verify(pub, signedText(sum), sig) {
		return errors.New("its signature does not match: it was altered, or signed with another key")
	}
	return nil
}

// signatures checks the last signature and, if that is wrong, finds the first wrong one.
func (v *verifier) signatures(r io.ReaderAt) error {
	if v.count == 0 {
		return nil
	}
	last := v.signed(&v.last, v.sum[:], v.sig[:])
	if last == nil {
		return nil
	}
	for _, b := range v.blocks {
		if problem, err := v.check(r, b); err != nil {
			return err
		} else if problem != "" {
			return b.flaw(problem)
		}
	}
	return v.blocks[len(v.blocks)-1].flaw(last.Error())
}

// check checks the signature of one block. The problem is "" if it is right.
func (v *verifier) check(r io.ReaderAt, b BlockInfo) (problem string, err error) {
	p := make([]byte, b.Size)
	if ok, err := readFull(r, p, b.Offset); err != nil {
		return "", err
	} else if !ok {
		return "it is cut short", nil
	}
	h, err := decodeHeader(p)
	if err != nil {
		return err.Error(), nil //nolint:nilerr // it is the problem
	}
	body := p[:len(p)-ed25519.SignatureSize]
	sum := sha256.Sum256(body)
	if err := v.signed(&h, sum[:], p[len(body):]); err != nil {
		return err.Error(), nil //nolint:nilerr // it is the problem
	}
	return "", nil
}

// Report is the result of Verify.
type Report struct {
	Result
	Torn bool // the file ends within a block
}

// Verify checks the blocks of a file of size bytes: their order, digests and signatures. It needs no key to the
// content. A *Flaw names the first place that is wrong. A torn file is either not sealed or was truncated; the caller
// knows which.
func Verify(r io.ReaderAt, size int64, keys KeyFunc) (Report, error) {
	v := newVerifier(io.NewSectionReader(r, 0, size), size, keys)
	var err error
	for err == nil {
		err = v.next()
	}
	rep := Report{
		Result: Result{Size: v.offset, Blocks: v.count, Digest: v.digest, Totals: v.last.totals, Index: -1},
		Torn:   errors.Is(err, errTorn),
	}
	if v.ended {
		rep.Index = v.blocks[len(v.blocks)-1].Offset
	}
	if flaw, ok := errors.AsType[*Flaw](err); ok && len(v.blocks) > 0 {
		// The chain breaks here: either this block or the one before it was altered, and the
		// signatures tell which.
		before := v.blocks[len(v.blocks)-1]
		if problem, err := v.check(r, before); err != nil {
			return rep, err
		} else if problem != "" {
			return rep, before.flaw(problem)
		}
		return rep, flaw
	}
	if !rep.Torn && !errors.Is(err, io.EOF) {
		return rep, err
	}
	if v.count == 0 {
		return rep, &Flaw{To: size, Problem: "the file has no beginning"}
	}
	return rep, v.signatures(r)
}
