package identity

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/iam/calendar"
	"sekisho/internal/iam/policy"
	"sekisho/internal/safetext"
)

const (
	maxCalendars           = 100
	maxCalendarDescription = 256
)

// Calendar is a named set of spans of time that policies refer to with the
// condition key sekisho:Calendar/NAME.
type Calendar struct {
	Name        string
	Description string `json:",omitempty"`
	Zone        string
	// Entries are the spans as they were given; empty if they come from an
	// iCalendar file.
	Entries []string `json:",omitempty"`
	Spans   []policy.Span
	Updated time.Time
	// CoversUntil is the time up to which recurring events of an iCalendar file were expanded; zero
	// for a list.
	CoversUntil time.Time `json:",omitzero"`
}

func (c *Calendar) kind() Kind  { return KindCalendar }
func (c *Calendar) key() string { return strings.ToLower(c.Name) }

// Upcoming returns the spans that end after now, at most limit, merged.
func (c *Calendar) Upcoming(now time.Time, limit int) []policy.Span {
	return policy.NewCalendar(c.Spans).Upcoming(now.Unix(), limit)
}

// calendarSet is the calendars of the account as policies see them. Like the entities from which
// policies are compiled, it is replaced whenever one of them changes.
type calendarSet struct {
	byName map[string]*policy.Calendar
}

func (*calendarSet) kind() Kind  { return KindCalendar }
func (*calendarSet) key() string { return "" }

// with returns a copy of the set with one calendar replaced; nil removes it.
func (s *calendarSet) with(key string, c *policy.Calendar) *calendarSet {
	out := &calendarSet{byName: map[string]*policy.Calendar{}}
	if s != nil {
		maps.Copy(out.byName, s.byName)
	}
	if c == nil {
		delete(out.byName, key)
	} else {
		out.byName[key] = c
	}
	return out
}

// NewCalendar describes a calendar: by a list of entries or by an iCalendar
// file, whose recurring events are expanded for [calendar.Horizon].
type NewCalendar struct {
	Name        string
	Description string
	Zone        string // UTC if empty
	Entries     []string
	ICalendar   string
}

// Put creates or replaces a calendar.
func (calendars *Calendars) Put(ctx context.Context, n NewCalendar) (*Calendar, error) {
	if !policy.ValidCalendarName(n.Name) {
		return nil, invalid(
			"%q is not a valid calendar name: use up to %d letters, digits, hyphens, underscores and dots.",
			printable(n.Name),
			policy.MaxCalendarName,
		)
	}
	if len(n.Description) > maxCalendarDescription {
		return nil, invalid("The description is longer than %d characters.", maxCalendarDescription)
	}
	if (len(n.Entries) == 0) == (n.ICalendar == "") {
		return nil, invalid("Give either entries or an iCalendar file.")
	}
	if n.Zone == "" {
		n.Zone = "UTC"
	}
	zone, err := policy.LoadZone(n.Zone)
	if err != nil {
		return nil, invalid("%s", safetext.Sentence(printable(err.Error())))
	}
	c := &Calendar{Name: n.Name, Description: n.Description, Zone: n.Zone, Entries: n.Entries}
	if n.ICalendar != "" {
		c.CoversUntil = calendars.now().Add(calendar.Horizon).UTC().Truncate(time.Second)
		c.Spans, err = calendar.FromICalendar(n.ICalendar, zone, c.CoversUntil)
	} else {
		c.Spans, err = calendar.FromList(n.Entries, zone)
	}
	if err != nil {
		return nil, invalid("Invalid calendar: %s", safetext.Sentence(err.Error()))
	}
	err = calendars.update(ctx, func(t *tx) error {
		if t.calendars[c.key()] == nil && len(t.calendars) >= maxCalendars {
			return limit("Cannot exceed quota for calendars: %d", maxCalendars)
		}
		c.Updated = t.now
		t.put(c)
		return nil
	})
	return c, err
}

// Get returns a calendar by its name, in any letter case.
func (calendars *Calendars) Get(ctx context.Context, name string) (*Calendar, error) {
	return get(ctx, calendars.account, func(s *state) (*Calendar, error) { return s.calendar(name) })
}

func (s *state) calendar(name string) (*Calendar, error) {
	if c := s.calendars[strings.ToLower(name)]; c != nil {
		return c, nil
	}
	return nil, notFound("There is no calendar %s.", printable(name))
}

// List returns every calendar, by name.
func (calendars *Calendars) List(ctx context.Context) ([]*Calendar, error) {
	return get(ctx, calendars.account, func(s *state) ([]*Calendar, error) { return sorted(s.calendars), nil })
}

// ForPolicies returns the calendars as policies refer to them.
func (calendars *Calendars) ForPolicies(ctx context.Context) (map[string]*policy.Calendar, error) {
	return get(ctx, calendars.account,
		func(s *state) (map[string]*policy.Calendar, error) { return s.calendarSet.byName, nil })
}

// Delete removes a calendar that no policy of a user, group or role
// refers to. A resource policy that refers to a missing calendar allows
// nothing and denies everything by such a statement.
func (calendars *Calendars) Delete(ctx context.Context, name string) error {
	return calendars.update(ctx, func(t *tx) error {
		c, err := t.calendar(name)
		if err != nil {
			return err
		}
		if user := t.calendarUser(c.key()); user != "" {
			return inUse("The calendar %s is used by %s.", c.Name, user)
		}
		t.drop(c)
		return nil
	})
}

// calendarUser names a policy that refers to a calendar, or returns "".
func (s *state) calendarUser(key string) string {
	uses := func(text string) bool {
		if !strings.Contains(strings.ToLower(text), "calendar") {
			return false
		}
		doc, err := policy.Parse([]byte(text))
		return err != nil || slices.Contains(doc.Calendars(), key)
	}
	for kind, h := range s.holders {
		for name, text := range h.Inline {
			if uses(text) {
				return "the policy " + name + " of the " + string(kind) + " " + h.Name
			}
		}
	}
	for _, p := range s.policies {
		for i := range p.Versions {
			if uses(p.Versions[i].Document) {
				return p.ARN + " (" + p.Versions[i].ID + ")"
			}
		}
	}
	for _, r := range s.roles {
		if uses(r.Trust) {
			return "the trust policy of the role " + r.Name
		}
	}
	return ""
}

// checkDocument refuses a policy document as IAM does, and one that refers to
// a calendar that does not exist.
func (s *state) checkDocument(document string, kind policy.Kind) error {
	if err := checkDocument(document, kind); err != nil {
		return err
	}
	doc, err := policy.Parse([]byte(document))
	if err != nil {
		return err
	}
	for _, name := range doc.Calendars() {
		if s.calendars[name] == nil {
			return sekisho.Errorf(
				sekisho.CodeMalformedPolicy,
				"The policy refers to the calendar %s, which does not exist.",
				name,
			)
		}
	}
	return nil
}
