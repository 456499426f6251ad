package event

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sekisho"
)

// Nodes looks up nodes, including deregistered ones.
type Nodes interface {
	Node(ctx context.Context, id sekisho.NodeID) (*sekisho.Node, error)
	// Nodes returns every node that is not deregistered.
	Nodes(ctx context.Context) ([]*sekisho.Node, error)
}

// Config is the configuration of a Bus.
type Config struct {
	Store Store
	Nodes Nodes
	// Name returns the display name of a node; nil for the name in its activation.
	Name     func(ctx context.Context, n *sekisho.Node) string
	Origin   Origin
	Webhooks []Webhook
	Now      func() time.Time // nil = time.Now
	Log      *slog.Logger     // nil = none
	// DownAfter is how long a node must be disconnected before it counts as down;
	// 0 = 1 minute.
	DownAfter time.Duration
	Limits    Limits
	// MaxAge is how long events are stored for listings; 0 = until there are too many.
	MaxAge time.Duration
	// Removed is called after retention has removed events. May be nil.
	Removed func(ctx context.Context, r Removal)
}

// Limits bounds the events that a Bus keeps. Zero fields select the defaults.
type Limits struct {
	Inbox int   // events in memory that are not stored yet; 4,096
	Queue int   // events waiting for one webhook; 10,000
	Keep  int64 // stored events for listings; 10,000
}

// Bus stores and delivers published events. It is safe for concurrent use.
type Bus struct {
	cfg      Config
	presence *presence
	queues   []*queue

	mu    sync.Mutex
	inbox []*Event
	lost  int64         // events dropped from the inbox since the last batch
	wake  chan struct{} // capacity 1

	writing sync.Mutex // held while a batch is stored
	last    int64      // the greatest Seq assigned; guarded by writing
	added   int64      // events stored since the last removal; guarded by writing
}

// New returns a Bus that continues with the events in the store.
func New(ctx context.Context, cfg Config) (*Bus, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Removed == nil {
		cfg.Removed = func(context.Context, Removal) {}
	}
	cfg.DownAfter = cmp.Or(cfg.DownAfter, time.Minute)
	cfg.Limits = Limits{
		cmp.Or(cfg.Limits.Inbox, 4096),
		cmp.Or(cfg.Limits.Queue, 10_000),
		cmp.Or(cfg.Limits.Keep, 10_000),
	}
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
		cfg.Log.Warn("dropped the waiting events of webhooks that are no longer configured", "events", forgotten)
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

// Origin returns the account and region of the bus's events.
func (b *Bus) Origin() Origin { return b.cfg.Origin }

// Publish queues an event. It never blocks: if events arrive faster than they can be
// stored, the oldest are dropped and counted.
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

// trim drops the oldest events if the inbox is over its limit. The mutex is held.
func (b *Bus) trim() {
	if over := len(b.inbox) - b.cfg.Limits.Inbox; over > 0 {
		b.inbox = append([]*Event(nil), b.inbox[over:]...)
		b.lost += int64(over)
	}
}

// NodeChanged must be called when a node has changed. The bus then checks whether it
// is up.
func (b *Bus) NodeChanged(id sekisho.NodeID) { b.presence.changed(id) }

// Run stores and delivers events until ctx ends. The next Run delivers the rest.
func (b *Bus) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { b.presence.run(ctx) })
	for _, q := range b.queues {
		wg.Go(func() { q.run(ctx) })
	}
	b.store(ctx)
	wg.Wait()
}

// retryStore is the pause after the store has failed.
const retryStore = time.Second

// store stores published events until ctx ends.
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
		if err == nil {
			err = b.expireSurplus(ctx)
		}
		if err != nil && !failing && ctx.Err() == nil {
			b.cfg.Log.Error("could not store events; retrying", "error", err)
		}
		failing = err != nil
	}
}

// Flush stores all published events. Call it at shutdown, after Run has returned.
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
	err := b.number(ctx, func() error { return b.keep(ctx, events, lost) })
	if err == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inbox, b.lost = append(events, b.inbox...), b.lost+lost
	b.trim()
	return err
}

// numberAttempts bounds how often events are numbered again because another member of the cluster was faster.
const numberAttempts = 50

// number calls keep until no other member of the cluster takes the numbers of its events meanwhile.
func (b *Bus) number(ctx context.Context, keep func() error) error {
	for attempt := 1; ; attempt++ {
		err := keep()
		if sekisho.CodeOf(err) != sekisho.CodeConflict || attempt == numberAttempts {
			return err
		}
		last, lerr := b.cfg.Store.LastEvent(ctx)
		if lerr != nil {
			return errors.Join(err, lerr)
		}
		b.last = max(b.last, last)
	}
}

// keep stores events and queues them for the webhooks that want them.
func (b *Bus) keep(ctx context.Context, events []*Event, lost int64) error {
	batch := Batch{Dropped: map[string]int64{}, NodesUp: map[sekisho.NodeID]bool{}}
	last := b.last
	added := make([][]Item, len(b.queues))
	now := b.cfg.Now().UTC().Truncate(time.Microsecond)
	for _, e := range events {
		if err := b.describe(ctx, e); err != nil {
			return err
		}
		body, err := json.Marshal(e)
		if err != nil { // retrying would not help
			b.cfg.Log.Error("event lost: it cannot be encoded", "type", e.Type, "error", err)
			continue
		}
		wanted := false
		for i, q := range b.queues {
			if q.Pattern.Match(body) && (!e.optIn || q.Pattern.namesTypes()) {
				added[i] = append(added[i], Item{Webhook: q.Name, Seq: last + 1, Subject: e.Subject, At: now})
				wanted = true
			}
		}
		if e.optIn && !wanted {
			continue
		}
		last++
		batch.Records = append(batch.Records, Record{
			Seq: last, ID: e.ID, Type: e.Type, Subject: e.Subject, Time: e.Time.UTC().Truncate(time.Microsecond), Body: body,
		})
		if e.Type == NodeUp || e.Type == NodeDown {
			batch.NodesUp[sekisho.NodeID(e.Subject)] = e.Type == NodeUp
		}
	}
	if len(batch.Records) == 0 && lost == 0 {
		return nil
	}
	drops := make([][]Item, len(b.queues))
	for i, q := range b.queues {
		// A batch is never larger than the inbox. The next batch drops the surplus
		// of this one.
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
	b.added += int64(len(batch.Records))
	for i, q := range b.queues {
		if n := batch.Dropped[q.Name]; n > 0 {
			q.drop(drops[i], n)
			b.cfg.Log.Warn(
				"dropped the oldest events because too many wait for a webhook",
				"webhook",
				q.Name,
				"events",
				n,
			)
		}
		q.add(added[i])
	}
	return nil
}

// Expire removes the events whose retention has ended.
func (b *Bus) Expire(ctx context.Context) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.expire(ctx)
}

// expireSurplus removes events once a tenth more than allowed may be stored. Removing many at a
// time keeps the number of audit records about removals low.
func (b *Bus) expireSurplus(ctx context.Context) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	if b.added <= b.cfg.Limits.Keep/10 {
		return nil
	}
	return b.expire(ctx)
}

func (b *Bus) expire(ctx context.Context) error {
	var before time.Time
	if b.cfg.MaxAge > 0 {
		before = b.cfg.Now().Add(-b.cfg.MaxAge)
	}
	removed, err := b.cfg.Store.RemoveEvents(ctx, before, b.cfg.Limits.Keep)
	if err != nil {
		return fmt.Errorf("remove events: %w", err)
	}
	b.added = 0
	if removed.Events > 0 {
		b.cfg.Removed(ctx, removed)
	}
	return nil
}

// describe adds the name and tags of the node to an event.
func (b *Bus) describe(ctx context.Context, e *Event) error {
	node := e.node()
	if node == "" || b.cfg.Nodes == nil {
		return nil
	}
	n, err := b.cfg.Nodes.Node(ctx, node)
	if err == nil {
		name := n.Name
		if b.cfg.Name != nil {
			name = b.cfg.Name(ctx, n)
		}
		e.describe(n, name)
	}
	if sekisho.IsNotFound(err) {
		return nil
	}
	return err
}

// Events returns stored events, newest first.
func (b *Bus) Events(ctx context.Context, q Query) ([]*Record, error) {
	return b.cfg.Store.Events(ctx, q)
}

// WebhookState is the delivery status of a webhook.
type WebhookState struct {
	Tally
	Address string // without parts that may be secret
	Events  string // the events that it receives, for people
	Waiting int
	// WaitingSince is when the oldest waiting event was queued.
	WaitingSince time.Time
	// Failures counts the failures since the last success. If there are any, RetryAt
	// is the time of the next attempt.
	Failures int
	RetryAt  time.Time
}

// Webhooks returns the delivery status of every webhook.
func (b *Bus) Webhooks() []WebhookState {
	all := make([]WebhookState, 0, len(b.queues))
	for _, q := range b.queues {
		all = append(all, q.state())
	}
	return all
}

// errGone is the error of an item whose event has been deleted.
var errGone = errors.New("the event has been deleted")
