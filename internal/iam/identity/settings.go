package identity

import (
	"context"
	"time"

	"sekisho"
)

// Settings are the settings of the account.
type Settings struct {
	// FirstUserID is the administrator that the first start created; empty in accounts older than
	// first-run setup.
	FirstUserID string `json:",omitempty"`
	// DeclinedBy is the ARN of the user who declined a second factor in first-run setup.
	DeclinedBy string    `json:",omitempty"`
	DeclinedAt time.Time `json:",omitzero"`
	// SecuredAt is when the first administrator enrolled a second factor.
	SecuredAt time.Time `json:",omitzero"`
	// Alias is the account's alias. It is only displayed.
	Alias     string          `json:",omitempty"`
	Passwords *PasswordPolicy `json:",omitempty"`
}

func (s *Settings) kind() Kind  { return KindSettings }
func (s *Settings) key() string { return "account" }

// DeclineMFAStatement is the text a user must send to decline a second factor.
const DeclineMFAStatement = "A password alone opens this account, and I accept that."

// FirstRun reports whether first-run setup is pending for a user: the first administrator,
// until a second factor is enrolled or declined.
func (signIns *SignIns) FirstRun(ctx context.Context, userID string) (bool, error) {
	return get(ctx, signIns.account, func(s *state) (bool, error) {
		set := s.settings
		if set.FirstUserID == "" || set.FirstUserID != userID || !set.DeclinedAt.IsZero() || !set.SecuredAt.IsZero() {
			return false, nil
		}
		u := s.userIDs[userID]
		return u != nil && len(u.MFA) == 0 && len(s.passkeysOf(userID)) == 0, nil
	})
}

// FinishFirstRun completes first-run setup of a user who has enrolled a second factor or sends
// [DeclineMFAStatement].
func (signIns *SignIns) FinishFirstRun(ctx context.Context, userID, statement string) error {
	return signIns.update(ctx, func(t *tx) error {
		set := edit(t.settings)
		u := t.userIDs[userID]
		switch {
		case u == nil || set.FirstUserID != userID:
			return sekisho.Errorf(sekisho.CodeDenied, "Only the first administrator can complete first-run setup.")
		case len(u.MFA) > 0 || len(t.passkeysOf(u.ID)) > 0:
			set.SecuredAt = t.now
		case statement == DeclineMFAStatement:
			set.DeclinedBy, set.DeclinedAt = u.ARN, t.now
		default:
			return sekisho.Errorf(
				sekisho.CodeInvalid,
				"Enrol a second factor first, or decline it by sending this statement: %s",
				DeclineMFAStatement,
			)
		}
		t.put(set)
		return nil
	})
}
