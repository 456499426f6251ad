package objects_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho/internal/storage/objects"
)

// keysLeft lists the versions of the bucket as KEY or KEY(marker), newest first.
func keysLeft(t *testing.T, r *rig) []string {
	t.Helper()
	page, err := r.ListVersions(t.Context(), objects.Listing{Bucket: "bucket", Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, v := range page.Entries {
		name := v.Key
		if v.DeleteMarker {
			name += "(marker)"
		}
		out = append(out, name)
	}
	return out
}

func setRules(t *testing.T, r *rig, v objects.Versioning, rules ...objects.LifecycleRule) {
	t.Helper()
	err := r.UpdateBucket(t.Context(), "bucket", func(b *objects.Bucket) error {
		b.Versioning, b.Settings.Lifecycle = v, rules
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func expire(t *testing.T, r *rig, want ...string) {
	t.Helper()
	if err := r.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := keysLeft(t, r); !slices.Equal(got, want) {
		t.Errorf("left are %q, want %q", got, want)
	}
}

func TestObjectsExpireByRule(t *testing.T) {
	t.Parallel()
	r, clock := openAt(t)
	setRules(t, r, objects.VersioningNever, objects.LifecycleRule{ID: "a", Enabled: true, Prefix: "logs/", Days: 1,
		Tags: map[string]string{"keep": "no"}})
	put := func(key string, tags map[string]string) {
		t.Helper()
		if _, err := r.Put(t.Context(), "bucket", key, objects.Facts{Tags: tags}, objects.Content{Body: strings.NewReader(
			"x"), Size: 1}, objects.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	put("logs/tagged", map[string]string{"keep": "no"})
	put("logs/plain", nil)
	put("other", map[string]string{"keep": "no"})
	clock.Add(24 * time.Hour) // the day has passed, but not yet the midnight after it
	expire(t, r, "logs/plain", "logs/tagged", "other")
	clock.Add(24 * time.Hour)
	expire(t, r, "logs/plain", "other")
	if n := len(r.files()); n != 2 {
		t.Errorf("%d files are left", n)
	}
	setRules(t, r, objects.VersioningNever, objects.LifecycleRule{ID: "a", Days: 1})
	clock.Add(100 * 24 * time.Hour)
	expire(t, r, "logs/plain", "other")
	setRules(t, r, objects.VersioningNever, objects.LifecycleRule{ID: "a", Enabled: true,
		Date: clock.Now().Add(-time.Hour)})
	expire(t, r)
}

func TestVersionsExpireByRule(t *testing.T) {
	t.Parallel()
	r, clock := openAt(t)
	setRules(t, r, objects.VersioningEnabled, objects.LifecycleRule{ID: "a", Enabled: true, NoncurrentDays: 1,
		KeepNoncurrent: 1, LoneDeleteMarkers: true})
	for range 3 {
		if _, err := r.Put(t.Context(), "bucket", "k", objects.Facts{}, objects.Content{Body: strings.NewReader("x"),
			Size: 1}, objects.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	clock.Add(3 * 24 * time.Hour)
	expire(t, r, "k", "k")
	if _, err := r.Delete(t.Context(), "bucket", "k", ""); err != nil {
		t.Fatal(err)
	}
	setRules(t, r, objects.VersioningEnabled, objects.LifecycleRule{ID: "a", Enabled: true, NoncurrentDays: 1,
		LoneDeleteMarkers: true})
	clock.Add(3 * 24 * time.Hour)
	expire(t, r) // the marker is the only version once the others are gone

	// An expired current version remains as a noncurrent version under a delete marker.
	setRules(t, r, objects.VersioningEnabled, objects.LifecycleRule{ID: "a", Enabled: true, Days: 1})
	if _, err := r.Put(t.Context(), "bucket", "k", objects.Facts{}, objects.Content{Body: strings.NewReader("x"),
		Size: 1}, objects.Condition{}); err != nil {
		t.Fatal(err)
	}
	clock.Add(3 * 24 * time.Hour)
	expire(t, r, "k(marker)", "k")
}

func TestAbandonedUploadsExpire(t *testing.T) {
	t.Parallel()
	r, clock := openAt(t)
	begin := func(key string) *objects.Upload {
		t.Helper()
		u, err := r.StartUpload(t.Context(), "bucket", key, "arn:x", objects.Facts{})
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	part := func(u *objects.Upload, n int) {
		t.Helper()
		if _, err := r.PutPart(t.Context(), u, n, objects.Content{Body: strings.NewReader("x"), Size: 1}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(u *objects.Upload, gone bool) {
		t.Helper()
		if err := r.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Upload(t.Context(), "bucket", u.Key, u.ID); errors.Is(err, objects.ErrNoUpload) != gone {
			t.Errorf("upload of %s: %v", u.Key, err)
		}
	}
	abandoned, slow, ruled := begin("abandoned"), begin("slow"), begin("ruled")
	part(abandoned, 1)
	setRules(
		t,
		r,
		objects.VersioningNever,
		objects.LifecycleRule{ID: "a", Enabled: true, Prefix: "ruled", AbortDays: 1},
	)
	clock.Add(6 * 24 * time.Hour)
	part(slow, 1)
	check(ruled, true)
	check(abandoned, false)
	clock.Add(2 * 24 * time.Hour)
	check(abandoned, true)
	check(slow, false)
	if n := len(r.files()); n != 1 {
		t.Errorf("%d files are left", n)
	}
	clock.Add(7 * 24 * time.Hour)
	check(slow, true)
}
