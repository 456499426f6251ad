package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestEvents(t *testing.T) {
	t.Parallel()
	answers := map[string]func(map[string]any) any{
		"ListEvents": func(in map[string]any) any {
			if in["NextToken"] == nil {
				return map[string]any{"NextToken": "2", "Events": []any{
					map[string]any{
						"id":          "3",
						"detail-type": "Session Denied",
						"time":        "2026-11-23T12:02:00Z",
						"detail": map[string]any{
							"principal": "arn:bob\x1b[2J", "instance-id": "mi-1", "instance-name": "web", "error-message": "not you",
							"reason": "x",
						},
					},
					map[string]any{
						"id":          "2",
						"detail-type": "Session Log Rewritten",
						"time":        "2026-11-23T12:01:00Z",
						"detail": map[string]any{
							"owner": "arn:alice", "session-id": "alice-1", "instance-id": "mi-1", "reason": "ticket",
							"principal": "arn:writer", // of a log that was written again
						},
					},
				}}
			}
			return map[string]any{
				"Events": []any{
					map[string]any{
						"id":          "1",
						"detail-type": "Node Up",
						"time":        "2026-11-23T12:00:00Z",
						"detail":      map[string]any{"instance-id": "mi-1", "source-ip": "192.0.2.1"},
					},
				},
			}
		},
		"ListWebhooks": func(map[string]any) any {
			return map[string]any{"Webhooks": []any{
				map[string]any{
					"Name":         "chatops",
					"Address":      "https://hooks.example",
					"Status":       "Failing",
					"Waiting":      3,
					"Delivered":    10,
					"GivenUp":      1,
					"Dropped":      2,
					"LastFailedAt": 1795433852.5,
					"LastFailure":  "it answered 503\x1b[8m",
				},
			}}
		},
	}
	out, asked, err := run(t, answers, "events", "-n", "3", "--type", "x", "--of", "mi-1")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 4 || !strings.Contains(lines[1], "Node Up") || !strings.Contains(lines[1], "192.0.2.1") ||
		!strings.Contains(lines[2], "alice-1") ||
		!strings.Contains(lines[2], "ticket") ||
		!strings.Contains(lines[2], "arn:writer") ||
		strings.Contains(lines[2], "arn:alice") ||
		!strings.Contains(lines[3], `arn:bob\x1b[2J  not you`) ||
		!strings.Contains(lines[3], "mi-1 web") {
		t.Errorf("printed\n%s", out)
	}
	if got := asked["ListEvents"]; len(got) != 2 || got[0]["MaxResults"] != 3.0 || got[0]["DetailType"] != "x" ||
		got[0]["Subject"] != "mi-1" ||
		got[1]["MaxResults"] != 1.0 ||
		got[1]["NextToken"] != "2" {
		t.Errorf("asked %v", got)
	}

	out, _, err = run(t, answers, "events", "--json")
	lines = strings.Split(strings.TrimSpace(out), "\n")
	if err != nil || len(lines) != 3 || !json.Valid([]byte(lines[0])) || !strings.Contains(lines[0], `"Node Up"`) {
		t.Errorf("printed %v\n%s", err, out)
	}

	out, _, err = run(t, answers, "events", "--webhooks")
	lines = strings.Split(strings.TrimSpace(out), "\n")
	if err != nil || len(lines) != 2 ||
		strings.Join(strings.Fields(lines[1])[:8], " ") != "chatops https://hooks.example all Failing 3 10 1 2" ||
		!strings.Contains(lines[1], `it answered 503\x1b[8m`) {
		t.Errorf("printed %v\n%s", err, out)
	}
	for _, bad := range [][]string{{"events", "x"}, {"events", "-n", "0"}} {
		if _, asked, err := run(t, nil, bad...); err == nil || len(asked) != 0 {
			t.Errorf("%v: %v, asked %v", bad, err, asked)
		}
	}
}
