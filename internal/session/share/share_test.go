package share_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/session/share"
	"sekisho/internal/store/sqlstore"
)

const alice = "arn:aws:iam::123456789012:user/alice"

func TestLinks(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db, err := sqlstore.OpenSQLite(ctx, filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	now := time.Date(2026, 4, 15, 12, 0, 0, 0, time.UTC)
	s := share.New(db.Links, func() time.Time { return now })

	for _, lasts := range []time.Duration{0, share.MinDuration - 1, share.MaxDuration + 1} {
		if _, _, err := s.Create(ctx, "alice-1", alice, lasts); sekisho.CodeOf(err) != sekisho.CodeInvalid {
			t.Errorf("a link for %s: %v", lasts, err)
		}
	}
	l, token, err := s.Create(ctx, "alice-1", alice, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	reason := func(linkID, token string) string {
		t.Helper()
		got, err := s.Open(ctx, linkID, token)
		if err == nil {
			if got.Session != "alice-1" || got.CreatedBy != alice {
				t.Errorf("link %+v", got)
			}
			return ""
		}
		refused, ok := errors.AsType[*sekisho.Error](err)
		if !ok {
			t.Fatal(err)
		}
		return refused.Reason
	}
	if got := reason(l.ID, token); got != "" {
		t.Errorf("the link is refused: %s", got)
	}
	for name, got := range map[string]string{
		"wrong token": reason(l.ID, token+"x"), "no token": reason(l.ID, ""), "unknown link": reason("rl-0", token),
	} {
		if got != "RecordingLinkUnknown" {
			t.Errorf("%s: reason %q", name, got)
		}
	}
	other, otherToken, err := s.Create(ctx, "alice-1", alice, 2*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if got := reason(other.ID, token); got != "RecordingLinkUnknown" {
		t.Errorf("a token opens another link: %q", got)
	}
	now = now.Add(time.Hour)
	if got := reason(l.ID, token); got != "RecordingLinkExpired" {
		t.Errorf("after its end: %q", got)
	}
	if all, err := s.Links(ctx, "alice-1"); err != nil || len(all) != 1 || all[0].ID != other.ID {
		t.Errorf("links %v, %v", all, err)
	}
	for range 2 {
		if err := s.Revoke(ctx, other.ID, alice); err != nil {
			t.Error(err)
		}
	}
	if got := reason(other.ID, otherToken); got != "RecordingLinkRevoked" {
		t.Errorf("after it was revoked: %q", got)
	}
	if err := s.Revoke(ctx, "rl-0", alice); !sekisho.IsNotFound(err) {
		t.Errorf("an unknown link is revoked: %v", err)
	}
	for range share.MaxPerSession {
		if _, _, err := s.Create(ctx, "alice-2", alice, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := s.Create(ctx, "alice-2", alice, time.Hour); sekisho.CodeOf(err) != sekisho.CodeLimit {
		t.Errorf("more than %d links: %v", share.MaxPerSession, err)
	}
	now = now.Add(2 * time.Hour)
	if _, _, err := s.Create(ctx, "alice-2", alice, time.Hour); err != nil {
		t.Errorf("expired links count: %v", err)
	}
}
