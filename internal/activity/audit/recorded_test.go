package audit_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"sekisho/internal/activity/audit"
)

// The recorded feed has exactly the events of the trail, as they are stored.
func TestRecordedFeed(t *testing.T) {
	t.Parallel()
	m := &memory{}
	var events []audit.Event
	trail := audit.New(m, audit.Config{Signer: newKey(t), Recorded: func(e audit.Event) { events = append(events, e) }})
	e := event(0)
	e.RequestParameters = map[string]any{"target": "mi-1", "tokenValue": "swordfish"}
	if err := trail.Record(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != 1 || events[0].ID == "" || !strings.Contains(string(m.records[0].Body), events[0].ID) ||
		strings.Contains(string(text), "swordfish") ||
		!strings.Contains(string(text), "mi-1") {
		t.Errorf("events %s", text)
	}
	e.RequestParameters = func() {} // cannot be stored
	if err := trail.Record(t.Context(), e); err == nil || errors.Is(err, t.Context().Err()) || len(events) != 1 {
		t.Errorf("%v, events %d", err, len(events))
	}
}
