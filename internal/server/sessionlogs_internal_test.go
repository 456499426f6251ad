package server

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/storage/loggroup"
	"sekisho/internal/storage/objects"
)

// TestLogsThatNeverArrivedAreAbsent checks destinations to which a node claims
// to have delivered a session's log.
func TestLogsThatNeverArrivedAreAbsent(t *testing.T) {
	t.Parallel()
	s, err := New(
		t.Context(),
		Config{
			DataDir: t.TempDir(),
			Account: "123456789012",
			Region:  "eu-central-1",
			Log:     slog.New(slog.DiscardHandler),
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx := t.Context()
	absent := func(agent string, l sekisho.SessionLogs) string {
		return sessionLogs{s}.Absent(ctx, &sekisho.Session{ID: "alice-1", AgentProcess: agent, Logs: l})
	}
	group := sekisho.SessionLogs{Group: "sessions", Stream: "alice-1"}
	bucket := sekisho.SessionLogs{Bucket: "bucket", Key: "alice-1.log"}
	both := sekisho.SessionLogs{Group: group.Group, Stream: group.Stream, Bucket: bucket.Bucket, Key: bucket.Key}
	expect := func(what, agent string, l sekisho.SessionLogs, want string) {
		t.Helper()
		if got := absent(agent, l); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	expect("no places", "", sekisho.SessionLogs{}, "")
	expect("no group", "", group, "logs:CreateLogStream")
	if err := s.logs.CreateGroup(ctx, loggroup.Group{Name: "sessions"}); err != nil {
		t.Fatal(err)
	}
	expect("no stream", "", group, "logs:CreateLogStream")
	expect("no stream of our agent", "process", group, "logs:CreateLogStream")
	if err := s.logs.CreateStream(ctx, "sessions", "alice-1"); err != nil {
		t.Fatal(err)
	}
	expect("empty stream", "", group, "logs:PutLogEvents")
	expect("empty stream of our agent", "process", group, "")
	if _, err := s.logs.Put(ctx, "sessions", "alice-1",
		[]loggroup.Event{{Time: time.Now(), Message: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	expect("stream with an event", "", group, "")

	expect("no object", "", both, "s3:PutObject")
	if _, err := s.objects.CreateBucket(ctx, "bucket", nil); err != nil {
		t.Fatal(err)
	}
	content := objects.Content{Body: strings.NewReader("x"), Size: 1}
	if _, err := s.objects.Put(ctx, "bucket", "alice-1.log", objects.Facts{}, content, objects.Condition{}); err != nil {
		t.Fatal(err)
	}
	expect("object and event", "", both, "")
}
