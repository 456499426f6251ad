package broker_test

import (
	"strings"
	"testing"

	"sekisho"
	"sekisho/internal/session/broker"
)

// TestResumeByToken: a session's own token resumes that session, any number of
// times while it runs, and opens no channel by itself.
func TestResumeByToken(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.links["mi-1"] = nil
	s, other := f.begin("mi-1"), f.begin("mi-1")
	token, err := f.ResumeToken(t.Context(), s.ID)
	must(t, err)
	for range 2 {
		fresh, err := f.ResumeByToken(t.Context(), s.ID, token)
		must(t, err)
		must(t, f.RedeemToken(t.Context(), fresh, string(s.ID), broker.ClientLeg))
	}
	for _, leg := range []broker.Leg{broker.ClientLeg, broker.AgentLeg, "resume"} {
		wantError(t, f.RedeemToken(t.Context(), token, string(s.ID), leg), sekisho.CodeUnauthenticated, "")
	}
	for name, bad := range map[string]struct {
		id    sekisho.SessionID
		token string
	}{
		"another session":  {other.ID, token},
		"no token":         {s.ID, ""},
		"a client's token": {s.ID, s.Token},
		"invented":         {s.ID, "x"},
		"long":             {s.ID, strings.Repeat("x", 301)},
	} {
		if got, err := f.ResumeByToken(t.Context(), bad.id, bad.token); sekisho.CodeOf(err) != sekisho.CodeDenied ||
			got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	must(t, f.Terminate(t.Context(), s.ID, ""))
	if got, err := f.ResumeByToken(t.Context(), s.ID, token); err != nil || got != "" {
		t.Errorf("an ended session: %q, %v", got, err)
	}
	if got, err := f.ResumeToken(t.Context(), s.ID); err != nil || got != "" {
		t.Errorf("a token for an ended session: %q, %v", got, err)
	}
}
