package sekishoapi

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"

	root "sekisho"
	"sekisho/internal/activity/event"
	"sekisho/internal/api"
	"sekisho/internal/wire/awsproto"
)

// Events stores events and delivers them to webhooks.
type Events interface {
	Events(ctx context.Context, q event.Query) ([]*event.Record, error)
	Webhooks() []event.WebhookState
}

func (d *door) eventOperations() map[string]api.Operation {
	return map[string]api.Operation{
		"ListEvents":   api.Read(d.listEvents),
		"ListWebhooks": api.Read(d.listWebhooks),
	}
}

// Bounds of a page.
const (
	defaultEvents = 50
	maxEvents     = 200
)

type eventsRequest struct {
	DetailType string
	Subject    string // the ID of a session or node
	MaxResults int64
	NextToken  string
}

type eventsAnswer struct {
	Events    []json.RawMessage // in the form in which they are delivered
	NextToken string            `json:",omitempty"`
}

// listEvents lists the newest events.
func (d *door) listEvents(ctx context.Context, c *api.Call, in *eventsRequest) (*eventsAnswer, error) {
	var v awsproto.Constraints
	v.Length("subject", in.Subject, 0, 96)
	v.Length("nextToken", in.NextToken, 0, 19)
	if in.MaxResults != 0 {
		v.Range("maxResults", in.MaxResults, 1, maxEvents)
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "sekisho:ListEvents", "*"); err != nil {
		return nil, err
	}
	if in.DetailType != "" && !slices.Contains(event.Types(), event.Type(in.DetailType)) {
		return nil, root.Errorf(root.CodeInvalid, "Unknown event type %q.", in.DetailType).
			WithHint("The types are %q.", event.Types())
	}
	q := event.Query{Type: event.Type(in.DetailType), Subject: in.Subject, Limit: int(in.MaxResults)}
	if q.Limit == 0 {
		q.Limit = defaultEvents
	}
	if in.NextToken != "" {
		before, err := strconv.ParseInt(in.NextToken, 10, 64)
		if err != nil || before < 1 {
			return nil, root.Errorf(root.CodeInvalid,
				"This operation did not return the NextToken. Repeat the request without it.")
		}
		q.Before = before
	}
	all, err := d.Events.Events(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &eventsAnswer{Events: []json.RawMessage{}}
	for _, r := range all {
		out.Events = append(out.Events, r.Body)
	}
	if len(all) == q.Limit {
		out.NextToken = strconv.FormatInt(all[len(all)-1].Seq, 10)
	}
	return out, nil
}

type webhookState struct {
	Name            string
	Address         string
	Events          string `json:",omitempty"` // empty for all
	Status          string // Working, Failing or Unused
	Waiting         int
	WaitingSince    awsproto.Epoch `json:",omitzero"`
	Delivered       int64
	GivenUp         int64
	Dropped         int64
	LastDeliveredAt awsproto.Epoch `json:",omitzero"`
	LastFailedAt    awsproto.Epoch `json:",omitzero"`
	LastFailure     string         `json:",omitempty"`
	Failures        int
	RetryAt         awsproto.Epoch `json:",omitzero"`
}

type webhooksAnswer struct{ Webhooks []webhookState }

// listWebhooks returns the delivery status of the webhooks.
func (d *door) listWebhooks(ctx context.Context, c *api.Call, _ *struct{}) (*webhooksAnswer, error) {
	if err := c.Authorize(ctx, "sekisho:ListWebhooks", "*"); err != nil {
		return nil, err
	}
	out := &webhooksAnswer{Webhooks: []webhookState{}}
	for _, w := range d.Events.Webhooks() {
		s := webhookState{
			Name: w.Webhook, Address: w.Address, Events: w.Events, Status: "Working", Waiting: w.Waiting,
			Delivered: w.Delivered, GivenUp: w.GivenUp, Dropped: w.Dropped, LastFailure: w.LastFailure, Failures: w.Failures,
			WaitingSince: awsproto.NewEpoch(w.WaitingSince), LastDeliveredAt: awsproto.NewEpoch(w.LastDeliveredAt),
			LastFailedAt: awsproto.NewEpoch(w.LastFailedAt), RetryAt: awsproto.NewEpoch(w.RetryAt),
		}
		switch {
		case w.Failures > 0:
			s.Status = "Failing"
		case w.LastDeliveredAt.IsZero():
			s.Status = "Unused"
		}
		out.Webhooks = append(out.Webhooks, s)
	}
	return out, nil
}
