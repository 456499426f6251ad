// Package audittest provides an in-memory audit trail for tests.
package audittest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"sekisho/internal/activity/audit"
)

// Trail keeps events in memory. The zero value is ready to use.
type Trail struct {
	mu     sync.Mutex
	events []audit.Event
	open   map[string]bool
	next   int
	fails  error
}

// Fail makes all later calls except [Trail.Complete] fail with err; nil ends that.
func (t *Trail) Fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fails = err
}

// Begin records that a call has begun.
func (t *Trail) Begin(ctx context.Context, e *audit.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fails != nil {
		return t.fails
	}
	if t.open == nil {
		t.open = map[string]bool{}
	}
	t.next++
	e.ID = fmt.Sprintf("event-%d", t.next)
	t.open[e.ID] = true
	return ctx.Err()
}

// Complete records the event of a call that has begun.
func (t *Trail) Complete(ctx context.Context, e audit.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.open[e.ID] {
		return fmt.Errorf("the call %q was completed but had not begun", e.ID)
	}
	delete(t.open, e.ID)
	t.events = append(t.events, e)
	return ctx.Err()
}

// Abandon removes a call that has begun.
func (t *Trail) Abandon(_ context.Context, id string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.open[id] {
		return fmt.Errorf("the call %q was abandoned but had not begun", id)
	}
	delete(t.open, id)
	return nil
}

// Record records an event.
func (t *Trail) Record(ctx context.Context, e audit.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fails != nil {
		return t.fails
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.events = append(t.events, e)
	return nil
}

// Events returns all events.
func (t *Trail) Events() []audit.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.events)
}

// Last returns the newest event.
func (t *Trail) Last() audit.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.events) == 0 {
		return audit.Event{}
	}
	return t.events[len(t.events)-1]
}

// Open returns how many calls have begun and are neither completed nor
// abandoned.
func (t *Trail) Open() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}
