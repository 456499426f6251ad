package storetest

import (
	"fmt"
	"testing"

	"sekisho"
	"sekisho/internal/activity/event"
)

func happening(seq int64, subject string) event.Record {
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
		if b.Keep == 0 {
			b.Keep = 100
		}
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

	t.Run("records come back as they were, the newest first", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		if last, err := s.LastEvent(ctx); err != nil || last != 0 {
			t.Errorf("the last of none is %d, %v", last, err)
		}
		other := happening(2, "mi-1")
		other.Type = event.NodeUp
		add(t, s, event.Batch{Records: []event.Record{happening(1, "alice-1"), other, happening(3, "")}})
		got, err := s.Event(ctx, 1)
		must(t, err)
		want := happening(1, "alice-1")
		same(t, &want, got)
		_, err = s.Event(ctx, 4)
		wantCode(t, err, sekisho.CodeNotFound)
		same(t, []int64{3, 2, 1}, seqs(t, s, event.Query{Limit: 9}))
		same(t, []int64{3, 2}, seqs(t, s, event.Query{Limit: 2}))
		same(t, []int64{1}, seqs(t, s, event.Query{Limit: 2, Before: 2}))
		same(t, []int64{2}, seqs(t, s, event.Query{Limit: 9, Type: event.NodeUp}))
		same(t, []int64{1}, seqs(t, s, event.Query{Limit: 9, Subject: "alice-1"}))
		if last, err := s.LastEvent(ctx); err != nil || last != 3 {
			t.Errorf("the last is %d, %v", last, err)
		}
	})

	t.Run("all of a batch or nothing", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		add(t, s, event.Batch{Records: []event.Record{happening(1, "")}})
		err := s.AddEvents(ctx, event.Batch{
			Records: []event.Record{happening(2, ""), {Seq: 1, ID: "other", Body: []byte("{}")}}, Keep: 100,
			Items: []event.Item{
				{Webhook: "w", Seq: 2},
			}, NodesUp: map[sekisho.NodeID]bool{"mi-1": true}, Dropped: map[string]int64{"w": 1},
		})
		wantCode(t, err, sekisho.CodeConflict)
		same(t, []int64{1}, seqs(t, s, event.Query{Limit: 9}))
		same(t, 0, len(items(t, s, "w"))+len(tallies(t, s)))
		told, err := s.NodesUp(ctx)
		must(t, err)
		same(t, map[sekisho.NodeID]bool{}, told)
	})

	t.Run("delivered events are removed and their numbers are not reused", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		add(
			t,
			s,
			event.Batch{
				Records: []event.Record{happening(1, ""), happening(2, "")},
				Items:   []event.Item{{Webhook: "w", Seq: 1, At: at(1)}},
			},
		)
		add(t, s, event.Batch{Records: []event.Record{happening(3, ""), happening(4, ""), happening(5, "")}, Keep: 2})
		same(t, []int64{5, 4, 1}, seqs(t, s, event.Query{Limit: 9}))
		must(t, s.SettleEvent(ctx, event.Outcome{Item: event.Item{Webhook: "w", Seq: 1}, At: at(2), Delivered: true}))
		add(t, s, event.Batch{Records: []event.Record{happening(6, "")}, Keep: -1})
		same(t, 0, len(seqs(t, s, event.Query{Limit: 9})))
		if last, err := s.LastEvent(ctx); err != nil || last != 6 {
			t.Errorf("the last is %d, %v", last, err)
		}
	})

	t.Run("outcomes", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		a, b, c := event.Item{
			Webhook: "w",
			Seq:     1,
			Subject: "x",
			At:      at(1),
		}, event.Item{
			Webhook: "w",
			Seq:     2,
			At:      at(1),
		}, event.Item{
			Webhook: "v",
			Seq:     1,
			Subject: "x",
			At:      at(1),
		}
		add(
			t,
			s,
			event.Batch{Records: []event.Record{happening(1, "x"), happening(2, "")}, Items: []event.Item{b, a, c}},
		)
		same(t, []event.Item{a, b}, items(t, s, "w"))
		same(t, []event.Item{c}, items(t, s, "v"))
		a.Attempts = 3
		must(t, s.SettleEvent(ctx, event.Outcome{Item: a, At: at(3), Failure: "it's down"}))
		same(t, []event.Item{a, b}, items(t, s, "w"))
		must(t, s.SettleEvent(ctx, event.Outcome{Item: b, At: at(4), Delivered: true}))
		same(t, []event.Item{a}, items(t, s, "w"))
		must(t, s.SettleEvent(ctx, event.Outcome{Item: a, At: at(5), GivenUp: true, Failure: "too late"}))
		same(t, 0, len(items(t, s, "w")))
		same(t, []event.Item{c}, items(t, s, "v"))
		add(t, s, event.Batch{Drop: []event.Item{c}, Dropped: map[string]int64{"v": 2}})
		same(t, 0, len(items(t, s, "v")))
		add(t, s, event.Batch{Dropped: map[string]int64{"v": 3}})
		same(t, []event.Tally{
			{Webhook: "v", Dropped: 5},
			{
				Webhook:         "w",
				Delivered:       1,
				GivenUp:         1,
				LastDeliveredAt: at(4),
				LastFailedAt:    at(5),
				LastFailure:     "too late",
			},
		}, tallies(t, s))
	})

	t.Run("webhooks forgotten", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		add(t, s, event.Batch{
			Records: []event.Record{happening(1, "")}, Dropped: map[string]int64{"kept": 1, "gone": 1},
			Items: []event.Item{{Webhook: "kept", Seq: 1}, {Webhook: "gone", Seq: 1}, {Webhook: "silent", Seq: 1}},
		})
		n, err := s.ForgetWebhooks(ctx, []string{"kept", "new"})
		must(t, err)
		same(t, int64(2), n)
		same(t, 1, len(items(t, s, "kept")))
		same(t, 0, len(items(t, s, "gone"))+len(items(t, s, "silent")))
		same(t, []event.Tally{{Webhook: "kept", Dropped: 1}}, tallies(t, s))
	})

	t.Run("nodes told", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		add(t, s, event.Batch{NodesUp: map[sekisho.NodeID]bool{"mi-1": true, "mi-2": true}})
		add(t, s, event.Batch{NodesUp: map[sekisho.NodeID]bool{"mi-2": false}})
		told, err := s.NodesUp(ctx)
		must(t, err)
		same(t, map[sekisho.NodeID]bool{"mi-1": true, "mi-2": false}, told)
	})
}
