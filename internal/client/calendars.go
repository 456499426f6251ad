package client

import "context"

// CalendarInput describes a calendar to be stored.
type CalendarInput struct {
	Name        string
	Description string   `json:",omitempty"`
	Zone        string   `json:",omitempty"`
	Entries     []string `json:",omitempty"`
	ICalendar   string   `json:",omitempty"`
}

// Calendar is a named set of spans of time.
type Calendar struct {
	Name        string
	Description string
	Zone        string
	Spans       int
	Updated     Time
	CoversUntil *Time
	Entries     []string
	Upcoming    []Window
}

// PutCalendar creates or replaces a calendar.
func (c *Client) PutCalendar(ctx context.Context, in CalendarInput) (Calendar, error) {
	var out Calendar
	err := c.call(ctx, "sekisho", "Sekisho.PutCalendar", in, &out)
	return out, err
}

// GetCalendar returns a calendar with its next spans.
func (c *Client) GetCalendar(ctx context.Context, name string) (Calendar, error) {
	var out Calendar
	err := c.call(ctx, "sekisho", "Sekisho.GetCalendar", map[string]string{"Name": name}, &out)
	return out, err
}

// ListCalendars returns every calendar, without spans.
func (c *Client) ListCalendars(ctx context.Context) ([]Calendar, error) {
	var out struct{ Calendars []Calendar }
	err := c.call(ctx, "sekisho", "Sekisho.ListCalendars", struct{}{}, &out)
	return out.Calendars, err
}

// DeleteCalendar removes a calendar.
func (c *Client) DeleteCalendar(ctx context.Context, name string) error {
	var out struct{}
	return c.call(ctx, "sekisho", "Sekisho.DeleteCalendar", map[string]string{"Name": name}, &out)
}
