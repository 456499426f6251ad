// Package cloudtrail is the CloudTrail door: LookupEvents over the audit
// trail.
package cloudtrail

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strconv"

	"sekisho/internal/activity/audit"
	"sekisho/internal/api"
	"sekisho/internal/wire/awsproto"
)

const maxResults = 50

// Trail finds audit events.
type Trail interface {
	Lookup(ctx context.Context, q audit.Query) (events []audit.Event, next int64, err error)
}

// Config is the configuration of the door.
type Config struct {
	Trail   Trail
	Account string
}

type door struct{ Config }

// New returns the door.
func New(cfg Config) *api.Door {
	d := &door{cfg}
	return &api.Door{
		Service: "cloudtrail", Protocol: awsproto.JSON,
		Operations: map[string]api.Operation{
			"LookupEvents": api.Read(d.lookupEvents),
		},
	}
}

type lookupRequest struct {
	LookupAttributes []struct{ AttributeKey, AttributeValue string }
	StartTime        awsproto.Epoch
	EndTime          awsproto.Epoch
	EventCategory    string
	MaxResults       *int64
	NextToken        string
}

type lookupAnswer struct {
	Events    []event
	NextToken string `json:"NextToken,omitempty"`
}

type event struct {
	EventID         string `json:"EventId"`
	EventName       string
	ReadOnly        string
	AccessKeyID     string `json:"AccessKeyId,omitempty"`
	EventTime       awsproto.Epoch
	EventSource     string
	Username        string `json:"Username,omitempty"`
	Resources       []resource
	CloudTrailEvent string
}

type resource struct {
	ResourceType string `json:"ResourceType,omitempty"`
	ResourceName string
}

func (d *door) lookupEvents(ctx context.Context, c *api.Call, in *lookupRequest) (*lookupAnswer, error) {
	q, err := in.query()
	if err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "cloudtrail:LookupEvents", "*"); err != nil {
		return nil, err
	}
	// Callers who can simulate policies can also see the reasons of decisions.
	why, err := c.Decide(ctx, "iam:SimulatePrincipalPolicy", "*")
	if err != nil {
		return nil, err
	}
	events, next, err := d.Trail.Lookup(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &lookupAnswer{Events: []event{}}
	for i := range events {
		e, err := onWire(&events[i], d.Account, why.Allowed)
		if err != nil {
			return nil, err
		}
		out.Events = append(out.Events, e)
	}
	if next != 0 {
		out.NextToken = makeToken(next, in.digest())
	}
	return out, nil
}

func onWire(e *audit.Event, account string, reason bool) (event, error) {
	record := e.CloudTrail
	if reason {
		record = e.CloudTrailWithReason
	}
	full, err := record(account)
	if err != nil {
		return event{}, err
	}
	w := event{
		EventID: e.ID, EventName: e.EventName, ReadOnly: strconv.FormatBool(e.ReadOnly),
		AccessKeyID: e.UserIdentity.AccessKeyID,
		EventTime:   awsproto.NewEpoch(e.Time), EventSource: e.EventSource, Username: e.UserIdentity.Name(),
		Resources: []resource{}, CloudTrailEvent: string(full),
	}
	for _, r := range e.Resources {
		w.Resources = append(w.Resources, resource{r.Type, r.Name()})
	}
	return w, nil
}

func (in *lookupRequest) query() (audit.Query, error) {
	q := audit.Query{Start: in.StartTime.Time, End: in.EndTime.Time, Limit: maxResults}
	if in.MaxResults != nil {
		if *in.MaxResults < 1 || *in.MaxResults > maxResults {
			return q, awsproto.SenderError(
				"InvalidMaxResultsException",
				"MaxResults must be between 1 and %d.",
				maxResults,
			)
		}
		q.Limit = int(*in.MaxResults)
	}
	if in.EventCategory != "" {
		return q, awsproto.SenderError(
			"InvalidEventCategoryException",
			"EventCategory is not supported, because there are no Insights events. Omit it.",
		)
	}
	if !q.Start.IsZero() && !q.End.IsZero() && q.Start.After(q.End) {
		return q, awsproto.SenderError("InvalidTimeRangeException", "StartTime must not be later than EndTime.")
	}
	if len(in.LookupAttributes) > 1 {
		return q, awsproto.SenderError("InvalidLookupAttributesException", "LookupAttributes can have only one attribute.")
	}
	for _, a := range in.LookupAttributes {
		if a.AttributeValue == "" || len(a.AttributeValue) > 2000 {
			return q, awsproto.SenderError(
				"InvalidLookupAttributesException",
				"AttributeValue must have 1 to 2000 characters.",
			)
		}
		switch a.AttributeKey {
		case "EventId":
			q.EventID = a.AttributeValue
		case "EventName":
			q.EventName = a.AttributeValue
		case "EventSource":
			q.EventSource = a.AttributeValue
		case "Username":
			q.Username = a.AttributeValue
		case "AccessKeyId":
			q.AccessKeyID = a.AttributeValue
		case "ResourceType":
			q.ResourceType = a.AttributeValue
		case "ResourceName":
			q.ResourceName = a.AttributeValue
		case "ReadOnly":
			readOnly := a.AttributeValue == "true"
			if !readOnly && a.AttributeValue != "false" {
				return q, awsproto.SenderError("InvalidLookupAttributesException", "The value of ReadOnly must be true or false.")
			}
			q.ReadOnly = &readOnly
		default:
			return q, awsproto.SenderError(
				"InvalidLookupAttributesException",
				"AttributeKey must be EventId, EventName, ReadOnly, Username, ResourceType, ResourceName, EventSource or "+
					"AccessKeyId.",
			)
		}
	}
	if in.NextToken != "" {
		before, ok := readToken(in.NextToken, in.digest())
		if !ok {
			return q, awsproto.SenderError(
				"InvalidNextTokenException",
				"The NextToken does not belong to this lookup. Repeat the request with the same attributes and times.",
			)
		}
		q.Before = before
	}
	return q, nil
}

const digestSize = 8

// digest identifies a lookup. A token is valid only for the same lookup.
func (in *lookupRequest) digest() [digestSize]byte {
	b, err := json.Marshal([]any{in.LookupAttributes, in.StartTime.UnixMilli(), in.EndTime.UnixMilli()})
	if err != nil { // strings and numbers always marshal
		panic(err)
	}
	sum := sha256.Sum256(b)
	return [digestSize]byte(sum[:])
}

func makeToken(before int64, digest [digestSize]byte) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(digest[:], uint64(before)))
}

func readToken(token string, digest [digestSize]byte) (before int64, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != digestSize+8 || [digestSize]byte(b) != digest {
		return 0, false
	}
	before = int64(binary.BigEndian.Uint64(b[digestSize:]))
	return before, before > 0
}
