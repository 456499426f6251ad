package audit

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"
)

// Beyond these limits, records without a signed head are a finding.
const (
	MaxUnsigned     = 64
	MaxUnsignedTime = time.Second
	// SignEvery is how long after [Config.Unsigned] the server calls [Trail.Sign].
	SignEvery = 250 * time.Millisecond
)

const (
	defaultHeadEvery = MaxUnsigned
	verifyPage       = 500
)

// Config is the configuration of a Trail.
type Config struct {
	// Signer signs heads. Required.
	Signer ed25519.PrivateKey
	// HeadEvery is the maximum number of records between heads; 0 means [MaxUnsigned].
	HeadEvery int64
	// Witness stores a head outside the store. Optional. If it fails, so does the Record or Close
	// that signed the head.
	Witness func(ctx context.Context, h Head) error
	// Recorded is called with each event once it is stored, in the order of
	// the trail and with secrets hidden. It must not block. Optional.
	Recorded func(e Event)
	// Stored is called after each attempt to store a batch, with its error.
	// Optional.
	Stored func(err error)
	// Unsigned is called when [Trail.Sign] is due: after each batch whose last record has no head, and while events are
	// late because the store failed. It must not block. Optional.
	Unsigned func()
	// Now is the clock for heads and for events without a time; nil means
	// time.Now.
	Now func() time.Time
}

// message returns the text that a head's signature covers.
func (h Head) message() []byte {
	return fmt.Appendf(nil, "sekisho audit head 1\n%d\n%x\n%d\n", h.Seq, h.Hash, h.Time.UnixMicro())
}

// Lookup returns the events that q selects, newest first. next is the value of q.Before for the
// next page, 0 if this is the last.
func (t *Trail) Lookup(ctx context.Context, q Query) (events []Event, next int64, err error) {
	limit := q.Limit
	q.Limit++
	records, err := t.store.LookupAudit(ctx, q)
	if err != nil {
		return nil, 0, fmt.Errorf("audit: look up: %w", err)
	}
	if len(records) > limit {
		records = records[:limit]
		next = records[limit-1].Seq
	}
	for _, r := range records {
		e, err := r.Event()
		if err != nil {
			return nil, 0, err
		}
		events = append(events, e)
	}
	return events, next, nil
}

// BrokenError reports where a trail differs from what was recorded.
type BrokenError struct {
	Seq  int64 // the first record that is wrong or missing
	Kind Kind
	Why  string
}

// Kind classifies a problem.
type Kind string

// Values of Kind.
const (
	Missing    Kind = "missing"
	Altered    Kind = "altered"
	RolledBack Kind = "rolled back" // the end is missing
	Unsigned   Kind = "unsigned"    // heads are missing
)

// Error returns the record and the problem.
func (e *BrokenError) Error() string {
	return fmt.Sprintf("the audit trail is broken at record %d: %s", e.Seq, e.Why)
}

func broken(kind Kind, seq int64, format string, args ...any) *BrokenError {
	return &BrokenError{Seq: seq, Kind: kind, Why: fmt.Sprintf(format, args...)}
}

// Reader is the part of a Store that verification needs.
type Reader interface {
	AuditAfter(ctx context.Context, seq int64, limit int) ([]Record, error)
	AuditHeads(ctx context.Context) ([]Head, error)
}

// Verify is [Check] for the trail's own store and key. It returns a *BrokenError for the first
// problem.
func (t *Trail) Verify(ctx context.Context, known ...Head) error {
	pub, _ := t.cfg.Signer.Public().(ed25519.PublicKey)
	problems, err := Check(ctx, t.store, pub, nil, known...)
	if err != nil {
		return err
	}
	for _, p := range problems {
		if p.Kind != Unsigned {
			return p
		}
	}
	return nil
}

// maxProblems bounds the problems that Check returns.
const maxProblems = 1000

// Check reads a whole trail and checks it against itself, the heads in the store, and known, heads
// from other sources. It returns the problems in order. visit, unless nil, is called with every
// record.
func Check(
	ctx context.Context,
	store Reader,
	pub ed25519.PublicKey,
	visit func(Record),
	known ...Head,
) ([]*BrokenError, error) {
	// Heads first, so that records that arrive meanwhile cause no findings.
	heads, err := store.AuditHeads(ctx)
	if err != nil {
		return nil, fmt.Errorf("audit: read heads: %w", err)
	}
	heads = slices.SortedFunc(
		slices.Values(append(heads, known...)),
		func(a, b Head) int { return cmp.Compare(a.Seq, b.Seq) },
	)
	c := checker{pub: pub, heads: heads, prev: make([]byte, sha256.Size)}
	oldest, err := store.AuditAfter(ctx, 0, 1)
	if err != nil {
		return nil, fmt.Errorf("audit: read the oldest record: %w", err)
	}
	if len(oldest) > 0 {
		c.beginAt(oldest[0], heads)
	}
	for len(c.problems) < maxProblems {
		records, err := store.AuditAfter(ctx, c.seq, verifyPage)
		if err != nil {
			return nil, fmt.Errorf("audit: read records after %d: %w", c.seq, err)
		}
		for _, r := range records {
			c.record(r)
			c.exported(r)
			if visit != nil {
				visit(r)
			}
		}
		if len(records) < verifyPage {
			break
		}
	}
	c.end()
	c.checkBeginning()
	return c.problems, nil
}

// checker checks consecutive records of a trail.
type checker struct {
	pub      ed25519.PublicKey
	heads    []Head // not reached yet
	prev     []byte
	seq      int64
	problems []*BrokenError

	newest   time.Time // latest time of the events so far: a lower bound of their storage time
	signed   int64     // number of the last record with a head
	unsigned time.Time // newest when the first unsigned record was stored
	tooLong  bool      // already reported for these records

	begin     int64   // the last record removed after an export; 0 = none
	first     *Record // the record after it
	justified bool    // a signed event confirms the export
}

func (c *checker) add(p *BrokenError) {
	if p != nil && len(c.problems) < maxProblems {
		c.problems = append(c.problems, p)
	}
}

func (c *checker) record(r Record) {
	if want := c.seq + 1; r.Seq != want {
		c.add(broken(Missing, want, "it is missing; the next record is %d", r.Seq))
		c.prev = nil
	}
	c.seq = r.Seq
	c.add(c.check(r))
	c.prev = r.Hash
	if r.Index.Time.After(c.newest) {
		c.newest = r.Index.Time
	}
	if c.seq == c.signed+1 {
		c.unsigned = c.newest
	}
	for len(c.heads) > 0 && c.heads[0].Seq <= c.seq {
		if p := c.heads[0].check(c.pub, c.seq, c.prev); p != nil {
			c.add(p)
		} else {
			c.gap(c.seq)
			c.signed, c.tooLong = c.seq, false
		}
		c.heads = c.heads[1:]
	}
	if c.seq-c.signed > MaxUnsigned {
		c.gap(c.seq)
	}
}

// slack is how much the events' clock can be ahead of the signing.
const slack = time.Second

// gap reports records that were without a head for too long.
func (c *checker) gap(upTo int64) {
	if c.tooLong || upTo <= c.signed {
		return
	}
	n, took := upTo-c.signed, c.newest.Sub(c.unsigned)
	if n <= MaxUnsigned && took <= MaxUnsignedTime+slack {
		return
	}
	c.tooLong = true
	c.add(
		broken(
			Unsigned,
			c.signed+1,
			"it and the %d records after it, over %s, have no signed head: heads are at most %d records or %s apart, so "+
				"one was removed",
			n-1,
			took.Round(time.Millisecond),
			MaxUnsigned,
			MaxUnsignedTime,
		),
	)
}

// unsignedEnd reports that the newest records have no head although there was time to sign them. A
// server that was killed leaves such records, and signs them when it starts again.
func (c *checker) unsignedEnd() {
	if c.tooLong || c.seq <= c.signed || time.Since(c.newest) <= MaxUnsignedTime+slack {
		return
	}
	c.tooLong = true
	c.add(broken(Unsigned, c.signed+1, "it and the %d records after it have no signed head: the head was removed, or the "+
		"server was killed before it signed them and has not started again", c.seq-c.signed-1))
}

func (c *checker) end() {
	c.gap(c.seq)
	c.unsignedEnd()
	if len(c.heads) == 0 {
		return
	}
	if h := c.heads[len(c.heads)-1]; ed25519.Verify(c.pub, h.message(), h.Signature) {
		c.add(
			broken(
				RolledBack,
				c.seq+1,
				"it and all later records are missing: a head signed at %s says that there were %d records",
				h.Time.UTC().Format(time.RFC3339),
				h.Seq,
			),
		)
		return
	}
	c.add(broken(Altered, c.heads[0].Seq, "there is a head with an invalid signature, but no such record"))
}

func (c *checker) check(r Record) *BrokenError {
	if c.prev != nil && !bytes.Equal(chain(c.prev, r.Body), r.Hash) {
		return broken(Altered, r.Seq, "it was altered, or is not the original record")
	}
	e, err := r.Event()
	if err != nil {
		return broken(Altered, r.Seq, "it is malformed: %v", err)
	}
	if !indexOf(&e).equal(r.Index) {
		return broken(Altered, r.Seq, "its lookup columns were altered")
	}
	return nil
}

func (h Head) check(pub ed25519.PublicKey, seq int64, hash []byte) *BrokenError {
	if h.Seq != seq {
		return broken(Altered, h.Seq, "there is a head for an impossible record number")
	}
	if !ed25519.Verify(pub, h.message(), h.Signature) {
		return broken(Altered, seq, "the signature of its head is invalid")
	}
	if !bytes.Equal(h.Hash, hash) {
		return broken(
			Altered,
			seq,
			"the records up to it were rewritten: the head signed at %s has another hash",
			h.Time.UTC().Format(time.RFC3339),
		)
	}
	return nil
}
