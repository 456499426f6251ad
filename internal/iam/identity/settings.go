package identity

import (
	"context"
	"time"

	"sekisho"
)

// Settings are those of the account.
type Settings struct {
	// FirstUserID is the administrator whom the first start made; empty in
	// accounts from before there was a first-run flow.
	FirstUserID string `json:",omitempty"`
	// Declined says who declined a second factor in the first-run flow.
	DeclinedBy string    `json:",omitempty"`
	DeclinedAt time.Time `json:",omitzero"`
	// Secured is when the first administrator had a second factor first.
	SecuredAt time.Time `json:",omitzero"`
}

func (s *Settings) kind() Kind  { return KindSettings }
func (s *Settings) key() string { return "account" }

// DeclineMFAStatement is what declines a second factor, in so many words.
const DeclineMFAStatement = "A password alone opens this account, and I accept that."

// FirstRun reports whether the first-run flow waits for this user: it is the
// first administrator, has no second factor and has not declined one.
func (d *Directory) FirstRun(ctx context.Context, userID string) (bool, error) {
	return get(ctx, d, func(s *state) (bool, error) {
		set := s.settings
		if set.FirstUserID == "" || set.FirstUserID != userID || !set.DeclinedAt.IsZero() || !set.SecuredAt.IsZero() {
			return false, nil
		}
		u := s.userIDs[userID]
		return u != nil && len(u.MFA) == 0 && len(s.passkeysOf(userID)) == 0, nil
	})
}

// FinishFirstRun ends the first-run flow of a user: with a second factor that
// is there, or with the words that decline one.
func (d *Directory) FinishFirstRun(ctx context.Context, userID, statement string) error {
	return d.update(ctx, func(t *tx) error {
		set := edit(t.settings)
		u := t.userIDs[userID]
		switch {
		case u == nil || set.FirstUserID != userID:
			return sekisho.Errorf(sekisho.CodeDenied, "The first-run flow is the first administrator's.")
		case len(u.MFA) > 0 || len(t.passkeysOf(u.ID)) > 0:
			set.SecuredAt = t.now
		case statement == DeclineMFAStatement:
			set.DeclinedBy, set.DeclinedAt = u.ARN, t.now
		default:
			return sekisho.Errorf(sekisho.CodeInvalid, "Enrol a second factor first, or decline one in these words: %s", DeclineMFAStatement)
		}
		t.put(set)
		return nil
	})
}
