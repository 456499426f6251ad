package event

import (
	"context"
	"time"

	"sekisho"
)

// Record is a stored event. Webhooks receive its body byte for byte.
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
	At       time.Time // when it was queued
	Attempts int       // failed ones
}

// Tally counts the outcomes of all events of a webhook.
type Tally struct {
	Webhook         string
	Delivered       int64
	GivenUp         int64 // not delivered in time
	Dropped         int64 // too many waited
	LastDeliveredAt time.Time
	LastFailedAt    time.Time
	LastFailure     string // for people
}

// Batch is a change that is stored atomically.
type Batch struct {
	Records []Record
	Items   []Item           // to be delivered
	Drop    []Item           // no longer to be delivered
	Dropped map[string]int64 // to be added to the tallies
	// NodesUp holds, for each node with a NodeUp or NodeDown record, whether it is up.
	NodesUp map[sekisho.NodeID]bool
}

// Removal describes events that retention has removed.
type Removal struct {
	Events      int64 // their number
	First, Last int64 // the smallest and the greatest Seq of them
}

// Outcome is the result of one delivery attempt.
type Outcome struct {
	Item      Item // after the attempt
	At        time.Time
	Delivered bool
	GivenUp   bool
	Failure   string // the reason; empty if it was delivered
}

// Query selects records. Zero fields select all.
type Query struct {
	Type    Type
	Subject string
	Before  int64 // only records with a smaller number; 0 = from the newest
	Limit   int   // must be positive
}

// Store keeps events.
type Store interface {
	// AddEvents adds a batch atomically. The error is sekisho.CodeConflict if a Seq is
	// taken.
	AddEvents(ctx context.Context, b Batch) error
	// LastEvent returns the greatest Seq ever assigned; 0 if there is none.
	LastEvent(ctx context.Context) (int64, error)
	// RemoveEvents removes the events that happened before a time, and all but the newest
	// keep events. Events that wait for a webhook stay.
	RemoveEvents(ctx context.Context, before time.Time, keep int64) (Removal, error)
	Event(ctx context.Context, seq int64) (*Record, error)
	// Events returns the records that q selects, newest first.
	Events(ctx context.Context, q Query) ([]*Record, error)

	// EventItems returns the items that wait for a webhook, oldest first.
	EventItems(ctx context.Context, webhook string) ([]Item, error)
	// SettleEvent stores an outcome: it deletes the item or counts a failed attempt.
	SettleEvent(ctx context.Context, o Outcome) error
	// Tallies returns the tallies of all webhooks, sorted by name.
	Tallies(ctx context.Context) ([]Tally, error)
	// ForgetWebhooks removes the items and tallies of all webhooks except these. It
	// returns the number of removed items.
	ForgetWebhooks(ctx context.Context, except []string) (int64, error)

	// NodesUp returns, for each node with a NodeUp or NodeDown record, whether the last
	// one is a NodeUp.
	NodesUp(ctx context.Context) (map[sekisho.NodeID]bool, error)
}
