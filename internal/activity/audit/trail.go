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

const (
	defaultHeadEvery = 64
	verifyPage       = 500
)

// Config is what a Trail needs beside its store.
type Config struct {
	// Signer signs heads. Required.
	Signer ed25519.PrivateKey
	// HeadEvery is the number of records between heads; 0 means 64.
	HeadEvery int64
	// Witness keeps a head outside the store. Optional. Its error fails the
	// Record or Close that made the head.
	Witness func(ctx context.Context, h Head) error
	// Recorded is called with each event once it is stored, in the order of
	// the trail and with secrets hidden. It must not block. Optional.
	Recorded func(e Event)
	// Stored is called after each attempt to store a batch, with its error.
	// Optional.
	Stored func(err error)
	// Now is the clock for heads and for events without a time; nil means
	// time.Now.
	Now func() time.Time
}

// message is what a head's signature covers.
func (h Head) message() []byte {
	return fmt.Appendf(nil, "sekisho audit head 1\n%d\n%x\n%d\n", h.Seq, h.Hash, h.Time.UnixMicro())
}

// Lookup returns the events q selects, the newest first. next is the value of
// q.Before for the page that follows, 0 when there is none.
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

// BrokenError says where a trail is not what was recorded.
type BrokenError struct {
	Seq int64 // the first record that is wrong or missing
	Why string
}

// Error names the record and what is wrong with it.
func (e *BrokenError) Error() string {
	return fmt.Sprintf("the audit trail is broken at record %d: %s", e.Seq, e.Why)
}

func broken(seq int64, format string, args ...any) error {
	return &BrokenError{Seq: seq, Why: fmt.Sprintf(format, args...)}
}

// Verify reads the whole trail and checks it against itself, against the
// heads in the store and against known, heads kept elsewhere. It returns a
// *BrokenError for the first broken place.
func (t *Trail) Verify(ctx context.Context, known ...Head) error {
	// Heads first: records that arrive meanwhile do no harm.
	heads, err := t.store.AuditHeads(ctx)
	if err != nil {
		return fmt.Errorf("audit: read heads: %w", err)
	}
	heads = slices.SortedFunc(slices.Values(append(heads, known...)), func(a, b Head) int { return cmp.Compare(a.Seq, b.Seq) })
	pub := t.cfg.Signer.Public().(ed25519.PublicKey)
	prev := make([]byte, sha256.Size)
	var seq int64
	for {
		records, err := t.store.AuditAfter(ctx, seq, verifyPage)
		if err != nil {
			return fmt.Errorf("audit: read records after %d: %w", seq, err)
		}
		for _, r := range records {
			seq++
			if err := check(seq, prev, r); err != nil {
				return err
			}
			prev = r.Hash
			for len(heads) > 0 && heads[0].Seq <= seq {
				if err := heads[0].check(pub, seq, prev); err != nil {
					return err
				}
				heads = heads[1:]
			}
		}
		if len(records) < verifyPage {
			break
		}
	}
	if len(heads) > 0 {
		if h := heads[len(heads)-1]; ed25519.Verify(pub, h.message(), h.Signature) {
			return broken(seq+1, "it and all that followed are missing: a head signed at %s says there were %d records", h.Time.UTC().Format(time.RFC3339), h.Seq)
		}
		return broken(heads[0].Seq, "there is a head with a signature that is not ours, and no such record")
	}
	return nil
}

func check(seq int64, prev []byte, r Record) error {
	if r.Seq != seq {
		return broken(seq, "it is missing; the next one there is %d", r.Seq)
	}
	if !bytes.Equal(chain(prev, r.Body), r.Hash) {
		return broken(seq, "it was altered, or is not the one that stood here")
	}
	e, err := r.Event()
	if err != nil {
		return broken(seq, "it cannot be read: %v", err)
	}
	if !indexOf(&e).equal(r.Index) {
		return broken(seq, "what it is looked up by was altered")
	}
	return nil
}

func (h Head) check(pub ed25519.PublicKey, seq int64, hash []byte) error {
	if h.Seq != seq {
		return broken(h.Seq, "there is a head for a record that cannot be")
	}
	if !ed25519.Verify(pub, h.message(), h.Signature) {
		return broken(seq, "its head has a signature that is not ours")
	}
	if !bytes.Equal(h.Hash, hash) {
		return broken(seq, "the records up to it were written anew: the head signed at %s has another hash", h.Time.UTC().Format(time.RFC3339))
	}
	return nil
}
