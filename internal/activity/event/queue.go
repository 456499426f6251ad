package event

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"sekisho"
)

// Endpoint is the destination of a webhook's events. An error other than *Failure is treated as
// a failure of the endpoint.
type Endpoint interface {
	Deliver(ctx context.Context, id string, body []byte) error
	// Address returns the address without parts that may be secret.
	Address() string
	// Close closes idle connections. Deliver still works after it.
	Close()
}

// Failure is why an event was not delivered.
type Failure struct {
	Err error
	// Refused says that the endpoint works but rejects this event. Others are
	// delivered meanwhile.
	Refused bool
	// After is the pause that the endpoint requested; 0 = none.
	After time.Duration
}

// Error implements error.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Webhook is a receiver of events.
type Webhook struct {
	Name     string
	Endpoint Endpoint
	Pattern  *Pattern // nil = all events
	Events   string   // the same, for people
	// GiveUpAfter is how long delivery of an event is retried; 0 = 24 hours.
	GiveUpAfter time.Duration
	// Concurrency is how many events are delivered at once; 0 = 4.
	Concurrency int
}

// Pauses between attempts grow from firstPause to longestPause, or to longestPauseEvent
// for an event that the endpoint refuses. An endpoint that does not answer is retried
// more often, so that it receives the waiting events soon after it has recovered.
const (
	firstPause        = time.Second
	longestPause      = time.Minute
	longestPauseEvent = 15 * time.Minute
	longestAsked      = time.Hour // limits Failure.After
)

// backoff is the pause after n failures. It doubles each time, less up to half of it
// at random, so that retries spread out.
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
	next time.Time // earliest time of the next attempt
	busy bool      // being delivered
}

// queue holds the items that wait for one webhook.
type queue struct {
	Webhook
	cfg  *Config
	wake chan struct{} // capacity 1

	mu       sync.Mutex
	items    []*waiting // in the order of Seq
	busy     int
	tally    Tally
	failures int       // of the endpoint, in a row
	paused   time.Time // no attempt before then
}

func newQueue(w Webhook, cfg *Config) *queue {
	w.GiveUpAfter, w.Concurrency = cmp.Or(w.GiveUpAfter, 24*time.Hour), cmp.Or(w.Concurrency, 4)
	return &queue{Webhook: w, cfg: cfg, wake: make(chan struct{}, 1), tally: Tally{Webhook: w.Name}}
}

func (q *queue) wakeUp() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// add appends items, which must be newer than those in the queue.
func (q *queue) add(items []Item) {
	q.mu.Lock()
	for _, it := range items {
		q.items = append(q.items, &waiting{Item: it})
	}
	q.mu.Unlock()
	q.wakeUp()
}

// surplus returns the oldest items that must be dropped to make room for n more.
// Items being delivered stay.
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

// drop removes items and adds count to the tally of dropped ones.
func (q *queue) drop(items []Item, count int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tally.Dropped += count
	for _, it := range items {
		q.remove(it.Seq)
	}
}

// remove removes an item. The mutex is held.
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
	s := WebhookState{
		Tally:    q.tally,
		Address:  q.Endpoint.Address(),
		Events:   q.Events,
		Waiting:  len(q.items),
		Failures: q.failures,
	}
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
				q.wakeUp()
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

// take picks the next delivery, or returns how long to wait until one is due; 0 =
// until woken.
func (q *queue) take(now time.Time) (w *waiting, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	most := q.Concurrency
	if q.failures > 0 {
		most = 1 // to probe whether it has recovered
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

// deliver makes one attempt and stores its outcome.
func (q *queue) deliver(ctx context.Context, w *waiting) {
	err := q.attempt(ctx, w)
	if err != nil && ctx.Err() != nil {
		// The server is stopping. It is unknown whether the event arrived, so it will
		// be delivered again.
		q.release(w)
		return
	}
	o := q.settle(w, err)
	if err := q.cfg.Store.SettleEvent(context.WithoutCancel(ctx), o); err != nil {
		// The event is delivered again after a restart: deliveries are at least once.
		q.cfg.Log.Error("could not store the outcome of a delivery", "webhook", q.Name, "event", w.Seq, "error", err)
	}
}

// attempt delivers once. It does not try an event that became too old while the
// endpoint was failing.
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
		return fmt.Errorf("cannot load the event: %w", err)
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

// settle updates the item and the state of the endpoint after an attempt.
func (q *queue) settle(w *waiting, err error) Outcome {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.cfg.Now()
	w.busy = false
	q.busy--
	if err == nil {
		if q.failures > 0 {
			q.cfg.Log.Info(
				"webhook recovered",
				"webhook",
				q.Name,
				"address",
				q.Endpoint.Address(),
				"failures",
				q.failures,
			)
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
		q.cfg.Log.Error("gave up delivering an event", "webhook", q.Name, "address", q.Endpoint.Address(),
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
			q.cfg.Log.Warn(
				"webhook failing; retrying",
				"webhook",
				q.Name,
				"address",
				q.Endpoint.Address(),
				"reason",
				f.Error(),
			)
		}
	}
	w.next = now.Add(max(after, backoff(w.Attempts, longest)))
	return o
}
