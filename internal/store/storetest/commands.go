package storetest

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/runcommand"
)

func sentCommand(n int) (*runcommand.Command, []*runcommand.Invocation) {
	id := fmt.Sprintf("00000000-0000-4000-8000-%012d", n)
	c := &runcommand.Command{
		ID: id, Document: fmt.Sprintf("doc-%d", n%2), Version: "1", Comment: "größer\x00",
		Nodes:   []sekisho.NodeID{"mi-1"},
		Targets: []runcommand.Target{{Key: "tag:a", Values: []string{"b", ""}}}, Concurrency: "10%", ErrorLimit: "0",
		Output:      runcommand.Output{Bucket: "b", KeyPrefix: "k", Region: "r", Logs: true, LogGroup: "g"},
		Owner:       "arn:aws:iam::123456789012:user/alice",
		RequestedAt: at(n), Timeout: time.Hour, RunTimeout: time.Minute,
		Steps: []runcommand.StepName{{Name: "a", Action: "aws:runShellScript"}},
		Job: runcommand.Job{
			Parameters: map[string][]string{"commands": {"'; --", "\x00"}},
			Content:    json.RawMessage(`{"a":1}`),
			Bound:      json.RawMessage(`{"b":["c"]}`),
		},
		Status: runcommand.Pending, Count: 2,
	}
	var all []*runcommand.Invocation
	for _, node := range []sekisho.NodeID{"mi-1", "mi-2"} {
		all = append(all, &runcommand.Invocation{
			Command: id, Node: node, NodeName: "web", Document: c.Document, RequestedAt: c.RequestedAt,
			Status: runcommand.Pending,
		})
	}
	return c, all
}

// Commands runs the conformance suite of [runcommand.Store]; open returns an
// empty store.
func Commands(t *testing.T, open func(t *testing.T) runcommand.Store) {
	send := func(t *testing.T, s runcommand.Store, n int) (*runcommand.Command, []*runcommand.Invocation) {
		t.Helper()
		c, all := sentCommand(n)
		must(t, s.CreateCommand(t.Context(), c, all))
		return c, all
	}

	t.Run("missing commands and invocations are not found", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		_, err := s.Command(ctx, "nope")
		wantCode(t, err, sekisho.CodeNotFound)
		_, err = s.Invocation(ctx, "nope", "mi-1")
		wantCode(t, err, sekisho.CodeNotFound)
		c, _ := sentCommand(1)
		wantCode(t, s.SaveCommand(ctx, runcommand.Change{Command: c}), sekisho.CodeNotFound)
	})

	t.Run("an ID cannot be used twice", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		c, _ := send(t, s, 1)
		wantCode(t, s.CreateCommand(ctx, c, nil), sekisho.CodeConflict)
	})

	t.Run("saving an invocation that was not created fails", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		c, all := sentCommand(1)
		must(t, s.CreateCommand(ctx, c, all[:1]))
		wantCode(t, s.SaveCommand(ctx, runcommand.Change{Command: c, Invocations: all[1:]}), sekisho.CodeNotFound)
		_, err := s.Invocation(ctx, c.ID, "mi-2")
		wantCode(t, err, sekisho.CodeNotFound)
	})

	t.Run("commands are returned unchanged", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		c, all := send(t, s, 1)
		if c.Seq == 0 || all[1].Seq != c.Seq {
			t.Errorf("seq %d and %d", c.Seq, all[1].Seq)
		}
		got, err := s.Command(ctx, c.ID)
		must(t, err)
		same(t, c, got)
		list, err := s.Invocations(ctx, runcommand.Query{Command: c.ID})
		must(t, err)
		same(t, all, list)
	})

	t.Run("a changed command is stored", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		c, _ := send(t, s, 1)
		c.Status, c.Errors, c.Cancel = runcommand.InProgress, 1, true
		must(t, s.SaveCommand(ctx, runcommand.Change{Command: c}))
		got, err := s.Command(ctx, c.ID)
		must(t, err)
		same(t, c, got)
	})

	t.Run("changed invocations and steps are stored", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		c, all := send(t, s, 1)
		first := *all[0]
		first.Status, first.EndedAt, first.Trace = runcommand.Failed, at(5), "why"
		step := &runcommand.Step{
			Index: 1, Name: "b", Plugin: "aws:runShellScript", Status: runcommand.Failed, Code: 3, StartedAt: at(2),
			EndedAt: at(3),
			Output:  "o", Stdout: "out\x00", Stderr: "err", Bucket: "b", KeyPrefix: "k", Folder: "f",
		}
		zero := &runcommand.Step{Index: 0, Name: "a"}
		must(t, s.SaveCommand(ctx, runcommand.Change{
			Command:     c,
			Invocations: []*runcommand.Invocation{&first},
			Steps:       []runcommand.StepOf{{Node: "mi-1", Step: step}, {Node: "mi-1", Step: zero}},
		}))
		step.Code = 4
		again := []runcommand.StepOf{{Node: "mi-1", Step: step}}
		must(t, s.SaveCommand(ctx, runcommand.Change{Command: c, Steps: again}))
		inv, err := s.Invocation(ctx, c.ID, "mi-1")
		must(t, err)
		first.Steps = []*runcommand.Step{zero, step}
		same(t, &first, inv)
		list, err := s.Invocations(ctx, runcommand.Query{Command: c.ID, Steps: true})
		must(t, err)
		same(t, []*runcommand.Invocation{&first, all[1]}, list)
	})

	t.Run("queries", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		var ids []string
		for n := 1; n <= 4; n++ {
			c, all := send(t, s, n)
			ids = append(ids, c.ID)
			if n == 2 {
				c.Status = runcommand.Success
				all[0].Status = runcommand.Success
				must(t, s.SaveCommand(ctx, runcommand.Change{Command: c, Invocations: all[:1]}))
			}
		}
		pendingOrDone := []runcommand.Status{runcommand.Pending, runcommand.Success}
		for name, c := range map[string]struct {
			q    runcommand.Query
			want []int // sequence numbers of commands
		}{
			"all":      {runcommand.Query{}, []int{4, 3, 2, 1}},
			"limit":    {runcommand.Query{Limit: 2}, []int{4, 3}},
			"past":     {runcommand.Query{PastSeq: 3}, []int{2, 1}},
			"id":       {runcommand.Query{Command: ids[2]}, []int{3}},
			"node":     {runcommand.Query{Node: "mi-2"}, []int{4, 3, 2, 1}},
			"no node":  {runcommand.Query{Node: "mi-3"}, nil},
			"active":   {runcommand.Query{Active: true}, []int{4, 3, 1}},
			"status":   {runcommand.Query{Statuses: []runcommand.Status{runcommand.Success, runcommand.Failed}}, []int{2}},
			"document": {runcommand.Query{Document: "doc-0"}, []int{4, 2}},
			"after":    {runcommand.Query{After: at(2)}, []int{4, 3}},
			"before":   {runcommand.Query{Before: at(2)}, []int{1}},

			"two statuses":       {runcommand.Query{Statuses: pendingOrDone, Limit: 3}, []int{4, 3, 2}},
			"status, past":       {runcommand.Query{Statuses: pendingOrDone, PastSeq: 3}, []int{2, 1}},
			"status, document":   {runcommand.Query{Statuses: pendingOrDone, Document: "doc-0", Limit: 1}, []int{4}},
			"node, status":       {runcommand.Query{Node: "mi-1", Statuses: pendingOrDone[1:]}, []int{2}},
			"node, past":         {runcommand.Query{Node: "mi-1", PastSeq: 3, Limit: 1}, []int{2}},
			"node, times":        {runcommand.Query{Node: "mi-1", After: at(1), Before: at(4)}, []int{3, 2}},
			"node, id":           {runcommand.Query{Node: "mi-1", Command: ids[1]}, []int{2}},
			"id, other status":   {runcommand.Query{Command: ids[1], Statuses: pendingOrDone[:1]}, nil},
			"document, active":   {runcommand.Query{Document: "doc-0", Active: true}, []int{4}},
			"past one not there": {runcommand.Query{PastSeq: 99, Limit: 2}, []int{4, 3}},
		} {
			t.Run("commands: "+name, func(t *testing.T) {
				got, err := s.Commands(ctx, c.q)
				must(t, err)
				var have []int
				for _, g := range got {
					have = append(have, int(g.Seq))
				}
				if fmt.Sprint(have) != fmt.Sprint(c.want) {
					t.Errorf("%v, want %v", have, c.want)
				}
			})
		}
		for name, c := range map[string]struct {
			q    runcommand.Query
			want []string
		}{
			"page":     {runcommand.Query{Limit: 3}, []string{"4 mi-1", "4 mi-2", "3 mi-1"}},
			"past":     {runcommand.Query{PastSeq: 2, PastNode: "mi-1"}, []string{"2 mi-2", "1 mi-1", "1 mi-2"}},
			"node":     {runcommand.Query{Node: "mi-2", Limit: 2}, []string{"4 mi-2", "3 mi-2"}},
			"status":   {runcommand.Query{Statuses: []runcommand.Status{runcommand.Success}}, []string{"2 mi-1"}},
			"document": {runcommand.Query{Document: "doc-1", Node: "mi-1", After: at(1)}, []string{"3 mi-1"}},
			"command":  {runcommand.Query{Command: ids[0], Before: at(9)}, []string{"1 mi-1", "1 mi-2"}},

			"command, past":   {runcommand.Query{Command: ids[0], PastSeq: 1, PastNode: "mi-1"}, []string{"1 mi-2"}},
			"command, status": {runcommand.Query{Command: ids[1], Statuses: pendingOrDone}, []string{"2 mi-1", "2 mi-2"}},
			"command, node":   {runcommand.Query{Command: ids[1], Node: "mi-2"}, []string{"2 mi-2"}},
			"two statuses":    {runcommand.Query{Statuses: pendingOrDone, Limit: 1}, []string{"4 mi-1"}},
			"status, past": {runcommand.Query{Statuses: pendingOrDone, PastSeq: 2, PastNode: "mi-1", Limit: 2},
				[]string{"2 mi-2", "1 mi-1"}},
			"node, status":      {runcommand.Query{Node: "mi-1", Statuses: pendingOrDone[1:]}, []string{"2 mi-1"}},
			"document, no node": {runcommand.Query{Document: "doc-1", Before: at(3)}, []string{"1 mi-1", "1 mi-2"}},
		} {
			t.Run("invocations: "+name, func(t *testing.T) {
				got, err := s.Invocations(ctx, c.q)
				must(t, err)
				var have []string
				for _, g := range got {
					have = append(have, fmt.Sprintf("%d %s", g.Seq, g.Node))
				}
				if fmt.Sprint(have) != fmt.Sprint(c.want) {
					t.Errorf("%v, want %v", have, c.want)
				}
			})
		}
	})

	// sent sends five commands, of which the second does not end.
	sent := func(t *testing.T) runcommand.Store {
		t.Helper()
		s := open(t)
		for n := 1; n <= 5; n++ {
			c, all := send(t, s, n)
			if n != 2 {
				c.Status = runcommand.Success
			}
			steps := []runcommand.StepOf{{Node: all[0].Node, Step: &runcommand.Step{}}}
			must(t, s.SaveCommand(t.Context(), runcommand.Change{Command: c, Steps: steps}))
		}
		return s
	}
	wantSeqs := func(t *testing.T, s runcommand.Store, want ...int64) {
		t.Helper()
		got, err := s.Commands(t.Context(), runcommand.Query{})
		must(t, err)
		var have []int64
		for _, g := range got {
			have = append(have, g.Seq)
		}
		same(t, want, have)
	}

	t.Run("old commands that ended are dropped with their invocations", func(t *testing.T) {
		t.Parallel()
		s, ctx := sent(t), t.Context()
		dropped, err := s.DropCommands(ctx, at(3), 100)
		must(t, err)
		same(t, int64(1), dropped)
		wantSeqs(t, s, 5, 4, 3, 2)
		c, _ := sentCommand(1)
		_, err = s.Invocation(ctx, c.ID, "mi-1")
		wantCode(t, err, sekisho.CodeNotFound)
	})

	t.Run("the oldest commands over the maximum of rows are dropped", func(t *testing.T) {
		t.Parallel()
		s := sent(t)
		_, err := s.DropCommands(t.Context(), at(3), 100)
		must(t, err)
		dropped, err := s.DropCommands(t.Context(), at(0), 8) // two commands of three rows each
		must(t, err)
		same(t, int64(1), dropped)
		wantSeqs(t, s, 5, 4, 2)
	})
}
