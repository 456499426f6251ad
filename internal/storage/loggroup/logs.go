// Package loggroup is a small log service: groups of streams of events. Events are
// only appended. Messages are sealed before they are stored.
package loggroup

import (
	"context"
	"regexp"
	"time"
	"unicode/utf8"

	"sekisho"
	"sekisho/internal/safetext"
)

// Limits of CloudWatch Logs.
const (
	MaxEvents     = 10_000  // per batch, and per page
	MaxBatch      = 1 << 20 // bytes, with eventOverhead for each event
	eventOverhead = 26
	maxSpan       = 24 * time.Hour
	maxAge        = 14 * 24 * time.Hour
	maxFuture     = 2 * time.Hour

	// maxPage limits the messages of one response, maxScan the bytes read for it.
	maxPage = 1 << 20
	maxScan = 50_000

	keyPurpose = "logs"
)

// Group is a log group.
type Group struct {
	Name      string
	CreatedAt time.Time
	Retention int    // days; 0 = unlimited
	KMSKey    string // as the caller named it
	Tags      map[string]string
}

// Stream is a log stream.
type Stream struct {
	Group         string
	Name          string
	CreatedAt     time.Time
	FirstEvent    time.Time // zero = no events
	LastEvent     time.Time
	LastIngestion time.Time
}

// Event is one event of a stream.
type Event struct {
	Group      string
	Stream     string
	Time       time.Time // to the millisecond
	Seq        int64     // orders events of the same time by arrival
	IngestedAt time.Time
	Message    []byte // sealed in the store
}

// Place is a position after the event with this time and Seq.
type Place struct {
	Time time.Time
	Seq  int64
}

// Query asks for events, in order of time and arrival.
type Query struct {
	Group    string
	Streams  []string // nil = all
	Prefix   string   // of the streams' names
	Start    time.Time
	End      time.Time // exclusive; zero = no end
	After    *Place    // with Backward: before it
	Backward bool      // newest first
}

// Store keeps groups, streams and events.
type Store interface {
	CreateLogGroup(ctx context.Context, g *Group) error // conflict
	LogGroup(ctx context.Context, name string) (*Group, error)
	// LogGroups lists by name, after the name in after.
	LogGroups(ctx context.Context, prefix, after string, limit int) ([]*Group, error)
	UpdateLogGroup(ctx context.Context, name string, change func(*Group) error) error
	DeleteLogGroup(ctx context.Context, name string) error
	CreateLogStream(ctx context.Context, s *Stream) error // conflict; not found without the group
	LogStream(ctx context.Context, group, name string) (*Stream, error)
	LogStreams(ctx context.Context, q StreamQuery) ([]*Stream, error)
	DeleteLogStream(ctx context.Context, group, name string) error
	// AppendLogEvents assigns each event its Seq.
	AppendLogEvents(ctx context.Context, group, stream string, events []*Event) error
	// LogEvents calls each for every event until it returns false.
	LogEvents(ctx context.Context, q Query, each func(*Event) (bool, error)) error
	// ExpireLogEvents removes a group's events older than before.
	ExpireLogEvents(ctx context.Context, group string, before time.Time) error
}

// StreamQuery selects streams of a group, by name.
type StreamQuery struct {
	Group, Prefix string
	ByLastEvent   bool // by the time of the last event, then by name
	Descending    bool
	After         StreamPlace // where the previous page ended
	Limit         int         // 0 = none
}

// StreamPlace is the place of a stream in lists. The zero value precedes all.
type StreamPlace struct {
	LastEvent time.Time
	Name      string
}

// Keys seals messages.
type Keys interface {
	Seal(purpose string, plaintext, aad []byte) ([]byte, error)
	Open(purpose string, sealed, aad []byte) ([]byte, error)
}

// Service is the log service. It is safe for concurrent use.
type Service struct {
	store Store
	keys  Keys
	now   func() time.Time
}

// New returns a Service; nil for now is the real clock.
func New(store Store, keys Keys, now func() time.Time) *Service {
	if now == nil {
		now = time.Now
	}
	return &Service{store, keys, now}
}

var (
	groupName  = regexp.MustCompile(`^[.\-_/#A-Za-z0-9]{1,512}$`)
	streamName = regexp.MustCompile(`^[^:*]{1,512}$`)
	retentions = map[int]bool{
		1: true, 3: true, 5: true, 7: true, 14: true, 30: true, 60: true, 90: true, 120: true, 150: true, 180: true,
		365: true, 400: true,
		545: true, 731: true, 1096: true, 1827: true, 2192: true, 2557: true, 2922: true, 3288: true, 3653: true,
	}
)

func invalid(format string, args ...any) error {
	return sekisho.Errorf(sekisho.CodeInvalid, format, args...)
}

func (s *Service) time() time.Time { return s.now().UTC().Truncate(time.Millisecond) }

// ValidGroupName reports whether a log group can have this name.
func ValidGroupName(name string) bool { return groupName.MatchString(name) }

// CreateGroup makes a group.
func (s *Service) CreateGroup(ctx context.Context, g Group) error {
	if !ValidGroupName(g.Name) {
		return invalid(
			"The log group name %q is not valid: it must have 1 to 512 letters, digits and . - _ / # characters.",
			safetext.Line(g.Name, 100),
		)
	}
	g.CreatedAt = s.time()
	return s.store.CreateLogGroup(ctx, &g)
}

// Group returns a group.
func (s *Service) Group(ctx context.Context, name string) (*Group, error) {
	return s.store.LogGroup(ctx, name)
}

// Groups lists groups whose names begin with prefix, after the name in after.
func (s *Service) Groups(ctx context.Context, prefix, after string, limit int) ([]*Group, error) {
	return s.store.LogGroups(ctx, prefix, after, limit)
}

// DeleteGroup removes a group with its streams and events.
func (s *Service) DeleteGroup(ctx context.Context, name string) error {
	return s.store.DeleteLogGroup(ctx, name)
}

// SetRetention sets for how many days events are kept; 0 = unlimited.
func (s *Service) SetRetention(ctx context.Context, group string, days int) error {
	if days != 0 && !retentions[days] {
		return invalid(
			"The retention of %d days is not valid. Choose one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, "+
				"545, 731, 1096, 1827, 2192, 2557, 2922, 3288 and 3653 days.",
			days,
		)
	}
	return s.UpdateGroup(ctx, group, func(g *Group) error { g.Retention = days; return nil })
}

// UpdateGroup changes a group.
func (s *Service) UpdateGroup(ctx context.Context, name string, change func(*Group) error) error {
	return s.store.UpdateLogGroup(ctx, name, change)
}

// CreateStream makes a stream.
func (s *Service) CreateStream(ctx context.Context, group, name string) error {
	if !streamName.MatchString(name) || !utf8.ValidString(name) {
		return invalid(
			"The log stream name %q is not valid: it must have 1 to 512 characters, without colons and asterisks.",
			safetext.Line(name, 100),
		)
	}
	return s.store.CreateLogStream(ctx, &Stream{Group: group, Name: name, CreatedAt: s.time()})
}

// Stream returns a stream.
func (s *Service) Stream(ctx context.Context, group, name string) (*Stream, error) {
	return s.store.LogStream(ctx, group, name)
}

// Streams lists streams of a group.
func (s *Service) Streams(ctx context.Context, q StreamQuery) ([]*Stream, error) {
	if _, err := s.store.LogGroup(ctx, q.Group); err != nil {
		return nil, err
	}
	return s.store.LogStreams(ctx, q)
}

// DeleteStream removes a stream and its events.
func (s *Service) DeleteStream(ctx context.Context, group, name string) error {
	return s.store.DeleteLogStream(ctx, group, name)
}

// Rejected reports which events of a batch were rejected. An index is -1 if no event was
// rejected for that reason.
type Rejected struct {
	TooOldEnd   int // events before this one are too old
	ExpiredEnd  int // events before this one are past the group's retention
	TooNewStart int // this event and those after it are too far in the future
}

// Any reports whether any event was rejected.
func (r Rejected) Any() bool { return r != Rejected{-1, -1, -1} }

// Put appends a batch of events. Only their Time and Message are used.
func (s *Service) Put(ctx context.Context, group, stream string, batch []Event) (Rejected, error) {
	rejected := Rejected{-1, -1, -1}
	if len(batch) == 0 || len(batch) > MaxEvents {
		return rejected, invalid("A batch has 1 to %d log events.", MaxEvents)
	}
	size := 0
	for i, e := range batch {
		if len(e.Message) == 0 {
			return rejected, invalid("Log event message length must be greater than 0")
		}
		size += len(e.Message) + eventOverhead
		if i > 0 && e.Time.Before(batch[i-1].Time) {
			return rejected, invalid("Log events in a single PutLogEvents request must be in chronological order.")
		}
	}
	if size > MaxBatch {
		return rejected, invalid("Upload too large: %d bytes exceeds limit of %d", size, MaxBatch)
	}
	if batch[len(batch)-1].Time.Sub(batch[0].Time) > maxSpan {
		return rejected, invalid(
			"The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
		)
	}
	g, err := s.store.LogGroup(ctx, group)
	if err != nil {
		return rejected, err
	}
	now := s.time()
	var events []*Event
	for i, e := range batch {
		switch {
		case g.Retention > 0 && e.Time.Before(now.AddDate(0, 0, -g.Retention)):
			rejected.ExpiredEnd = i + 1
		case e.Time.Before(now.Add(-maxAge)):
			rejected.TooOldEnd = i + 1
		case e.Time.After(now.Add(maxFuture)):
			if rejected.TooNewStart < 0 {
				rejected.TooNewStart = i
			}
		default:
			sealed, err := s.keys.Seal(keyPurpose, e.Message, aad(group, stream))
			if err != nil {
				return rejected, err
			}
			events = append(
				events,
				&Event{Group: group, Stream: stream, Time: e.Time, IngestedAt: now, Message: sealed},
			)
		}
	}
	if len(events) == 0 {
		_, err := s.store.LogStream(ctx, group, stream)
		return rejected, err
	}
	return rejected, s.store.AppendLogEvents(ctx, group, stream, events)
}

// aad binds a message to its stream. Neither name has a colon.
func aad(group, stream string) []byte { return []byte(group + ":" + stream) }

// Found is one page of events, oldest first.
type Found struct {
	Events []*Event
	// Next is where the search resumes; nil = it is complete.
	Next *Place
}

// Find returns up to limit events that match. It may stop early, with Next set,
// after scanning many events.
func (s *Service) Find(ctx context.Context, q Query, limit int, match Pattern) (*Found, error) {
	if _, err := s.store.LogGroup(ctx, q.Group); err != nil {
		return nil, err
	}
	for _, stream := range q.Streams {
		if _, err := s.store.LogStream(ctx, q.Group, stream); err != nil {
			return nil, err
		}
	}
	found := &Found{}
	size, scanned := 0, 0
	var last *Place
	err := s.store.LogEvents(ctx, q, func(e *Event) (bool, error) {
		plain, err := s.keys.Open(keyPurpose, e.Message, aad(e.Group, e.Stream))
		if err != nil {
			return false, err
		}
		matches := match.Match(string(plain))
		if len(found.Events) >= limit || scanned >= maxScan || matches && size > 0 &&
			size+len(plain)+eventOverhead > maxPage {
			found.Next = last
			return false, nil
		}
		scanned++
		last = &Place{e.Time, e.Seq}
		if matches {
			size += len(plain) + eventOverhead
			e.Message = plain
			found.Events = append(found.Events, e)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	if q.Backward {
		for i, j := 0, len(found.Events)-1; i < j; i, j = i+1, j-1 {
			found.Events[i], found.Events[j] = found.Events[j], found.Events[i]
		}
	}
	return found, nil
}

// Expire removes the events past their group's retention.
func (s *Service) Expire(ctx context.Context) error {
	after := ""
	for {
		groups, err := s.store.LogGroups(ctx, "", after, 100)
		if err != nil || len(groups) == 0 {
			return err
		}
		for _, g := range groups {
			if g.Retention > 0 {
				if err := s.store.ExpireLogEvents(ctx, g.Name, s.time().AddDate(0, 0, -g.Retention)); err != nil {
					return err
				}
			}
			after = g.Name
		}
	}
}
