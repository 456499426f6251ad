package policy_test

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"sekisho/internal/iam/policy"
)

// at evaluates a set at a time.
func at(set *policy.Set, t time.Time) policy.Effect {
	c := policy.NewContext()
	c.Set("aws:CurrentTime", policy.Single(t.UTC().Format(time.RFC3339)))
	return set.Evaluate(
		&policy.Request{Action: "a:B", Resource: "*", Context: c, Principal: policy.Principal{Account: "1"}},
	).Effect
}

const (
	tokyoHours = `"StringEquals":{"sekisho:Weekday/Asia/Tokyo":["Mon","Tue","Wed","Thu","Fri"]},` +
		`"DateGreaterThanEquals":{"sekisho:TimeOfDay/Asia/Tokyo":"09:00"},` +
		`"DateLessThan":{"sekisho:TimeOfDay/Asia/Tokyo":"18:00"}`
	// Friday 22:00 to Saturday 06:00 in Berlin, in two statements.
	berlinLate = `"StringEquals":{"sekisho:Weekday/Europe/Berlin":"Fri"},` +
		`"DateGreaterThanEquals":{"sekisho:TimeOfDay/Europe/Berlin":"22:00"}`
	berlinDawn = `"StringEquals":{"sekisho:Weekday/Europe/Berlin":"Sat"},` +
		`"DateLessThan":{"sekisho:TimeOfDay/Europe/Berlin":"06:00"}`
)

func TestRecurringTimes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		statements []string
		allowed    []string
		denied     []string
	}{
		"office hours": {
			[]string{when("Allow", tokyoHours)},
			[]string{"2026-04-15T00:00:00Z", "2026-04-15T08:59:59Z", "2026-04-13T00:00:00Z", "2026-04-17T08:59:59Z"},
			[]string{"2026-04-14T23:59:59Z", "2026-04-15T09:00:00Z", "2026-04-18T03:00:00Z", "2026-04-19T03:00:00Z",
				"2026-04-12T23:59:59Z"},
		},
		"a weekday that is another one in UTC": {
			[]string{when("Allow", `"StringEquals":{"sekisho:Weekday/Asia/Tokyo":"Mon"}`)},
			[]string{"2026-04-12T15:00:00Z", "2026-04-13T14:59:59Z"},
			[]string{"2026-04-12T14:59:59Z", "2026-04-13T15:00:00Z"},
		},
		"keys and zones: letter case of the key does not matter": {
			[]string{when("Allow", `"StringEqualsIgnoreCase":{"SEKISHO:WEEKDAY/Asia/Tokyo":"mon"}`)},
			[]string{"2026-04-13T00:00:00Z"}, []string{"2026-04-14T00:00:00Z", "2026-04-13T16:00:00Z"},
		},
		"weekend by pattern": {
			[]string{when("Allow", `"StringLike":{"sekisho:Weekday/UTC":"S*"}`)},
			[]string{"2026-04-18T00:00:00Z", "2026-04-19T23:59:59Z"}, []string{"2026-04-17T23:59:59Z", "2026-04-20T00:00:00Z"},
		},
		"deny outside hours": {
			[]string{when("Allow", ""), when("Deny", `"DateLessThan":{"sekisho:TimeOfDay/UTC":"09:00"}`),
				when("Deny", `"DateGreaterThanEquals":{"sekisho:TimeOfDay/UTC":"18:00"}`)},
			[]string{"2026-04-15T09:00:00Z", "2026-04-15T17:59:59Z"}, []string{"2026-04-15T08:59:59Z", "2026-04-15T18:00:00Z"},
		},
		"inclusive and exclusive bounds": {
			[]string{when("Allow", `"DateGreaterThan":{"sekisho:TimeOfDay/UTC":"09:00"},`+
				`"DateLessThanEquals":{"sekisho:TimeOfDay/UTC":"09:00:02"}`)},
			[]string{"2026-04-15T09:00:01Z", "2026-04-15T09:00:02Z"}, []string{"2026-04-15T09:00:00Z", "2026-04-15T09:00:03Z"},
		},
		"to the end of the day": {
			[]string{when("Allow", `"DateGreaterThanEquals":{"sekisho:TimeOfDay/UTC":"23:00"},`+
				`"DateLessThan":{"sekisho:TimeOfDay/UTC":"24:00"}`)},
			[]string{"2026-04-15T23:59:59Z"}, []string{"2026-04-16T00:00:00Z", "2026-04-15T22:59:59Z"},
		},
		"across midnight": {
			[]string{when("Allow", berlinLate), when("Allow", berlinDawn)},
			[]string{"2026-04-17T20:00:00Z", "2026-04-17T22:00:00Z", "2026-04-18T03:59:59Z"},
			[]string{"2026-04-17T19:59:59Z", "2026-04-18T04:00:00Z", "2026-04-18T21:00:00Z", "2026-04-17T02:00:00Z"},
		},
		// Berlin goes from 02:00 CET to 03:00 CEST on 2026-03-29 at 01:00 UTC.
		"spring: a window in the skipped hour is empty": {
			[]string{when("Allow", `"DateGreaterThanEquals":{"sekisho:TimeOfDay/Europe/Berlin":"02:15"},`+
				`"DateLessThan":{"sekisho:TimeOfDay/Europe/Berlin":"02:45"}`)},
			[]string{"2026-03-28T01:15:00Z", "2026-03-30T00:15:00Z"},
			[]string{"2026-03-29T00:59:59Z", "2026-03-29T01:15:00Z", "2026-03-29T00:15:00Z"},
		},
		"spring: a window that starts in the skipped hour starts after it": {
			[]string{when("Allow", `"DateGreaterThanEquals":{"sekisho:TimeOfDay/Europe/Berlin":"02:30"},`+
				`"DateLessThan":{"sekisho:TimeOfDay/Europe/Berlin":"04:00"}`)},
			[]string{"2026-03-29T01:00:00Z", "2026-03-29T01:59:59Z"}, []string{"2026-03-29T00:59:59Z", "2026-03-29T02:00:00Z"},
		},
		// Berlin goes back from 03:00 CEST to 02:00 CET on 2026-10-25 at 01:00 UTC.
		"autumn: a window in the repeated hour opens twice": {
			[]string{when("Allow", `"DateGreaterThanEquals":{"sekisho:TimeOfDay/Europe/Berlin":"02:15"},`+
				`"DateLessThan":{"sekisho:TimeOfDay/Europe/Berlin":"02:45"}`)},
			[]string{"2026-10-25T00:15:00Z", "2026-10-25T01:15:00Z", "2026-10-25T01:44:59Z"},
			[]string{"2026-10-25T00:45:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:45:00Z"},
		},
		"spring, a window that ends in the skipped hour ends when clocks change": {
			[]string{when("Allow", `"DateGreaterThanEquals":{"sekisho:TimeOfDay/Europe/Berlin":"01:00"},`+
				`"DateLessThan":{"sekisho:TimeOfDay/Europe/Berlin":"02:30"}`)},
			[]string{"2026-03-29T00:00:00Z", "2026-03-29T00:59:59Z"},
			[]string{"2026-03-29T01:00:00Z", "2026-03-29T00:00:00-01:00"},
		},
		// New York goes back from 02:00 EDT to 01:00 EST on 2026-11-01 at 06:00 UTC: across midnight, too.
		"autumn: a night is an hour longer": {
			[]string{
				when("Allow", `"StringEquals":{"sekisho:Weekday/America/New_York":"Sat"},`+
					`"DateGreaterThanEquals":{"sekisho:TimeOfDay/America/New_York":"22:00"}`),
				when("Allow", `"StringEquals":{"sekisho:Weekday/America/New_York":"Sun"},`+
					`"DateLessThan":{"sekisho:TimeOfDay/America/New_York":"06:00"}`),
			},
			[]string{"2026-11-01T02:00:00Z", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z", "2026-11-01T10:59:59Z"},
			[]string{"2026-11-01T01:59:59Z", "2026-11-01T11:00:00Z"},
		},
		// Lord Howe Island changes its clocks by half an hour, at 15:00 UTC on 2026-10-03.
		"a change of half an hour": {
			[]string{when("Allow", `"DateGreaterThanEquals":{"sekisho:TimeOfDay/Australia/Lord_Howe":"02:30"},`+
				`"DateLessThan":{"sekisho:TimeOfDay/Australia/Lord_Howe":"03:00"}`)},
			[]string{"2026-10-03T15:30:00Z", "2026-10-03T15:59:59Z"}, []string{"2026-10-03T15:29:59Z", "2026-10-03T16:00:00Z"},
		},
		// Volgograd moved from UTC+4 to UTC+3 for good on 2020-12-26 at 22:00 UTC.
		"a zone that moves permanently": {
			[]string{when("Allow", `"DateGreaterThanEquals":{"sekisho:TimeOfDay/Europe/Volgograd":"09:00"},`+
				`"DateLessThan":{"sekisho:TimeOfDay/Europe/Volgograd":"10:00"}`)},
			[]string{"2020-12-26T05:00:00Z", "2020-12-28T06:00:00Z"}, []string{"2020-12-26T06:00:00Z", "2020-12-28T05:00:00Z"},
		},
		"29 February": {
			[]string{when("Allow", `"DateEquals":{"sekisho:Date/Asia/Tokyo":"2028-02-29"}`)},
			[]string{"2028-02-28T15:00:00Z", "2028-02-29T14:59:59Z"}, []string{"2028-02-28T14:59:59Z", "2028-02-29T15:00:00Z"},
		},
		// The second inserted after 2016-12-31T23:59:59Z has no number of its
		// own.
		"around a leap second": {
			[]string{when("Allow", `"DateLessThan":{"sekisho:TimeOfDay/UTC":"24:00"},`+
				`"DateGreaterThanEquals":{"sekisho:TimeOfDay/UTC":"23:59:59"}`)},
			[]string{"2016-12-31T23:59:59Z"}, []string{"2017-01-01T00:00:00Z"},
		},
		"before 1970": {
			[]string{when("Allow", `"StringEquals":{"sekisho:Weekday/UTC":"Wed"},`+
				`"DateGreaterThanEquals":{"sekisho:TimeOfDay/UTC":"23:00"},"DateEquals":{"sekisho:Date/UTC":"1969-12-31"}`)},
			[]string{"1969-12-31T23:30:00Z"}, []string{"1970-01-01T00:00:00Z", "1969-12-31T22:59:59Z"},
		},
		// Samoa moved across the date line: 2011-12-30 does not exist there.
		"a zone that skips a day": {
			[]string{when("Allow", `"DateEquals":{"sekisho:Date/Pacific/Apia":["2011-12-29","2011-12-30"]}`)},
			[]string{"2011-12-30T09:59:59Z"}, []string{"2011-12-30T10:00:00Z", "2011-12-29T09:59:59Z"},
		},
		"a range of dates": {
			[]string{when("Allow", `"DateGreaterThanEquals":{"sekisho:Date/America/New_York":"2026-03-08"},`+
				`"DateLessThanEquals":{"sekisho:Date/America/New_York":"2026-03-09"}`)},
			[]string{"2026-03-08T05:00:00Z", "2026-03-10T03:59:59Z"}, []string{"2026-03-08T04:59:59Z", "2026-03-10T04:00:00Z"},
		},
		"all but one date": {
			[]string{when("Allow", `"DateNotEquals":{"sekisho:Date/UTC":"2026-01-01"}`)},
			[]string{"2025-12-31T23:59:59Z", "2026-01-02T00:00:00Z"}, []string{"2026-01-01T00:00:00Z", "2026-01-01T23:59:59Z"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := `{"Version":"2012-10-17","Statement":[` + strings.Join(tt.statements, ",") + `]}`
			if err := policy.Validate([]byte(text), policy.KindIdentity); err != nil {
				t.Error(err)
			}
			set := setOf(t, tt.statements...)
			for want, times := range map[bool][]string{true: tt.allowed, false: tt.denied} {
				for _, text := range times {
					now, err := time.Parse(time.RFC3339, text)
					if err != nil {
						t.Fatal(err)
					}
					if got := at(set, now) == policy.Allowed; got != want {
						t.Errorf("%s: allowed is %v", text, got)
					}
				}
			}
		})
	}
}

func TestRecurringTimesThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, condition := range map[string]string{
		"unknown key":             `"StringEquals":{"sekisho:Weekdays/UTC":"Mon"}`,
		"no zone":                 `"StringEquals":{"sekisho:Weekday":"Mon"}`,
		"empty zone":              `"StringEquals":{"sekisho:Weekday/":"Mon"}`,
		"unknown zone":            `"StringEquals":{"sekisho:Weekday/Asia/Tokio":"Mon"}`,
		"the server's zone":       `"StringEquals":{"sekisho:Weekday/Local":"Mon"}`,
		"a path":                  `"StringEquals":{"sekisho:Weekday/../../etc/localtime":"Mon"}`,
		"long weekday":            `"StringEquals":{"sekisho:Weekday/UTC":"Monday"}`,
		"weekday in lower case":   `"StringEquals":{"sekisho:Weekday/UTC":"mon"}`,
		"weekday as a date":       `"DateEquals":{"sekisho:Weekday/UTC":"2026-04-15"}`,
		"time as a text":          `"StringEquals":{"sekisho:TimeOfDay/UTC":"09:00"}`,
		"time as a number":        `"NumericLessThan":{"sekisho:TimeOfDay/UTC":"900"}`,
		"time without zero":       `"DateLessThan":{"sekisho:TimeOfDay/UTC":"9:00"}`,
		"time beyond the day":     `"DateLessThan":{"sekisho:TimeOfDay/UTC":"24:01"}`,
		"time with a date":        `"DateLessThan":{"sekisho:TimeOfDay/UTC":"2026-04-15T09:00:00Z"}`,
		"date with a time":        `"DateLessThan":{"sekisho:Date/UTC":"2026-04-15T09:00:00Z"}`,
		"a missing date":          `"DateLessThan":{"sekisho:Date/UTC":"2026-02-30"}`,
		"calendar as a text":      `"StringEquals":{"sekisho:Calendar/holidays":"true"}`,
		"calendar without a name": `"Bool":{"sekisho:Calendar/":"true"}`,
		"maybe":                   `"Bool":{"sekisho:Calendar/holidays":"maybe"}`,
		"set operator":            `"ForAllValues:StringEquals":{"sekisho:Weekday/UTC":"Mon"}`,
		"null":                    `"Null":{"sekisho:Weekday/UTC":"true"}`,
		"variable":                `"StringEquals":{"sekisho:Weekday/UTC":"${aws:PrincipalTag/day}"}`,
		"as a variable":           `"StringEquals":{"aws:PrincipalTag/day":"${sekisho:Weekday/UTC}"}`,
		"across midnight in one": `"DateGreaterThanEquals":{"sekisho:TimeOfDay/UTC":"22:00"},` +
			`"DateLessThan":{"sekisho:TimeOfDay/UTC":"06:00"}`,
		"no weekday left": `"StringEquals":{"sekisho:Weekday/UTC":"Mon"},` +
			`"StringNotEquals":{"sekisho:Weekday/UTC":["Mon","Tue"]}`,
	} {
		text := `{"Version":"2012-10-17","Statement":[` + when("Deny", condition) + `]}`
		if err := policy.Validate([]byte(text), policy.KindIdentity); err == nil {
			t.Errorf("%s: %s was accepted", name, condition)
		}
	}
	for name, condition := range map[string]string{
		"one second": `"DateGreaterThanEquals":{"sekisho:TimeOfDay/UTC":"22:00"},` +
			`"DateLessThan":{"sekisho:TimeOfDay/UTC":"22:00:01"}`,
		"different zones": `"DateGreaterThanEquals":{"sekisho:TimeOfDay/UTC":"22:00"},` +
			`"DateLessThan":{"sekisho:TimeOfDay/Asia/Tokyo":"06:00"}`,
	} {
		text := `{"Version":"2012-10-17","Statement":[` + when("Deny", condition) + `]}`
		if err := policy.Validate([]byte(text), policy.KindIdentity); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An impossible value is refused with the closest possible one.
func TestClosestValidValue(t *testing.T) {
	t.Parallel()
	for condition, closest := range map[string]string{
		`"StringEquals":{"sekisho:Weekday/UTC":"Mondy"}`:       "Mon",
		`"StringEquals":{"sekisho:Weekday/UTC":"thursday"}`:    "Thu",
		`"StringEquals":{"sekisho:Weekday/Asia/Tokio":"Mon"}`:  "Asia/Tokyo",
		`"StringEquals":{"sekisho:Weekday/europe/rome":"Mon"}`: "Europe/Rome",
		`"DateLessThan":{"sekisho:TimeOfDay/UTC":"25:00"}`:     "24:00",
		`"DateLessThan":{"sekisho:TimeOfDay/UTC":"24:30"}`:     "24:00",
		`"DateLessThan":{"sekisho:TimeOfDay/UTC":"9:00"}`:      "09:00",
		`"DateLessThan":{"sekisho:TimeOfDay/UTC":"09:60"}`:     "09:59",
		`"DateLessThan":{"sekisho:TimeOfDay/UTC":"23:59:60"}`:  "23:59:59", // leap seconds have no time of their own
		`"DateLessThan":{"sekisho:Date/UTC":"2026-02-29"}`:     "2026-02-28",
		`"DateLessThan":{"sekisho:Date/UTC":"2026-4-31"}`:      "2026-04-30",
	} {
		text := `{"Version":"2012-10-17","Statement":[` + when("Allow", condition) + `]}`
		err := policy.Validate([]byte(text), policy.KindIdentity)
		if err == nil || !strings.Contains(err.Error(), "did you mean "+closest+"?") {
			t.Errorf("%s: %v, want %s", condition, err, closest)
		}
	}
	for _, nonsense := range []string{
		`"StringEquals":{"sekisho:Weekday/UTC":"always"}`, `"DateLessThan":{"sekisho:TimeOfDay/UTC":"noon"}`,
		`"DateLessThan":{"sekisho:Date/UTC":"tomorrow"}`, `"StringEquals":{"sekisho:Weekday/Nowhere/At/All":"Mon"}`,
	} {
		text := `{"Version":"2012-10-17","Statement":[` + when("Allow", nonsense) + `]}`
		err := policy.Validate([]byte(text), policy.KindIdentity)
		if err == nil || strings.Contains(err.Error(), "did you mean") {
			t.Errorf("%s: %v", nonsense, err)
		}
	}
}

// Every zone that policies can name is in the embedded database.
func TestZones(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("zones.txt")
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(string(text))
	if len(names) < 500 {
		t.Errorf("%d zones", len(names))
	}
	for _, name := range names {
		if _, err := policy.LoadZone(name); err != nil {
			t.Error(err)
		}
	}
}

func span(from, to string) policy.Span {
	a, _ := time.Parse(time.RFC3339, from)
	b, _ := time.Parse(time.RFC3339, to)
	return policy.Span{From: a.Unix(), To: b.Unix()}
}

func TestCalendars(t *testing.T) {
	t.Parallel()
	holidays := policy.NewCalendar([]policy.Span{
		span(
			"2026-05-03T00:00:00+09:00",
			"2026-05-04T00:00:00+09:00",
		), span("2026-01-01T00:00:00+09:00", "2026-01-02T00:00:00+09:00"),
		span(
			"2026-05-03T12:00:00+09:00",
			"2026-05-06T00:00:00+09:00",
		), span("2026-07-01T00:00:00Z", "2026-07-01T00:00:00Z"),
	})
	parse := func(statements ...string) *policy.Document {
		d, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	set := func(calendars map[string]*policy.Calendar, statements ...string) *policy.Set {
		return policy.Compile(policy.Policies{Identity: []*policy.Document{parse(statements...)}, Calendars: calendars})
	}
	known := map[string]*policy.Calendar{"jp-holidays": holidays}
	in, out := when(
		"Allow",
		`"Bool":{"sekisho:Calendar/JP-Holidays":"true"}`,
	), when(
		"Allow",
		`"Bool":{"sekisho:Calendar/jp-holidays":"false"}`,
	)
	deny := when("Deny", `"Bool":{"sekisho:Calendar/jp-holidays":"true"}`)
	if names := parse(in, deny, out).Calendars(); len(names) != 1 || names[0] != "jp-holidays" {
		t.Errorf("the document refers to %q", names)
	}
	for text, within := range map[string]bool{
		"2025-12-31T14:59:59Z": false, "2025-12-31T15:00:00Z": true, "2026-01-01T14:59:59Z": true,
		"2026-01-01T15:00:00Z": false,
		"2026-05-03T23:59:59Z": true, "2026-05-05T14:59:59Z": true, "2026-05-05T15:00:00Z": false,
		"2026-07-01T00:00:00Z": false,
	} {
		now, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		for name, tt := range map[string]struct {
			set  *policy.Set
			want policy.Effect
		}{
			"within":  {set(known, in), map[bool]policy.Effect{true: policy.Allowed, false: policy.ImplicitDeny}[within]},
			"outside": {set(known, out), map[bool]policy.Effect{false: policy.Allowed, true: policy.ImplicitDeny}[within]},
			"denied": {set(known, when("Allow", ""), deny),
				map[bool]policy.Effect{false: policy.Allowed, true: policy.ExplicitDeny}[within]},
			// A missing calendar must neither allow nor disable a Deny.
			"missing, within":  {set(nil, in), policy.ImplicitDeny},
			"missing, outside": {set(nil, out), policy.ImplicitDeny},
			"missing, denied":  {set(nil, when("Allow", ""), deny), policy.ExplicitDeny},
		} {
			if got := at(tt.set, now); got != tt.want {
				t.Errorf("%s, %s: %s, want %s", text, name, got, tt.want)
			}
		}
	}
	changes, exact := set(
		known,
		in,
	).Times(time.Unix(span("2026-01-01T12:00:00Z", "2026-01-01T12:00:00Z").From, 0), time.Unix(1<<40, 0))
	var got []string
	for _, c := range changes {
		got = append(got, c.Format(time.RFC3339))
	}
	if want := "2026-01-01T15:00:00Z 2026-05-02T15:00:00Z 2026-05-05T15:00:00Z"; !exact ||
		strings.Join(got, " ") != want {
		t.Errorf("it changes at %v, %v; want %s", got, exact, want)
	}
}

// Between the times that Times returns, no decision changes. The periods
// include changes of the zones' offsets.
func TestTimesCoversRecurringTimes(t *testing.T) {
	t.Parallel()
	dice := rand.New(rand.NewPCG(3, 4))
	pick := func(of ...string) string { return of[dice.IntN(len(of))] }
	clock := func() string {
		return pick("00", "01", "02", "03", "09", "23") + ":" + pick("00", "15", "30") + pick("", ":01", ":59")
	}
	starts := []string{
		"2026-03-28T00:00:00Z",
		"2026-10-24T00:00:00Z",
		"2011-12-29T00:00:00Z",
		"2026-04-04T00:00:00Z",
		"2026-07-01T00:00:00Z",
	}
	for range 40 {
		zone := pick("Europe/Berlin", "Asia/Tokyo", "America/New_York", "Pacific/Apia", "Australia/Lord_Howe", "UTC")
		first, err := time.Parse(time.RFC3339, pick(starts...))
		if err != nil {
			t.Fatal(err)
		}
		last := first.Add(48 * time.Hour)
		var statements []string
		for range 1 + dice.IntN(3) {
			operator := pick(
				"DateLessThan",
				"DateGreaterThan",
				"DateLessThanEquals",
				"DateGreaterThanEquals",
				"DateEquals",
				"DateNotEquals",
			)
			condition := ""
			switch dice.IntN(3) {
			case 0:
				condition = `"` + operator + `":{"sekisho:TimeOfDay/` + zone + `":"` + clock() + `"}`
			case 1:
				condition = `"` + operator + `":{"sekisho:Date/` + zone + `":"` + first.AddDate(0, 0, dice.IntN(3)).
					Format(time.DateOnly) +
					`"}`
			case 2:
				condition = `"` + pick(
					"StringEquals",
					"StringNotEquals",
				) + `":{"sekisho:Weekday/` + zone + `":["` + pick(
					"Fri",
					"Sat",
					"Sun",
					"Mon",
				) + `","Thu"]}`
			}
			statements = append(statements, when(pick("Allow", "Allow", "Deny"), condition))
		}
		set := setOf(t, statements...)
		changes, exact := set.Times(first, last)
		if !exact || len(changes) > 200 {
			t.Fatalf("%d changes, exact is %v: %s", len(changes), exact, statements)
		}
		named := map[int64]bool{}
		for _, c := range changes {
			named[c.Unix()] = true
		}
		// Every second around quarter hours, where all bounds are.
		before := at(set, first)
		for sec := first.Unix() + 1; sec <= last.Unix(); sec++ {
			if off := sec % 900; off > 61 && off < 899 {
				sec += 899 - off - 1
				continue
			}
			effect := at(set, time.Unix(sec, 0))
			if effect != before && !named[sec] {
				t.Fatalf("it changes at %s: %s", time.Unix(sec, 0).UTC(), statements)
			}
			before = effect
		}
	}
}

func TestRecurringTimesAreExplained(t *testing.T) {
	t.Parallel()
	c := policy.NewContext()
	c.Set("aws:CurrentTime", policy.Single("2026-04-15T09:30:00Z"))
	r := &policy.Request{Action: "a:B", Resource: "*", Context: c, Principal: policy.Principal{Account: "1"}}
	e := setOf(t, when("Allow", tokyoHours)).Explain(r)
	if len(e.Nearest) != 1 || len(e.Nearest[0].Failed) != 1 || len(e.Missing) != 0 {
		t.Fatalf("%+v", e)
	}
	f := e.Nearest[0].Failed[0]
	if f.Key != "sekisho:TimeOfDay/Asia/Tokyo" || strings.Join(f.Have, " ") != "18:30:00" ||
		strings.Join(f.Want, " ") != "18:00" {
		t.Errorf("%+v", f)
	}
	r.Context = policy.NewContext()
	if e := setOf(t, when("Allow", tokyoHours)).Explain(r); strings.Join(e.Missing, " ") != "aws:CurrentTime" ||
		e.Effect != policy.ImplicitDeny {
		t.Errorf("without a time: %s, missing %q", e.Effect, e.Missing)
	}
}

// Not parallel: it counts allocations.
func TestRecurringTimesDoNotAllocate(t *testing.T) {
	d, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[` + when("Allow", tokyoHours+
		`,"Bool":{"sekisho:Calendar/holidays":"false"}`) + "," +
		when("Deny", `"DateEquals":{"sekisho:Date/Europe/Berlin":"2026-12-24"}`) + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	set := policy.Compile(
		policy.Policies{
			Identity:  []*policy.Document{d},
			Calendars: map[string]*policy.Calendar{"holidays": policy.NewCalendar(nil)},
		},
	)
	c := policy.NewContext()
	c.Set("aws:CurrentTime", policy.Single("2026-04-15T01:00:00Z"))
	r := &policy.Request{Action: "a:B", Resource: "*", Context: c, Principal: policy.Principal{Account: "1"}}
	if e := set.Evaluate(r).Effect; e != policy.Allowed {
		t.Fatal(e)
	}
	if n := testing.AllocsPerRun(100, func() { set.Evaluate(r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRecurringTimes(b *testing.B) {
	d, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[` + when("Allow", tokyoHours) + `]}`))
	if err != nil {
		b.Fatal(err)
	}
	set := policy.Compile(policy.Policies{Identity: []*policy.Document{d}})
	c := policy.NewContext()
	c.Set("aws:CurrentTime", policy.Single("2026-04-15T01:00:00Z"))
	r := &policy.Request{Action: "a:B", Resource: "*", Context: c, Principal: policy.Principal{Account: "1"}}
	b.ReportAllocs()
	for b.Loop() {
		set.Evaluate(r)
	}
}
