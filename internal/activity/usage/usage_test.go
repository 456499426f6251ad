package usage_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/activity/usage"
)

// world is a store, a bucket and a clock.
type world struct {
	reports  map[string]*usage.Definition
	sessions []*sekisho.Session
	files    map[string][]byte
	putFails error
	now      time.Time
	*usage.Reporter
}

func newWorld(now time.Time) *world {
	w := &world{reports: map[string]*usage.Definition{}, files: map[string][]byte{}, now: now}
	w.Reporter = usage.New(usage.Config{
		Store: w, Now: func() time.Time { return w.now }, Log: slog.New(slog.DiscardHandler),
		Volume: func(_ context.Context, x *sekisho.Session) (usage.Volume, error) {
			return usage.Volume{In: 1, Out: 20, Recording: 300, Log: int64(len(x.Logs.Bucket))}, nil
		},
		Put: func(_ context.Context, bucket, key, _ string, content []byte) error {
			if w.putFails == nil {
				w.files[bucket+":"+key] = content
			}
			return w.putFails
		},
	})
	return w
}

func (w *world) CreateUsageReport(_ context.Context, d *usage.Definition, _ int) error {
	stored := *d
	w.reports[d.Name] = &stored
	return nil
}

func (w *world) UsageReports(context.Context) ([]*usage.Definition, error) {
	var all []*usage.Definition
	for _, d := range w.reports {
		copied := *d
		all = append(all, &copied)
	}
	return all, nil
}

func (w *world) UpdateUsageReport(_ context.Context, name string, change func(d *usage.Definition)) error {
	if w.reports[name] == nil {
		return sekisho.Errorf(sekisho.CodeNotFound, "no report")
	}
	change(w.reports[name])
	return nil
}

func (w *world) DeleteUsageReport(_ context.Context, name string) error {
	delete(w.reports, name)
	return nil
}

func (w *world) EachSessionDuring(_ context.Context, from, to time.Time, visit func(x *sekisho.Session) error) error {
	for _, x := range w.sessions {
		if x.StartedAt.Before(to) && (x.EndedAt.IsZero() || !x.EndedAt.Before(from)) {
			if err := visit(x); err != nil {
				return err
			}
		}
	}
	return nil
}

// session adds a session. end "" = it runs.
func (w *world) session(person, node, document, start, end string) *sekisho.Session {
	x := &sekisho.Session{Owner: person, Target: sekisho.NodeID(node), DocumentName: document, StartedAt: clock(start)}
	if end != "" {
		x.EndedAt = clock(end)
	}
	w.sessions = append(w.sessions, x)
	return x
}

// clock reads a time such as "29 23:10".
func clock(s string) time.Time {
	t, err := time.Parse("2006-01 02 15:04", "2026-11 "+s)
	if err != nil {
		panic(err) // a fault of the test
	}
	return t
}

func (w *world) unzipped(t *testing.T, key string) []string {
	t.Helper()
	content, ok := w.files[key]
	if !ok {
		t.Fatalf("there is no %s in %v", key, w.files)
	}
	var r io.Reader
	if strings.HasSuffix(key, ".zip") {
		archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		if r, err = archive.Open("use-00001.csv"); err != nil {
			t.Fatal(err)
		}
	} else {
		var err error
		if r, err = gzip.NewReader(bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

const head = "date,person,node,document,sessions,minutes,bytes_in,bytes_out,recording_bytes,log_bytes"

func TestRowsOfADay(t *testing.T) {
	t.Parallel()
	w := newWorld(clock("29 12:00"))
	must(t, w.Create(t.Context(), usage.Definition{Name: "use", Bucket: "b", Prefix: "p", Compression: usage.GZIP}))
	if d := cmp.Diff([]string{head}, w.unzipped(t, "b:p/use/20261129-20261130/use-00001.csv.gz")); d != "" {
		t.Error(d)
	}
	w.session("ann", "mi-2", "Shell", "29 10:00", "29 10:30").Logs.Bucket = "logs"
	w.session("ann", "mi-2", "Shell", "29 11:00", "29 11:00")
	w.session("ann", "mi-1", "Shell", "28 23:00", "29 01:00") // began on the day before
	w.session("bob", "mi-1", "Port, \"forward\"", "29 23:30", "30 00:30")
	w.session("bob", "mi-1", "Shell", "29 23:59", "") // runs
	w.session("eve", "mi-1", "Shell", "28 10:00", "28 11:00")
	w.session("eve", "mi-1", "Shell", "30 00:00", "30 00:01")
	w.now = clock("30 00:10")
	must(t, w.Deliver(t.Context()))
	want := []string{
		head,
		"2026-11-29,ann,mi-1,Shell,0,60.00,1,20,300,0",
		"2026-11-29,ann,mi-2,Shell,2,30.00,2,40,600,4",
		`2026-11-29,bob,mi-1,"Port, ""forward""",1,30.00,0,0,0,0`,
		"2026-11-29,bob,mi-1,Shell,1,1.00,0,0,0,0",
	}
	if d := cmp.Diff(want, w.unzipped(t, "b:p/use/20261129-20261130/use-00001.csv.gz")); d != "" {
		t.Error(d)
	}
}

func TestDeliveriesCatchUp(t *testing.T) {
	t.Parallel()
	w := newWorld(clock("01 12:00"))
	must(
		t,
		w.Create(t.Context(), usage.Definition{Name: "use", Bucket: "b", Compression: usage.ZIP, KeepVersions: true}),
	)
	w.now = clock("03 00:04")
	must(t, w.Deliver(t.Context()))
	w.now = clock("03 00:05")
	must(t, w.Deliver(t.Context()))
	must(t, w.Deliver(t.Context())) // nothing is due
	for _, key := range []string{
		"b:use/20261101-20261102/20261101T120000Z/use-00001.csv.zip", // at its definition
		"b:use/20261101-20261102/20261103T000400Z/use-00001.csv.zip",
		"b:use/20261102-20261103/20261103T000500Z/use-00001.csv.zip", // five minutes after the day
	} {
		if d := cmp.Diff([]string{head}, w.unzipped(t, key)); d != "" {
			t.Errorf("%s: %s", key, d)
		}
	}
	if len(w.files) != 3 {
		t.Errorf("%d files, want 3", len(w.files))
	}
	w.now = w.now.AddDate(0, 0, 100)
	must(t, w.Deliver(t.Context()))
	if len(w.files) != 3+31 {
		t.Errorf("%d files after 100 days, want 31 more than 3", len(w.files))
	}
}

func TestFailedDeliveryIsRetried(t *testing.T) {
	t.Parallel()
	w := newWorld(clock("01 12:00"))
	w.putFails = sekisho.Errorf(sekisho.CodeNotFound, "no bucket")
	must(t, w.Create(t.Context(), usage.Definition{Name: "use", Bucket: "b", Compression: usage.GZIP}))
	wantStatus := func(want usage.Status, next string) {
		t.Helper()
		if d := w.reports["use"]; d.Status != want || !d.Next.Equal(clock(next)) {
			t.Errorf("%s, next %s; want %s, %s", d.Status, d.Next, want, next)
		}
	}
	wantStatus(usage.StatusNoBucket, "01 00:00")
	w.now = clock("03 12:00")
	w.putFails = errors.New("the disk is full")
	must(t, w.Deliver(t.Context()))
	wantStatus(usage.StatusUndelivered, "01 00:00")
	w.putFails = nil
	must(t, w.Deliver(t.Context()))
	wantStatus(usage.StatusDelivered, "03 00:00")
	if len(w.files) != 2 {
		t.Errorf("%d files, want those of two days", len(w.files))
	}
}

// A report that is deleted while it is delivered is no error.
func TestDeletedDuringDelivery(t *testing.T) {
	t.Parallel()
	w := newWorld(clock("01 12:00"))
	must(t, w.Create(t.Context(), usage.Definition{Name: "use", Bucket: "b", Compression: usage.GZIP}))
	w.session("ann", "mi-1", "Shell", "01 13:00", "01 14:00")
	gone := usage.New(usage.Config{
		Store: w, Now: func() time.Time { return clock("02 12:00") }, Log: slog.New(slog.DiscardHandler),
		Volume: func(context.Context, *sekisho.Session) (usage.Volume, error) {
			delete(w.reports, "use")
			return usage.Volume{}, nil
		},
		Put: func(context.Context, string, string, string, []byte) error { return nil },
	})
	must(t, gone.Deliver(t.Context()))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
