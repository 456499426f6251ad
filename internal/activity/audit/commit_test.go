package audit_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"sekisho/internal/activity/audit"
)

var errDisk = errors.New("database or disk is full")

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = err
}

func TestIntent(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T) (*memory, *audit.Trail, func() *audit.Trail) {
		m, key := &memory{}, newKey(t)
		again := func() *audit.Trail { return audit.New(m, audit.Config{Signer: key}) }
		return m, again(), again
	}
	t.Run("a call cannot begin when its intent cannot be stored", func(t *testing.T) {
		t.Parallel()
		m, trail, _ := open(t)
		m.fail(errDisk)
		e := event(1)
		if err := trail.Begin(t.Context(), &e); !errors.Is(err, errDisk) {
			t.Errorf("Begin: %v", err)
		}
	})
	t.Run("the event replaces the intent", func(t *testing.T) {
		t.Parallel()
		m, trail, again := open(t)
		e := event(1)
		if err := trail.Begin(t.Context(), &e); err != nil || e.ID == "" || len(m.intents) != 1 {
			t.Fatalf("Begin: %v, ID %q, %d intents", err, e.ID, len(m.intents))
		}
		if err := trail.Complete(t.Context(), e); err != nil || len(m.intents) != 0 || len(m.records) != 1 {
			t.Fatalf("Complete: %v, %d intents, %d records", err, len(m.intents), len(m.records))
		}
		if err := again().Recover(t.Context()); err != nil || len(m.records) != 1 {
			t.Errorf("Recover: %v, %d records", err, len(m.records))
		}
	})
	t.Run("the event of a call that a crash cut short is written at the next start", func(t *testing.T) {
		t.Parallel()
		m, trail, again := open(t)
		e := event(1)
		e.RequestParameters = map[string]any{"userName": "eve", "password": "swordfish"}
		if err := trail.Begin(t.Context(), &e); err != nil {
			t.Fatal(err)
		}
		restarted := again()
		if err := restarted.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, _, err := restarted.Lookup(t.Context(), audit.Query{EventID: e.ID, Limit: 2})
		if err != nil || len(got) != 1 || got[0].ErrorCode != audit.OutcomeUnknown || got[0].EventName != e.EventName ||
			len(m.intents) != 0 {
			t.Errorf("%+v, %v, %d intents", got, err, len(m.intents))
		}
		if err := restarted.Verify(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("an outcome that cannot be stored follows when it can", func(t *testing.T) {
		t.Parallel()
		m, trail, _ := open(t)
		e := event(1)
		if err := trail.Begin(t.Context(), &e); err != nil {
			t.Fatal(err)
		}
		m.fail(errDisk)
		if err := trail.Complete(t.Context(), e); err != nil {
			t.Errorf("Complete: %v", err)
		}
		if err := trail.Record(t.Context(), event(2)); !errors.Is(err, errDisk) {
			t.Errorf("Record: %v", err)
		}
		m.fail(nil)
		if err := trail.Record(t.Context(), event(3)); err != nil {
			t.Fatal(err)
		}
		got, _, err := trail.Lookup(t.Context(), audit.Query{Limit: 9})
		if err != nil || len(got) != 2 || got[0].EventName != "Event3" || got[1].ID != e.ID || got[1].ErrorCode != "" ||
			len(m.intents) != 0 {
			t.Errorf("%+v, %v, %d intents", got, err, len(m.intents))
		}
	})
	t.Run("Close stores a late outcome", func(t *testing.T) {
		t.Parallel()
		m, trail, _ := open(t)
		e := event(1)
		if err := trail.Begin(t.Context(), &e); err != nil {
			t.Fatal(err)
		}
		m.fail(errDisk)
		if err := trail.Complete(t.Context(), e); err != nil {
			t.Errorf("Complete: %v", err)
		}
		if err := trail.Close(t.Context()); !errors.Is(err, errDisk) {
			t.Errorf("Close on a full disk: %v", err)
		}
		m.fail(nil)
		if err := trail.Close(t.Context()); err != nil || len(m.records) != 1 || len(m.intents) != 0 ||
			len(m.heads) != 1 {
			t.Errorf("Close: %v, %d records, %d intents, %d heads", err, len(m.records), len(m.intents), len(m.heads))
		}
	})
}

// gated holds the first batch until it is released, so that others queue up.
type gated struct {
	*memory
	once    sync.Once
	entered chan struct{}
	release chan struct{}
}

func (g *gated) AppendAudit(ctx context.Context, b audit.Batch) error {
	g.once.Do(func() {
		close(g.entered)
		<-g.release
	})
	return g.memory.AppendAudit(ctx, b)
}

func TestCallersShareTransactions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gated{memory: &memory{}, entered: make(chan struct{}), release: make(chan struct{})}
		trail := audit.New(g, audit.Config{Signer: newKey(t), HeadEvery: 64})
		const callers = 600
		var wg sync.WaitGroup
		record := func(i int) {
			if err := trail.Record(t.Context(), event(i)); err != nil {
				t.Error(err)
			}
		}
		wg.Go(func() { record(0) })
		<-g.entered
		for i := range callers {
			wg.Go(func() { record(i + 1) })
		}
		synctest.Wait()
		close(g.release)
		wg.Wait()
		if len(g.records) != callers+1 || g.batches != 4 { // 1, 256, 256, 88
			t.Errorf("%d records in %d transactions", len(g.records), g.batches)
		}
		if err := trail.Verify(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestUnsignedRecordsAreReported(t *testing.T) {
	t.Parallel()
	m, calls := &memory{}, 0
	trail := audit.New(m, audit.Config{Signer: newKey(t), HeadEvery: 3, Unsigned: func() { calls++ }})
	want := func(n int, when string) {
		t.Helper()
		if calls != n {
			t.Errorf("%s: %d calls, want %d", when, calls, n)
		}
		calls = 0
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(trail.Sign(t.Context()))
	want(0, "an empty trail")
	must(trail.Record(t.Context(), event(1)))
	want(1, "a record without a head")
	must(trail.Sign(t.Context()))
	want(0, "all is signed")
	for i := range 3 {
		must(trail.Record(t.Context(), event(2+i)))
	}
	want(2, "the third record has a head")
	e := event(5)
	must(trail.Begin(t.Context(), &e))
	want(0, "an intent is no record")
	m.fail(errDisk)
	must(trail.Complete(t.Context(), e))
	want(1, "a late event waits for the store")
	if err := trail.Sign(t.Context()); !errors.Is(err, errDisk) {
		t.Errorf("Sign: %v", err)
	}
	want(1, "it still waits")
	m.fail(nil)
	must(trail.Sign(t.Context()))
	want(0, "it is stored and signed")
	if err := trail.Verify(t.Context()); err != nil || len(m.records) != 5 {
		t.Errorf("%d records, %v", len(m.records), err)
	}
}
