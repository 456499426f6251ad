// Package calendar parses the spans of named calendars, from a list of dates or from iCalendar (RFC
// 5545).
package calendar

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/emersion/go-ical"
	"github.com/teambition/rrule-go"

	"sekisho/internal/iam/policy"
	"sekisho/internal/safetext"
)

const (
	// MaxSpans bounds a calendar: five years of a rota with several shifts a day.
	MaxSpans = 10_000
	// MaxText bounds an iCalendar file.
	MaxText = 512 << 10
	// maxRecurring bounds the recurring events of a file, because a rule that matches no day is
	// abandoned only after a search over some 8,000 years.
	maxRecurring = 200
	maxInterval  = 1000 // of a recurrence rule, such as every 1000 years
	maxLength    = 100 * 366 * 24 * time.Hour
	// Horizon is how far ahead recurring events are expanded.
	Horizon = 20 * 365 * 24 * time.Hour
)

var errTooMany = fmt.Errorf("the calendar has more than %d spans of time", MaxSpans)

// FromList parses entries of three forms: a date ("2026-01-01"), a range of dates, both inclusive
// ("2026-12-29/2027-01-03"), and a range of times, the end exclusive ("2026-04-15T18:00:00Z/2026-04-16T09:00:00Z").
// Dates are local to zone.
func FromList(entries []string, zone *time.Location) ([]policy.Span, error) {
	if len(entries) > MaxSpans {
		return nil, errTooMany
	}
	spans := make([]policy.Span, 0, len(entries))
	for _, entry := range entries {
		s, err := parseEntry(strings.TrimSpace(entry), zone)
		if err != nil {
			return nil, err
		}
		spans = append(spans, s)
	}
	return spans, nil
}

func parseEntry(entry string, zone *time.Location) (policy.Span, error) {
	shown := safetext.Line(entry, 100)
	first, last, isSpan := strings.Cut(entry, "/")
	if !isSpan {
		last = first
	}
	var from, to time.Time
	from, err := time.ParseInLocation(time.DateOnly, first, zone)
	if err == nil {
		if to, err = time.ParseInLocation(time.DateOnly, last, zone); err == nil {
			to = to.AddDate(0, 0, 1)
		}
	} else if isSpan {
		if from, err = time.Parse(time.RFC3339, first); err == nil {
			to, err = time.Parse(time.RFC3339, last)
		}
	}
	if err != nil {
		return policy.Span{}, fmt.Errorf(
			"%q is neither a date such as 2026-01-01 nor a span such as 2026-12-29/2027-01-03 "+
				"or 2026-04-15T18:00:00Z/2026-04-16T09:00:00Z",
			shown,
		)
	}
	if !from.Before(to) {
		return policy.Span{}, fmt.Errorf("%q ends before it begins", shown)
	}
	return policy.Span{From: from.Unix(), To: to.Unix()}, nil
}

// FromICalendar parses the events of an iCalendar file. Times without a zone, and dates, are
// local to zone. Recurring events are expanded up to until.
func FromICalendar(text string, zone *time.Location, until time.Time) ([]policy.Span, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("the iCalendar file is larger than %d KiB", MaxText>>10)
	}
	var spans []policy.Span
	recurring := 0 // of all calendars in the file
	dec := ical.NewDecoder(strings.NewReader(text))
	for files := 0; ; files++ {
		cal, err := decode(dec)
		if errors.Is(err, io.EOF) && files > 0 {
			return spans, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the iCalendar file is malformed: %s", safetext.Line(err.Error(), 200))
		}
		events := cal.Events()
		moved, err := movedInstances(events, zone)
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			if err := checkZones(&e); err != nil {
				return nil, err
			}
			if e.Props.Get(ical.PropRecurrenceRule) != nil {
				if recurring++; recurring > maxRecurring {
					return nil, fmt.Errorf("the file has more than %d recurring events", maxRecurring)
				}
			}
			more, err := expand(&e, zone, until, moved, MaxSpans-len(spans))
			if err != nil {
				summary, _ := e.Props.Text(ical.PropSummary)
				return nil, fmt.Errorf("event %q: %w", safetext.Line(summary, 100), err)
			}
			spans = append(spans, more...)
		}
	}
}

// checkZones refuses time zones that are not of the IANA database. The file's
// own definitions (VTIMEZONE) are not read, and the name Local would be the
// server's own zone.
func checkZones(e *ical.Event) error {
	for _, props := range e.Props {
		for _, p := range props {
			name := p.Params.Get(ical.PropTimezoneID)
			if name == "" {
				continue
			}
			if _, err := policy.LoadZone(name); err != nil {
				return fmt.Errorf("%s: TZID: %s", p.Name, safetext.Line(err.Error(), 200))
			}
		}
	}
	return nil
}

// decode decodes one calendar. It recovers from panics of the decoder, which some malformed lines
// cause.
func decode(dec *ical.Decoder) (cal *ical.Calendar, err error) {
	defer func() {
		if v := recover(); v != nil {
			cal, err = nil, errors.New("malformed line")
		}
	}()
	return dec.Decode()
}

// instance names one occurrence of a recurring event.
type instance struct {
	uid string
	at  int64
}

// movedInstances returns the occurrences that other events of the same UID
// replace.
func movedInstances(events []ical.Event, zone *time.Location) (map[instance]bool, error) {
	moved := map[instance]bool{}
	for _, e := range events {
		p := e.Props.Get(ical.PropRecurrenceID)
		if p == nil {
			continue
		}
		at, err := p.DateTime(zone)
		if err != nil {
			return nil, fmt.Errorf("RECURRENCE-ID: %w", err)
		}
		uid, _ := e.Props.Text(ical.PropUID)
		moved[instance{uid, at.Unix()}] = true
	}
	return moved, nil
}

// expand returns the occurrences of an event, at most limit.
func expand(
	e *ical.Event,
	zone *time.Location,
	until time.Time,
	moved map[instance]bool,
	limit int,
) ([]policy.Span, error) {
	if status, err := e.Status(); err == nil && status == ical.EventCancelled {
		return nil, nil
	}
	start, err := e.DateTimeStart(zone)
	if err != nil || start.IsZero() {
		return nil, errors.New("DTSTART is missing, malformed or in an unknown time zone")
	}
	allDay := e.Props.Get(ical.PropDateTimeStart).ValueType() == ical.ValueDate
	end, err := e.DateTimeEnd(zone)
	if err != nil {
		return nil, fmt.Errorf("DTEND or DURATION: %w", err)
	}
	if end.Sub(start) > maxLength {
		return nil, errors.New("it lasts longer than 100 years")
	}
	// Days have 23 to 25 hours where clocks change.
	days := max(1, int((end.Sub(start)+12*time.Hour)/(24*time.Hour)))
	length := end.Sub(start)
	if !allDay && length <= 0 {
		return nil, nil // an event without duration covers no time
	}
	occurrences, err := recurrence(e, start, zone)
	if err != nil {
		return nil, err
	}
	var uid string
	if e.Props.Get(ical.PropRecurrenceID) == nil {
		uid, _ = e.Props.Text(ical.PropUID)
	}
	next := occurrences.Iterator()
	var spans []policy.Span
	for at, ok := next(); ok && !at.After(until); at, ok = next() {
		if uid != "" && moved[instance{uid, at.Unix()}] {
			continue
		}
		if len(spans) >= limit {
			return nil, errTooMany
		}
		to := at.Add(length)
		if allDay {
			to = at.AddDate(0, 0, days)
		}
		spans = append(spans, policy.Span{From: at.Unix(), To: to.Unix()})
	}
	return spans, nil
}

// recurrence returns the starts of an event's occurrences.
func recurrence(e *ical.Event, start time.Time, zone *time.Location) (*rrule.Set, error) {
	set := &rrule.Set{}
	option, err := e.Props.RecurrenceRule()
	if err != nil {
		return nil, fmt.Errorf("RRULE: %w", err)
	}
	if option == nil {
		set.RDate(start)
	} else {
		if option.Freq > rrule.DAILY {
			return nil, errors.New("RRULE: events that recur more often than daily are not supported")
		}
		if option.Freq >= rrule.WEEKLY && len(option.Bymonth)+len(option.Bymonthday)+len(option.Byyearday)+
			len(option.Byweekno)+len(option.Byeaster)+len(option.Bysetpos) > 0 {
			return nil, errors.New("RRULE: daily and weekly events can be limited by BYDAY only")
		}
		if option.Freq == rrule.DAILY && option.Interval%7 == 0 && len(option.Byweekday) > 0 && option.Interval > 0 {
			// Such a rule has one weekday. With another in BYDAY, the search for a
			// match takes long.
			return nil, errors.New("RRULE: BYDAY is redundant with an interval of 7 days; write FREQ=WEEKLY")
		}
		// A last date includes the whole day, in the event's zone.
		if untilDate.MatchString(e.Props.Get(ical.PropRecurrenceRule).Value) {
			y, m, d := option.Until.Date()
			option.Until = time.Date(y, m, d, 23, 59, 59, 0, start.Location())
		}
		option.Dtstart = start
		rule, err := newRule(option)
		if err != nil {
			return nil, fmt.Errorf("RRULE: %w", err)
		}
		set.RRule(rule)
		set.DTStart(start)
	}
	for name, add := range map[string]func(time.Time){ical.PropRecurrenceDates: set.RDate,
		ical.PropExceptionDates: set.ExDate} {
		for _, p := range e.Props.Values(name) {
			for value := range strings.SplitSeq(p.Value, ",") {
				one := p
				one.Value = value
				at, err := one.DateTime(zone)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", name, err)
				}
				add(at)
			}
		}
	}
	return set, nil
}

// newRule refuses rules whose expansion is unbounded: lists of times of day multiply, and the
// search for a day that does not exist takes a second. A rule that matches once matches again
// within 400 years, after which the calendar repeats.
func newRule(option *rrule.ROption) (rule *rrule.RRule, err error) {
	defer func() { // the library does not check all combinations
		if recover() != nil {
			rule, err = nil, errors.New("this combination of parts is not supported")
		}
	}()
	if len(option.Byhour) > 1 || len(option.Byminute) > 1 || len(option.Bysecond) > 1 {
		return nil, errors.New("events that recur more often than daily are not supported")
	}
	if option.Interval > maxInterval {
		return nil, fmt.Errorf("the interval is %d; it must be at most %d", option.Interval, maxInterval)
	}
	if rule, err = rrule.NewRRule(*option); err != nil {
		return nil, err
	}
	if _, ok := rule.Iterator()(); !ok {
		return nil, errors.New("it matches no day")
	}
	return rule, nil
}

var untilDate = regexp.MustCompile(`(?i)UNTIL=\d{8}(;|$)`)
