package event

import (
	"context"
	"time"

	"sekisho"
)

// Record is an event as it is kept: its body is what webhooks get, byte for
// byte.
type Record struct {
	Seq     int64 // 1, 2, 3, … in the order of storing
	ID      string
	Type    Type
	Subject string
	Time    time.Time // to the microsecond
	Body    []byte    // JSON
}

// Item is an event that waits for a webhook.
type Item struct {
	Webhook  string
	Seq      int64
	Subject  string
	At       time.Time // since when it waits
	Attempts int       // that failed
}

// Tally is what became of a webhook's events, ever.
type Tally struct {
	Webhook         string
	Delivered       int64
	GivenUp         int64 // not delivered in time
	Dropped         int64 // too many waited
	LastDeliveredAt time.Time
	LastFailedAt    time.Time
	LastFailure     string // in words
}

// Batch is what is added in one step.
type Batch struct {
	Records []Record
	Items   []Item           // to be delivered
	Drop    []Item           // no longer to be delivered
	Dropped map[string]int64 // to be added to the tallies
	// Told are the nodes that records say are up, or down.
	Told map[sekisho.NodeID]bool
	// Keep is how many records are kept that nobody waits for.
	Keep int64
}

// Outcome is what became of one attempt to deliver.
type Outcome struct {
	Item      Item // as it is now
	At        time.Time
	Delivered bool
	GivenUp   bool
	Failure   string // why not; empty when it was delivered
}

// Query selects records. Zero fields select all.
type Query struct {
	Type    Type
	Subject string
	Before  int64 // records with a smaller number only; 0 = from the newest
	Limit   int   // must be positive
}

// Store keeps events.
type Store interface {
	// AddEvents adds a batch: all of it or nothing. A number that is taken is
	// an error of sekisho.CodeConflict.
	AddEvents(ctx context.Context, b Batch) error
	// LastEvent is the greatest number ever given; 0 when there is none.
	LastEvent(ctx context.Context) (int64, error)
	Event(ctx context.Context, seq int64) (*Record, error)
	// Events returns the records that q selects, the newest first.
	Events(ctx context.Context, q Query) ([]*Record, error)

	// EventItems returns what waits for a webhook, the oldest first.
	EventItems(ctx context.Context, webhook string) ([]Item, error)
	// SettleEvent keeps an outcome: the item is gone, or has one failed
	// attempt more.
	SettleEvent(ctx context.Context, o Outcome) error
	// Tallies returns the tallies of all webhooks that ever had one, by name.
	Tallies(ctx context.Context) ([]Tally, error)
	// ForgetWebhooks removes what waits for other webhooks than these, and
	// their tallies. It returns how many items that were.
	ForgetWebhooks(ctx context.Context, except []string) (int64, error)

	// NodesTold returns for each node whether the last record about that said
	// that it is up.
	NodesTold(ctx context.Context) (map[sekisho.NodeID]bool, error)
}
