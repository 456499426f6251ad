package client

import (
	"context"
	"encoding/json"
)

// Event is an event as it is sent to webhooks.
type Event struct {
	ID         string         `json:"id"`
	DetailType string         `json:"detail-type"`
	Time       string         `json:"time"` // RFC 3339
	Detail     map[string]any `json:"detail"`

	Raw json.RawMessage `json:"-"` // the whole event
}

// Webhook is the delivery status of a webhook.
type Webhook struct {
	Name, Address, Events, Status string
	Waiting                       int
	WaitingSince                  Time
	Delivered, GivenUp, Dropped   int64
	LastDeliveredAt, LastFailedAt Time
	LastFailure                   string
	RetryAt                       Time
}

// maxEventsPage is the server's limit for one page.
const maxEventsPage = 200

// Events returns up to limit events, newest first. An empty type or subject (the
// ID of a session or node) matches all.
func (c *Client) Events(ctx context.Context, limit int, detailType, subject string) ([]Event, error) {
	var all []Event
	for token := ""; len(all) < limit; {
		in := struct {
			DetailType string `json:",omitempty"`
			Subject    string `json:",omitempty"`
			MaxResults int
			NextToken  string `json:",omitempty"`
		}{detailType, subject, min(maxEventsPage, limit-len(all)), token}
		var out struct {
			Events    []json.RawMessage
			NextToken string
		}
		if err := c.call(ctx, "sekisho", "Sekisho.ListEvents", in, &out); err != nil {
			return nil, err
		}
		for _, raw := range out.Events {
			e := Event{Raw: raw}
			if err := json.Unmarshal(raw, &e); err != nil {
				return nil, err
			}
			all = append(all, e)
		}
		if token = out.NextToken; token == "" {
			break
		}
	}
	return all, nil
}

// Webhooks lists the webhooks with their delivery status.
func (c *Client) Webhooks(ctx context.Context) ([]Webhook, error) {
	var out struct{ Webhooks []Webhook }
	err := c.call(ctx, "sekisho", "Sekisho.ListWebhooks", struct{}{}, &out)
	return out.Webhooks, err
}
