package storetest

import (
	"fmt"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/activity/event"
)

func eventRecord(seq int64, subject string) event.Record {
	return event.Record{
		Seq: seq, ID: fmt.Sprintf("id-%d", seq), Type: event.SessionStarted, Subject: subject, Time: at(int(seq % 60)),
		Body: fmt.Appendf(nil, `{"n": %d, "odd": "\u0000 \xff'"}`, seq),
	}
}

// Events runs the conformance suite of [event.Store]; open returns an empty
// store.
func Events(t *testing.T, open func(t *testing.T) event.Store) {
	add := func(t *testing.T, s event.Store, b event.Batch) {
		t.Helper()
		must(t, s.AddEvents(t.Context(), b))
	}
	seqs := func(t *testing.T, s event.Store, q event.Query) []int64 {
		t.Helper()
		all, err := s.Events(t.Context(), q)
		must(t, err)
		var out []int64
		for _, r := range all {
			out = append(out, r.Seq)
		}
		return out
	}
	items := func(t *testing.T, s event.Store, webhook string) []event.Item {
		t.Helper()
		all, err := s.EventItems(t.Context(), webhook)
		must(t, err)
		return all
	}
	tallies := func(t *testing.T, s event.Store) []event.Tally {
		t.Helper()
		all, err := s.Tallies(t.Context())
		must(t, err)
		return all
	}

	t.Run("an empty store has no last number", func(t *testing.T) {
		t.Parallel()
		last, err := open(t).LastEvent(t.Context())
		must(t, err)
		same(t, int64(0), last)
	})

	t.Run("records are returned unchanged", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		want := eventRecord(1, "alice-1")
		add(t, s, event.Batch{Records: []event.Record{want}})
		got, err := s.Event(ctx, 1)
		must(t, err)
		same(t, &want, got)
		_, err = s.Event(ctx, 2)
		wantCode(t, err, sekisho.CodeNotFound)
	})

	t.Run("records are listed newest first, in pages, by type and subject", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		other := eventRecord(2, "mi-1")
		other.Type = event.NodeUp
		add(t, s, event.Batch{Records: []event.Record{eventRecord(1, "alice-1"), other, eventRecord(3, "")}})
		for name, c := range map[string]struct {
			q    event.Query
			want []int64
		}{
			"all":     {event.Query{Limit: 9}, []int64{3, 2, 1}},
			"limit":   {event.Query{Limit: 2}, []int64{3, 2}},
			"before":  {event.Query{Limit: 2, Before: 2}, []int64{1}},
			"type":    {event.Query{Limit: 9, Type: event.NodeUp}, []int64{2}},
			"subject": {event.Query{Limit: 9, Subject: "alice-1"}, []int64{1}},
		} {
			t.Run(name, func(t *testing.T) { same(t, c.want, seqs(t, s, c.q)) })
		}
	})

	t.Run("a batch with a number that is taken is not stored", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		add(t, s, event.Batch{Records: []event.Record{eventRecord(1, "")}})
		err := s.AddEvents(ctx, event.Batch{
			Records: []event.Record{eventRecord(2, ""), {Seq: 1, ID: "other", Body: []byte("{}")}},
			Items:   []event.Item{{Webhook: "w", Seq: 2}},
			NodesUp: map[sekisho.NodeID]bool{"mi-1": true}, Dropped: map[string]int64{"w": 1},
		})
		wantCode(t, err, sekisho.CodeConflict)
		same(t, []int64{1}, seqs(t, s, event.Query{Limit: 9}))
		same(t, 0, len(items(t, s, "w"))+len(tallies(t, s)))
		up, err := s.NodesUp(ctx)
		must(t, err)
		same(t, map[sekisho.NodeID]bool{}, up)
	})

	t.Run("events over the maximum are removed once they are delivered", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		item := event.Item{Webhook: "w", Seq: 1, At: at(1)}
		add(t, s, event.Batch{
			Records: []event.Record{eventRecord(1, ""), eventRecord(2, "")},
			Items:   []event.Item{item},
		})
		three := []event.Record{eventRecord(3, ""), eventRecord(4, ""), eventRecord(5, "")}
		add(t, s, event.Batch{Records: three})
		removed, err := s.RemoveEvents(ctx, time.Time{}, 2)
		must(t, err)
		same(t, event.Removal{Events: 2, First: 2, Last: 3}, removed)
		same(t, []int64{5, 4, 1}, seqs(t, s, event.Query{Limit: 9}))
		must(t, s.SettleEvent(ctx, event.Outcome{Item: item, At: at(2), Delivered: true}))
		add(t, s, event.Batch{Records: []event.Record{eventRecord(6, "")}})
		_, err = s.RemoveEvents(ctx, time.Time{}, 2)
		must(t, err)
		same(t, []int64{6, 5}, seqs(t, s, event.Query{Limit: 9}))
	})

	t.Run("events before a time are removed", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		add(t, s, event.Batch{Records: []event.Record{eventRecord(1, ""), eventRecord(2, ""), eventRecord(3, "")}})
		for _, want := range []event.Removal{{Events: 2, First: 1, Last: 2}, {}} {
			removed, err := s.RemoveEvents(ctx, at(3), 100)
			must(t, err)
			same(t, want, removed)
			same(t, []int64{3}, seqs(t, s, event.Query{Limit: 9}))
		}
	})

	t.Run("numbers of removed events are not reused", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		add(t, s, event.Batch{Records: []event.Record{eventRecord(1, ""), eventRecord(2, "")}})
		_, err := s.RemoveEvents(ctx, time.Time{}, 0)
		must(t, err)
		same(t, 0, len(seqs(t, s, event.Query{Limit: 9})))
		last, err := s.LastEvent(ctx)
		must(t, err)
		same(t, int64(2), last)
	})

	a := event.Item{Webhook: "w", Seq: 1, Subject: "x", At: at(1)}
	b := event.Item{Webhook: "w", Seq: 2, At: at(1)}
	c := event.Item{Webhook: "v", Seq: 1, Subject: "x", At: at(1)}
	queued := func(t *testing.T) event.Store {
		t.Helper()
		s := open(t)
		records := []event.Record{eventRecord(1, "x"), eventRecord(2, "")}
		add(t, s, event.Batch{Records: records, Items: []event.Item{b, a, c}})
		return s
	}

	t.Run("items are listed by webhook, oldest first", func(t *testing.T) {
		t.Parallel()
		s := queued(t)
		same(t, []event.Item{a, b}, items(t, s, "w"))
		same(t, []event.Item{c}, items(t, s, "v"))
	})

	t.Run("a failed attempt keeps the item", func(t *testing.T) {
		t.Parallel()
		s, failed := queued(t), a
		failed.Attempts = 3
		must(t, s.SettleEvent(t.Context(), event.Outcome{Item: failed, At: at(3), Failure: "it's down"}))
		same(t, []event.Item{failed, b}, items(t, s, "w"))
		same(t, []event.Tally{{Webhook: "w", LastFailedAt: at(3), LastFailure: "it's down"}}, tallies(t, s))
	})

	t.Run("a delivered item is removed and counted", func(t *testing.T) {
		t.Parallel()
		s := queued(t)
		must(t, s.SettleEvent(t.Context(), event.Outcome{Item: b, At: at(4), Delivered: true}))
		same(t, []event.Item{a}, items(t, s, "w"))
		same(t, []event.Tally{{Webhook: "w", Delivered: 1, LastDeliveredAt: at(4)}}, tallies(t, s))
	})

	t.Run("an item given up is removed and counted", func(t *testing.T) {
		t.Parallel()
		s := queued(t)
		must(t, s.SettleEvent(t.Context(), event.Outcome{Item: a, At: at(5), GivenUp: true, Failure: "too late"}))
		same(t, []event.Item{b}, items(t, s, "w"))
		same(t, []event.Item{c}, items(t, s, "v"))
		want := []event.Tally{{Webhook: "w", GivenUp: 1, LastFailedAt: at(5), LastFailure: "too late"}}
		same(t, want, tallies(t, s))
	})

	t.Run("dropped items are removed, and their numbers add up", func(t *testing.T) {
		t.Parallel()
		s := queued(t)
		add(t, s, event.Batch{Drop: []event.Item{c}, Dropped: map[string]int64{"v": 2}})
		same(t, 0, len(items(t, s, "v")))
		add(t, s, event.Batch{Dropped: map[string]int64{"v": 3}})
		same(t, []event.Tally{{Webhook: "v", Dropped: 5}}, tallies(t, s))
	})

	t.Run("removed webhooks lose their items and tallies", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		add(t, s, event.Batch{
			Records: []event.Record{eventRecord(1, "")}, Dropped: map[string]int64{"kept": 1, "gone": 1},
			Items: []event.Item{{Webhook: "kept", Seq: 1}, {Webhook: "gone", Seq: 1}, {Webhook: "silent", Seq: 1}},
		})
		n, err := s.ForgetWebhooks(ctx, []string{"kept", "new"})
		must(t, err)
		same(t, int64(2), n)
		same(t, 1, len(items(t, s, "kept")))
		same(t, 0, len(items(t, s, "gone"))+len(items(t, s, "silent")))
		same(t, []event.Tally{{Webhook: "kept", Dropped: 1}}, tallies(t, s))
	})

	t.Run("the last reported state of each node", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		add(t, s, event.Batch{NodesUp: map[sekisho.NodeID]bool{"mi-1": true, "mi-2": true}})
		add(t, s, event.Batch{NodesUp: map[sekisho.NodeID]bool{"mi-2": false}})
		up, err := s.NodesUp(ctx)
		must(t, err)
		same(t, map[sekisho.NodeID]bool{"mi-1": true, "mi-2": false}, up)
	})
}
