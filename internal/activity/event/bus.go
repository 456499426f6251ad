package event

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"sekisho"
)

// Nodes knows the nodes, the deregistered ones too.
type Nodes interface {
	Node(ctx context.Context, id sekisho.NodeID) (*sekisho.Node, error)
	// Nodes returns every node that is not deregistered.
	Nodes(ctx context.Context) ([]*sekisho.Node, error)
}

// Config is what a Bus needs.
type Config struct {
	Store    Store
	Nodes    Nodes
	Origin   Origin
	Webhooks []Webhook
	Now      func() time.Time // nil = time.Now
	Log      *slog.Logger     // nil = none
	// DownAfter is how long a node is away before it is said to be down;
	// 0 = 1 minute.
	DownAfter time.Duration
	Limits    Limits
}

// Limits bound what is kept. Zero fields are the defaults.
type Limits struct {
	Inbox int   // events in memory, before they are stored; 4,096
	Queue int   // events that wait for one webhook; 10,000
	Keep  int64 // events kept to be looked at; 10,000
}

// Bus takes events, keeps them and delivers them. It is safe for concurrent
// use.
type Bus struct {
	cfg      Config
	presence *presence
	queues   []*queue

	mu    sync.Mutex
	inbox []*Event
	lost  int64         // of the inbox, since the last batch
	wake  chan struct{} // capacity 1

	writing sync.Mutex // held while a batch is stored
	last    int64      // the greatest number given; guarded by writing
}

// New returns a Bus that continues with the events in the store.
func New(ctx context.Context, cfg Config) (*Bus, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.DownAfter = or(cfg.DownAfter, time.Minute)
	cfg.Limits = Limits{or(cfg.Limits.Inbox, 4096), or(cfg.Limits.Queue, 10_000), or(cfg.Limits.Keep, 10_000)}
	b := &Bus{cfg: cfg, wake: make(chan struct{}, 1)}
	var err error
	if b.last, err = cfg.Store.LastEvent(ctx); err != nil {
		return nil, err
	}
	names := []string{}
	for _, w := range cfg.Webhooks {
		names = append(names, w.Name)
	}
	forgotten, err := cfg.Store.ForgetWebhooks(ctx, names)
	if err != nil {
		return nil, err
	}
	if forgotten > 0 {
		cfg.Log.Warn("events waited for webhooks that are not configured any more; they will not be delivered", "events", forgotten)
	}
	tallies, err := cfg.Store.Tallies(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range cfg.Webhooks {
		q := newQueue(w, &b.cfg)
		for _, t := range tallies {
			if t.Webhook == w.Name {
				q.tally = t
			}
		}
		items, err := cfg.Store.EventItems(ctx, w.Name)
		if err != nil {
			return nil, err
		}
		q.add(items)
		b.queues = append(b.queues, q)
	}
	b.presence, err = newPresence(ctx, b)
	return b, err
}

func or[T int | int64 | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// Origin is where the bus's events come from.
func (b *Bus) Origin() Origin { return b.cfg.Origin }

// Publish takes an event. It never waits: when more come than can be stored
// the oldest are dropped, and counted.
func (b *Bus) Publish(e *Event) {
	b.mu.Lock()
	b.inbox = append(b.inbox, e)
	b.trim()
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// trim holds the inbox to its bound. The mutex is held.
func (b *Bus) trim() {
	if over := len(b.inbox) - b.cfg.Limits.Inbox; over > 0 {
		b.inbox = append([]*Event(nil), b.inbox[over:]...)
		b.lost += int64(over)
	}
}

// NodeChanged tells that something about a node changed; whether it is up is
// looked at soon.
func (b *Bus) NodeChanged(id sekisho.NodeID) { b.presence.changed(id) }

// Run stores and delivers until ctx ends. What it has not done then, a next
// run does.
func (b *Bus) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { b.presence.run(ctx) })
	for _, q := range b.queues {
		wg.Go(func() { q.run(ctx) })
	}
	b.store(ctx)
	wg.Wait()
}

// retryStore is how long a store that failed is left alone.
const retryStore = time.Second

// store stores what is published until ctx ends.
func (b *Bus) store(ctx context.Context) {
	for failing := false; ; {
		var again <-chan time.Time
		if failing {
			again = time.After(retryStore)
			select {
			case <-ctx.Done():
				return
			case <-again:
			}
		} else {
			select {
			case <-ctx.Done():
				return
			case <-b.wake:
			}
		}
		err := b.Flush(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			b.cfg.Log.Error("could not store events; retrying", "error", err)
		}
		failing = err != nil
	}
}

// Flush stores what was published so far. It is for the end, when Run has
// returned.
func (b *Bus) Flush(ctx context.Context) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.mu.Lock()
	events, lost := b.inbox, b.lost
	b.inbox, b.lost = nil, 0
	b.mu.Unlock()
	if len(events) == 0 {
		return nil
	}
	err := b.keep(ctx, events, lost)
	if err == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inbox, b.lost = append(events, b.inbox...), b.lost+lost
	b.trim()
	return err
}

// keep stores events and queues them for the webhooks that want them.
func (b *Bus) keep(ctx context.Context, events []*Event, lost int64) error {
	batch := Batch{Dropped: map[string]int64{}, Told: map[sekisho.NodeID]bool{}, Keep: b.cfg.Limits.Keep}
	last := b.last
	added := make([][]Item, len(b.queues))
	now := b.cfg.Now().UTC().Truncate(time.Microsecond)
	for _, e := range events {
		if err := b.describe(ctx, e); err != nil {
			return err
		}
		body, err := json.Marshal(e)
		if err != nil { // it would be no better the next time
			b.cfg.Log.Error("an event is lost: it cannot be written", "type", e.Type, "error", err)
			continue
		}
		wanted := false
		for i, q := range b.queues {
			if q.Pattern.Match(body) && (!e.asked || q.Pattern.asks()) {
				added[i] = append(added[i], Item{Webhook: q.Name, Seq: last + 1, Subject: e.Subject, At: now})
				wanted = true
			}
		}
		if e.asked && !wanted {
			continue
		}
		last++
		batch.Records = append(batch.Records, Record{
			Seq: last, ID: e.ID, Type: e.Type, Subject: e.Subject, Time: e.Time.UTC().Truncate(time.Microsecond), Body: body,
		})
		if e.Type == NodeUp || e.Type == NodeDown {
			batch.Told[sekisho.NodeID(e.Subject)] = e.Type == NodeUp
		}
	}
	if len(batch.Records) == 0 && lost == 0 {
		return nil
	}
	drops := make([][]Item, len(b.queues))
	for i, q := range b.queues {
		// A batch is never larger than the inbox; what is too much of it is
		// the next one's to drop.
		drops[i] = q.surplus(len(added[i]))
		if n := int64(len(drops[i])) + lost; n > 0 {
			batch.Dropped[q.Name] = n
		}
		batch.Items = append(batch.Items, added[i]...)
		batch.Drop = append(batch.Drop, drops[i]...)
	}
	if err := b.cfg.Store.AddEvents(ctx, batch); err != nil {
		return err
	}
	b.last = last
	for i, q := range b.queues {
		if n := batch.Dropped[q.Name]; n > 0 {
			q.drop(drops[i], n)
			b.cfg.Log.Warn("too many events wait for a webhook: the oldest were dropped", "webhook", q.Name, "events", n)
		}
		q.add(added[i])
	}
	return nil
}

// describe adds the known facts of its node to an event.
func (b *Bus) describe(ctx context.Context, e *Event) error {
	node := e.node()
	if node == "" || b.cfg.Nodes == nil {
		return nil
	}
	n, err := b.cfg.Nodes.Node(ctx, node)
	if err == nil {
		e.describe(n)
	}
	if sekisho.IsNotFound(err) {
		return nil
	}
	return err
}

// Events returns kept events, the newest first.
func (b *Bus) Events(ctx context.Context, q Query) ([]*Record, error) {
	return b.cfg.Store.Events(ctx, q)
}

// WebhookState is how a webhook fares.
type WebhookState struct {
	Tally
	Address string // without what may be secret
	Events  string // which it gets, in words
	Waiting int
	// WaitingSince is when the oldest of these happened to be queued.
	WaitingSince time.Time
	// Failures are the failures since the last success; RetryAt is when it is
	// tried again, if it fails.
	Failures int
	RetryAt  time.Time
}

// Webhooks returns how every webhook fares.
func (b *Bus) Webhooks() []WebhookState {
	all := make([]WebhookState, 0, len(b.queues))
	for _, q := range b.queues {
		all = append(all, q.state())
	}
	return all
}

// errGone is of an item whose event is not kept any more.
var errGone = errors.New("the event is not kept any more")
