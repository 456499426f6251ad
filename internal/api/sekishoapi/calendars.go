package sekishoapi

import (
	"context"
	"time"

	"sekisho/internal/api"
	"sekisho/internal/iam/identity"
	"sekisho/internal/wire/awsproto"
)

func (d *door) calendarOperations() map[string]api.Operation {
	return map[string]api.Operation{
		"PutCalendar":    api.Write(d.putCalendar),
		"GetCalendar":    api.Read(d.getCalendar),
		"ListCalendars":  api.Read(d.listCalendars),
		"DeleteCalendar": api.Write(d.deleteCalendar),
	}
}

// calendarARN returns the ARN of a calendar.
func (d *door) calendarARN(name string) string {
	return "arn:aws:sekisho:" + d.Region + ":" + d.Account + ":calendar/" + name
}

type putCalendarRequest struct {
	Name        string
	Description string
	Zone        string   // of dates and of times without a zone; UTC when empty
	Entries     []string // dates and spans
	ICalendar   string   // instead of Entries: the text of an iCalendar file
}

type calendarSummary struct {
	Name        string
	Description string `json:",omitempty"`
	Zone        string
	Spans       int
	Updated     awsproto.Epoch
	// CoversUntil is the time up to which recurring events are expanded.
	CoversUntil *awsproto.Epoch `json:",omitempty"`
}

type calendarAnswer struct {
	calendarSummary
	Entries []string `json:",omitempty"`
	// Upcoming are the next spans, at most maxUpcoming.
	Upcoming []window
}

const (
	maxUpcoming     = 50
	maxCalendarName = 64
)

func calendarShape(c *identity.Calendar) calendarSummary {
	s := calendarSummary{
		Name: c.Name, Description: c.Description, Zone: c.Zone, Spans: len(c.Spans), Updated: awsproto.NewEpoch(c.Updated),
	}
	if !c.CoversUntil.IsZero() {
		until := awsproto.NewEpoch(c.CoversUntil)
		s.CoversUntil = &until
	}
	return s
}

func calendarWhole(c *identity.Calendar, now time.Time) *calendarAnswer {
	out := &calendarAnswer{calendarSummary: calendarShape(c), Entries: c.Entries, Upcoming: []window{}}
	for _, s := range c.Upcoming(now, maxUpcoming) {
		out.Upcoming = append(
			out.Upcoming,
			window{awsproto.NewEpoch(time.Unix(s.From, 0)), awsproto.NewEpoch(time.Unix(s.To, 0))},
		)
	}
	return out
}

func (d *door) putCalendar(ctx context.Context, c *api.Call, in *putCalendarRequest) (*calendarAnswer, error) {
	var v awsproto.Constraints
	v.Require("name", in.Name != "")
	v.Length("name", in.Name, 0, maxCalendarName)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "sekisho:PutCalendar", d.calendarARN(in.Name)); err != nil {
		return nil, err
	}
	made, err := d.Directory.Calendars.Put(ctx, identity.NewCalendar{
		Name: in.Name, Description: in.Description, Zone: in.Zone, Entries: in.Entries, ICalendar: in.ICalendar,
	})
	if err != nil {
		return nil, err
	}
	return calendarWhole(made, c.Time), nil
}

type calendarRequest struct{ Name string }

func (in *calendarRequest) check() error {
	var v awsproto.Constraints
	v.Require("name", in.Name != "")
	v.Length("name", in.Name, 0, maxCalendarName)
	return v.Err()
}

func (d *door) getCalendar(ctx context.Context, c *api.Call, in *calendarRequest) (*calendarAnswer, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "sekisho:GetCalendar", d.calendarARN(in.Name)); err != nil {
		return nil, err
	}
	found, err := d.Directory.Calendars.Get(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	return calendarWhole(found, c.Time), nil
}

type calendarsAnswer struct{ Calendars []calendarSummary }

// listCalendars returns all calendars: there are at most 100.
func (d *door) listCalendars(ctx context.Context, c *api.Call, _ *struct{}) (*calendarsAnswer, error) {
	if err := c.Authorize(ctx, "sekisho:ListCalendars", "*"); err != nil {
		return nil, err
	}
	all, err := d.Directory.Calendars.List(ctx)
	if err != nil {
		return nil, err
	}
	out := &calendarsAnswer{Calendars: []calendarSummary{}}
	for _, found := range all {
		out.Calendars = append(out.Calendars, calendarShape(found))
	}
	return out, nil
}

func (d *door) deleteCalendar(ctx context.Context, c *api.Call, in *calendarRequest) (*struct{}, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "sekisho:DeleteCalendar", d.calendarARN(in.Name)); err != nil {
		return nil, err
	}
	return &struct{}{}, d.Directory.Calendars.Delete(ctx, in.Name)
}
