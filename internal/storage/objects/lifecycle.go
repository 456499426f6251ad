package objects

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"
)

// abandonedAfter is how long an unfinished upload is kept if no rule of its bucket aborts
// it earlier.
const abandonedAfter = 7 * 24 * time.Hour

// LifecycleRule removes objects, old versions and unfinished uploads of a bucket.
type LifecycleRule struct {
	ID      string            `json:"id"`
	Enabled bool              `json:"enabled"`
	Prefix  string            `json:"prefix,omitempty"`
	Tags    map[string]string `json:"tags,omitempty"` // an object must have all of them
	Larger  *int64            `json:"larger,omitempty"`
	Smaller *int64            `json:"smaller,omitempty"`

	Days              int       `json:"days,omitempty"` // after which a current version expires; 0 = never
	Date              time.Time `json:"date,omitzero"`  // on which current versions expire
	LoneDeleteMarkers bool      `json:"loneDeleteMarkers,omitempty"`
	NoncurrentDays    int       `json:"noncurrentDays,omitempty"`
	KeepNoncurrent    int       `json:"keepNoncurrent,omitempty"` // the newest of them
	AbortDays         int       `json:"abortDays,omitempty"`      // after which an upload is removed
}

// matches reports whether a rule applies to a version.
func (r *LifecycleRule) matches(v *Version) bool {
	if !r.Enabled || !strings.HasPrefix(v.Key, r.Prefix) {
		return false
	}
	for key, value := range r.Tags {
		if have, ok := v.Facts.Tags[key]; !ok || have != value {
			return false
		}
	}
	return (r.Larger == nil || v.Size > *r.Larger) && (r.Smaller == nil || v.Size < *r.Smaller)
}

// due returns when something that exists since then expires: after days, at the next
// midnight UTC.
func due(since time.Time, days int) time.Time {
	at := since.UTC().AddDate(0, 0, days)
	midnight := at.Truncate(24 * time.Hour)
	if midnight.Before(at) {
		midnight = midnight.Add(24 * time.Hour)
	}
	return midnight
}

// expires returns when a current version expires; zero = never.
func (r *LifecycleRule) expires(v *Version) time.Time {
	switch {
	case r.Days > 0:
		return due(v.ModifiedAt, r.Days)
	case !r.Date.IsZero():
		return r.Date
	}
	return time.Time{}
}

// Expiration returns when a current version of a bucket expires, and the rule that applies;
// ok is false if none does.
func (b *Bucket) Expiration(v *Version) (at time.Time, rule string, ok bool) {
	for i := range b.Settings.Lifecycle {
		r := &b.Settings.Lifecycle[i]
		if !r.matches(v) {
			continue
		}
		if e := r.expires(v); !e.IsZero() && (!ok || e.Before(at)) {
			at, rule, ok = e, r.ID, true
		}
	}
	return at, rule, ok
}

// Expire applies the lifecycle rules of all buckets and removes abandoned uploads. A
// failure in one bucket does not affect the others.
func (s *Store) Expire(ctx context.Context) error {
	buckets, err := s.index.Buckets(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, b := range buckets {
		errs = append(errs, s.expireUploads(ctx, b))
		if len(b.Settings.Lifecycle) > 0 {
			errs = append(errs, s.expireVersions(ctx, b))
		}
	}
	return errors.Join(errs...)
}

// expirePage is how many entries of the index are read at a time.
const expirePage = 500

func (s *Store) expireUploads(ctx context.Context, b *Bucket) error {
	now := s.time()
	r := Range{Bucket: b.Name, Limit: expirePage}
	for {
		uploads, err := s.index.Uploads(ctx, r)
		if err != nil || len(uploads) == 0 {
			return err
		}
		for _, u := range uploads {
			r.From, r.After = u.Key, u.ID
			gone := false
			for _, rule := range b.Settings.Lifecycle {
				if rule.Enabled && rule.AbortDays > 0 && strings.HasPrefix(u.Key, rule.Prefix) &&
					!now.Before(due(u.StartedAt,
						rule.AbortDays)) {
					gone = true
				}
			}
			if !gone {
				if gone, err = s.abandoned(ctx, u, now.Add(-abandonedAfter)); err != nil {
					return err
				}
			}
			if !gone {
				continue
			}
			if err := s.AbortUpload(ctx, u); err != nil && !errors.Is(err, ErrNoUpload) {
				return err
			}
		}
	}
}

// abandoned reports whether nothing was added to an upload since a time.
func (s *Store) abandoned(ctx context.Context, u *Upload, since time.Time) (bool, error) {
	if u.StartedAt.After(since) {
		return false, nil
	}
	parts, err := s.index.Parts(ctx, u.ID, 0, MaxPart)
	if err != nil {
		return false, err
	}
	for _, p := range parts {
		if p.ModifiedAt.After(since) {
			return false, nil
		}
	}
	return true, nil
}

// expireVersions applies the rules of a bucket to its versions. The index lists the
// versions of a key together, newest first.
func (s *Store) expireVersions(ctx context.Context, b *Bucket) error {
	var versions []*Version // of one key
	r := Range{Bucket: b.Name, Limit: expirePage}
	for {
		page, err := s.index.Versions(ctx, r)
		if err != nil {
			return err
		}
		for _, v := range page {
			if len(versions) > 0 && versions[0].Key != v.Key {
				if err := s.expireKey(ctx, b, versions); err != nil {
					return err
				}
				versions = versions[:0]
			}
			versions = append(versions, v)
			r.From, r.Before = v.Key, v.Seq
		}
		if len(page) < expirePage {
			break
		}
	}
	if len(versions) == 0 {
		return nil
	}
	return s.expireKey(ctx, b, versions)
}

func (s *Store) expireKey(ctx context.Context, b *Bucket, versions []*Version) error {
	now := s.time()
	// Oldest first: a delete marker can be the only version left.
	left := len(versions)
	for i := left - 1; i > 0; i-- {
		v := versions[i]
		since := versions[i-1].ModifiedAt // when it stopped being the current version
		for _, rule := range b.Settings.Lifecycle {
			if rule.NoncurrentDays == 0 || !rule.matches(v) || i <= rule.KeepNoncurrent || now.Before(due(since,
				rule.NoncurrentDays)) {
				continue
			}
			if _, err := s.Delete(ctx, v.Bucket, v.Key, v.ID); err != nil {
				return err
			}
			left--
			break
		}
	}
	v := versions[0]
	if v.DeleteMarker {
		for _, rule := range b.Settings.Lifecycle {
			lone := rule.LoneDeleteMarkers || rule.Days > 0 && !now.Before(due(v.ModifiedAt, rule.Days))
			if left == 1 && lone && rule.Enabled && strings.HasPrefix(v.Key, rule.Prefix) {
				_, err := s.Delete(ctx, v.Bucket, v.Key, v.ID)
				return err
			}
		}
		return nil
	}
	if at, _, ok := b.Expiration(v); ok && !now.Before(at) {
		_, err := s.deleteCurrent(ctx, v)
		return err
	}
	return nil
}

// deleteCurrent makes an object appear deleted, unless another version has become the
// current one in the meantime.
func (s *Store) deleteCurrent(ctx context.Context, v *Version) (Deleted, error) {
	now, err := s.index.Version(ctx, v.Bucket, v.Key, "")
	if errors.Is(err, ErrNoKey) || err == nil && (now.Seq != v.Seq || !maps.Equal(now.Facts.Tags, v.Facts.Tags)) {
		return Deleted{}, nil
	}
	if err != nil {
		return Deleted{}, err
	}
	return s.Delete(ctx, v.Bucket, v.Key, "")
}
