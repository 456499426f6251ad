package policy

import (
	"cmp"
	"slices"
	"sort"
	"strings"
)

// Span is a span of time in Unix seconds: From inclusive, To exclusive.
type Span struct{ From, To int64 }

// Calendar is a set of spans of time that policies can refer to by name, with
// the condition key sekisho:Calendar/NAME. It is immutable.
type Calendar struct {
	spans []Span // sorted, disjoint, not adjacent
}

// NewCalendar returns a calendar of spans in any order. Empty spans are
// ignored.
func NewCalendar(spans []Span) *Calendar {
	sorted := slices.DeleteFunc(slices.Clone(spans), func(s Span) bool { return s.From >= s.To })
	slices.SortFunc(sorted, func(a, b Span) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	c := &Calendar{}
	for _, s := range sorted {
		if n := len(c.spans); n > 0 && s.From <= c.spans[n-1].To {
			c.spans[n-1].To = max(c.spans[n-1].To, s.To)
			continue
		}
		c.spans = append(c.spans, s)
	}
	return c
}

// Contains reports whether a second is within the calendar.
func (c *Calendar) Contains(sec int64) bool {
	i := sort.Search(len(c.spans), func(i int) bool { return c.spans[i].To > sec })
	return i < len(c.spans) && c.spans[i].From <= sec
}

// Upcoming returns the spans that end after a second, at most limit.
func (c *Calendar) Upcoming(sec int64, limit int) []Span {
	i := sort.Search(len(c.spans), func(i int) bool { return c.spans[i].To > sec })
	return slices.Clone(c.spans[i:min(len(c.spans), i+limit)])
}

// changes returns the bounds of spans from first to last; a nil calendar has
// none.
func (c *Calendar) changes(first, last int64) []int64 {
	if c == nil {
		return nil
	}
	var at []int64
	for _, s := range c.spans {
		for _, sec := range [...]int64{s.From, s.To} {
			if first <= sec && sec <= last {
				at = append(at, sec)
			}
		}
	}
	return at
}

// MaxCalendarName bounds the name of a calendar.
const MaxCalendarName = 64

// ValidCalendarName reports whether a calendar can have a name: up to 64
// letters, digits, hyphens, underscores and dots.
func ValidCalendarName(name string) bool {
	return name != "" && len(name) <= MaxCalendarName && strings.IndexFunc(name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_.", r))
	}) < 0
}

// Calendars returns the names of the calendars that a document refers to, in
// lower case, sorted.
func (d *Document) Calendars() []string {
	var names []string
	for _, s := range d.statements {
		for _, c := range s.conditions {
			if c.recurs != nil && c.recurs.kind == recursByCalendar {
				names = append(names, c.recurs.calendar)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// bind returns d with its conditions on calendars bound to calendars.
func (d *Document) bind(calendars map[string]*Calendar) *Document {
	if d.Err() != nil || len(d.Calendars()) == 0 {
		return d
	}
	bound := *d
	bound.statements = slices.Clone(d.statements)
	for i, s := range bound.statements {
		copied := *s
		copied.conditions = slices.Clone(s.conditions)
		for j, c := range copied.conditions {
			if c.recurs == nil || c.recurs.kind != recursByCalendar {
				continue
			}
			condition, recurs := *c, *c.recurs
			recurs.spans = calendars[recurs.calendar]
			condition.recurs = &recurs
			copied.conditions[j] = &condition
		}
		bound.statements[i] = &copied
	}
	return &bound
}
