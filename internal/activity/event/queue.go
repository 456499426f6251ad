package event

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"sekisho"
)

// Endpoint is where a webhook's events go. An error that is no *Failure is one
// of the endpoint.
type Endpoint interface {
	Deliver(ctx context.Context, id string, body []byte) error
	// Address names the endpoint without anything that may be secret.
	Address() string
	// Close lets go of idle connections. Deliver works on after it.
	Close()
}

// Failure is why an event was not delivered.
type Failure struct {
	Err error
	// Refused tells that the endpoint works, but does not take this event:
	// others are delivered meanwhile.
	Refused bool
	// After is how long the endpoint asks to be left alone; 0 = it does not.
	After time.Duration
}

// Error is the reason in words.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Webhook is a receiver of events.
type Webhook struct {
	Name     string
	Endpoint Endpoint
	Pattern  *Pattern // nil = all events
	Events   string   // the same in words
	// GiveUpAfter is how long an event is tried; 0 = 24 hours.
	GiveUpAfter time.Duration
	// Concurrency is how many events are delivered at once; 0 = 4.
	Concurrency int
}

// The pauses between attempts grow from the first to the longest. An endpoint
// that does not answer is tried often, so that it gets what waited soon after
// it is back; an event that it refuses is not.
const (
	firstPause        = time.Second
	longestPause      = time.Minute
	longestPauseEvent = 15 * time.Minute
	longestAsked      = time.Hour // by the endpoint itself
)

// backoff is the pause after n failures: twice as long each time, less up to
// a half of it by chance, so that not all come back at once.
func backoff(n int, longest time.Duration) time.Duration {
	d := longest
	if n < 20 {
		d = min(longest, firstPause<<max(0, n-1))
	}
	return d/2 + rand.N(d/2+1)
}

// waiting is an item in memory.
type waiting struct {
	Item
	next time.Time // not before
	busy bool      // being delivered
}

// queue is what waits for one webhook.
type queue struct {
	Webhook
	cfg  *Config
	wake chan struct{} // capacity 1

	mu       sync.Mutex
	items    []*waiting // by number
	busy     int
	tally    Tally
	failures int       // of the endpoint, in a row
	paused   time.Time // it is left alone until then
}

func newQueue(w Webhook, cfg *Config) *queue {
	w.GiveUpAfter, w.Concurrency = or(w.GiveUpAfter, 24*time.Hour), or(w.Concurrency, 4)
	return &queue{Webhook: w, cfg: cfg, wake: make(chan struct{}, 1), tally: Tally{Webhook: w.Name}}
}

func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// add appends items. They are newer than all before.
func (q *queue) add(items []Item) {
	q.mu.Lock()
	for _, it := range items {
		q.items = append(q.items, &waiting{Item: it})
	}
	q.mu.Unlock()
	q.poke()
}

// surplus are the oldest items that must go when n more come. What is just
// being delivered stays.
func (q *queue) surplus(n int) []Item {
	q.mu.Lock()
	defer q.mu.Unlock()
	over := len(q.items) + n - q.cfg.Limits.Queue
	var all []Item
	for _, w := range q.items {
		if len(all) >= over {
			break
		}
		if !w.busy {
			all = append(all, w.Item)
		}
	}
	return all
}

// drop removes items, and counts how many were dropped in all.
func (q *queue) drop(items []Item, count int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tally.Dropped += count
	for _, it := range items {
		q.remove(it.Seq)
	}
}

// remove takes an item out. The mutex is held.
func (q *queue) remove(seq int64) {
	for i, w := range q.items {
		if w.Seq == seq {
			q.items = append(q.items[:i], q.items[i+1:]...)
			return
		}
	}
}

func (q *queue) state() WebhookState {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := WebhookState{Tally: q.tally, Address: q.Endpoint.Address(), Events: q.Events, Waiting: len(q.items), Failures: q.failures}
	if len(q.items) > 0 {
		s.WaitingSince = q.items[0].At
	}
	if q.failures > 0 {
		s.RetryAt = q.paused
		var first time.Time
		for i, w := range q.items {
			if i == 0 || w.next.Before(first) {
				first = w.next
			}
		}
		if first.After(q.paused) {
			s.RetryAt = first
		}
	}
	return s
}

// run delivers until ctx ends.
func (q *queue) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer q.Endpoint.Close()
	defer wg.Wait()
	for ctx.Err() == nil {
		w, wait := q.take(q.cfg.Now())
		if w != nil {
			wg.Go(func() {
				q.deliver(ctx, w)
				q.poke()
			})
			continue
		}
		var timer *time.Timer
		var due <-chan time.Time
		if wait > 0 {
			timer = time.NewTimer(wait)
			due = timer.C
		}
		select {
		case <-ctx.Done():
		case <-q.wake:
		case <-due:
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

// take picks the next delivery, or says how long to wait for
// something to be due; 0 = until woken.
func (q *queue) take(now time.Time) (w *waiting, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	most := q.Concurrency
	if q.failures > 0 {
		most = 1 // to see whether it is back
	}
	if q.busy >= most || len(q.items) == 0 {
		return nil, 0
	}
	if q.paused.After(now) {
		return nil, q.paused.Sub(now)
	}
	blocked := map[string]bool{}
	for _, w := range q.items {
		late := w.next.Sub(now)
		if w.busy || late > 0 || w.Subject != "" && blocked[w.Subject] {
			if !w.busy && late > 0 && (wait == 0 || late < wait) {
				wait = late
			}
			if w.Subject != "" {
				blocked[w.Subject] = true
			}
			continue
		}
		w.busy = true
		q.busy++
		return w, 0
	}
	return nil, wait
}

// deliver makes one attempt, and keeps what became of it.
func (q *queue) deliver(ctx context.Context, w *waiting) {
	err := q.attempt(ctx, w)
	if err != nil && ctx.Err() != nil {
		// The server stops: nobody knows whether it arrived, so that it will
		// be delivered again.
		q.release(w)
		return
	}
	o := q.settle(w, err)
	if err := q.cfg.Store.SettleEvent(context.WithoutCancel(ctx), o); err != nil {
		// After a restart it is delivered again: better twice than never.
		q.cfg.Log.Error("what became of an event was not stored", "webhook", q.Name, "event", w.Seq, "error", err)
	}
}

// attempt delivers once. An event that has become too old while the endpoint
// was away is not tried.
func (q *queue) attempt(ctx context.Context, w *waiting) error {
	q.mu.Lock()
	hopeless := q.failures > 0 && q.tooOld(w)
	reason := q.tally.LastFailure
	q.mu.Unlock()
	if hopeless {
		return &Failure{Err: errors.New(reason), Refused: true}
	}
	r, err := q.cfg.Store.Event(ctx, w.Seq)
	if sekisho.IsNotFound(err) {
		return errGone
	}
	if err != nil {
		return fmt.Errorf("the event cannot be read: %w", err)
	}
	return q.Endpoint.Deliver(ctx, r.ID, r.Body)
}

func (q *queue) tooOld(w *waiting) bool { return q.cfg.Now().Sub(w.At) >= q.GiveUpAfter }

func (q *queue) release(w *waiting) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w.busy = false
	q.busy--
}

// settle is what an attempt means for the item and for the endpoint.
func (q *queue) settle(w *waiting, err error) Outcome {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.cfg.Now()
	w.busy = false
	q.busy--
	if err == nil {
		if q.failures > 0 {
			q.cfg.Log.Info("a webhook works again", "webhook", q.Name, "address", q.Endpoint.Address(), "failures", q.failures)
		}
		q.failures, q.paused = 0, time.Time{}
		q.tally.Delivered++
		q.tally.LastDeliveredAt = now
		q.remove(w.Seq)
		return Outcome{Item: w.Item, At: now, Delivered: true}
	}
	f, ok := errors.AsType[*Failure](err)
	if !ok {
		f = &Failure{Err: err}
	}
	w.Attempts++
	q.tally.LastFailedAt, q.tally.LastFailure = now, clip(f.Error())
	o := Outcome{Item: w.Item, At: now, Failure: q.tally.LastFailure}
	if q.tooOld(w) || errors.Is(err, errGone) {
		q.cfg.Log.Error("an event was not delivered and is given up", "webhook", q.Name, "address", q.Endpoint.Address(),
			"event", w.Seq, "attempts", w.Attempts, "since", w.At, "reason", f.Error())
		q.tally.GivenUp++
		q.remove(w.Seq)
		o.GivenUp = true
	}
	after := min(f.After, longestAsked)
	longest := longestPauseEvent
	if !f.Refused && !errors.Is(err, errGone) {
		longest = longestPause
		q.failures++
		q.paused = now.Add(max(after, backoff(q.failures, longestPause)))
		if q.failures == 1 {
			q.cfg.Log.Warn("a webhook fails; it will be tried again and again", "webhook", q.Name, "address", q.Endpoint.Address(), "reason", f.Error())
		}
	}
	w.next = now.Add(max(after, backoff(w.Attempts, longest)))
	return o
}
