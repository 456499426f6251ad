package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/activity/usage"
	"sekisho/internal/session/broker"
)

// UsageStores keep reports, and the sessions that they are about.
type UsageStores struct {
	usage.Store
	Sessions broker.Store
}

// Usage runs the conformance suite of [usage.Store]; open returns an empty
// store.
func Usage(t *testing.T, open func(t *testing.T) UsageStores) {
	a := &usage.Definition{
		Name: "a'", Bucket: "b", Prefix: "p", Compression: usage.ZIP, Resources: true, KeepVersions: true,
		RefreshClosed: true,
		CreatedAt:     at(1), CreatedBy: "arn:x", Next: at(2), DeliveredAt: at(3), Status: usage.StatusNoBucket,
	}
	const limit = 2
	reports := func(t *testing.T) UsageStores {
		t.Helper()
		s := open(t)
		must(t, s.CreateUsageReport(t.Context(), &usage.Definition{Name: "b"}, limit))
		must(t, s.CreateUsageReport(t.Context(), a, limit))
		return s
	}

	t.Run("reports are returned unchanged, sorted by name", func(t *testing.T) {
		t.Parallel()
		all, err := reports(t).UsageReports(t.Context())
		must(t, err)
		same(t, []*usage.Definition{a, {Name: "b"}}, all)
	})

	t.Run("names are unique and the number of reports is limited", func(t *testing.T) {
		t.Parallel()
		s, ctx := reports(t), t.Context()
		wantCode(t, s.CreateUsageReport(ctx, a, limit), sekisho.CodeConflict)
		wantCode(t, s.CreateUsageReport(ctx, &usage.Definition{Name: "c"}, limit), sekisho.CodeLimit)
	})

	t.Run("a changed report is stored", func(t *testing.T) {
		t.Parallel()
		s, ctx := reports(t), t.Context()
		must(t, s.UpdateUsageReport(ctx, a.Name, func(d *usage.Definition) { d.Next = at(9) }))
		changed := *a
		changed.Next = at(9)
		all, err := s.UsageReports(ctx)
		must(t, err)
		same(t, []*usage.Definition{&changed, {Name: "b"}}, all)
	})

	t.Run("a deleted report is not found", func(t *testing.T) {
		t.Parallel()
		s, ctx := reports(t), t.Context()
		must(t, s.DeleteUsageReport(ctx, a.Name))
		wantCode(t, s.DeleteUsageReport(ctx, a.Name), sekisho.CodeNotFound)
		wantCode(t, s.UpdateUsageReport(ctx, a.Name, func(*usage.Definition) {}), sekisho.CodeNotFound)
	})

	t.Run("sessions that overlap a period are visited once each", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		add := func(name string, start, end time.Time) {
			x := session(name, 0)
			x.StartedAt, x.EndedAt, x.Status = start, end, sekisho.SessionTerminated
			must(t, s.Sessions.CreateSession(ctx, x, firstToken()))
		}
		add("before", at(0), at(9))
		add("ended as it began", at(0), at(10))
		add("within", at(11), at(12))
		add("around", at(0), at(30))
		add("running", at(0), time.Time{})
		add("after", at(20), at(21))
		add("running after", at(20), time.Time{})
		want := []string{"around", "ended as it began", "running", "within"}
		for i := range 1200 { // more than a page, most of them with the same end
			name := fmt.Sprintf("x%04d", i)
			add(name, at(11), at(13+i/1000))
			want = append(want, name)
		}
		got := visited(ctx, t, s, at(10), at(20))
		slices.Sort(got)
		slices.Sort(want)
		same(t, want, got)
	})
}

func visited(ctx context.Context, t *testing.T, s UsageStores, from, to time.Time) (names []string) {
	t.Helper()
	must(t, s.EachSessionDuring(ctx, from, to, func(x *sekisho.Session) error {
		names = append(names, string(x.ID))
		return nil
	}))
	return names
}
