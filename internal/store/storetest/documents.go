package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"sekisho"
	"sekisho/internal/ssmdoc/doclibrary"
)

func savedDocument(name string) *doclibrary.Document {
	return &doclibrary.Document{
		Name: name, Type: "Command", TargetType: "/AWS::EC2::Instance", DefaultVersion: 1, LatestVersion: 1, CreatedAt: at(1),
		Tags: map[string]string{"team": "größer"}, Shares: map[string]string{"all": "$DEFAULT"},
	}
}

func savedVersion(name string, number int64, versionName string) *doclibrary.Version {
	return &doclibrary.Version{
		Document: name, Number: number, VersionName: versionName, DisplayName: "For ops", Format: doclibrary.YAML,
		Content: fmt.Sprintf(
			"a: '%d'; -- \x00",
			number,
		), CreatedAt: at(int(number)), CreatedBy: "arn:aws:iam::123456789012:user/alice",
	}
}

// addVersion is a change that adds the next version.
func addVersion(versionName string) func(d *doclibrary.Document) (*doclibrary.Version, error) {
	return func(d *doclibrary.Document) (*doclibrary.Version, error) {
		d.LatestVersion++
		return savedVersion(d.Name, d.LatestVersion, versionName), nil
	}
}

// Documents runs the conformance suite of [documents.Store]; open returns an
// empty store.
func Documents(t *testing.T, open func(t *testing.T) doclibrary.Store) {
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		_, err := s.Document(ctx, "nope")
		wantCode(t, err, sekisho.CodeNotFound)
		_, err = s.DocumentVersion(ctx, "nope", 1)
		wantCode(t, err, sekisho.CodeNotFound)
		_, err = s.DocumentVersions(ctx, "nope")
		wantCode(t, err, sekisho.CodeNotFound)
		wantCode(t, s.DeleteDocument(ctx, "nope"), sekisho.CodeNotFound)
		wantCode(t, s.DeleteDocumentVersion(ctx, "nope", 1), sekisho.CodeNotFound)
		wantCode(
			t,
			s.UpdateDocument(
				ctx,
				"nope",
				func(*doclibrary.Document) (*doclibrary.Version, error) { return nil, errors.New("called") },
			),
			sekisho.CodeNotFound,
		)
		if all, err := s.Documents(ctx); err != nil || len(all) != 0 {
			t.Errorf("%v, %v", all, err)
		}
	})

	t.Run("documents come back whole", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateDocument(ctx, savedDocument("b"), savedVersion("b", 1, "first")))
		must(t, s.CreateDocument(ctx, savedDocument("a"), savedVersion("a", 1, "first")))
		got, err := s.Document(ctx, "b")
		must(t, err)
		same(t, savedDocument("b"), got)
		all, err := s.Documents(ctx)
		must(t, err)
		same(t, []*doclibrary.Document{savedDocument("a"), savedDocument("b")}, all)
		v, err := s.DocumentVersion(ctx, "b", 1)
		must(t, err)
		same(t, savedVersion("b", 1, "first"), v)
		wantCode(t, s.CreateDocument(ctx, savedDocument("b"), savedVersion("b", 1, "")), sekisho.CodeConflict)
		must(t, s.DeleteDocument(ctx, "b"))
		_, err = s.DocumentVersion(ctx, "b", 1)
		wantCode(t, err, sekisho.CodeNotFound)
		must(t, s.CreateDocument(ctx, savedDocument("b"), savedVersion("b", 1, "")))
	})

	t.Run("a change is whole or nothing", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateDocument(ctx, savedDocument("a"), savedVersion("a", 1, "first")))
		must(t, s.UpdateDocument(ctx, "a", addVersion("")))
		must(t, s.UpdateDocument(ctx, "a", addVersion(""))) // no name, no conflict
		wantCode(t, s.UpdateDocument(ctx, "a", addVersion("first")), sekisho.CodeConflict)
		no := errors.New("no")
		if err := s.UpdateDocument(ctx, "a",
			func(d *doclibrary.Document) (*doclibrary.Version, error) { d.Tags = nil; return nil, no }); !errors.Is(
			err,
			no,
		) {
			t.Errorf("got %v", err)
		}
		wantCode(t, s.UpdateDocument(ctx, "a", func(d *doclibrary.Document) (*doclibrary.Version, error) {
			d.DefaultVersion = 9
			return nil, nil
		}), sekisho.CodeNotFound)
		want := savedDocument("a")
		want.LatestVersion = 3
		got, err := s.Document(ctx, "a")
		must(t, err)
		same(t, want, got)
		all, err := s.DocumentVersions(ctx, "a")
		must(t, err)
		same(
			t,
			[]*doclibrary.Version{savedVersion("a", 3, ""), savedVersion("a", 2, ""), savedVersion("a", 1, "first")},
			all,
		)
	})

	t.Run("the default version stays", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateDocument(ctx, savedDocument("a"), savedVersion("a", 1, "")))
		must(t, s.UpdateDocument(ctx, "a", addVersion("")))
		wantCode(t, s.DeleteDocumentVersion(ctx, "a", 1), sekisho.CodeNotFound)
		must(t, s.DeleteDocumentVersion(ctx, "a", 2))
		wantCode(t, s.DeleteDocumentVersion(ctx, "a", 2), sekisho.CodeNotFound)
		if _, err := s.DocumentVersion(ctx, "a", 1); err != nil {
			t.Error(err)
		}
	})

	t.Run("of many who save each gets a number", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateDocument(ctx, savedDocument("a"), savedVersion("a", 1, "")))
		var wg sync.WaitGroup
		var failed atomic.Int32
		for range 8 {
			wg.Go(func() {
				if err := s.UpdateDocument(ctx, "a", addVersion("")); err != nil {
					t.Error(err)
					failed.Add(1)
				}
			})
		}
		wg.Wait()
		d, err := s.Document(ctx, "a")
		must(t, err)
		all, err := s.DocumentVersions(ctx, "a")
		must(t, err)
		if d.LatestVersion != 9 || len(all) != 9 || failed.Load() != 0 {
			t.Errorf("latest %d, %d versions", d.LatestVersion, len(all))
		}
	})
}
