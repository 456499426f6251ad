package refusals_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/activity/audit"
	"sekisho/internal/activity/audit/audittest"
	"sekisho/internal/activity/refusals"
)

func start(t *testing.T) (trail *audittest.Trail, b *refusals.Budget, stop func()) {
	trail = &audittest.Trail{}
	b = refusals.New(refusals.Config{Trail: trail, Region: "eu-central-1", Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { b.Run(ctx) })
	return trail, b, func() {
		cancel()
		wg.Wait()
	}
}

func refuse(t *testing.T, b *refusals.Budget, from string, n int) {
	t.Helper()
	for range n {
		if err := b.Record(t.Context(), netip.MustParseAddr(from),
			audit.Event{EventName: "Refused", Time: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
}

func named(trail *audittest.Trail, name string) (found []audit.Event) {
	for _, e := range trail.Events() {
		if e.EventName == name {
			found = append(found, e)
		}
	}
	return found
}

func TestSourcesHaveABudgetEach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		trail, b, stop := start(t)
		defer stop()
		// The addresses of one /64 are one source.
		refuse(t, b, "192.0.2.1", 250)
		refuse(t, b, "2001:db8::1", 150)
		refuse(t, b, "2001:db8::2", 57)
		refuse(t, b, "192.0.2.2", 3)
		if n := len(named(trail, "Refused")); n != 200+200+3 {
			t.Errorf("%d events", n)
		}
		if n := len(named(trail, "UnauthenticatedRefusals")); n != 0 {
			t.Errorf("%d summaries before the minute is over", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		counts := map[string]any{}
		for _, e := range named(trail, "UnauthenticatedRefusals") {
			counts[fmt.Sprint(e.Additional["source"], " ", e.SourceIP)] = e.Additional["count"]
		}
		if diff := cmp.Diff(map[string]any{"192.0.2.1/32 192.0.2.1": 50, "2001:db8::/64 2001:db8::2": 7},
			counts); diff != "" {
			t.Error(diff)
		}
		// A minute gives 60 events back, and what is pending at the end is kept.
		refuse(t, b, "192.0.2.1", 61)
		if n := len(named(trail, "Refused")); n != 403+60 {
			t.Errorf("%d events after a minute", n-403)
		}
		b.Close(t.Context())
		if got := named(trail, "UnauthenticatedRefusals"); len(got) != 3 || got[2].Additional["count"] != 1 {
			t.Errorf("at the end: %v", got)
		}
	})
}

func TestManySourcesShareABudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		trail, b, stop := start(t)
		defer stop()
		const sources = 25_000
		for i := range sources {
			refuse(t, b, fmt.Sprintf("2001:db8:%x:%x::1", i>>8, i&255), 1)
		}
		if n := len(named(trail, "Refused")); n != 2000 {
			t.Errorf("%d events", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		summaries, count := named(trail, "UnauthenticatedRefusals"), 0
		for _, e := range summaries {
			count += e.Additional["count"].(int)
		}
		if len(summaries) != 100 || count != sources-2000 {
			t.Errorf("%d summaries of %d refusals", len(summaries), count)
		}
	})
}
