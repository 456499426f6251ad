package calendar_test

import (
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"sekisho/internal/iam/calendar"
	"sekisho/internal/iam/policy"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := policy.LoadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func text(spans []policy.Span) string {
	var out []string
	for _, s := range spans {
		out = append(
			out,
			time.Unix(s.From, 0).
				UTC().
				Format("2006-01-02T15:04")+
				"/"+time.Unix(s.To, 0).
				UTC().
				Format("2006-01-02T15:04"),
		)
	}
	return strings.Join(out, " ")
}

func TestFromList(t *testing.T) {
	t.Parallel()
	spans, err := calendar.FromList(
		[]string{
			"2026-01-01",
			" 2026-12-29/2027-01-03",
			"2026-04-15T18:00:00Z/2026-04-16T09:00:00+09:00",
			"2026-03-29",
		},
		zone(t, "Europe/Berlin"),
	)
	const want = "2025-12-31T23:00/2026-01-01T23:00 2026-12-28T23:00/2027-01-03T23:00 " +
		"2026-04-15T18:00/2026-04-16T00:00 2026-03-28T23:00/2026-03-29T22:00"
	if err != nil || text(spans) != want {
		t.Errorf("got %s, %v\nwant %s", text(spans), err, want)
	}
	for _, bad := range []string{"", "tomorrow", "2026-02-30", "2026-01-02/2026-01-01", "2026-04-15T18:00:00Z",
		"2026-04-15T18:00:00Z/2026-04-15T18:00:00Z", "2026-01-01/2026-01-02/2026-01-03"} {
		if _, err := calendar.FromList([]string{bad}, time.UTC); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if _, err := calendar.FromList(make([]string, calendar.MaxSpans+1), time.UTC); err == nil {
		t.Error("too many entries were accepted")
	}
}

func file(events ...string) string {
	lines := []string{"BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:test"}
	for _, e := range events {
		lines = append(lines, "BEGIN:VEVENT", "DTSTAMP:20260101T000000Z")
		lines = append(lines, strings.Fields(e)...)
		lines = append(lines, "END:VEVENT")
	}
	return strings.Join(append(lines, "END:VCALENDAR", ""), "\r\n")
}

func TestFromICalendar(t *testing.T) {
	t.Parallel()
	until := time.Date(2029, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		events []string
		zone   string
		want   string
	}{
		"one day": {[]string{"UID:1 DTSTART;VALUE=DATE:20260101"}, "Asia/Tokyo",
			"2025-12-31T15:00/2026-01-01T15:00"},
		"days": {[]string{"UID:1 DTSTART;VALUE=DATE:20260503 DTEND;VALUE=DATE:20260506"}, "Asia/Tokyo",
			"2026-05-02T15:00/2026-05-05T15:00"},
		"in UTC": {[]string{"UID:1 DTSTART:20260415T090000Z DTEND:20260415T180000Z"}, "Asia/Tokyo",
			"2026-04-15T09:00/2026-04-15T18:00"},
		"floating": {[]string{"UID:1 DTSTART:20260415T090000 DURATION:PT1H"}, "Asia/Tokyo",
			"2026-04-15T00:00/2026-04-15T01:00"},
		"in a zone of its own": {[]string{"UID:1 DTSTART;TZID=America/New_York:20260415T090000 DURATION:PT1H"}, "Asia/Tokyo",
			"2026-04-15T13:00/2026-04-15T14:00"},
		"every year": {[]string{"UID:1 DTSTART;VALUE=DATE:20260101 RRULE:FREQ=YEARLY"}, "UTC",
			"2026-01-01T00:00/2026-01-02T00:00 2027-01-01T00:00/2027-01-02T00:00 2028-01-01T00:00/2028-01-02T00:00 " +
				"2029-01-01T00:00/2029-01-02T00:00"},
		"weekly, clocks change": {
			[]string{"UID:1 DTSTART;TZID=Europe/Berlin:20260323T220000 DURATION:PT8H RRULE:FREQ=WEEKLY;COUNT=2"}, "UTC",
			"2026-03-23T21:00/2026-03-24T05:00 2026-03-30T20:00/2026-03-31T04:00"},
		"days, clocks change": {[]string{"UID:1 DTSTART;VALUE=DATE:20260328 RRULE:FREQ=DAILY;COUNT=3"}, "Europe/Berlin",
			"2026-03-27T23:00/2026-03-28T23:00 2026-03-28T23:00/2026-03-29T22:00 2026-03-29T22:00/2026-03-30T22:00"},
		"up to a date": {[]string{"UID:1 DTSTART;VALUE=DATE:20260101 RRULE:FREQ=DAILY;UNTIL=20260102"},
			"America/New_York", "2026-01-01T05:00/2026-01-02T05:00 2026-01-02T05:00/2026-01-03T05:00"},
		"exceptions": {
			[]string{"UID:1 DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=DAILY;COUNT=4 " +
				"EXDATE:20260102T000000Z,20260103T000000Z"}, "UTC",
			"2026-01-01T00:00/2026-01-01T01:00 2026-01-04T00:00/2026-01-04T01:00"},
		"more dates": {[]string{"UID:1 DTSTART:20260101T000000Z DURATION:PT1H RDATE:20260105T000000Z"}, "UTC",
			"2026-01-01T00:00/2026-01-01T01:00 2026-01-05T00:00/2026-01-05T01:00"},
		"a moved occurrence": {[]string{
			"UID:1 DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=DAILY;COUNT=2",
			"UID:1 RECURRENCE-ID:20260102T000000Z DTSTART:20260102T120000Z DURATION:PT1H",
		}, "UTC", "2026-01-01T00:00/2026-01-01T01:00 2026-01-02T12:00/2026-01-02T13:00"},
		"cancelled":        {[]string{"UID:1 DTSTART:20260101T000000Z DURATION:PT1H STATUS:CANCELLED"}, "UTC", ""},
		"without duration": {[]string{"UID:1 DTSTART:20260101T000000Z"}, "UTC", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spans, err := calendar.FromICalendar(file(tt.events...), zone(t, tt.zone), until)
			if err != nil || text(spans) != tt.want {
				t.Errorf("got %s, %v\nwant %s", text(spans), err, tt.want)
			}
		})
	}
}

func TestFromICalendarRefuses(t *testing.T) {
	t.Parallel()
	until := time.Date(2126, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, text := range map[string]string{
		"nothing":                        "",
		"another format":                 "2026-01-01",
		"no start":                       file("UID:1 SUMMARY:x"),
		"unknown zone":                   file("UID:1 DTSTART;TZID=Nowhere/Land:20260415T090000 DURATION:PT1H"),
		"the server's zone":              file("UID:1 DTSTART;TZID=Local:20260415T090000 DURATION:PT1H"),
		"a zone of the file":             file("UID:1 DTSTART;TZID=Office:20260415T090000 DURATION:PT1H"),
		"the server's zone, for the end": file("UID:1 DTSTART:20260415T090000Z DTEND;TZID=Local:20260415T100000"),
		"malformed rule":                 file("UID:1 DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=OFTEN"),
		"every second": file(
			"UID:1 DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30"),
		"never": file("UID:1 DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"),
		"too many recurring": file(
			strings.Split(strings.Repeat("DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=YEARLY;COUNT=1\n", 201), "\n")...),
		"too many in several calendars": strings.Repeat(
			file("UID:1 DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=YEARLY;COUNT=1"), 201),
		"every 7 days by weekday": file(
			"UID:1 DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=DAILY;INTERVAL=14;BYDAY=MO"),
		"no day": file("UID:1 DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"),
		"no day, with a date": file(
			"UID:1 DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=MONTHLY;BYDAY=5MO;BYMONTHDAY=1 RDATE:20260105T000000Z"),
		"an unknown weekday": file("UID:1 DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=MONTHLY;BYDAY=9MO"),
		"a huge interval": file(
			"UID:1 DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=MONTHLY;INTERVAL=9223372036854775807"),
		"many times of day":   file("UID:1 DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=YEARLY;BYHOUR=1,2"),
		"a thousand years":    file("UID:1 DTSTART;VALUE=DATE:20260101 DTEND;VALUE=DATE:30260101"),
		"too many":            file("UID:1 DTSTART;VALUE=DATE:20260101 RRULE:FREQ=DAILY"),
		"malformed exception": file("UID:1 DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=DAILY;COUNT=2 EXDATE:never"),
		"too large":           file(strings.Repeat("X-A:aaaaaaaaaaaaaaaaaaaaaa ", 1+calendar.MaxText/24)),
	} {
		if spans, err := calendar.FromICalendar(text, time.UTC, until); err == nil {
			t.Errorf("%s: accepted as %d spans", name, len(spans))
		}
	}
}

// Whatever a file contains, its spans are few, not empty, begin before the end of the expansion and are the
// same every time.
func FuzzFromICalendar(f *testing.F) {
	for _, seed := range []string{
		file("UID:1 DTSTART;VALUE=DATE:20260101 RRULE:FREQ=YEARLY"),
		file("UID:1 DTSTART;VALUE=DATE:20260101 DTEND;VALUE=DATE:20260105"),
		file("UID:1 DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=DAILY;COUNT=2 EXDATE:20260102T000000Z"),
		file("UID:1 DTSTART;TZID=Europe/Berlin:20260323T220000 DURATION:PT8H RRULE:FREQ=WEEKLY;COUNT=2;BYDAY=MO,FR"),
		file("UID:1 DTSTART;TZID=Local:20260323T220000 DTEND;TZID=Asia/Tokyo:20260324T060000"),
		file("UID:1 DTSTART;TZID=Office:20260323T220000 DURATION:P1DT1H"),
		file("UID:1 DTSTART;VALUE=DATE:20260101 RRULE:FREQ=DAILY;UNTIL=20260102"),
		file("UID:1 DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=MONTHLY;BYDAY=-1FR;UNTIL=20270101T000000Z"),
		file("UID:1 DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;INTERVAL=3"),
		file("UID:1 DTSTART:20260101T000000Z DURATION:PT1H RDATE:20260105T000000Z,20260106T000000Z"),
		file("UID:1 DTSTART:20260101T000000Z DURATION:PT1H RRULE:FREQ=DAILY;COUNT=2",
			"UID:1 RECURRENCE-ID:20260102T000000Z DTSTART:20260102T120000Z DURATION:PT1H"),
		file("UID:1 DTSTART:20260101T000000Z DURATION:PT1H STATUS:CANCELLED"),
		file("UID:1 DTSTART:20260101T000000Z DURATION:PT1H") + file("UID:2 DTSTART:20260102T000000Z DURATION:PT1H"),
		strings.Replace(file("UID:1 DTSTART;TZID=Custom:20260101T000000 DURATION:PT1H"), "BEGIN:VEVENT",
			"BEGIN:VTIMEZONE\r\nTZID:Custom\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT", 1),
	} {
		f.Add(seed)
	}
	until := time.Date(2029, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		spans, err := calendar.FromICalendar(text, time.UTC, until)
		if err != nil {
			return
		}
		if len(spans) > calendar.MaxSpans {
			t.Errorf("%d spans", len(spans))
		}
		for _, s := range spans {
			if s.From >= s.To || s.From > until.Unix() {
				t.Errorf("the span %+v", s)
			}
		}
		again, err := calendar.FromICalendar(text, time.UTC, until)
		if err != nil || !slices.Equal(spans, again) {
			t.Errorf("%v, and the second time %v, %v", spans, again, err)
		}
	})
}
