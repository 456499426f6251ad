package identity_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
)

func TestCalendarsInPolicies(t *testing.T) {
	t.Parallel()
	f := setup(t) // its clock says 2026-11-23T12:00:00Z
	ctx := t.Context()
	const onCall = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*",` +
		`"Condition":{"Bool":{"sekisho:Calendar/On-Call":"true"}}}]}`
	_, k := f.user(t, "alice")
	wantCode(t, f.Holders.PutInline(ctx, identity.KindUser, "alice", "p", onCall), sekisho.CodeMalformedPolicy, "on-call")

	allowed := func(d *identity.Directory) bool {
		t.Helper()
		_, p, err := d.Credentials.Credential(ctx, k.ID, "")
		must(t, err)
		v, err := authz.New(d.Sets).
			Decide(ctx, &authz.Facts{Principal: p, Time: f.clock.Now(), SourceIP: netip.Addr{}}, "ssm:StartSession", "*")
		must(t, err)
		return v.Allowed
	}
	put := func(entries ...string) {
		t.Helper()
		c, err := f.Calendars.Put(ctx, identity.NewCalendar{Name: "on-call", Zone: "Europe/Berlin", Entries: entries})
		must(t, err)
		if len(c.Spans) != len(entries) || c.Zone != "Europe/Berlin" {
			t.Errorf("stored %+v", c)
		}
	}
	put("2026-11-23")
	must(t, f.Holders.PutInline(ctx, identity.KindUser, "alice", "p", onCall))
	other := f.member(t)
	if !allowed(f.Directory) || !allowed(other) {
		t.Error("within the calendar alice is not allowed")
	}
	// Compiled policies follow a change of the calendar on every member.
	put("2026-11-24", "2026-11-25/2026-11-26")
	f.clock.advance(2 * time.Second)
	if allowed(f.Directory) || allowed(other) {
		t.Error("outside the changed calendar alice is allowed")
	}
	wantCode(t, f.Calendars.Delete(ctx, "ON-CALL"), sekisho.CodeInUse, "alice")
	must(t, f.Holders.DeleteInline(ctx, identity.KindUser, "alice", "p"))
	must(t, f.Calendars.Delete(ctx, "ON-CALL"))
	wantCode(t, f.Calendars.Delete(ctx, "on-call"), sekisho.CodeNotFound, "")
}

func TestCalendarsFromICalendar(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx := t.Context()
	c, err := f.Calendars.Put(
		ctx,
		identity.NewCalendar{Name: "new-year", Zone: "Asia/Tokyo", ICalendar: strings.Join([]string{
			"BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", "BEGIN:VEVENT", "UID:1", "DTSTAMP:20200101T000000Z",
			"DTSTART;VALUE=DATE:20200101", "RRULE:FREQ=YEARLY", "END:VEVENT", "END:VCALENDAR", "",
		}, "\r\n")},
	)
	must(t, err)
	if want := f.clock.Now().AddDate(19, 11, 0); c.CoversUntil.Before(want) || len(c.Spans) < 26 {
		t.Errorf("%d spans until %s", len(c.Spans), c.CoversUntil)
	}
	next := c.Upcoming(f.clock.Now(), 1)
	if len(next) != 1 || time.Unix(next[0].From, 0).UTC().Format(time.RFC3339) != "2026-12-31T15:00:00Z" {
		t.Errorf("the next span is %v", next)
	}
	for name, n := range map[string]identity.NewCalendar{
		"bad name":     {Name: "a b", Entries: []string{"2026-01-01"}},
		"no entries":   {Name: "a"},
		"both":         {Name: "a", Entries: []string{"2026-01-01"}, ICalendar: "x"},
		"bad zone":     {Name: "a", Zone: "Mars", Entries: []string{"2026-01-01"}},
		"bad entry":    {Name: "a", Entries: []string{"tomorrow"}},
		"bad file":     {Name: "a", ICalendar: "tomorrow"},
		"long comment": {Name: "a", Entries: []string{"2026-01-01"}, Description: strings.Repeat("x", 257)},
	} {
		if _, err := f.Calendars.Put(ctx, n); sekisho.CodeOf(err) != sekisho.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
