package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Record is a stored event.
type Record struct {
	Seq  int64  // 1, 2, 3, …
	Hash []byte // see the package comment
	Body []byte // the event as JSON, stored byte for byte
	Index
}

// Index contains the fields for lookups of a record. It is derived from the body.
type Index struct {
	EventID     string
	Time        time.Time // to the microsecond
	EventName   string
	EventSource string
	Username    string
	AccessKeyID string
	ReadOnly    bool
	Resources   []ResourceIndex
}

// ResourceIndex is one resource of a record, found by name or by ARN.
type ResourceIndex struct{ Name, ARN, Type string }

// Query selects records. Zero fields select all.
type Query struct {
	EventID      string
	EventName    string
	EventSource  string
	Username     string
	AccessKeyID  string
	ReadOnly     *bool
	ResourceType string
	ResourceName string // a name or an ARN
	Start, End   time.Time
	Before       int64 // number of the record that ended the previous page; 0 = from the newest
	Limit        int   // must be positive
}

// Head is a signed statement: when it was made, record Seq was the newest and
// had this hash.
type Head struct {
	Seq       int64     `json:"seq"`
	Hash      []byte    `json:"hash"`
	Time      time.Time `json:"time"`
	Signature []byte    `json:"signature"`
}

// Intent is the event, without an outcome, of a call that has begun.
type Intent struct {
	ID   string // of the event
	Body []byte // the event as JSON
}

// Batch is stored in one transaction.
type Batch struct {
	Records  []Record
	Heads    []Head // of some of the records, or of earlier ones
	Begun    []Intent
	Finished []string // IDs of intents to remove
}

// Store keeps records and heads. It never alters or removes one.
type Store interface {
	// AppendAudit stores b atomically. If the number of a record is taken, the error has
	// sekisho.CodeConflict. A second head for the same number is ignored.
	AppendAudit(ctx context.Context, b Batch) error
	// AppendAuditAfter stores the batch that build returns for the newest record; its resources are not
	// set, and the record of an empty trail is zero. Other members append before or after it. build
	// can be called again after a failure.
	AppendAuditAfter(ctx context.Context, build func(last Record) Batch) error
	// AuditIntents returns up to limit intents.
	AuditIntents(ctx context.Context, limit int) ([]Intent, error)
	// LastAudit returns the record with the greatest number, or the zero Record.
	LastAudit(ctx context.Context) (Record, error)
	// AuditAfter returns up to limit records with numbers greater than seq, in ascending order.
	AuditAfter(ctx context.Context, seq int64, limit int) ([]Record, error)
	// LookupAudit returns the records that q selects, newest first: by time, then by number.
	LookupAudit(ctx context.Context, q Query) ([]Record, error)
	// AuditHeads returns all heads, sorted by number.
	AuditHeads(ctx context.Context) ([]Head, error)
}

// encode returns the body and the index of e's record.
func encode(e *Event) ([]byte, Index, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return nil, Index{}, fmt.Errorf("audit: event %s: %w", e.ID, err)
	}
	if !bytes.Contains(body, []byte(`\ufffd`)) {
		return body, indexOf(e), nil
	}
	// Derive the index from the body, in which invalid UTF-8 has been replaced.
	stored, err := Record{Body: body}.Event()
	if err != nil {
		return nil, Index{}, err
	}
	return body, indexOf(&stored), nil
}

func chain(prev, body []byte) []byte {
	h := sha256.New()
	h.Write(prev)
	h.Write(body)
	return h.Sum(nil)
}

func indexOf(e *Event) Index {
	x := Index{
		EventID: column(
			e.ID,
		), Time: e.Time.UTC().Truncate(time.Microsecond), EventName: column(e.EventName), EventSource: column(e.EventSource),
		Username: column(e.UserIdentity.Name()), AccessKeyID: column(e.UserIdentity.AccessKeyID), ReadOnly: e.ReadOnly,
	}
	for _, r := range e.Resources {
		x.Resources = append(
			x.Resources,
			ResourceIndex{Name: column(r.Name()), ARN: column(r.ARN), Type: column(r.Type)},
		)
	}
	return x
}

// column makes s valid for a text column. Callers choose some of these values, and a NUL must not
// keep an event out of the trail.
func column(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func (x Index) equal(y Index) bool {
	a, b := slices.Clone(x.Resources), slices.Clone(y.Resources)
	less := func(p, q ResourceIndex) int { return strings.Compare(p.ARN+"\x00"+p.Type, q.ARN+"\x00"+q.Type) }
	slices.SortFunc(a, less)
	slices.SortFunc(b, less)
	return slices.Equal(a, b) && x.Time.Equal(y.Time) && x.EventID == y.EventID && x.EventName == y.EventName &&
		x.EventSource == y.EventSource && x.Username == y.Username && x.AccessKeyID == y.AccessKeyID &&
		x.ReadOnly == y.ReadOnly
}

// Event decodes the event.
func (r Record) Event() (Event, error) {
	var stored struct {
		Event
		RequestParameters json.RawMessage `json:"request"`
		ResponseElements  json.RawMessage `json:"response"`
	}
	if err := json.Unmarshal(r.Body, &stored); err != nil {
		return Event{}, fmt.Errorf("audit: record %d: %w", r.Seq, err)
	}
	e := stored.Event
	if len(stored.RequestParameters) > 0 {
		e.RequestParameters = json.RawMessage(bytes.Clone(stored.RequestParameters))
	}
	if len(stored.ResponseElements) > 0 {
		e.ResponseElements = json.RawMessage(bytes.Clone(stored.ResponseElements))
	}
	return e, nil
}

// signed returns the number of the newest record that has a head in b.
func (b *Batch) signed() int64 {
	if len(b.Heads) == 0 {
		return 0
	}
	return b.Heads[len(b.Heads)-1].Seq
}
