package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"sekisho/internal/storage/objects"
)

// Objects runs the conformance suite of [objects.Index]. open returns an
// empty store.
func Objects(t *testing.T, open func(t *testing.T) objects.Index) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	bucket := func(t *testing.T, s objects.Index, name string, v objects.Versioning) {
		t.Helper()
		must(t, s.CreateBucket(t.Context(), &objects.Bucket{Name: name, CreatedAt: at, Versioning: v}))
	}
	n := 0
	var mu sync.Mutex
	version := func(bucket, key string) *objects.Version {
		mu.Lock()
		defer mu.Unlock()
		n++
		return &objects.Version{
			Bucket: bucket, Key: key, ID: fmt.Sprint("v", n), Latest: true, Size: int64(n), ETag: fmt.Sprint("e", n),
			ModifiedAt: at,
			Facts: objects.Facts{
				ContentType: "text/plain",
				Metadata:    map[string]string{"k": "v"},
				Checksum:    objects.Checksum{Algorithm: "CRC32", Type: "FULL_OBJECT", Value: "AA=="},
			},
			Pieces: []objects.Piece{{Blob: fmt.Sprintf("%032x", n), Size: int64(n)}},
		}
	}
	put := func(t *testing.T, s objects.Index, v *objects.Version) (*objects.Version, []string) {
		t.Helper()
		dead, err := s.PutVersion(t.Context(), v, objects.Condition{}, "")
		must(t, err)
		return v, dead
	}
	ids := func(all []*objects.Version) []string {
		var out []string
		for _, v := range all {
			out = append(out, v.ID)
		}
		return out
	}
	tag := func(v *objects.Version) error { v.Facts.Tags = map[string]string{"a": "b"}; return nil }
	t.Run("the facts of an older version can change", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		bucket(t, s, "b", objects.VersioningEnabled)
		first, _ := put(t, s, version("b", "k"))
		put(t, s, version("b", "k"))
		changed, err := s.UpdateVersion(ctx, "b", "k", first.ID, tag)
		must(t, err)
		same(t, first.ID, changed.ID)
		got, err := s.Version(ctx, "b", "k", first.ID)
		must(t, err)
		first.Latest, first.Facts.Tags = false, map[string]string{"a": "b"}
		same(t, first, got)
		current, err := s.Version(ctx, "b", "k", "")
		must(t, err)
		same(t, map[string]string(nil), current.Facts.Tags)
	})
	t.Run("missing keys and versions cannot be changed", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		bucket(t, s, "b", objects.VersioningEnabled)
		put(t, s, version("b", "k"))
		_, err := s.UpdateVersion(ctx, "b", "none", "", tag)
		wantErr(t, err, objects.ErrNoKey)
		_, err = s.UpdateVersion(ctx, "b", "k", "none", tag)
		wantErr(t, err, objects.ErrNoVersion)
	})
	t.Run("a change of facts that fails returns its error", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		bucket(t, s, "b", objects.VersioningEnabled)
		want, _ := put(t, s, version("b", "k"))
		_, err := s.UpdateVersion(ctx, "b", "k", "", func(v *objects.Version) error {
			v.Facts.ContentType = "lost"
			return objects.ErrPart
		})
		wantErr(t, err, objects.ErrPart)
		got, err := s.Version(ctx, "b", "k", "")
		must(t, err)
		same(t, want, got)
	})
	t.Run("buckets are returned unchanged", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		b := &objects.Bucket{
			Name:      "one",
			CreatedAt: at,
			Settings: objects.Settings{
				Policy:       "{}",
				PublicAccess: &objects.PublicAccess{BlockPolicy: true},
				Tags:         map[string]string{"a": "b"},
			},
		}
		must(t, s.CreateBucket(ctx, b))
		wantErr(t, s.CreateBucket(ctx, b), objects.ErrBucketExists)
		enable := func(b *objects.Bucket) error { b.Versioning = objects.VersioningEnabled; return nil }
		must(t, s.UpdateBucket(ctx, "one", enable))
		b.Versioning = objects.VersioningEnabled
		got, err := s.Bucket(ctx, "one")
		must(t, err)
		same(t, b, got)
	})
	t.Run("a missing bucket", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		err := s.UpdateBucket(ctx, "two", func(*objects.Bucket) error { return nil })
		wantErr(t, err, objects.ErrNoBucket)
		_, err = s.Bucket(ctx, "two")
		wantErr(t, err, objects.ErrNoBucket)
		_, err = s.PutVersion(ctx, version("two", "k"), objects.Condition{}, "")
		wantErr(t, err, objects.ErrNoBucket)
	})
	t.Run("only an empty bucket can be deleted", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		bucket(t, s, "one", objects.VersioningEnabled)
		v, _ := put(t, s, version("one", "k"))
		_, err := s.DeleteBucket(ctx, "one")
		wantErr(t, err, objects.ErrBucketNotEmpty)
		_, _, err = s.DeleteVersion(ctx, "one", "k", v.ID)
		must(t, err)
		_, err = s.DeleteBucket(ctx, "one")
		must(t, err)
		all, err := s.Buckets(ctx)
		must(t, err)
		same(t, 0, len(all))
	})
	t.Run("a version is returned unchanged", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		bucket(t, s, "b", objects.VersioningEnabled)
		v, _ := put(t, s, version("b", "a/\x00é"))
		got, err := s.Version(t.Context(), "b", "a/\x00é", "")
		must(t, err)
		same(t, v, got)
	})
	t.Run("missing keys and versions are not found", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		bucket(t, s, "b", objects.VersioningEnabled)
		put(t, s, version("b", "k"))
		_, err := s.Version(ctx, "b", "other", "")
		wantErr(t, err, objects.ErrNoKey)
		_, err = s.Version(ctx, "b", "k", "other")
		wantErr(t, err, objects.ErrNoVersion)
	})
	setVersioning := func(t *testing.T, s objects.Index, v objects.Versioning) {
		t.Helper()
		set := func(b *objects.Bucket) error { b.Versioning = v; return nil }
		must(t, s.UpdateBucket(t.Context(), "b", set))
	}
	t.Run("without versioning a new object replaces the old one", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		bucket(t, s, "b", objects.VersioningNever)
		first, _ := put(t, s, version("b", "k"))
		second, dead := put(t, s, version("b", "k"))
		same(t, []string{"null", "null"}, []string{first.ID, second.ID})
		same(t, []string{first.Pieces[0].Blob}, dead)
	})
	t.Run("with versioning the old object stays", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		bucket(t, s, "b", objects.VersioningNever)
		put(t, s, version("b", "k"))
		setVersioning(t, s, objects.VersioningEnabled)
		v, dead := put(t, s, version("b", "k"))
		if v.ID == "null" || dead != nil {
			t.Errorf("version %s, dead blobs %v", v.ID, dead)
		}
		all, err := s.Versions(t.Context(), objects.Range{Bucket: "b", Limit: 9})
		must(t, err)
		same(t, []string{v.ID, "null"}, ids(all))
	})
	t.Run("suspended versioning replaces the null version only", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		bucket(t, s, "b", objects.VersioningNever)
		old, _ := put(t, s, version("b", "k"))
		setVersioning(t, s, objects.VersioningEnabled)
		kept, _ := put(t, s, version("b", "k"))
		setVersioning(t, s, objects.VersioningSuspended)
		v, dead := put(t, s, version("b", "k"))
		same(t, "null", v.ID)
		same(t, []string{old.Pieces[0].Blob}, dead)
		all, err := s.Versions(t.Context(), objects.Range{Bucket: "b", Limit: 9})
		must(t, err)
		same(t, []string{"null", kept.ID}, ids(all))
	})
	t.Run("the newest remaining version becomes the current one", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		bucket(t, s, "b", objects.VersioningEnabled)
		older, _ := put(t, s, version("b", "k"))
		setVersioning(t, s, objects.VersioningSuspended)
		newest, _ := put(t, s, version("b", "k"))
		gone, dead, err := s.DeleteVersion(ctx, "b", "k", "null")
		must(t, err)
		same(t, newest.ETag, gone.ETag)
		same(t, []string{newest.Pieces[0].Blob}, dead)
		current, err := s.Version(ctx, "b", "k", "")
		must(t, err)
		same(t, older.ID, current.ID)
	})
	t.Run("deleting a version twice is not an error", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		bucket(t, s, "b", objects.VersioningNever)
		put(t, s, version("b", "k"))
		_, _, err := s.DeleteVersion(ctx, "b", "k", "null")
		must(t, err)
		gone, _, err := s.DeleteVersion(ctx, "b", "k", "null")
		must(t, err)
		if gone != nil {
			t.Errorf("got %+v, want nothing", gone)
		}
	})
	putIf := func(t *testing.T, s objects.Index, c objects.Condition) error {
		_, err := s.PutVersion(t.Context(), version("b", "k"), c, "")
		return err
	}
	t.Run("an ETag condition needs an object", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		bucket(t, s, "b", objects.VersioningEnabled)
		wantErr(t, putIf(t, s, objects.Condition{ETag: "e"}), objects.ErrNoKey)
	})
	t.Run("one of simultaneous writers creates an absent key", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		bucket(t, s, "b", objects.VersioningEnabled)
		var wg sync.WaitGroup
		results := make([]error, 4)
		for i := range results {
			wg.Go(func() { results[i] = putIf(t, s, objects.Condition{Absent: true}) })
		}
		wg.Wait()
		won := 0
		for _, err := range results {
			if err == nil {
				won++
			} else if !errors.Is(err, objects.ErrPrecondition) {
				t.Error(err)
			}
		}
		same(t, 1, won)
	})
	t.Run("an ETag condition holds for the current version only", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		bucket(t, s, "b", objects.VersioningEnabled)
		v, _ := put(t, s, version("b", "k"))
		must(t, putIf(t, s, objects.Condition{ETag: v.ETag}))
		wantErr(t, putIf(t, s, objects.Condition{ETag: v.ETag}), objects.ErrPrecondition)
	})
	t.Run("a key behind a delete marker is absent", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		bucket(t, s, "b", objects.VersioningEnabled)
		put(t, s, version("b", "k"))
		marker := version("b", "k")
		marker.DeleteMarker, marker.Pieces = true, nil
		put(t, s, marker)
		must(t, putIf(t, s, objects.Condition{Absent: true}))
	})
	keys := []string{"A", "B", "a", "a/", "a/b", "b%", "b_", "z", "é", "\U0001F600"}
	listed := func(t *testing.T) objects.Index {
		t.Helper()
		s := open(t)
		bucket(t, s, "b", objects.VersioningEnabled)
		bucket(t, s, "c", objects.VersioningEnabled)
		for _, i := range []int{3, 9, 0, 7, 5, 1, 8, 2, 6, 4} {
			put(t, s, version("b", keys[i]))
			put(t, s, version("c", keys[i]))
		}
		return s
	}
	wantKeys := func(t *testing.T, s objects.Index, r objects.Range, want ...string) {
		t.Helper()
		r.Bucket = "b"
		all, err := s.Current(t.Context(), r)
		must(t, err)
		var got []string
		for _, v := range all {
			got = append(got, v.Key)
		}
		same(t, want, got)
	}
	t.Run("keys are listed in the order of their bytes", func(t *testing.T) {
		t.Parallel()
		s := listed(t)
		wantKeys(t, s, objects.Range{Limit: 99}, keys...)
		wantKeys(t, s, objects.Range{From: "a", To: "b", Limit: 99}, keys[2:5]...)
		wantKeys(t, s, objects.Range{From: "b", Limit: 2}, keys[5:7]...)
	})
	t.Run("a deleted key is not listed, and its versions are", func(t *testing.T) {
		t.Parallel()
		s, ctx := listed(t), t.Context()
		old, err := s.Version(ctx, "b", "a", "")
		must(t, err)
		marker := version("b", "a")
		marker.DeleteMarker, marker.Pieces = true, nil
		put(t, s, marker)
		wantKeys(t, s, objects.Range{From: "a", To: "b", Limit: 99}, keys[3:5]...)
		all, err := s.Versions(ctx, objects.Range{Bucket: "b", From: "a", To: "a/", Limit: 9})
		must(t, err)
		same(t, []string{marker.ID, old.ID}, ids(all))
		all, err = s.Versions(ctx, objects.Range{Bucket: "b", From: "a", Before: marker.Seq, To: "a/", Limit: 9})
		must(t, err)
		same(t, []string{old.ID}, ids(all))
	})
	upload := func(uploadID string) *objects.Upload {
		return &objects.Upload{
			ID: uploadID, Bucket: "b", Key: "k", StartedAt: at, StartedBy: "arn:x",
			Facts: objects.Facts{ContentType: "a/b"},
		}
	}
	part := func(number int, blob string) *objects.Part {
		return &objects.Part{
			Upload: "u1", Number: number, Blob: blob, Size: 7, ETag: "e" + blob, Checksum: "c", ModifiedAt: at,
		}
	}
	// uploading has an upload with three parts, the second of which was replaced.
	uploading := func(t *testing.T) objects.Index {
		t.Helper()
		s := open(t)
		bucket(t, s, "b", objects.VersioningEnabled)
		must(t, s.PutUpload(t.Context(), upload("u1")))
		for _, p := range []*objects.Part{part(2, "f2"), part(1, "f1"), part(3, "f3")} {
			dead, err := s.PutPart(t.Context(), p)
			must(t, err)
			same(t, 0, len(dead))
		}
		dead, err := s.PutPart(t.Context(), part(2, "f22"))
		must(t, err)
		same(t, []string{"f2"}, dead)
		return s
	}
	complete := func(blobs ...string) *objects.Version {
		v := version("b", "k")
		v.Pieces = nil
		for _, blob := range blobs {
			v.Pieces = append(v.Pieces, objects.Piece{Blob: blob, Size: 7})
		}
		return v
	}
	t.Run("an upload is returned unchanged, for its key only", func(t *testing.T) {
		t.Parallel()
		s, ctx := uploading(t), t.Context()
		got, err := s.Upload(ctx, "b", "k", "u1")
		must(t, err)
		same(t, upload("u1"), got)
		_, err = s.Upload(ctx, "b", "other", "u1")
		wantErr(t, err, objects.ErrNoUpload)
	})
	t.Run("parts are listed by number", func(t *testing.T) {
		t.Parallel()
		parts, err := uploading(t).Parts(t.Context(), "u1", 1, 9)
		must(t, err)
		same(t, []*objects.Part{part(2, "f22"), part(3, "f3")}, parts)
	})
	t.Run("an upload cannot be completed with a replaced part", func(t *testing.T) {
		t.Parallel()
		_, err := uploading(t).PutVersion(t.Context(), complete("f1", "f2"), objects.Condition{}, "u1")
		wantErr(t, err, objects.ErrPart)
	})
	t.Run("completing an upload releases the parts it does not use", func(t *testing.T) {
		t.Parallel()
		dead, err := uploading(t).PutVersion(t.Context(), complete("f1", "f22"), objects.Condition{}, "u1")
		must(t, err)
		same(t, []string{"f3"}, dead)
	})
	t.Run("an upload is completed once", func(t *testing.T) {
		t.Parallel()
		s, ctx := uploading(t), t.Context()
		v := complete("f1", "f22")
		_, err := s.PutVersion(ctx, v, objects.Condition{}, "u1")
		must(t, err)
		if _, err := s.PutVersion(ctx, v, objects.Condition{}, "u1"); err == nil {
			t.Error("the upload was completed twice")
		}
		_, err = s.PutPart(ctx, part(1, "f9"))
		wantErr(t, err, objects.ErrNoUpload)
	})
	t.Run("uploads of a key are listed in pages", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		bucket(t, s, "b", objects.VersioningEnabled)
		must(t, s.PutUpload(ctx, upload("u2")))
		must(t, s.PutUpload(ctx, upload("u3")))
		all, err := s.Uploads(ctx, objects.Range{Bucket: "b", From: "k", After: "u2", Limit: 9})
		must(t, err)
		same(t, []*objects.Upload{upload("u3")}, all)
	})
	t.Run("an aborted upload is not found", func(t *testing.T) {
		t.Parallel()
		s, ctx := uploading(t), t.Context()
		_, err := s.DeleteUpload(ctx, "u1")
		must(t, err)
		_, err = s.DeleteUpload(ctx, "u1")
		wantErr(t, err, objects.ErrNoUpload)
	})
	// replaced has a dead blob, abcd, and one in use, abce.
	replaced := func(t *testing.T) objects.Index {
		t.Helper()
		s := open(t)
		bucket(t, s, "b", objects.VersioningNever)
		for _, blob := range []string{"abcd", "abce"} {
			v := version("b", "k")
			v.Pieces[0].Blob = blob
			put(t, s, v)
		}
		return s
	}
	wantBlobs := func(t *testing.T, s objects.Index, prefix string, want map[string]bool) {
		t.Helper()
		all, err := s.Blobs(t.Context(), prefix)
		must(t, err)
		same(t, want, all)
	}
	t.Run("blobs are listed by prefix", func(t *testing.T) {
		t.Parallel()
		s := replaced(t)
		wantBlobs(t, s, "ab", map[string]bool{"abcd": true, "abce": true})
		wantBlobs(t, s, "ac", map[string]bool{})
	})
	t.Run("dead blobs are listed", func(t *testing.T) {
		t.Parallel()
		dead, err := replaced(t).DeadBlobs(t.Context())
		must(t, err)
		same(t, []string{"abcd"}, dead)
	})
	t.Run("a blob in use is not forgotten", func(t *testing.T) {
		t.Parallel()
		s := replaced(t)
		must(t, s.ForgetBlobs(t.Context(), []string{"abcd", "abce"}))
		wantBlobs(t, s, "ab", map[string]bool{"abce": true})
	})
}
