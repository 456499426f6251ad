package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/storage/objects"
)

// Objects runs the conformance suite of [objects.Index]. open returns an
// empty store.
func Objects(t *testing.T, open func(t *testing.T) objects.Index) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	bucket := func(t *testing.T, s objects.Index, name string, v objects.Versioning) {
		t.Helper()
		if err := s.CreateBucket(t.Context(), &objects.Bucket{Name: name, CreatedAt: at, Versioning: v}); err != nil {
			t.Fatal(err)
		}
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
		if err != nil {
			t.Fatal(err)
		}
		return v, dead
	}
	ids := func(all []*objects.Version) []string {
		var out []string
		for _, v := range all {
			out = append(out, v.ID)
		}
		return out
	}
	t.Run("facts of a version change", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		bucket(t, s, "b", objects.VersioningEnabled)
		first, _ := put(t, s, version("b", "k"))
		put(t, s, version("b", "k"))
		tag := func(v *objects.Version) error { v.Facts.Tags = map[string]string{"a": "b"}; return nil }
		if v, err := s.UpdateVersion(ctx, "b", "k", first.ID, tag); err != nil || v.ID != first.ID {
			t.Errorf("%+v, %v", v, err)
		}
		got, err := s.Version(ctx, "b", "k", first.ID)
		first.Latest, first.Facts.Tags = false, map[string]string{"a": "b"}
		if d := cmp.Diff(first, got); err != nil || d != "" {
			t.Error(err, d)
		}
		if now, err := s.Version(ctx, "b", "k", ""); err != nil || now.Facts.Tags != nil {
			t.Errorf("the current version has the tags %v, %v", now.Facts.Tags, err)
		}
		if _, err := s.UpdateVersion(ctx, "b", "none", "", tag); !errors.Is(err, objects.ErrNoKey) {
			t.Errorf("a missing key: %v", err)
		}
		if _, err := s.UpdateVersion(ctx, "b", "k", "none", tag); !errors.Is(err, objects.ErrNoVersion) {
			t.Errorf("a missing version: %v", err)
		}
		if _, err := s.UpdateVersion(ctx, "b", "k", "", func(*objects.Version) error { return objects.ErrPart }); !errors.Is(
			err,
			objects.ErrPart,
		) {
			t.Errorf("a change that fails: %v", err)
		}
	})
	t.Run("buckets", func(t *testing.T) {
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
		if err := s.CreateBucket(ctx, b); err != nil {
			t.Fatal(err)
		}
		if err := s.CreateBucket(ctx, b); !errors.Is(err, objects.ErrBucketExists) {
			t.Errorf("again: %v", err)
		}
		if err := s.UpdateBucket(ctx, "one",
			func(b *objects.Bucket) error { b.Versioning = objects.VersioningEnabled; return nil }); err != nil {
			t.Fatal(err)
		}
		b.Versioning = objects.VersioningEnabled
		got, err := s.Bucket(ctx, "one")
		if d := cmp.Diff(b, got); err != nil || d != "" {
			t.Error(err, d)
		}
		if err := s.UpdateBucket(ctx, "two", func(*objects.Bucket) error { return nil }); !errors.Is(
			err,
			objects.ErrNoBucket,
		) {
			t.Errorf("update: %v", err)
		}
		if _, err := s.Bucket(ctx, "two"); !errors.Is(err, objects.ErrNoBucket) {
			t.Errorf("read: %v", err)
		}
		if _, err := s.PutVersion(ctx, version("two", "k"), objects.Condition{}, ""); !errors.Is(
			err,
			objects.ErrNoBucket,
		) {
			t.Errorf("put: %v", err)
		}
		v, _ := put(t, s, version("one", "k"))
		if _, err := s.DeleteBucket(ctx, "one"); !errors.Is(err, objects.ErrBucketNotEmpty) {
			t.Errorf("delete: %v", err)
		}
		if _, _, err := s.DeleteVersion(ctx, "one", "k", v.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := s.DeleteBucket(ctx, "one"); err != nil {
			t.Error(err)
		}
		if all, err := s.Buckets(ctx); err != nil || len(all) != 0 {
			t.Errorf("%v %v", all, err)
		}
	})
	t.Run("a version comes back whole", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		bucket(t, s, "b", objects.VersioningEnabled)
		v, _ := put(t, s, version("b", "a/\x00é"))
		got, err := s.Version(t.Context(), "b", "a/\x00é", "")
		if d := cmp.Diff(v, got); err != nil || d != "" {
			t.Error(err, d)
		}
		if _, err := s.Version(t.Context(), "b", "other", ""); !errors.Is(err, objects.ErrNoKey) {
			t.Errorf("no key: %v", err)
		}
		if _, err := s.Version(t.Context(), "b", v.Key, "other"); !errors.Is(err, objects.ErrNoVersion) {
			t.Errorf("no version: %v", err)
		}
	})
	t.Run("versioning", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		bucket(t, s, "b", objects.VersioningNever)
		first, _ := put(t, s, version("b", "k"))
		second, dead := put(t, s, version("b", "k"))
		if first.ID != "null" || second.ID != "null" || !slices.Equal(dead, []string{first.Pieces[0].Blob}) {
			t.Errorf("without versioning: %s, %s, dead %v", first.ID, second.ID, dead)
		}
		set := func(v objects.Versioning) {
			t.Helper()
			if err := s.UpdateBucket(ctx, "b", func(b *objects.Bucket) error { b.Versioning = v; return nil }); err != nil {
				t.Fatal(err)
			}
		}
		set(objects.VersioningEnabled)
		third, dead := put(t, s, version("b", "k"))
		if third.ID == "null" || dead != nil {
			t.Errorf("enabled: %s, dead %v", third.ID, dead)
		}
		set(objects.VersioningSuspended)
		fourth, dead := put(t, s, version("b", "k"))
		if fourth.ID != "null" || !slices.Equal(dead, []string{second.Pieces[0].Blob}) {
			t.Errorf("suspended: %s, dead %v", fourth.ID, dead)
		}
		all, err := s.Versions(ctx, objects.Range{Bucket: "b", Limit: 9})
		if d := cmp.Diff([]string{"null", third.ID}, ids(all)); err != nil || d != "" {
			t.Error(err, d)
		}
		// The newest that is left becomes the current one.
		gone, dead, err := s.DeleteVersion(ctx, "b", "k", "null")
		if err != nil || gone.ETag != fourth.ETag || !slices.Equal(dead, []string{fourth.Pieces[0].Blob}) {
			t.Errorf("%+v %v %v", gone, dead, err)
		}
		if now, err := s.Version(ctx, "b", "k", ""); err != nil || now.ID != third.ID {
			t.Errorf("%+v %v", now, err)
		}
		if gone, _, err := s.DeleteVersion(ctx, "b", "k", "null"); gone != nil || err != nil {
			t.Errorf("again: %+v %v", gone, err)
		}
	})
	t.Run("conditions", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		bucket(t, s, "b", objects.VersioningEnabled)
		try := func(c objects.Condition) error {
			_, err := s.PutVersion(ctx, version("b", "k"), c, "")
			return err
		}
		if err := try(objects.Condition{ETag: "e"}); !errors.Is(err, objects.ErrNoKey) {
			t.Errorf("match without an object: %v", err)
		}
		var wg sync.WaitGroup
		results := make([]error, 4)
		for i := range results {
			wg.Go(func() { results[i] = try(objects.Condition{Absent: true}) })
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
		if won != 1 {
			t.Errorf("%d writers found the key absent", won)
		}
		now, err := s.Version(ctx, "b", "k", "")
		if err != nil {
			t.Fatal(err)
		}
		if err := try(objects.Condition{ETag: now.ETag}); err != nil {
			t.Error(err)
		}
		if err := try(objects.Condition{ETag: now.ETag}); !errors.Is(err, objects.ErrPrecondition) {
			t.Errorf("stale: %v", err)
		}
		marker := version("b", "k")
		marker.DeleteMarker, marker.Pieces = true, nil
		put(t, s, marker)
		if err := try(objects.Condition{Absent: true}); err != nil {
			t.Errorf("behind a delete marker: %v", err)
		}
	})
	t.Run("listings are in the order of bytes", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		bucket(t, s, "b", objects.VersioningEnabled)
		bucket(t, s, "c", objects.VersioningEnabled)
		keys := []string{"A", "B", "a", "a/", "a/b", "b%", "b_", "z", "é", "\U0001F600"}
		for _, i := range []int{3, 9, 0, 7, 5, 1, 8, 2, 6, 4} {
			put(t, s, version("b", keys[i]))
			put(t, s, version("c", keys[i]))
		}
		list := func(r objects.Range) []string {
			t.Helper()
			r.Bucket = "b"
			all, err := s.Current(ctx, r)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range all {
				got = append(got, v.Key)
			}
			return got
		}
		if d := cmp.Diff(keys, list(objects.Range{Limit: 99})); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(keys[2:5], list(objects.Range{From: "a", To: "b", Limit: 99})); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(keys[5:7], list(objects.Range{From: "b", Limit: 2})); d != "" {
			t.Error(d)
		}
		old, err := s.Version(ctx, "b", "a", "")
		if err != nil {
			t.Fatal(err)
		}
		marker := version("b", "a")
		marker.DeleteMarker, marker.Pieces = true, nil
		put(t, s, marker)
		if got := list(objects.Range{From: "a", To: "b", Limit: 99}); !slices.Equal(got, keys[3:5]) {
			t.Errorf("a deleted object is listed: %v", got)
		}
		all, err := s.Versions(ctx, objects.Range{Bucket: "b", From: "a", To: "a/", Limit: 9})
		if d := cmp.Diff([]string{marker.ID, old.ID}, ids(all)); err != nil || d != "" {
			t.Error(err, d)
		}
		all, err = s.Versions(ctx, objects.Range{Bucket: "b", From: "a", Before: marker.Seq, To: "a/", Limit: 9})
		if d := cmp.Diff([]string{old.ID}, ids(all)); err != nil || d != "" {
			t.Error(err, d)
		}
	})
	t.Run("uploads", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		bucket(t, s, "b", objects.VersioningEnabled)
		u := &objects.Upload{
			ID:        "u1",
			Bucket:    "b",
			Key:       "k",
			StartedAt: at,
			StartedBy: "arn:x",
			Facts:     objects.Facts{ContentType: "a/b"},
		}
		if err := s.PutUpload(ctx, u); err != nil {
			t.Fatal(err)
		}
		got, err := s.Upload(ctx, "b", "k", "u1")
		if d := cmp.Diff(u, got); err != nil || d != "" {
			t.Error(err, d)
		}
		if _, err := s.Upload(ctx, "b", "other", "u1"); !errors.Is(err, objects.ErrNoUpload) {
			t.Errorf("another key's: %v", err)
		}
		part := func(number int, blob string) *objects.Part {
			return &objects.Part{
				Upload:     "u1",
				Number:     number,
				Blob:       blob,
				Size:       7,
				ETag:       "e" + blob,
				Checksum:   "c",
				ModifiedAt: at,
			}
		}
		for _, p := range []*objects.Part{part(2, "f2"), part(1, "f1"), part(3, "f3")} {
			if dead, err := s.PutPart(ctx, p); err != nil || dead != nil {
				t.Fatal(dead, err)
			}
		}
		if dead, err := s.PutPart(ctx, part(2, "f22")); err != nil || !slices.Equal(dead, []string{"f2"}) {
			t.Errorf("a part in place of another: %v %v", dead, err)
		}
		parts, err := s.Parts(ctx, "u1", 1, 9)
		if d := cmp.Diff([]*objects.Part{part(2, "f22"), part(3, "f3")}, parts); err != nil || d != "" {
			t.Error(err, d)
		}
		v := version("b", "k")
		v.Pieces = []objects.Piece{{Blob: "f1", Size: 7}, {Blob: "f2", Size: 7}}
		if _, err := s.PutVersion(ctx, v, objects.Condition{}, "u1"); !errors.Is(err, objects.ErrPart) {
			t.Errorf("a part that was replaced: %v", err)
		}
		v.Pieces[1].Blob = "f22"
		dead, err := s.PutVersion(ctx, v, objects.Condition{}, "u1")
		if err != nil || !slices.Equal(dead, []string{"f3"}) {
			t.Errorf("%v %v", dead, err)
		}
		if _, err := s.PutVersion(ctx, v, objects.Condition{}, "u1"); err == nil {
			t.Error("an upload ended twice")
		}
		if _, err := s.PutPart(ctx, part(1, "f9")); !errors.Is(err, objects.ErrNoUpload) {
			t.Errorf("a part of an ended upload: %v", err)
		}
		u.ID = "u2"
		if err := s.PutUpload(ctx, u); err != nil {
			t.Fatal(err)
		}
		u.ID = "u3"
		if err := s.PutUpload(ctx, u); err != nil {
			t.Fatal(err)
		}
		if all, err := s.Uploads(ctx, objects.Range{Bucket: "b", From: "k", After: "u2", Limit: 9}); err != nil ||
			len(all) != 1 ||
			all[0].ID != "u3" {
			t.Errorf("%v %v", all, err)
		}
		if _, err := s.DeleteUpload(ctx, "u2"); err != nil {
			t.Error(err)
		}
		if _, err := s.DeleteUpload(ctx, "u2"); !errors.Is(err, objects.ErrNoUpload) {
			t.Errorf("aborted twice: %v", err)
		}
	})
	t.Run("blobs", func(t *testing.T) {
		t.Parallel()
		s, ctx := open(t), t.Context()
		bucket(t, s, "b", objects.VersioningNever)
		v := version("b", "k")
		v.Pieces[0].Blob = "abcd"
		put(t, s, v)
		w := version("b", "k")
		w.Pieces[0].Blob = "abce"
		put(t, s, w)
		all, err := s.Blobs(ctx, "ab")
		if d := cmp.Diff(map[string]bool{"abcd": true, "abce": true}, all); err != nil || d != "" {
			t.Error(err, d)
		}
		if other, err := s.Blobs(ctx, "ac"); err != nil || len(other) != 0 {
			t.Errorf("%v %v", other, err)
		}
		dead, err := s.DeadBlobs(ctx)
		if d := cmp.Diff([]string{"abcd"}, dead); err != nil || d != "" {
			t.Error(err, d)
		}
		// One that lives is not forgotten.
		if err := s.ForgetBlobs(ctx, []string{"abcd", "abce"}); err != nil {
			t.Fatal(err)
		}
		all, err = s.Blobs(ctx, "ab")
		if d := cmp.Diff(map[string]bool{"abce": true}, all); err != nil || d != "" {
			t.Error(err, d)
		}
	})
}
