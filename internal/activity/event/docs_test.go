package event_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/activity/event"
)

// call is a CloudTrail record.
const call = `{"eventVersion":"1.08","userIdentity":{"type":"IAMUser","principalId":"AIDAIOSFODNN7EXAMPLE",` +
	`"arn":"arn:aws:iam::123456789012:user/alice",` +
	`"accountId":"123456789012","accessKeyId":"AKIAIOSFODNN7EXAMPLE","userName":"alice"},` +
	`"eventTime":"2026-11-23T12:00:00Z","eventSource":"ssm.amazonaws.com",` +
	`"eventName":"StartSession","awsRegion":"eu-central-1","sourceIPAddress":"203.0.113.9",` +
	`"userAgent":"aws-cli/1.45.11",` +
	`"requestParameters":{"reason":"ticket 4711","target":"mi-0123456789abcdef0"},` +
	`"responseElements":{"sessionId":"alice-3w5dpsrsb4cyqj2kbdzc3gb7aa","tokenValue":"Value hidden due to security ` +
	`reasons."},` +
	`"requestID":"9e1c1d3f-52b6-4c7e-8a53-2f0d8d6b7c11","eventID":"0b8a6c1e-8d0f-4a8e-9d53-5f0f6f5c3a21",` +
	`"readOnly":false,` +
	`"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"123456789012","eventCategory":"Management"}`

// examples has one event of each type, as the documentation shows them.
func examples(o event.Origin) []*event.Event {
	at := func(minute, second int) time.Time {
		return time.Date(2026, 11, 23, 12, minute, second, 250_000_000, time.UTC)
	}
	s := &sekisho.Session{
		ID: "alice-3w5dpsrsb4cyqj2kbdzc3gb7aa", Target: node, Status: sekisho.SessionConnecting,
		Owner: "arn:aws:iam::123456789012:user/alice", DocumentName: "SSM-SessionManagerRunShell", Reason: "ticket 4711",
		StartedAt: at(0, 0), SourceIP: "203.0.113.9", Recording: sekisho.RecordingServer,
	}
	ended, failed := *s, *s
	ended.Status, ended.EndedAt, ended.Details = sekisho.SessionTerminated, at(7, 42), "The session was idle for 5m0s."
	failed.Status, failed.EndedAt, failed.Details = sekisho.SessionFailed, at(
		0,
		25,
	), "The agent of mi-0123456789abcdef0 did not open the session within 25s."
	n := &sekisho.Node{
		ID: node, ComputerName: "web-1.example", AgentVersion: "4.0.0.0", LastSourceIP: "198.51.100.7", ConnectedAt: at(0, 0),
		DisconnectedAt: at(30, 0), LastPingAt: at(29, 48), DisconnectReason: "no answer to a ping for 10s",
	}
	sight := event.Sight{At: at(40, 0), Node: node, SourceIP: "203.0.113.50", Other: "198.51.100.7"}
	moved, changed, doubt := sight, sight, sight
	moved.Type, moved.Kind, moved.Message = event.NodeAddressChanged, "AddressChanged",
		"Its address changed from 198.51.100.7 to 203.0.113.50."
	changed.Type, changed.Kind, changed.Fingerprint = event.NodeIdentityChanged, "IdentityChanged",
		"0f1e2d3c-4b5a-4697-8877-665544332211"
	changed.Message = "A machine at 203.0.113.50 has the key of mi-0123456789abcdef0 but another fingerprint than " +
		"the one that registered: its hardware changed, or its disk was copied."
	doubt.Type, doubt.Kind = event.NodeIdentityInDoubt, "IdentityTwice"
	doubt.Message = "Two agents have the identity of mi-0123456789abcdef0: one connected from 198.51.100.7, and one " +
		"from 203.0.113.50 that was refused. One was copied from the other: register that machine again."
	refused := event.Sight{
		Type: event.RegistrationRefused, At: at(50, 0), Kind: "ActivationExpired", SourceIP: "203.0.113.77",
		Message: "The activation expired at 2026-11-22T12:00:00Z. Make a new activation.",
	}
	all := []*event.Event{
		o.Started(s), o.Ended(&ended), o.Ended(&failed),
		o.Denied(event.Denial{
			At: at(
				10,
				0,
			), Operation: "StartSession", Principal: "arn:aws:iam::123456789012:user/bob", Target: string(node),
			Document: "SSM-SessionManagerRunShell", Reason: "curiosity", SourceIP: "203.0.113.10", UserAgent: "aws-cli/1.45.11",
			RequestID: "4f1f63e6-3c0b-4b9f-a3d5-6f3b2f7d8a10", Code: "AccessDeniedException",
			Message: "User: arn:aws:iam::123456789012:user/bob is not authorized to perform: ssm:StartSession on resource: " +
				"arn:aws:ssm:eu-central-1:123456789012:managed-instance/mi-0123456789abcdef0",
		}),
		o.Up(n), o.Down(n, at(31, 1)), o.Seen(moved), o.Seen(changed), o.Seen(doubt), o.Seen(refused),
		o.Call("ssm", at(0, 0), json.RawMessage(call)),
		o.Rewritten(event.Rewrite{
			At: at(
				55,
				0,
			), Session: s, Node: node, SourceIP: "198.51.100.7", RequestID: "2b0f4a53-9d2c-4a8e-8f57-1f1f5f1c9a20",
			Principal: "arn:aws:sts::123456789012:assumed-role/AmazonSSMRoleForInstancesQuickSetup/mi-0123456789abcdef0",
			Operation: "PutObject", Bucket: "session-logs", Key: "prefix/" + string(s.ID) + ".log", Outcome: "NewVersion",
			Version: "6xiMqrpDETjonfDyUVmJvKfJUdvGKPb5", Former: "Zk3WnO1yQ0bq7m5iBJwqY3W0ZcXo8uV2",
		}),
	}
	change := event.AccessChange{
		At: at(
			56,
			0,
		), ID: "oi-0123456789ab", Status: "Approved", Requester: "arn:aws:iam::123456789012:user/alice",
		Nodes:  []string{string(node)},
		Reason: "ticket 4711", Rule: "prod", DecidedBy: "arn:aws:iam::123456789012:user/bob", DecisionNote: "agreed by phone",
		ExpiresAt: at(59, 0),
	}
	glass := change
	glass.Rule, glass.DecidedBy, glass.DecisionNote = "", "", ""
	all = append(all, o.Access(change), o.BreakGlass(glass), o.Integrity(event.IntegrityFinding{
		At: at(57, 0), Kind: "missing", Where: "recording", Subject: string(s.ID), Problems: 1,
		Problem: "2026/11/alice-3w5dpsrsb4cyqj2kbdzc3gb7aa: the recording is missing: it was sealed at 2026-11-23 12:07:42Z",
	}))
	all = append(all, o.RecordingStore(event.RecordingStore{
		At: at(58, 0), Store: "s3://recordings/prod at https://s3.example.com", WaitingBytes: 481293, WaitingRecordings: 2,
		Problem: "s3://recordings/prod at https://s3.example.com: put 2026/11/" + string(s.ID) +
			"/session.rec: dial tcp 192.0.2.20:443: connect: connection refused",
	}))
	for i, e := range all {
		e.ID = fmt.Sprintf("6a7e8feb-b491-4cf7-a9f1-%012d", i)
	}
	return all
}

// The documentation shows every event as it is sent.
func TestDocumentedExamples(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	calls, err := event.OfTypes([]string{string(event.APICall)})
	if err != nil {
		t.Fatal(err)
	}
	bubble(
		t,
		event.Config{Webhooks: []event.Webhook{{Name: "calls", Endpoint: &receiver{}, Pattern: calls}}},
		func(t *testing.T, f *fixture) {
			f.nodes.mu.Lock()
			f.nodes.all[node] = &sekisho.Node{ID: node, Name: "web-1", Tags: map[string]string{"Env": "prod"}}
			f.nodes.mu.Unlock()
			seen := map[event.Type]bool{}
			for _, e := range examples(f.Origin()) {
				f.Publish(e)
				seen[e.Type] = true
			}
			f.after(time.Second)
			all, err := f.Events(t.Context(), event.Query{Limit: 100})
			if err != nil || len(all) != len(event.Types()) || len(seen) != len(event.Types()) {
				t.Fatalf("%d events of %d types, %v", len(all), len(seen), err)
			}
			for i := range all {
				r := all[len(all)-1-i]
				if r.Type != event.Types()[i] {
					t.Errorf("event %d is %s", i, r.Type)
				}
				var want bytes.Buffer
				if err := json.Indent(&want, r.Body, "", "  "); err != nil {
					t.Fatal(err)
				}
				_, section, ok := strings.Cut(string(doc), "\n### "+string(r.Type)+"\n")
				_, have, ok2 := strings.Cut(section, "```json test=TestDocumentedExamples\n")
				have, _, ok3 := strings.Cut(have, "\n```\n")
				if !ok || !ok2 || !ok3 {
					t.Errorf("docs/events.md has no example of %q; it is\n%s", r.Type, want.String())
					continue
				}
				if d := cmp.Diff(want.String(), have); d != "" {
					t.Errorf("%s (-produced +documented)\n%s\nproduced:\n%s", r.Type, d, want.String())
				}
			}
		},
	)
}

// The patterns in the documentation are valid.
func TestDocumentedPatterns(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(doc), "```json test=TestDocumentedPatterns\n")
	if len(parts) < 2 {
		t.Fatal("no pattern is shown")
	}
	for _, p := range parts[1:] {
		text, _, _ := strings.Cut(p, "```")
		if _, err := event.ParsePattern([]byte(text)); err != nil {
			t.Errorf("%v: %s", err, text)
		}
	}
}
