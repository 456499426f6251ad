package audit

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"sekisho"
)

// ExportEvent is the name of the event which says that the trail was exported up
// to a record, so that the records up to there may be missing.
const ExportEvent = "AuditTrailExported"

// SegmentFormat names the format of an exported segment.
const SegmentFormat = "sekisho-audit-segment-1"

// Export is what an [ExportEvent] says.
type Export struct {
	First  int64  `json:"first"`
	Last   int64  `json:"last"`
	Hash   string `json:"hash"`   // of the last record, in hexadecimal
	File   string `json:"file"`   // name of the segment
	SHA256 string `json:"sha256"` // of the file
}

// ExportOf returns what a record says of an export, if it is one.
func ExportOf(r Record) (Export, bool) {
	if r.EventName != ExportEvent {
		return Export{}, false
	}
	var e struct {
		Additional Export `json:"additional"`
	}
	err := json.Unmarshal(r.Body, &e)
	return e.Additional, err == nil && e.Additional.Last > 0
}

// segmentHeader is the first line of a segment.
type segmentHeader struct {
	Format string `json:"format"`
	First  int64  `json:"first"`
	Last   int64  `json:"last"`
	Anchor Head   `json:"anchor"` // of the record before the first; zero at the beginning of the trail
}

// segmentLine is any other line of a segment: a record, or a head.
type segmentLine struct {
	Seq  int64  `json:"seq,omitempty"`
	Hash []byte `json:"hash,omitempty"`
	Body string `json:"body,omitempty"` // the event as JSON, byte for byte
	Head *Head  `json:"head,omitempty"`
}

// Archiver is a Store whose oldest records can be removed.
type Archiver interface {
	Reader
	// DeleteAudit removes the records up to last, and the heads before it.
	DeleteAudit(ctx context.Context, last int64) error
}

// MaxSegment bounds the records of a segment.
const MaxSegment = 100_000

// WriteSegment writes the oldest records as a segment: up to the last head that
// was made before a time, and at most [MaxSegment] of them. Export is nil if
// there is nothing to write.
func WriteSegment(ctx context.Context, w io.Writer, store Reader, before time.Time) (*Export, error) {
	heads, err := store.AuditHeads(ctx)
	if err != nil {
		return nil, fmt.Errorf("audit: read heads: %w", err)
	}
	oldest, err := store.AuditAfter(ctx, 0, 1)
	if err != nil || len(oldest) == 0 {
		return nil, err
	}
	h := segmentHeader{Format: SegmentFormat, First: oldest[0].Seq}
	var last *Head
	var within []Head
	for _, head := range heads {
		switch {
		case head.Seq == h.First-1:
			h.Anchor = head
		case head.Seq >= h.First && head.Time.Before(before) && head.Seq < h.First+MaxSegment:
			within = append(within, head)
			last = &within[len(within)-1]
		}
	}
	if last == nil {
		return nil, nil
	}
	h.Last = last.Seq
	z := gzip.NewWriter(w)
	lines := json.NewEncoder(z)
	err = lines.Encode(h)
	for seq := h.First - 1; err == nil && seq < h.Last; {
		var records []Record
		if records, err = store.AuditAfter(ctx, seq, int(min(verifyPage, h.Last-seq))); err == nil && len(records) == 0 {
			err = fmt.Errorf("audit: record %d is missing", seq+1)
		}
		for _, r := range records {
			if r.Seq != seq+1 {
				return nil, fmt.Errorf("audit: record %d is missing: an incomplete trail is not exported", seq+1)
			}
			seq = r.Seq
			if err == nil {
				err = lines.Encode(segmentLine{Seq: r.Seq, Hash: r.Hash, Body: string(r.Body)})
			}
		}
	}
	for i := range within {
		if err == nil {
			err = lines.Encode(segmentLine{Head: &within[i]})
		}
	}
	if err := errors.Join(err, z.Close()); err != nil {
		return nil, fmt.Errorf("audit: export: %w", err)
	}
	return &Export{First: h.First, Last: h.Last, Hash: hex.EncodeToString(last.Hash)}, nil
}

const (
	maxSegmentLine = 8 << 20
	// maxSegmentBytes bounds a segment when it is unpacked.
	maxSegmentBytes = 4 << 30
)

// VerifySegment checks a segment with nothing but the public key: its records
// follow its anchor, and its heads vouch for all of them. visit, unless nil,
// receives every record.
func VerifySegment(r io.Reader, pub ed25519.PublicKey, visit func(Record)) (*Export, []*BrokenError, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, nil, sekisho.Errorf(sekisho.CodeInvalid, "This is not a segment of an audit trail: %w.", err)
	}
	in := bufio.NewScanner(io.LimitReader(z, maxSegmentBytes))
	in.Buffer(nil, maxSegmentLine)
	var h segmentHeader
	if !in.Scan() || json.Unmarshal(in.Bytes(), &h) != nil || h.Format != SegmentFormat {
		return nil, nil, sekisho.Errorf(sekisho.CodeInvalid, "This is not a segment of an audit trail.")
	}
	var records []Record
	var heads []Head
	for in.Scan() {
		var line segmentLine
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			return nil, nil, sekisho.Errorf(sekisho.CodeInvalid, "A line of the segment is not JSON: %w.", err)
		}
		if line.Head != nil {
			heads = append(heads, *line.Head)
			continue
		}
		if len(records) > MaxSegment {
			return nil, nil, sekisho.Errorf(sekisho.CodeInvalid, "The segment has more than %d records.", MaxSegment)
		}
		rec, err := RecordOf(line.Seq, line.Hash, []byte(line.Body))
		if err != nil {
			return nil, []*BrokenError{broken(Altered, line.Seq, "it cannot be read: %v", err)}, nil
		}
		records = append(records, rec)
	}
	if err := in.Err(); err != nil {
		return nil, []*BrokenError{broken(Altered, h.First, "the segment cannot be read to its end: %v", err)}, nil
	}
	out := &Export{First: h.First, Last: h.Last}
	problems := CheckSegment(pub, h.Anchor, records, heads)
	if n := int64(len(records)); n == 0 || records[0].Seq != h.First || records[n-1].Seq != h.Last {
		problems = append(problems, broken(Missing, h.First, "the segment does not have the records up to %d", h.Last))
		return out, problems, nil
	}
	out.Hash = hex.EncodeToString(records[len(records)-1].Hash)
	if visit != nil {
		for _, r := range records {
			visit(r)
		}
	}
	return out, problems, nil
}

// beginAt sets where a trail begins whose oldest records were exported and
// removed. The signed event of the export has to say so: see [checker.end].
func (c *checker) beginAt(first Record, heads []Head) {
	if first.Seq <= 1 {
		return
	}
	c.begin, c.first = first.Seq-1, &first
	c.seq, c.signed, c.prev = c.begin, c.begin, nil
	for _, h := range heads {
		if h.Seq == c.begin && ed25519.Verify(c.pub, h.message(), h.Signature) {
			c.prev = h.Hash
		}
	}
	for len(c.heads) > 0 && c.heads[0].Seq <= c.begin {
		c.heads = c.heads[1:]
	}
}

// exported notes the events of exports.
func (c *checker) exported(r Record) {
	if c.begin == 0 {
		return
	}
	if e, ok := ExportOf(r); ok && e.Last >= c.begin {
		hash, err := hex.DecodeString(e.Hash)
		c.justified = c.justified || e.Last > c.begin ||
			err == nil && bytes.Equal(chain(hash, c.first.Body), c.first.Hash)
	}
}

// checkBeginning reports records that are missing at the beginning without a
// signed event that says they were exported.
func (c *checker) checkBeginning() {
	if c.begin > 0 && !c.justified {
		c.add(broken(Missing, 1, "it and all up to %d are missing, and no signed event says that they were exported",
			c.begin))
	}
}
