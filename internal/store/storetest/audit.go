package storetest

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/activity/audit"
)

// Audit runs the conformance suite of [audit.Store]. open returns an empty
// store.
func Audit(t *testing.T, open func(t *testing.T) audit.Store) {
	t.Run("an empty store", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		last, err := s.LastAudit(ctx)
		if err != nil || last.Seq != 0 {
			t.Errorf("last %+v, %v", last, err)
		}
		if r, err := s.AuditAfter(ctx, 0, 10); err != nil || len(r) != 0 {
			t.Errorf("after %+v, %v", r, err)
		}
		if r, err := s.LookupAudit(ctx, audit.Query{Limit: 10}); err != nil || len(r) != 0 {
			t.Errorf("look-up %+v, %v", r, err)
		}
		if h, err := s.AuditHeads(ctx); err != nil || len(h) != 0 {
			t.Errorf("heads %+v, %v", h, err)
		}
	})
	t.Run("the oldest records are deleted", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		archiver, ok := s.(audit.Archiver)
		if !ok {
			t.Skip("this store keeps everything")
		}
		all := fill(t, s, 5)
		for range 2 { // deleting again changes nothing
			if err := archiver.DeleteAudit(ctx, 3); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.AuditAfter(ctx, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(all[3:], got); d != "" {
			t.Error(d)
		}
	})
	t.Run("records are returned unchanged", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		all := fill(t, s, 5)
		got, err := s.AuditAfter(t.Context(), 0, 10)
		must(t, err)
		same(t, all, got)
	})
	t.Run("records are listed in pages", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		all := fill(t, s, 5)
		got, err := s.AuditAfter(t.Context(), 2, 2)
		must(t, err)
		same(t, all[2:4], got)
	})
	t.Run("the last record", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		all := fill(t, s, 5)
		last, err := s.LastAudit(t.Context())
		must(t, err)
		same(t, all[4], last)
	})
	t.Run("a batch with a number that is taken is not stored", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		all := fill(t, s, 2)
		twin := record(2)
		twin.Body = []byte("{}")
		err := s.AppendAudit(t.Context(), audit.Batch{Records: []audit.Record{record(3), twin}})
		wantCode(t, err, sekisho.CodeConflict)
		got, err := s.AuditAfter(t.Context(), 0, 10)
		must(t, err)
		same(t, all, got)
	})
	t.Run("look-up", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		fill(t, s, 40)
		yes, no := true, false
		at := func(i int) time.Time { return record(int64(i)).Time }
		for name, c := range map[string]struct {
			q    audit.Query
			want []int64
		}{
			"newest first":   {audit.Query{Limit: 3}, []int64{40, 39, 38}},
			"paging":         {audit.Query{Limit: 3, Before: 38}, []int64{37, 36, 35}},
			"the end":        {audit.Query{Limit: 3, Before: 2}, []int64{1}},
			"event ID":       {audit.Query{Limit: 3, EventID: "id-7"}, []int64{7}},
			"event name":     {audit.Query{Limit: 2, EventName: "Name1"}, []int64{37, 33}},
			"no such name":   {audit.Query{Limit: 2, EventName: "name1"}, nil},
			"source":         {audit.Query{Limit: 2, EventSource: "s0.amazonaws.com"}, []int64{40, 38}},
			"user":           {audit.Query{Limit: 2, Username: "user2"}, []int64{38, 35}},
			"access key":     {audit.Query{Limit: 2, AccessKeyID: "AKIA3"}, []int64{38, 33}},
			"read only":      {audit.Query{Limit: 2, ReadOnly: &yes}, []int64{40, 38}},
			"not read only":  {audit.Query{Limit: 2, ReadOnly: &no}, []int64{39, 37}},
			"resource name":  {audit.Query{Limit: 9, ResourceName: "mi-9"}, []int64{39, 29, 19, 9}},
			"resource ARN":   {audit.Query{Limit: 9, ResourceName: "arn:mi-9", Before: 29}, []int64{19, 9}},
			"resource type":  {audit.Query{Limit: 2, ResourceType: "AWS::SSM::Session"}, []int64{36, 30}},
			"from a time on": {audit.Query{Limit: 9, Start: at(38)}, []int64{40, 39, 38}},
			"up to a time":   {audit.Query{Limit: 9, End: at(2)}, []int64{2, 1}},
			"both":           {audit.Query{Limit: 9, EventName: "Name1", Start: at(3), End: at(9)}, []int64{9, 5}},
			"quotes":         {audit.Query{Limit: 9, Username: "' OR 1=1 --"}, nil},
		} {
			t.Run(name, func(t *testing.T) {
				got, err := s.LookupAudit(t.Context(), c.q)
				if err != nil {
					t.Fatal(err)
				}
				var seqs []int64
				for _, r := range got {
					seqs = append(seqs, r.Seq)
					if d := cmp.Diff(record(r.Seq), r); d != "" {
						t.Error(d)
					}
				}
				if d := cmp.Diff(c.want, seqs); d != "" {
					t.Error(d)
				}
			})
		}
	})
	intents := []audit.Intent{{ID: "a", Body: []byte(`{"id":"a"}`)}, {ID: "b", Body: []byte(`{"id":"b"}`)}}
	begin := func(t *testing.T, s audit.Store) {
		t.Helper()
		must(t, s.AppendAudit(t.Context(), audit.Batch{Begun: intents}))
	}
	wantIntents := func(t *testing.T, s audit.Store, limit int, want ...audit.Intent) {
		t.Helper()
		got, err := s.AuditIntents(t.Context(), limit)
		must(t, err)
		same(t, want, got)
	}
	t.Run("intents are listed up to a limit", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		begin(t, s)
		wantIntents(t, s, 10, intents...)
		wantIntents(t, s, 1, intents[0])
	})
	t.Run("an event replaces its intent", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		begin(t, s)
		must(t, s.AppendAudit(t.Context(), audit.Batch{Records: []audit.Record{record(1)}, Finished: []string{"a"}}))
		wantIntents(t, s, 10, intents[1])
	})
	t.Run("a conflict keeps the intent", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		begin(t, s)
		fill(t, s, 1)
		err := s.AppendAudit(t.Context(), audit.Batch{Records: []audit.Record{record(1)}, Finished: []string{"a"}})
		wantCode(t, err, sekisho.CodeConflict)
		wantIntents(t, s, 10, intents...)
	})
	t.Run("the first head of a number is kept", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		h := func(seq int64, hash string) audit.Head {
			return audit.Head{Seq: seq, Hash: []byte(hash), Time: record(seq).Time, Signature: []byte{0, 1, byte(seq)}}
		}
		for _, x := range []audit.Head{h(8, "b"), h(4, "a"), h(8, "other")} {
			if err := s.AppendAudit(ctx, audit.Batch{Heads: []audit.Head{x}}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.AuditHeads(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]audit.Head{h(4, "a"), h(8, "b")}, got); d != "" {
			t.Error(d)
		}
	})
	t.Run("members append in turns", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		const members, each = 4, 10
		var wg sync.WaitGroup
		for range members {
			wg.Go(func() {
				for range each {
					if err := s.AppendAuditAfter(t.Context(), func(last audit.Record) audit.Batch {
						r := record(last.Seq + 1)
						r.Hash = append([]byte{byte(r.Seq)}, last.Hash...)
						return audit.Batch{Records: []audit.Record{r}}
					}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		all, err := s.AuditAfter(t.Context(), 0, 2*members*each)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != members*each {
			t.Fatalf("%d records, want %d", len(all), members*each)
		}
		var hash []byte
		for i, r := range all {
			hash = append([]byte{byte(i + 1)}, hash...)
			if r.Seq != int64(i+1) || !bytes.Equal(r.Hash, hash) {
				t.Fatalf("record %d is number %d with the hash %x, want %x", i, r.Seq, r.Hash, hash)
			}
		}
	})
	t.Run("trails of two members make one chain", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		cfg := audit.Config{Signer: key, HeadEvery: 8}
		trails := []*audit.Trail{audit.New(s, cfg), audit.New(s, cfg)}
		const each = 20
		var wg sync.WaitGroup
		for _, trail := range trails {
			wg.Go(func() {
				for i := range each {
					e := audit.Event{
						EventName: fmt.Sprint("E", i),
						Resources: []audit.Resource{{ARN: "arn:aws:iam::1:user/a"}},
					}
					if err := trail.Record(t.Context(), e); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		for _, trail := range trails {
			if err := trail.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if err := trails[0].Verify(t.Context()); err != nil {
			t.Error(err)
		}
		last, err := s.LastAudit(t.Context())
		if err != nil || last.Seq != 2*each {
			t.Errorf("last %d, %v", last.Seq, err)
		}
	})
}

// record returns a record that differs in every field from its neighbors.
func record(seq int64) audit.Record {
	resources := []audit.ResourceIndex{
		{Name: fmt.Sprint("mi-", seq%10), ARN: fmt.Sprint("arn:mi-", seq%10), Type: "AWS::SSM::ManagedInstance"},
	}
	if seq%6 == 0 {
		resources = append(resources, audit.ResourceIndex{Name: "s", ARN: "arn:s", Type: "AWS::SSM::Session"})
	}
	return audit.Record{
		Seq: seq, Hash: []byte{0, byte(seq), 255}, Body: fmt.Appendf(nil, `{"b":%d,"text":"é\u0000 "}`, seq),
		Index: audit.Index{
			EventID:     fmt.Sprint("id-", seq),
			Time:        time.Date(2026, 11, 23, 12, 0, 0, 1000, time.UTC).Add(time.Duration(seq) * time.Second),
			EventName:   fmt.Sprint("Name", seq%4),
			EventSource: fmt.Sprintf("s%d.amazonaws.com", seq%2),
			Username:    fmt.Sprint("user", seq%3),
			AccessKeyID: fmt.Sprint("AKIA", seq%5),
			ReadOnly:    seq%2 == 0,
			Resources:   resources,
		},
	}
}

func fill(t *testing.T, s audit.Store, n int64) []audit.Record {
	t.Helper()
	var all []audit.Record
	for i := range n {
		r := record(i + 1)
		if err := s.AppendAudit(t.Context(), audit.Batch{Records: []audit.Record{r}}); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}
