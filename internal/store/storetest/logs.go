package storetest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/storage/loggroup"
)

// Logs runs the conformance suite of [loggroup.Store]. open returns an empty
// store.
func Logs(t *testing.T, open func(t *testing.T) loggroup.Store) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	fill := func(t *testing.T, s loggroup.Store) {
		t.Helper()
		for _, g := range []string{"g", "ga", "h"} {
			group := &loggroup.Group{Name: g, CreatedAt: at, KMSKey: "k", Tags: map[string]string{"a": "b"}}
			must(t, s.CreateLogGroup(t.Context(), group))
			for _, name := range []string{"s1", "s2", "t"} {
				must(t, s.CreateLogStream(t.Context(), &loggroup.Stream{Group: g, Name: name, CreatedAt: at}))
			}
		}
	}
	appendTo := func(t *testing.T, s loggroup.Store, group, stream string, seconds ...int) {
		t.Helper()
		var events []*loggroup.Event
		for _, sec := range seconds {
			events = append(events, &loggroup.Event{
				Time:       at.Add(time.Duration(sec) * time.Second),
				IngestedAt: at,
				Message:    []byte{byte(sec), 0, 255},
			})
		}
		must(t, s.AppendLogEvents(t.Context(), group, stream, events))
	}
	// read returns the first bytes of the messages.
	read := func(t *testing.T, s loggroup.Store, q loggroup.Query) []byte {
		t.Helper()
		var got []byte
		must(t, s.LogEvents(t.Context(), q, func(e *loggroup.Event) (bool, error) {
			got = append(got, e.Message[0])
			return true, nil
		}))
		return got
	}
	t.Run("names cannot be used twice", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		fill(t, s)
		wantCode(t, s.CreateLogGroup(ctx, &loggroup.Group{Name: "g"}), sekisho.CodeConflict)
		wantCode(t, s.CreateLogStream(ctx, &loggroup.Stream{Group: "g", Name: "s1"}), sekisho.CodeConflict)
	})
	t.Run("a stream needs its group", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		err := s.CreateLogStream(t.Context(), &loggroup.Stream{Group: "none", Name: "s1"})
		wantCode(t, err, sekisho.CodeNotFound)
	})
	t.Run("groups are returned unchanged", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		fill(t, s)
		groups, err := s.LogGroups(ctx, "g", "g", 9)
		must(t, err)
		want := []*loggroup.Group{{Name: "ga", CreatedAt: at, KMSKey: "k", Tags: map[string]string{"a": "b"}}}
		same(t, want, groups)
	})
	t.Run("a changed group is stored", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		fill(t, s)
		change := func(g *loggroup.Group) error { g.Retention, g.Tags = 7, nil; return nil }
		must(t, s.UpdateLogGroup(ctx, "ga", change))
		got, err := s.LogGroup(ctx, "ga")
		must(t, err)
		same(t, &loggroup.Group{Name: "ga", CreatedAt: at, KMSKey: "k", Retention: 7}, got)
	})
	t.Run("streams are listed by prefix", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		fill(t, s)
		streams, err := s.LogStreams(ctx, loggroup.StreamQuery{Group: "g", Prefix: "s"})
		must(t, err)
		if len(streams) != 2 || streams[0].Name != "s1" || streams[1].Name != "s2" {
			t.Errorf("got %v, want s1 and s2", streams)
		}
	})
	t.Run("deleting a group deletes its streams", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		fill(t, s)
		must(t, s.DeleteLogGroup(ctx, "g"))
		wantCode(t, s.DeleteLogGroup(ctx, "g"), sekisho.CodeNotFound)
		_, err := s.LogStream(ctx, "g", "s1")
		wantCode(t, err, sekisho.CodeNotFound)
	})
	t.Run("prefixes and pages of groups", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		for _, name := range []string{"/a/1", "/a/2", "/a/3", "/b/1", "/A/1", "é/1", "\U0010FFFF/1"} {
			must(t, s.CreateLogGroup(ctx, &loggroup.Group{Name: name, CreatedAt: at}))
		}
		for name, c := range map[string]struct {
			prefix, after string
			limit         int
			want          []string
		}{
			"prefix":               {"/a/", "", 9, []string{"/a/1", "/a/2", "/a/3"}},
			"page":                 {"/a/", "/a/1", 1, []string{"/a/2"}},
			"after the last":       {"/a/", "/a/3", 9, nil},
			"before the prefix":    {"/b", "/a/2", 9, []string{"/b/1"}},
			"more than ASCII":      {"é", "", 9, []string{"é/1"}},
			"the greatest letter":  {"\U0010FFFF", "", 9, []string{"\U0010FFFF/1"}},
			"case":                 {"/A", "", 9, []string{"/A/1"}},
			"no wildcard: percent": {"%", "", 9, nil},
		} {
			t.Run(name, func(t *testing.T) {
				groups, err := s.LogGroups(ctx, c.prefix, c.after, c.limit)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, g := range groups {
					got = append(got, g.Name)
				}
				if d := cmp.Diff(c.want, got); d != "" {
					t.Error(d)
				}
			})
		}
	})
	t.Run("streams are ordered and paged", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		fill(t, s)
		appendTo(t, s, "g", "s1", 4)
		appendTo(t, s, "g", "s2", 9, 4)
		for _, name := range []string{"x1", "x2", "t0"} {
			must(t, s.CreateLogStream(ctx, &loggroup.Stream{Group: "g", Name: name, CreatedAt: at}))
		}
		appendTo(t, s, "g", "x1", 9)
		for name, c := range map[string]struct {
			q    loggroup.StreamQuery
			want string
		}{
			"by name":                   {loggroup.StreamQuery{}, "s1 s2 t t0 x1 x2"},
			"by name, descending":       {loggroup.StreamQuery{Descending: true}, "x2 x1 t0 t s2 s1"},
			"by last event":             {loggroup.StreamQuery{ByLastEvent: true}, "t t0 x2 s1 s2 x1"},
			"by last event, descending": {loggroup.StreamQuery{ByLastEvent: true, Descending: true}, "x1 s2 s1 x2 t0 t"},
			"prefix":                    {loggroup.StreamQuery{Prefix: "x"}, "x1 x2"},
			"prefix, descending":        {loggroup.StreamQuery{Prefix: "s", Descending: true}, "s2 s1"},
		} {
			t.Run(name, func(t *testing.T) {
				for _, limit := range []int{0, 1, 2} {
					var got []string
					q := c.q
					for q.Group, q.Limit = "g", limit; ; {
						page, err := s.LogStreams(ctx, q)
						if err != nil {
							t.Fatal(err)
						}
						for _, x := range page {
							got = append(got, x.Name)
							q.After = loggroup.StreamPlace{LastEvent: x.LastEvent, Name: x.Name}
						}
						if limit == 0 || len(page) < limit {
							break
						}
					}
					if d := cmp.Diff(c.want, strings.Join(got, " ")); d != "" {
						t.Errorf("pages of %d: %s", limit, d)
					}
				}
			})
		}
	})
	sec := func(n int) time.Time { return at.Add(time.Duration(n) * time.Second) }
	filled := func(t *testing.T) loggroup.Store {
		t.Helper()
		s := open(t)
		fill(t, s)
		appendTo(t, s, "g", "s1", 3, 4, 4)
		appendTo(t, s, "g", "s2", 1, 4, 9)
		appendTo(t, s, "g", "t", 5)
		appendTo(t, s, "h", "s1", 6)
		return s
	}
	// atFour returns the three events of second 4.
	atFour := func(t *testing.T, s loggroup.Store) []*loggroup.Event {
		t.Helper()
		var events []*loggroup.Event
		q := loggroup.Query{Group: "g", Start: sec(4), End: sec(5)}
		must(t, s.LogEvents(t.Context(), q, func(e *loggroup.Event) (bool, error) {
			events = append(events, e)
			return true, nil
		}))
		if len(events) != 3 {
			t.Fatalf("%d events in second 4, want 3", len(events))
		}
		return events
	}
	t.Run("events need their stream", func(t *testing.T) {
		t.Parallel()
		err := filled(t).AppendLogEvents(t.Context(), "g", "none", []*loggroup.Event{{Time: at}})
		wantCode(t, err, sekisho.CodeNotFound)
	})
	t.Run("events of one time are in the order in which they were appended", func(t *testing.T) {
		t.Parallel()
		events := atFour(t, filled(t))
		if events[0].Stream != "s1" || events[1].Stream != "s1" || events[2].Stream != "s2" {
			t.Errorf("streams %s, %s, %s", events[0].Stream, events[1].Stream, events[2].Stream)
		}
		if !events[0].Time.Equal(sec(4)) || !events[0].IngestedAt.Equal(at) {
			t.Errorf("time %v, ingested %v", events[0].Time, events[0].IngestedAt)
		}
	})
	t.Run("events are selected", func(t *testing.T) {
		t.Parallel()
		s := filled(t)
		fours := atFour(t, s)
		middle := &loggroup.Place{Time: fours[1].Time, Seq: fours[1].Seq}
		for name, c := range map[string]struct {
			q    loggroup.Query
			want []byte
		}{
			"all":                      {loggroup.Query{}, []byte{1, 3, 4, 4, 4, 5, 9}},
			"backward":                 {loggroup.Query{Backward: true}, []byte{9, 5, 4, 4, 4, 3, 1}},
			"one stream":               {loggroup.Query{Streams: []string{"s2"}}, []byte{1, 4, 9}},
			"no stream":                {loggroup.Query{Streams: []string{}}, nil},
			"prefix":                   {loggroup.Query{Prefix: "s"}, []byte{1, 3, 4, 4, 4, 9}},
			"times":                    {loggroup.Query{Start: sec(3), End: sec(5)}, []byte{3, 4, 4, 4}},
			"after an event":           {loggroup.Query{After: middle}, []byte{4, 5, 9}},
			"backward after the event": {loggroup.Query{After: middle, Backward: true}, []byte{4, 3, 1}},
		} {
			c.q.Group = "g"
			t.Run(name, func(t *testing.T) { same(t, c.want, read(t, s, c.q)) })
		}
	})
	t.Run("a stream knows its first and last event", func(t *testing.T) {
		t.Parallel()
		got, err := filled(t).LogStream(t.Context(), "g", "s2")
		must(t, err)
		want := &loggroup.Stream{
			Group:         "g",
			Name:          "s2",
			CreatedAt:     at,
			FirstEvent:    sec(1),
			LastEvent:     sec(9),
			LastIngestion: at,
		}
		same(t, want, got)
	})
	t.Run("events expire", func(t *testing.T) {
		t.Parallel()
		s := filled(t)
		must(t, s.ExpireLogEvents(t.Context(), "g", sec(4)))
		same(t, []byte{4, 4, 4, 5, 9}, read(t, s, loggroup.Query{Group: "g"}))
	})
	t.Run("deleting a stream deletes its events", func(t *testing.T) {
		t.Parallel()
		s := filled(t)
		must(t, s.DeleteLogStream(t.Context(), "g", "s1"))
		same(t, []byte{1, 4, 5, 9}, read(t, s, loggroup.Query{Group: "g"}))
	})
}
