package client

import (
	"context"
	"encoding/json"
)

// Event is something that happened, as it is sent to webhooks.
type Event struct {
	ID         string         `json:"id"`
	DetailType string         `json:"detail-type"`
	Time       string         `json:"time"` // RFC 3339
	Detail     map[string]any `json:"detail"`

	Raw json.RawMessage `json:"-"` // all of it
}

// Webhook is how a receiver of events fares.
type Webhook struct {
	Name, Address, Events, Status string
	Waiting                       int
	WaitingSince                  Time
	Delivered, GivenUp, Dropped   int64
	LastDeliveredAt, LastFailedAt Time
	LastFailure                   string
	RetryAt                       Time
}

// maxEventsPage is what the server gives at once.
const maxEventsPage = 200

// Events returns the newest events, at most so many, the newest first. An
// empty type or subject (the ID of a session or a node) stands for all.
func (c *Client) Events(ctx context.Context, most int, detailType, subject string) ([]Event, error) {
	var all []Event
	for token := ""; len(all) < most; {
		in := struct {
			DetailType string `json:",omitempty"`
			Subject    string `json:",omitempty"`
			MaxResults int
			NextToken  string `json:",omitempty"`
		}{detailType, subject, min(maxEventsPage, most-len(all)), token}
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

// Webhooks tells how the receivers of events fare.
func (c *Client) Webhooks(ctx context.Context) ([]Webhook, error) {
	var out struct{ Webhooks []Webhook }
	err := c.call(ctx, "sekisho", "Sekisho.ListWebhooks", struct{}{}, &out)
	return out.Webhooks, err
}
