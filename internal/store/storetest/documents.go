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
		Content:   fmt.Sprintf("a: '%d'; -- \x00", number),
		CreatedAt: at(int(number)), CreatedBy: "arn:aws:iam::123456789012:user/alice",
	}
}

// addVersion is a change that adds the next version.
func addVersion(versionName string) func(d *doclibrary.Document) (*doclibrary.Version, error) {
	return func(d *doclibrary.Document) (*doclibrary.Version, error) {
		d.LatestVersion++
		return savedVersion(d.Name, d.LatestVersion, versionName), nil
	}
}

// Documents runs the conformance suite of [doclibrary.Store]; open returns an
// empty store.
func Documents(t *testing.T, open func(t *testing.T) doclibrary.Store) {
	t.Run("missing documents and versions are not found", func(t *testing.T) {
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
		err = s.UpdateDocument(ctx, "nope", func(*doclibrary.Document) (*doclibrary.Version, error) {
			return nil, errors.New("called")
		})
		wantCode(t, err, sekisho.CodeNotFound)
		all, err := s.Documents(ctx)
		must(t, err)
		same(t, 0, len(all))
	})

	t.Run("documents are returned unchanged, sorted by name", func(t *testing.T) {
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
	})

	t.Run("a name is taken until its document is deleted", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateDocument(ctx, savedDocument("b"), savedVersion("b", 1, "first")))
		wantCode(t, s.CreateDocument(ctx, savedDocument("b"), savedVersion("b", 1, "")), sekisho.CodeConflict)
		must(t, s.DeleteDocument(ctx, "b"))
		_, err := s.DocumentVersion(ctx, "b", 1)
		wantCode(t, err, sekisho.CodeNotFound)
		must(t, s.CreateDocument(ctx, savedDocument("b"), savedVersion("b", 1, "")))
	})

	t.Run("versions are listed newest first", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		must(t, s.CreateDocument(ctx, savedDocument("a"), savedVersion("a", 1, "first")))
		must(t, s.UpdateDocument(ctx, "a", addVersion("")))
		must(t, s.UpdateDocument(ctx, "a", addVersion(""))) // versions without a name do not conflict
		want := savedDocument("a")
		want.LatestVersion = 3
		got, err := s.Document(ctx, "a")
		must(t, err)
		same(t, want, got)
		all, err := s.DocumentVersions(ctx, "a")
		must(t, err)
		versions := []*doclibrary.Version{
			savedVersion("a", 3, ""), savedVersion("a", 2, ""), savedVersion("a", 1, "first"),
		}
		same(t, versions, all)
	})

	for name, c := range map[string]struct {
		change func(*doclibrary.Document) (*doclibrary.Version, error)
		code   sekisho.Code
	}{
		"a version name that is taken": {addVersion("first"), sekisho.CodeConflict},
		"a default version that does not exist": {func(d *doclibrary.Document) (*doclibrary.Version, error) {
			d.DefaultVersion = 9
			return nil, nil
		}, sekisho.CodeNotFound},
		"an error of the change": {func(d *doclibrary.Document) (*doclibrary.Version, error) {
			d.Tags = nil
			return nil, sekisho.Errorf(sekisho.CodeDenied, "no")
		}, sekisho.CodeDenied},
	} {
		t.Run("nothing changes after "+name, func(t *testing.T) {
			t.Parallel()
			s, ctx := open(t), t.Context()
			must(t, s.CreateDocument(ctx, savedDocument("a"), savedVersion("a", 1, "first")))
			wantCode(t, s.UpdateDocument(ctx, "a", c.change), c.code)
			got, err := s.Document(ctx, "a")
			must(t, err)
			same(t, savedDocument("a"), got)
			all, err := s.DocumentVersions(ctx, "a")
			must(t, err)
			same(t, []*doclibrary.Version{savedVersion("a", 1, "first")}, all)
		})
	}

	t.Run("the default version cannot be deleted", func(t *testing.T) {
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

	t.Run("simultaneous updates get different numbers", func(t *testing.T) {
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
