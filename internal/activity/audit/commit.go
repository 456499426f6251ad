package audit

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/safetext"
	"sekisho/internal/wire/id"
)

const maxBatch = 256 // entries of one transaction

// OutcomeUnknown is the error code of an event whose call began and whose
// outcome was never recorded, because the server stopped in between.
const OutcomeUnknown = "OutcomeUnknown"

// Trail records events. It is safe for concurrent use, and several Trails may
// share one store.
//
// Callers that arrive while a transaction is running share the next one: the
// first of them commits for all.
type Trail struct {
	store Store
	cfg   Config

	mu      sync.Mutex
	queue   []*entry
	writing bool // a caller is committing

	// The caller that is committing owns these.

	last Record // the newest known record; its number is 0 before the first read
	head int64  // number of the newest head signed by this process
	// shared: another member appends to the trail. unsure: it is not known whether the last batch is stored.
	shared, unsure bool
	run            run // of records up to last
	// late are finished events with a stored intent that could not be stored themselves. There are
	// at most as many as calls in flight, because no call begins while intents cannot be stored.
	late []*entry
}

// run follows the times of records as [Check] does. Events have the time at which their call began,
// so long calls are stored late. A head between two records whose times are too far apart prevents
// a complete trail from looking as if heads were missing.
type run struct {
	newest time.Time // of the events so far
	begin  time.Time // newest when the first record without a head was stored
}

func (r run) with(at time.Time) run {
	if at.After(r.newest) {
		r.newest = at
	}
	return r
}

// entry is one thing to store: an event, an intent, or a head.
type entry struct {
	event  *Event
	body   []byte
	index  Index
	intent *Intent
	done   string        // ID of the intent that the event completes
	sign   bool          // sign a head for the newest record
	result chan error    // buffered
	lead   chan struct{} // buffered: commit the next batch
}

// New returns a Trail that continues the trail in store.
func New(store Store, cfg Config) *Trail {
	if cfg.HeadEvery <= 0 {
		cfg.HeadEvery = defaultHeadEvery
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Trail{store: store, cfg: cfg}
}

// Begin stores the facts about a call before the call changes anything, so that no change can take
// effect without an event: [Trail.Record] replaces the intent with the event of the same ID, and
// [Trail.Recover] writes the events of calls that a crash interrupted. Begin sets e.ID if it is
// empty. After an error, the call must not proceed.
func (t *Trail) Begin(ctx context.Context, e *Event) error {
	if e.ID == "" {
		e.ID = id.OrderedUUID()
	}
	kept := *e
	if err := prepare(&kept, t.cfg.Now); err != nil {
		return err
	}
	body, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("audit: event %s: %w", e.ID, err)
	}
	if err := t.submit(ctx, &entry{intent: &Intent{ID: e.ID, Body: body}}); err != nil {
		return fmt.Errorf("audit: begin %s: %w", e.EventName, err)
	}
	return nil
}

// Record appends e, redacted. If it returns nil, the event is stored.
func (t *Trail) Record(ctx context.Context, e Event) error { return t.record(ctx, e, "") }

// Complete is Record for a call for which [Trail.Begin] was called. If the event cannot be stored
// now, its intent remains and the event is stored with a later batch: Complete fails only for
// events that cannot be encoded.
func (t *Trail) Complete(ctx context.Context, e Event) error { return t.record(ctx, e, e.ID) }

func (t *Trail) record(ctx context.Context, e Event, intent string) error {
	if err := prepare(&e, t.cfg.Now); err != nil {
		return err
	}
	body, index, err := encode(&e)
	if err != nil {
		return err
	}
	if err := t.submit(ctx, &entry{event: &e, body: body, index: index, done: intent}); err != nil {
		return fmt.Errorf("audit: record %s: %w", e.EventName, err)
	}
	return nil
}

// Abandon removes the intent of a call for which [Trail.Begin] was called and that changed nothing.
func (t *Trail) Abandon(ctx context.Context, eventID string) error {
	if err := t.submit(ctx, &entry{done: eventID}); err != nil {
		return fmt.Errorf("audit: abandon %s: %w", eventID, err)
	}
	return nil
}

// Recover records the calls that an earlier process began and did not finish.
// It must be called before the first Begin.
func (t *Trail) Recover(ctx context.Context) error {
	for {
		intents, err := t.store.AuditIntents(ctx, maxBatch)
		if err != nil {
			return fmt.Errorf("audit: read unfinished calls: %w", err)
		}
		for _, i := range intents {
			e, err := Record{Body: i.Body}.Event()
			if err != nil {
				return fmt.Errorf("audit: unfinished call %s: %w", i.ID, err)
			}
			e.ErrorCode = OutcomeUnknown
			e.ErrorMessage = "The server stopped before it recorded the outcome of this call. Its change may have taken effect."
			if err := t.record(ctx, e, i.ID); err != nil {
				return err
			}
		}
		if len(intents) < maxBatch {
			return nil
		}
	}
}

// submit stores en together with other waiting entries.
func (t *Trail) submit(ctx context.Context, en *entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	en.result, en.lead = make(chan error, 1), make(chan struct{}, 1)
	t.mu.Lock()
	t.queue = append(t.queue, en)
	first := !t.writing
	t.writing = true
	t.mu.Unlock()
	if !first {
		select {
		case err := <-en.result:
			return err
		case <-en.lead:
		}
	}
	t.commitNext(ctx)
	return <-en.result
}

// commitNext stores the next batch, which begins with the caller's own entry, and then wakes the
// caller that commits the next one.
func (t *Trail) commitNext(ctx context.Context) {
	t.mu.Lock()
	n := min(len(t.queue), maxBatch)
	batch := slices.Clone(t.queue[:n])
	t.queue = slices.Delete(t.queue, 0, n)
	t.mu.Unlock()
	// Other callers' entries must not depend on this caller's context.
	t.commit(context.WithoutCancel(ctx), batch)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		t.writing = false
		return
	}
	t.queue[0].lead <- struct{}{}
}

// commit stores a batch and late events in one transaction.
func (t *Trail) commit(ctx context.Context, batch []*entry) {
	late, err := t.unstored(ctx)
	if err == nil {
		t.late = late
	}
	all := slices.Concat(t.late, batch)
	var heads []Head
	if err == nil {
		heads, err = t.append(ctx, all)
	}
	if t.cfg.Stored != nil {
		t.cfg.Stored(err)
	}
	if err != nil {
		t.late = slices.DeleteFunc(all, func(en *entry) bool { return en.event == nil || en.done == "" })
	} else {
		t.late = nil
		for _, en := range all {
			if en.event != nil && t.cfg.Recorded != nil {
				t.cfg.Recorded(*en.event)
			}
		}
		for _, h := range heads {
			if t.cfg.Witness == nil {
				break
			}
			if werr := t.cfg.Witness(ctx, h); werr != nil {
				err = fmt.Errorf("witness head %d: %w", h.Seq, werr)
			}
		}
	}
	if t.cfg.Unsigned != nil && (len(t.late) > 0 || err == nil && t.last.Seq != t.head) {
		t.cfg.Unsigned()
	}
	for _, en := range batch {
		if en.event != nil && en.done != "" {
			en.result <- nil // its intent is stored
			continue
		}
		en.result <- err
	}
}

// append stores entries, and returns the heads that it signed.
//
// A single server knows the newest record, so it appends to it without reading it. Once another member
// of a cluster has taken a number, records are appended in turns: members that guess and repeat would
// keep each other from appending.
func (t *Trail) append(ctx context.Context, entries []*entry) ([]Head, error) {
	sign := slices.ContainsFunc(entries, func(en *entry) bool { return en.sign })
	if sign && len(entries) == 1 && t.last.Seq != 0 && t.last.Seq == t.head {
		return nil, nil
	}
	numbered := sign || slices.ContainsFunc(entries, func(en *entry) bool { return en.event != nil })
	var b Batch
	var last Record
	var run run
	build := func(from Record) Batch {
		b, last, run = t.batch(entries, from, sign)
		return b
	}
	if t.last.Seq == 0 && !t.shared && numbered {
		newest, err := t.store.LastAudit(ctx)
		if err != nil {
			return nil, err
		}
		t.last = begun(newest)
	}
	var err error
	if !t.shared || !numbered {
		err = t.store.AppendAudit(ctx, build(t.last))
		t.shared = t.shared || sekisho.CodeOf(err) == sekisho.CodeConflict
	}
	if t.shared && numbered {
		err = t.store.AppendAuditAfter(ctx, func(newest Record) Batch { return build(begun(newest)) })
	}
	if err != nil {
		// The batch may be stored in spite of the error, if it was the answer that was lost.
		t.last, t.unsure = Record{}, true
		return nil, err
	}
	if numbered {
		t.last, t.run = last, run
		t.head = max(t.head, b.signed())
	}
	return b.Heads, nil
}

// begun returns the record that the next one follows: newest, or the beginning of an empty trail.
func begun(newest Record) Record {
	if newest.Seq == 0 {
		newest.Hash = make([]byte, sha256.Size)
	}
	return newest
}

// batch returns what to store for entries after the record last, with the new last record and run.
func (t *Trail) batch(entries []*entry, last Record, sign bool) (Batch, Record, run) {
	b, run := Batch{}, t.run.with(last.Index.Time)
	for _, en := range entries {
		switch {
		case en.intent != nil:
			b.Begun = append(b.Begun, *en.intent)
			continue
		case en.event == nil && en.done != "":
			b.Finished = append(b.Finished, en.done)
			continue
		case en.sign:
			continue
		}
		signed := max(t.head, b.signed())
		run = run.with(en.index.Time)
		if n := last.Seq - signed; n >= t.cfg.HeadEvery || n > 0 && run.newest.Sub(run.begin) > MaxUnsignedTime {
			b.Heads = append(b.Heads, t.newHead(last))
			signed = last.Seq
		}
		if last.Seq == signed {
			run.begin = run.newest
		}
		last = Record{Seq: last.Seq + 1, Hash: chain(last.Hash, en.body), Body: en.body, Index: en.index}
		b.Records = append(b.Records, last)
		if en.done != "" {
			b.Finished = append(b.Finished, en.done)
		}
	}
	if signed := max(t.head, b.signed()); last.Seq-signed >= t.cfg.HeadEvery || sign && last.Seq != signed {
		b.Heads = append(b.Heads, t.newHead(last))
	}
	return b, last, run
}

// unstored returns the late events that are not stored, after a batch failed with an unknown outcome.
func (t *Trail) unstored(ctx context.Context) ([]*entry, error) {
	if !t.unsure {
		return t.late, nil
	}
	var missing []*entry
	for _, en := range t.late {
		stored, err := t.store.LookupAudit(ctx, Query{EventID: en.event.ID, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(stored) == 0 {
			missing = append(missing, en)
		}
	}
	t.unsure = false
	return missing, nil
}

// Sign signs a head for records without one. Called [SignEvery] after a batch without a head, it
// bounds the time that a record is unsigned.
func (t *Trail) Sign(ctx context.Context) error {
	if err := t.submit(ctx, &entry{sign: true}); err != nil {
		return fmt.Errorf("audit: sign: %w", err)
	}
	return nil
}

// Close stores late events and signs a last head. The trail can still be used; the caller closes
// the store.
func (t *Trail) Close(ctx context.Context) error {
	if err := t.submit(context.WithoutCancel(ctx), &entry{sign: true}); err != nil {
		return fmt.Errorf("audit: close: %w", err)
	}
	return nil
}

func (t *Trail) newHead(r Record) Head {
	h := Head{Seq: r.Seq, Hash: r.Hash, Time: t.cfg.Now().UTC().Truncate(time.Microsecond)}
	h.Signature = ed25519.Sign(t.cfg.Signer, h.message())
	return h
}

func prepare(e *Event, now func() time.Time) error {
	if e.ID == "" {
		e.ID = id.OrderedUUID()
	}
	if e.Time.IsZero() {
		e.Time = now()
	}
	e.Time = e.Time.UTC().Truncate(time.Microsecond)
	clipFields(e)
	var err error
	if e.RequestParameters, err = redacted(e.RequestParameters); err != nil {
		return fmt.Errorf("audit: request parameters of %s: %w", e.EventName, err)
	}
	if e.ResponseElements, err = redacted(e.ResponseElements); err != nil {
		return fmt.Errorf("audit: response elements of %s: %w", e.EventName, err)
	}
	if e.Additional != nil {
		plain, err := redacted(e.Additional)
		if err != nil {
			return fmt.Errorf("audit: additional data of %s: %w", e.EventName, err)
		}
		e.Additional, _ = plain.(map[string]any)
	}
	// "*" is the resource of actions without resources.
	var resources []Resource
	for _, r := range e.Resources {
		if r.ARN == "*" || r.ARN == "" {
			continue
		}
		r.Type = cmp.Or(r.Type, typeOf(r.ARN))
		if !slices.Contains(resources, r) {
			resources = append(resources, r)
		}
	}
	e.Resources = resources
	return nil
}

// clipFields bounds fields that callers choose. The limits are above those of AWS's programs;
// resources and elements have other limits.
func clipFields(e *Event) {
	for _, f := range []struct {
		text *string
		most int
	}{
		{&e.EventSource, 128}, {&e.EventName, 128}, {&e.Region, 64}, {&e.SourceIP, 64}, {&e.UserAgent, 512},
		{&e.RequestID, 128},
		{&e.ErrorCode, 128}, {&e.ErrorMessage, 4096}, {&e.Reason, 16 << 10}, {&e.UserIdentity.Type, 64},
		{&e.UserIdentity.PrincipalID, 512},
		{&e.UserIdentity.ARN, 2048}, {&e.UserIdentity.AccountID, 64}, {&e.UserIdentity.AccessKeyID, 128},
		{&e.UserIdentity.UserName, 512},
		{&e.UserIdentity.RoleARN, 2048}, {&e.UserIdentity.RoleName, 512}, {&e.UserIdentity.SessionName, 512},
		{&e.UserIdentity.Provider, 2048},
	} {
		*f.text = safetext.Clip(*f.text, f.most)
	}
	for i := range e.Resources {
		e.Resources[i].ARN = safetext.Clip(e.Resources[i].ARN, maxARN)
	}
}

// maxARN fits the longest object key.
const maxARN = 2048
