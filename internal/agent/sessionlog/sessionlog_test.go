package sessionlog_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sekisho/internal/agent/sessionlog"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/wire/mgs"
)

// services are the S3 and Logs services of a server.
type services struct {
	mu        sync.Mutex
	algorithm string
	refuse    map[string][]error // the first responses, by operation
	objects   map[string]string
	headers   http.Header
	key       string   // of the log group
	streams   []string // created
	events    []string
}

func (d *services) next(op string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.refuse[op]
	if len(all) == 0 {
		return nil
	}
	d.refuse[op] = all[1:]
	return all[0]
}

func (d *services) Region() string { return "ap-northeast-1" }

func (d *services) BucketEncryption(context.Context, string) (string, error) {
	return d.algorithm, d.next("GetBucketEncryption")
}

func (d *services) PutObject(
	_ context.Context, bucket, key string, content io.ReaderAt, size int64, h http.Header,
) error {
	if err := d.next("PutObject"); err != nil {
		return err
	}
	b, err := io.ReadAll(io.NewSectionReader(content, 0, size))
	d.objects[bucket+"/"+key], d.headers = string(b), h
	return err
}

func (d *services) Logs(_ context.Context, op string, in, out any) error {
	if err := d.next(op); err != nil {
		return err
	}
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	var call struct {
		LogGroupName, LogStreamName string
		LogEvents                   []struct{ Message string }
	}
	if err := json.Unmarshal(b, &call); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch op {
	case "DescribeLogGroups":
		return json.Unmarshal(
			[]byte(
				`{"logGroups":[{"logGroupName":"/sessions-of-others","kmsKeyId":"x"},{"logGroupName":"/sessions","kmsKeyId":"`+
					d.key+`"}]}`,
			),
			out,
		)
	case "CreateLogStream":
		d.streams = append(d.streams, call.LogGroupName+" "+call.LogStreamName)
	case "PutLogEvents":
		for _, e := range call.LogEvents {
			d.events = append(d.events, e.Message)
		}
	}
	return nil
}

// sink is the data channel of a session.
type sink struct{ sent []string }

func (s *sink) Send(_ context.Context, _ mgs.PayloadType, b []byte) error {
	s.sent = append(s.sent, string(b))
	return nil
}

func (s *sink) Receive(context.Context) (mgs.PayloadType, []byte, error) { return 0, nil, io.EOF }

func config(t *testing.T, d *services, p sessionlog.Places) sessionlog.Config {
	d.objects = map[string]string{}
	return sessionlog.Config{
		Places: p, Services: d, Dir: t.TempDir(), Session: "alice-0123", Node: "mi-1", Owner: "arn:aws:iam::1:user/alice",
		User: "ssm-user",
		Log:  slog.New(slog.DiscardHandler),
	}
}

var refused = &uplink.APIError{
	Op:      "PutObject",
	Status:  http.StatusForbidden,
	Code:    "AccessDenied",
	Message: "not authorized to perform s3:PutObject",
}

// show runs a session that outputs texts, and delivers its log.
func show(t *testing.T, cfg sessionlog.Config, texts ...string) sessionlog.Delivery {
	t.Helper()
	l, err := sessionlog.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(cfg.Dir); err != nil || len(left) > 0 {
		t.Errorf("a crash would leave %v behind (%v)", left, err)
	}
	channel := &sink{}
	s := l.Stream(channel)
	for _, text := range texts {
		if err := s.Send(t.Context(), mgs.PayloadOutput, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Send(t.Context(), mgs.PayloadExitCode, []byte("0")); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(channel.sent, append(texts, "0")) {
		t.Errorf("the client got %q", channel.sent)
	}
	return l.Deliver(t.Context())
}

func TestNoLog(t *testing.T) {
	t.Parallel()
	l, err := sessionlog.Open(t.Context(), config(t, &services{}, sessionlog.Places{Prefix: "x", BucketEncrypted: true}))
	if l != nil || err != nil {
		t.Fatalf("%v, %v", l, err)
	}
	channel := &sink{}
	if l.Stream(channel) != channel || l.Deliver(t.Context()) != (sessionlog.Delivery{}) {
		t.Error("a session without a log does something with it")
	}
}

func TestBucket(t *testing.T) {
	t.Parallel()
	d := &services{algorithm: "AES256"}
	got := show(
		t,
		config(t, d, sessionlog.Places{Bucket: "logs", Prefix: "nodes/web", BucketEncrypted: true}),
		"a\x1b[31mb\r\n",
		"c",
	)
	if want := (sessionlog.Delivery{Bucket: "logs", Key: "nodes/web/alice-0123.log"}); got != want {
		t.Errorf("delivered %+v, want %+v", got, want)
	}
	log := d.objects["logs/nodes/web/alice-0123.log"]
	if !strings.HasPrefix(log, "Script started on ") || !strings.Contains(log, "]\na\x1b[31mb\r\nc\nScript done on ") {
		t.Errorf("the log is %q", log)
	}
	for name, want := range map[string]string{
		"X-Amz-Acl": "bucket-owner-full-control", "X-Amz-Server-Side-Encryption": "AES256", "Content-Type": "text/plain",
	} {
		if d.headers.Get(name) != want {
			t.Errorf("%s: %q", name, d.headers.Get(name))
		}
	}
}

// TestRefusedUpload: the delivery reports the destination that refused, and
// succeeds at the other.
func TestRefusedUpload(t *testing.T) {
	t.Parallel()
	d := &services{refuse: map[string][]error{"PutObject": {refused, nil}, "GetBucketEncryption": {refused}}}
	got := show(t, config(t, d, sessionlog.Places{Bucket: "logs", Group: "/sessions"}), "x\n")
	if got.Bucket != "" || got.Group != "/sessions" || got.Stream != "alice-0123" ||
		!strings.HasPrefix(
			got.Problem,
			"to s3://logs/alice-0123.log: ",
		) || !strings.Contains(got.Problem, "not authorized to perform s3:PutObject") {
		t.Errorf("delivered %+v", got)
	}
	if len(d.objects) != 0 || len(d.events) != 1 || !strings.Contains(d.events[0], "]\nx\n\nScript done") {
		t.Errorf("objects %v, events %q", d.objects, d.events)
	}
}

// TestServerDown: a log waits for a server that is down, up to a limit.
func TestServerDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("connection refused")
		d := &services{
			refuse: map[string][]error{
				"PutObject": {away, &uplink.APIError{Status: http.StatusServiceUnavailable}, away},
			},
		}
		if got := show(t, config(t, d, sessionlog.Places{Bucket: "logs"}), "x"); got.Problem != "" ||
			len(d.objects) != 1 {
			t.Errorf("delivered %+v, %v", got, d.objects)
		}
		d = &services{refuse: map[string][]error{"PutObject": slices.Repeat([]error{away}, 100)}}
		began := time.Now()
		got := show(t, config(t, d, sessionlog.Places{Bucket: "logs"}), "x")
		if !strings.Contains(got.Problem, "connection refused") || time.Since(began) > 5*time.Minute {
			t.Errorf("delivered %+v after %v", got, time.Since(began))
		}
	})
}

func TestRequiredEncryption(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		services *services
		places   sessionlog.Places
		want     string
	}{
		"an unencrypted bucket": {&services{}, sessionlog.Places{Bucket: "logs", BucketEncrypted: true},
			`bucket "logs" is not encrypted. Encrypt the bucket, or turn off s3EncryptionEnabled`},
		"a bucket with unknown encryption": {&services{refuse: map[string][]error{"GetBucketEncryption": {refused}}},
			sessionlog.Places{Bucket: "logs", BucketEncrypted: true}, "s3:GetEncryptionConfiguration"},
		"a group without a key": {&services{}, sessionlog.Places{Group: "/sessions", GroupEncrypted: true},
			`log group "/sessions" is not encrypted. Associate`},
		"a missing group": {&services{key: "k"}, sessionlog.Places{Group: "/sess", GroupEncrypted: true}, "/sess"},
		"a group unknown": {&services{refuse: map[string][]error{"DescribeLogGroups": {refused}}},
			sessionlog.Places{Group: "/sessions", GroupEncrypted: true}, "logs:DescribeLogGroups"},
	} {
		if _, err := sessionlog.Open(t.Context(), config(t, c.services, c.places)); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := show(t, config(t, &services{key: "k"}, sessionlog.Places{Group: "/sessions", GroupEncrypted: true}),
		"x"); got.Problem != "" ||
		got.Group == "" {
		t.Errorf("with a key: %+v", got)
	}
}

// TestStreaming: readable lines are delivered while the session runs, and the
// last one at its end.
func TestStreaming(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &services{}
		l, err := sessionlog.Open(t.Context(), config(t, d, sessionlog.Places{Group: "/sessions", Streaming: true}))
		if err != nil {
			t.Fatal(err)
		}
		s := l.Stream(&sink{})
		for _, text := range []string{"\x1b]0;title\x07\x1b[1mfirst\x1b[0m\tline\r\nsec", "ond\r\n", "prompt$ "} {
			if err := s.Send(t.Context(), mgs.PayloadOutput, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		d.mu.Lock()
		sent := slices.Clone(d.events)
		d.mu.Unlock()
		if len(sent) != 1 {
			t.Fatalf("streamed %q", sent)
		}
		var r struct {
			EventVersion, AwsRegion, RunAsUser, SessionID string
			Target                                        struct{ ID string }
			UserIdentity                                  struct{ Arn string }
			SessionData                                   []string
		}
		if err := json.Unmarshal([]byte(sent[0]), &r); err != nil {
			t.Fatal(err)
		}
		if r.EventVersion != "1.0" || r.AwsRegion != "ap-northeast-1" || r.RunAsUser != "ssm-user" ||
			r.SessionID != "alice-0123" ||
			r.Target.ID != "mi-1" ||
			r.UserIdentity.Arn != "arn:aws:iam::1:user/alice" ||
			!slices.Equal(r.SessionData, []string{"first line", "second"}) {
			t.Errorf("streamed %+v", r)
		}
		if got := l.Deliver(t.Context()); got.Problem != "" || got.Stream != "alice-0123" {
			t.Errorf("delivered %+v", got)
		}
		if len(d.events) != 2 || !strings.Contains(d.events[1], `"sessionData":["prompt$ "]`) || len(d.streams) != 1 {
			t.Errorf("delivered events %q in streams %q", d.events, d.streams)
		}
	})
}

// TestLargeLogs: everything arrives in the log group, in events of an accepted
// size that end between lines.
func TestLargeLogs(t *testing.T) {
	t.Parallel()
	d := &services{}
	line := strings.Repeat("x", 999) + "\n"
	if got := show(t, config(t, d, sessionlog.Places{Group: "/sessions"}),
		slices.Repeat([]string{line}, 1000)...); got.Problem != "" {
		t.Fatal(got.Problem)
	}
	for i, e := range d.events {
		if len(e) > 256<<10 || i < len(d.events)-1 && !strings.HasSuffix(e, "x\n") {
			t.Errorf("event %d has %d bytes and ends with %q", i, len(e), e[len(e)-5:])
		}
	}
	if got := strings.Count(strings.Join(d.events, ""), line); got != 1000 {
		t.Errorf("%d lines of 1000", got)
	}
}
