package policy

import (
	_ "embed" // the names of zones
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sekisho/internal/nearest"
)

// Condition keys for recurring times. The engine derives their values from aws:CurrentTime, so
// callers need not set them. They do not exist in AWS, where such a condition never holds.
//
//	sekisho:Weekday/ZONE    Mon … Sun               String operators
//	sekisho:TimeOfDay/ZONE  00:00 … 24:00           Date operators
//	sekisho:Date/ZONE       2026-04-15              Date operators
//	sekisho:Calendar/NAME   true within a calendar  Bool
const (
	ownPrefix       = "sekisho:"
	weekdayPrefix   = ownPrefix + "weekday/"
	timeOfDayPrefix = ownPrefix + "timeofday/"
	datePrefix      = ownPrefix + "date/"
	calendarPrefix  = ownPrefix + "calendar/"

	currentTimeKey = "aws:currenttime"
	sourceIPKey    = "aws:sourceip"
)

type recurringKind uint8

const (
	recursByWeekday recurringKind = iota
	recursByTimeOfDay
	recursByDate
	recursByCalendar
)

const secondsPerDay = 24 * 60 * 60

// recurrence is the compiled key of a condition on a recurring time.
type recurrence struct {
	kind     recurringKind
	zone     *time.Location
	calendar string    // name in lower case
	spans    *Calendar // set by Compile; nil if the calendar does not exist

	days            [7]bool // the condition's result on each time.Weekday
	inside, outside bool    // its result within the calendar, and outside
}

var weekdays = [...]string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}

// zones caches time zones by name, only for existing names.
var zones sync.Map

// zonesText are the names of the zones of the IANA database that Go embeds.
//
//go:embed zones.txt
var zonesText string

var zoneNames = sync.OnceValue(func() []string { return strings.Fields(zonesText) })

// LoadZone returns a time zone of the IANA database. It refuses the server's own zone ("Local"),
// which would make a policy's meaning depend on the server.
func LoadZone(name string) (*time.Location, error) {
	if z, ok := zones.Load(name); ok {
		return z.(*time.Location), nil
	}
	var z *time.Location
	var err error
	// Some machines have their zones in files whose names differ in case.
	if slices.Contains(zoneNames(), name) {
		z, err = time.LoadLocation(name)
	}
	if z == nil || err != nil {
		return nil, fmt.Errorf("%q is not a time zone; %s", name, suggestion(
			nearest.Name(name, zoneNames()), "write a name such as Asia/Tokyo"))
	}
	zones.Store(name, z)
	return z, nil
}

// parseRecurrence parses a condition key; it returns nil for keys of AWS.
func parseRecurrence(key string) (*recurrence, error) {
	low := strings.ToLower(key)
	if !strings.HasPrefix(low, ownPrefix) {
		return nil, nil
	}
	for prefix, kind := range map[string]recurringKind{
		weekdayPrefix: recursByWeekday, timeOfDayPrefix: recursByTimeOfDay, datePrefix: recursByDate,
	} {
		if strings.HasPrefix(low, prefix) {
			zone, err := LoadZone(key[len(prefix):])
			return &recurrence{kind: kind, zone: zone}, err
		}
	}
	if name, ok := strings.CutPrefix(low, calendarPrefix); ok {
		if !ValidCalendarName(name) {
			return nil, fmt.Errorf("%q is not a valid calendar name", name)
		}
		return &recurrence{kind: recursByCalendar, calendar: name}, nil
	}
	return nil, fmt.Errorf("unknown condition key %s: want sekisho:Weekday/ZONE, sekisho:TimeOfDay/ZONE, "+
		"sekisho:Date/ZONE or sekisho:Calendar/NAME", key)
}

// recurrence returns the recurring time of a condition, nil if its key is of
// AWS, and an error if operator or values do not fit the key.
func (c *rawCondition) recurrence() (*recurrence, error) {
	r, err := parseRecurrence(c.key)
	if r == nil || err != nil {
		return nil, err
	}
	if c.op.set != setNone {
		return nil, errors.New("the key has one value: use the operator without ForAllValues and ForAnyValue")
	}
	for _, v := range c.values {
		if err := r.accepts(c.op.cmp, v); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// accepts checks that a policy value can match the key under an operator.
func (r *recurrence) accepts(cmp comparison, value string) error {
	switch r.kind {
	case recursByWeekday:
		if cmp != cmpString && cmp != cmpFold && cmp != cmpLike {
			return errors.New("weekdays require String operators")
		}
		if p := weekdayPattern(cmp, value); !slices.ContainsFunc(weekdays[:], p) {
			return NotAWeekday(value)
		}
	case recursByTimeOfDay:
		if cmp != cmpDate {
			return errors.New("times of day require Date operators")
		}
		return CheckTimeOfDay(value)
	case recursByDate:
		if cmp != cmpDate {
			return errors.New("dates require Date operators")
		}
		return CheckDate(value)
	case recursByCalendar:
		if cmp != cmpBool {
			return errors.New("calendars require the operator Bool")
		}
		if !strings.EqualFold(value, "true") && !strings.EqualFold(value, "false") {
			return fmt.Errorf("%q is neither true nor false", value)
		}
	}
	return nil
}

// suggestion asks whether somebody meant a value; without one it says otherwise.
func suggestion(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return "did you mean " + value + "?"
}

// closestWeekday returns the weekday that a text begins with or resembles.
func closestWeekday(text string) string {
	if len(text) >= 3 {
		text = text[:3]
	}
	return nearest.Name(text, weekdays[:])
}

// closestTimeOfDay returns the time of day closest to one that is out of range
// or lacks a digit, "" for other texts.
func closestTimeOfDay(text string) string {
	parts := strings.Split(text, ":")
	numbers := make([]int, len(parts))
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || n < 0 {
			return ""
		}
		numbers[i] = n
	}
	switch {
	case len(parts) < 2 || len(parts) > 3:
		return ""
	case numbers[0] >= 24:
		return "24:00"
	}
	closest := fmt.Sprintf("%02d:%02d", numbers[0], min(numbers[1], 59))
	if len(parts) == 3 {
		closest += fmt.Sprintf(":%02d", min(numbers[2], 59))
	}
	return closest
}

// closestDate returns the last day of a month in place of a later one, "" for
// other texts.
func closestDate(text string) string {
	var year, month, day int
	if n, err := fmt.Sscanf(text, "%d-%d-%d", &year, &month, &day); err != nil || n != 3 ||
		year < 1 || year > 9999 || month < 1 || month > 12 || day < 1 {
		return ""
	}
	last := time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
	return fmt.Sprintf("%04d-%02d-%02d", year, month, min(day, last))
}

func weekdayPattern(cmp comparison, value string) func(string) bool {
	if cmp == cmpFold {
		return func(day string) bool { return strings.EqualFold(day, value) }
	}
	mode := modePlain
	if cmp == cmpLike {
		mode = modeLike
	}
	p := compilePattern(value, mode, false)
	return func(day string) bool { return p.match(day, nil) }
}

// CheckTimeOfDay checks a time of day in a policy: HH:MM or HH:MM:SS, up to 24:00. The error names the
// closest one.
func CheckTimeOfDay(s string) error {
	if _, ok := parseTimeOfDay(s); !ok {
		return fmt.Errorf("%q is not a time of day; %s", s, suggestion(
			closestTimeOfDay(s), "write HH:MM or HH:MM:SS, from 00:00 to 24:00"))
	}
	return nil
}

// CheckDate checks a date in a policy, such as 2026-04-15. The error names the closest one.
func CheckDate(s string) error {
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		return fmt.Errorf("%q is not a date; %s", s, suggestion(closestDate(s), "write one such as 2026-04-15"))
	}
	return nil
}

// NotAWeekday is the error for a text that is no weekday. It names the closest one.
func NotAWeekday(s string) error {
	return fmt.Errorf("%q is not a weekday; %s", s, suggestion(
		closestWeekday(s), "write Mon, Tue, Wed, Thu, Fri, Sat or Sun"))
}

// parseTimeOfDay parses HH:MM or HH:MM:SS as seconds since midnight. 24:00 is the end of the
// day.
func parseTimeOfDay(s string) (int64, bool) {
	if len(s) != len("15:04") && len(s) != len("15:04:05") {
		return 0, false
	}
	if s == "24:00" || s == "24:00:00" {
		return secondsPerDay, true
	}
	layout := "15:04:05"[:len(s)]
	t, err := time.Parse(layout, s)
	if err != nil {
		return 0, false
	}
	return int64(t.Hour()*3600 + t.Minute()*60 + t.Second()), true
}

// bounds returns the policy values of a date or a time of day as instants: for
// dates the midnight in UTC, for times of day the seconds since midnight.
func (r *recurrence) bounds(values []string) []instant {
	var out []instant
	for _, v := range values {
		if sec, ok := parseTimeOfDay(v); ok && r.kind == recursByTimeOfDay {
			out = append(out, instant{sec: sec})
		}
		if t, err := time.Parse(time.DateOnly, v); err == nil && r.kind == recursByDate {
			out = append(out, instant{sec: t.Unix()})
		}
	}
	return out
}

// now returns the time of a request in whole seconds.
func now(ctx *Context) (int64, bool) {
	v, ok := ctx.lookup(currentTimeSlot, currentTimeKey)
	if !ok || v.multi {
		return 0, false
	}
	if v.parsed != nil {
		return v.parsed.time.sec, v.parsed.isInstant
	}
	t, ok := parseInstant(v.single)
	return t.sec, ok
}

// precompute stores the results of a condition whose values are few.
func (c *condition) precompute() {
	switch r := c.recurs; r.kind {
	case recursByWeekday:
		for i, day := range weekdays {
			r.days[i] = c.test(day, nil)
		}
	case recursByCalendar:
		r.inside, r.outside = c.test("true", nil), c.test("false", nil)
	case recursByTimeOfDay, recursByDate:
	}
}

// holdsAt decides a condition on a recurring time. A missing calendar allows
// nothing and denies everything, so that no Deny is lost.
func (c *condition) holdsAt(ctx *Context) bool {
	sec, ok := now(ctx)
	if !ok {
		return c.ifExists || c.neg
	}
	r := c.recurs
	switch r.kind {
	case recursByWeekday:
		return r.days[weekdayOf(r.local(sec))]
	case recursByTimeOfDay, recursByDate:
		return c.anyInstant(r.instantAt(sec)) != c.neg
	case recursByCalendar:
		if r.spans == nil {
			return c.deny
		}
		if r.spans.Contains(sec) {
			return r.inside
		}
		return r.outside
	}
	return false
}

// instantAt returns the local time of day or date at sec, in the form of bounds.
func (r *recurrence) instantAt(sec int64) instant {
	local := r.local(sec)
	timeOfDay := secondOfDay(local)
	if r.kind == recursByTimeOfDay {
		return instant{sec: timeOfDay}
	}
	return instant{sec: local - timeOfDay}
}

// local returns the Unix time that a clock in UTC would have when clocks in the
// zone of r show what they show at sec.
func (r *recurrence) local(sec int64) int64 {
	_, offset := time.Unix(sec, 0).In(r.zone).Zone()
	return sec + int64(offset)
}

// secondOfDay returns the seconds since midnight of a local time, also before
// 1970.
func secondOfDay(local int64) int64 {
	return (local%secondsPerDay + secondsPerDay) % secondsPerDay
}

// weekdayOf returns the weekday of a local time as a [time.Weekday]. 1970 began
// on a Thursday.
func weekdayOf(local int64) int64 {
	days := (local - secondOfDay(local)) / secondsPerDay
	return ((days+int64(time.Thursday))%7 + 7) % 7
}

func (c *condition) anyInstant(t instant) bool {
	for i := range c.instants {
		if c.rel.holds(t.compare(c.instants[i])) {
			return true
		}
	}
	return false
}

// textAt returns the value of the key for people; ok is false if the request
// has no time.
func (r *recurrence) textAt(ctx *Context) (text string, ok bool) {
	sec, ok := now(ctx)
	if !ok {
		return "", false
	}
	if r.kind == recursByCalendar {
		if r.spans == nil {
			return "not defined", true
		}
		return strconv.FormatBool(r.spans.Contains(sec)), true
	}
	t := time.Unix(sec, 0).In(r.zone)
	switch r.kind {
	case recursByTimeOfDay:
		return t.Format(time.TimeOnly), true
	case recursByDate:
		return t.Format(time.DateOnly), true
	case recursByWeekday, recursByCalendar:
	}
	return weekdays[t.Weekday()], true
}

// usesRecurring reports whether patterns have variables of recurring times,
// which have no value.
func usesRecurring(patterns []pattern) bool {
	return slices.ContainsFunc(patterns, func(p pattern) bool {
		return slices.ContainsFunc(
			p.toks,
			func(t token) bool { return t.kind == tokVar && strings.HasPrefix(t.key, ownPrefix) },
		)
	})
}

// contradiction returns why the conditions of a statement on the time of day
// or on the weekday in one zone can never hold together, or "".
func contradiction(conditions []*condition) string {
	type place struct {
		kind recurringKind
		zone *time.Location
	}
	groups := map[place][]*condition{}
	for _, c := range conditions {
		if c.recurs != nil && (c.recurs.kind == recursByTimeOfDay || c.recurs.kind == recursByWeekday) {
			at := place{c.recurs.kind, c.recurs.zone}
			groups[at] = append(groups[at], c)
		}
	}
	for at, group := range groups {
		possible := func(test func(c *condition) bool) bool {
			return !slices.ContainsFunc(group, func(c *condition) bool { return !test(c) })
		}
		if at.kind == recursByWeekday {
			if !slices.ContainsFunc(weekdays[:], func(day string) bool {
				return possible(func(c *condition) bool { return c.test(day, nil) })
			}) {
				return "no weekday satisfies all conditions on " + group[0].rawKey
			}
			continue
		}
		seconds := []int64{0}
		for _, c := range group {
			for _, t := range c.instants {
				seconds = append(seconds, t.sec-1, t.sec, t.sec+1)
			}
		}
		if !slices.ContainsFunc(seconds, func(sec int64) bool {
			return 0 <= sec && sec < secondsPerDay &&
				possible(func(c *condition) bool { return c.anyInstant(instant{sec: sec}) != c.neg })
		}) {
			return "no time of day satisfies all conditions on " + group[0].rawKey +
				"; a window across midnight needs two statements, one up to 24:00 and one from 00:00"
		}
	}
	return ""
}

// changes returns the seconds from first to last at which a condition on a recurring time can
// change, and possibly others.
func (c *condition) changes(first, last int64) []int64 {
	r := c.recurs
	if r.kind == recursByCalendar {
		return r.spans.changes(first, last)
	}
	// Local midnight, and the bounds of times of day; inclusive bounds change
	// one second later.
	offsets := []int64{0}
	if r.kind == recursByTimeOfDay {
		for _, t := range c.instants {
			if c.rel != relLessEqual && c.rel != relGreater {
				offsets = append(offsets, t.sec)
			}
			if c.rel != relLess && c.rel != relGreaterEqual {
				offsets = append(offsets, t.sec+1)
			}
		}
	}
	// The same local time has one second for each offset of the zone from UTC.
	// A change of the offset may itself cross a bound.
	var at, shifts []int64
	for t := time.Unix(first-secondsPerDay, 0).In(r.zone); ; {
		_, shift := t.Zone()
		shifts = append(shifts, int64(shift))
		_, end := t.ZoneBounds()
		if end.IsZero() || end.Unix() > last+secondsPerDay {
			break
		}
		at = append(at, end.Unix())
		t = end.In(r.zone)
	}
	slices.Sort(shifts)
	for _, shift := range slices.Compact(shifts) {
		day := (first + shift) / secondsPerDay * secondsPerDay
		for day -= secondsPerDay; day-shift <= last; day += secondsPerDay {
			for _, offset := range offsets {
				at = append(at, day-shift+offset)
			}
		}
	}
	return slices.DeleteFunc(at, func(sec int64) bool { return sec < first || sec > last })
}
