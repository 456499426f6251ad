package api_test

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/activity/audit"
	"sekisho/internal/wire/sigv4"
)

// stranger calls without a key that anybody knows.
func stranger(from string) call {
	return call{as: sigv4.Credentials{AccessKeyID: "AKIASTRANGER", SecretAccessKey: "guess"}, target: "AmazonSSM.Ping", body: `{"Name":"x"}`, from: from}
}

// named returns the events of one name.
func (w *world) named(name string) (found []audit.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.EventName == name {
			found = append(found, e)
		}
	}
	return found
}

func TestRefusalsOfStrangersAreSummedUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		refuse := func(from string, n int) {
			t.Helper()
			var first *httptest.ResponseRecorder
			for range n {
				got := w.do(t, stranger(from))
				if first == nil {
					first = got
				}
				if got.Code != first.Code || got.Body.String() != first.Body.String() || got.Code != 400 {
					t.Fatalf("answered %d %s, before %d %s", got.Code, got.Body, first.Code, first.Body)
				}
			}
		}
		// One /64 is one source, whatever address of it is used.
		refuse("192.0.2.1:1", 250)
		refuse("[2001:db8::1]:1", 150)
		refuse("[2001:db8::2]:1", 57)
		refuse("192.0.2.2:1", 3)
		if n := len(w.named("Ping")); n != 200+200+3 {
			t.Errorf("%d refusals with an event of their own", n)
		}
		if got := w.do(t, call{target: "AmazonSSM.Ping", body: `{"Name":"x"}`, from: "192.0.2.1:1"}); got.Code != 200 || len(w.named("Ping")) != 404 {
			t.Errorf("a known caller at the same address: %d, %d events", got.Code, len(w.named("Ping")))
		}
		if got := w.do(t, call{as: nobody, target: "AmazonSSM.Ping", body: `{"Name":"x"}`, from: "192.0.2.1:1"}); got.Code != 400 || len(w.named("Ping")) != 405 {
			t.Errorf("a known caller who is refused: %d, %d events", got.Code, len(w.named("Ping")))
		}
		if n := len(w.named("UnauthenticatedRefusals")); n != 0 {
			t.Errorf("%d summaries before their minute is over", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		counts := func(events []audit.Event) map[string]any {
			m := map[string]any{}
			for _, e := range events {
				m[fmt.Sprint(e.Additional["source"], " ", e.SourceIP)] = e.Additional["count"]
			}
			return m
		}
		got := w.named("UnauthenticatedRefusals")
		if diff := cmp.Diff(map[string]any{"192.0.2.1/32 192.0.2.1": 50, "2001:db8::/64 2001:db8::2": 7}, counts(got)); diff != "" || len(got) != 2 {
			t.Error(diff)
		}

		// A minute gives 60 events back, and what is pending at the end is not lost.
		refuse("192.0.2.1:1", 61)
		if n := len(w.named("Ping")); n != 405+60 {
			t.Errorf("%d events after a minute", n-405)
		}
		w.Close()
		if got := w.named("UnauthenticatedRefusals"); len(got) != 3 || got[2].Additional["count"] != 1 {
			t.Errorf("at the end: %v", got)
		}
	})
}

// A stranger with very many addresses gains nothing by them.
func TestRefusalsFromEverywhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const sources = 12_000
		for i := range sources {
			w.do(t, stranger(fmt.Sprintf("[2001:db8:%x::1]:1", i)))
		}
		if n := len(w.named("Ping")); n != 2000 {
			t.Errorf("%d refusals with an event of their own", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		summaries, count := w.named("UnauthenticatedRefusals"), 0
		for _, e := range summaries {
			count += e.Additional["count"].(int)
		}
		if len(summaries) != 100 || count != sources-2000 {
			t.Errorf("%d summaries of %d refusals", len(summaries), count)
		}
	})
}
