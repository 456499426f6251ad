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
	var told []audit.Event
	trail := audit.New(m, audit.Config{Signer: newKey(t), Recorded: func(e audit.Event) { told = append(told, e) }})
	e := event(0)
	e.RequestParameters = map[string]any{"target": "mi-1", "tokenValue": "swordfish"}
	if err := trail.Record(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(told)
	if err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || told[0].ID == "" || !strings.Contains(string(m.records[0].Body), told[0].ID) ||
		strings.Contains(string(text), "swordfish") ||
		!strings.Contains(string(text), "mi-1") {
		t.Errorf("told %s", text)
	}
	e.RequestParameters = func() {} // cannot be stored
	if err := trail.Record(t.Context(), e); err == nil || errors.Is(err, t.Context().Err()) || len(told) != 1 {
		t.Errorf("%v, told %d", err, len(told))
	}
}
