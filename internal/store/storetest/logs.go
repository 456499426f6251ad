package storetest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/storage/loggroup"
)

// Logs runs the conformance suite of [logs.Store]. open returns an empty
// store.
func Logs(t *testing.T, open func(t *testing.T) loggroup.Store) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	fill := func(t *testing.T, s loggroup.Store) {
		t.Helper()
		for _, g := range []string{"g", "ga", "h"} {
			if err := s.CreateLogGroup(t.Context(),
				&loggroup.Group{Name: g, CreatedAt: at, KMSKey: "k", Tags: map[string]string{"a": "b"}}); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"s1", "s2", "t"} {
				if err := s.CreateLogStream(t.Context(), &loggroup.Stream{Group: g, Name: name, CreatedAt: at}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	appendTo := func(t *testing.T, s loggroup.Store, group, stream string, seconds ...int) {
		t.Helper()
		var events []*loggroup.Event
		for _, sec := range seconds {
			events = append(
				events,
				&loggroup.Event{
					Time:       at.Add(time.Duration(sec) * time.Second),
					IngestedAt: at,
					Message:    []byte{byte(sec), 0, 255},
				},
			)
		}
		if err := s.AppendLogEvents(t.Context(), group, stream, events); err != nil {
			t.Fatal(err)
		}
	}
	// read returns the first bytes of the messages.
	read := func(t *testing.T, s loggroup.Store, q loggroup.Query) []byte {
		t.Helper()
		var got []byte
		if err := s.LogEvents(t.Context(), q, func(e *loggroup.Event) (bool, error) {
			got = append(got, e.Message[0])
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	t.Run("groups and streams", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		fill(t, s)
		if err := s.CreateLogGroup(ctx, &loggroup.Group{Name: "g"}); sekisho.CodeOf(err) != sekisho.CodeConflict {
			t.Errorf("again: %v", err)
		}
		if err := s.CreateLogStream(ctx, &loggroup.Stream{Group: "g", Name: "s1"}); sekisho.CodeOf(
			err,
		) != sekisho.CodeConflict {
			t.Errorf("again: %v", err)
		}
		if err := s.CreateLogStream(ctx, &loggroup.Stream{Group: "none", Name: "s1"}); !sekisho.IsNotFound(err) {
			t.Errorf("without a group: %v", err)
		}
		groups, err := s.LogGroups(ctx, "g", "g", 9)
		want := []*loggroup.Group{{Name: "ga", CreatedAt: at, KMSKey: "k", Tags: map[string]string{"a": "b"}}}
		if d := cmp.Diff(want, groups); err != nil || d != "" {
			t.Error(err, d)
		}
		if err := s.UpdateLogGroup(ctx, "ga",
			func(g *loggroup.Group) error { g.Retention, g.Tags = 7, nil; return nil }); err != nil {
			t.Fatal(err)
		}
		if g, err := s.LogGroup(ctx, "ga"); err != nil || g.Retention != 7 || g.Tags != nil {
			t.Errorf("%+v %v", g, err)
		}
		streams, err := s.LogStreams(ctx, loggroup.StreamQuery{Group: "g", Prefix: "s"})
		if err != nil || len(streams) != 2 || streams[0].Name != "s1" || streams[1].Name != "s2" {
			t.Errorf("%v %v", streams, err)
		}
		if err := s.DeleteLogGroup(ctx, "g"); err != nil {
			t.Error(err)
		}
		if err := s.DeleteLogGroup(ctx, "g"); !sekisho.IsNotFound(err) {
			t.Errorf("deleted twice: %v", err)
		}
		if _, err := s.LogStream(ctx, "g", "s1"); !sekisho.IsNotFound(err) {
			t.Errorf("a stream survives: %v", err)
		}
	})
	t.Run("prefixes and pages of groups", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		for _, name := range []string{"/a/1", "/a/2", "/a/3", "/b/1", "/A/1", "é/1", "\U0010FFFF/1"} {
			if err := s.CreateLogGroup(ctx, &loggroup.Group{Name: name, CreatedAt: at}); err != nil {
				t.Fatal(err)
			}
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
			if err := s.CreateLogStream(ctx, &loggroup.Stream{Group: "g", Name: name, CreatedAt: at}); err != nil {
				t.Fatal(err)
			}
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
	t.Run("events", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		fill(t, s)
		appendTo(t, s, "g", "s1", 3, 4, 4)
		appendTo(t, s, "g", "s2", 1, 4, 9)
		appendTo(t, s, "g", "t", 5)
		appendTo(t, s, "h", "s1", 6)
		if err := s.AppendLogEvents(ctx, "g", "none", []*loggroup.Event{{Time: at}}); !sekisho.IsNotFound(err) {
			t.Errorf("no stream: %v", err)
		}
		sec := func(n int) time.Time { return at.Add(time.Duration(n) * time.Second) }
		var fours []*loggroup.Event
		if err := s.LogEvents(ctx, loggroup.Query{Group: "g", Start: sec(4), End: sec(5)},
			func(e *loggroup.Event) (bool, error) {
				fours = append(fours, e)
				return true, nil
			}); err != nil || len(fours) != 3 || fours[0].Stream != "s1" || fours[2].Stream != "s2" ||
			!fours[0].Time.Equal(sec(4)) ||
			!fours[0].IngestedAt.Equal(at) {
			t.Fatalf("%+v %v", fours, err)
		}
		middle := &loggroup.Place{Time: fours[1].Time, Seq: fours[1].Seq}
		for name, c := range map[string]struct {
			q    loggroup.Query
			want []byte
		}{
			"all":           {loggroup.Query{}, []byte{1, 3, 4, 4, 4, 5, 9}},
			"backward":      {loggroup.Query{Backward: true}, []byte{9, 5, 4, 4, 4, 3, 1}},
			"one stream":    {loggroup.Query{Streams: []string{"s2"}}, []byte{1, 4, 9}},
			"no stream":     {loggroup.Query{Streams: []string{}}, nil},
			"prefix":        {loggroup.Query{Prefix: "s"}, []byte{1, 3, 4, 4, 4, 9}},
			"times":         {loggroup.Query{Start: sec(3), End: sec(5)}, []byte{3, 4, 4, 4}},
			"after a place": {loggroup.Query{After: middle}, []byte{4, 5, 9}},
			"before it":     {loggroup.Query{After: middle, Backward: true}, []byte{4, 3, 1}},
		} {
			c.q.Group = "g"
			t.Run(name, func(t *testing.T) {
				if d := cmp.Diff(c.want, read(t, s, c.q)); d != "" {
					t.Error(d)
				}
			})
		}
		st, err := s.LogStream(ctx, "g", "s2")
		want := &loggroup.Stream{
			Group:         "g",
			Name:          "s2",
			CreatedAt:     at,
			FirstEvent:    sec(1),
			LastEvent:     sec(9),
			LastIngestion: at,
		}
		if d := cmp.Diff(want, st); err != nil || d != "" {
			t.Error(err, d)
		}
		if err := s.ExpireLogEvents(ctx, "g", sec(4)); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]byte{4, 4, 4, 5, 9}, read(t, s, loggroup.Query{Group: "g"})); d != "" {
			t.Error(d)
		}
		if err := s.DeleteLogStream(ctx, "g", "s1"); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]byte{4, 5, 9}, read(t, s, loggroup.Query{Group: "g"})); d != "" {
			t.Error(d)
		}
	})
}
