package participants_test

import (
	"fmt"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/session/participants"
)

func TestParticipants(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	r := participants.New(func() time.Time { return now })
	const session = sekisho.SessionID("alice-abcdefghijklmnopqrstuvwxyz")
	want := func(what string, got participants.Change, err error, change participants.Change) {
		t.Helper()
		if err != nil || got != change {
			t.Errorf("%s: change %v, want %v, error %v", what, got, change, err)
		}
	}
	c, err := r.Watch(session, "bob")
	want("bob watches", c, err, participants.Watches)
	c, err = r.Watch(session, "bob")
	want("bob watches on", c, err, participants.Nothing)
	now = now.Add(time.Second)
	c, err = r.Join(session, "carol", false)
	want("carol joins", c, err, participants.Joined)
	c, err = r.Join(session, "bob", true)
	want("bob joins and types", c, err, participants.Joined)
	c, err = r.Watch(session, "bob")
	want("bob still has the keyboard", c, err, participants.Nothing)
	got := r.List(session)
	if len(got) != 2 || got[0].Principal != "bob" || !got[0].Keyboard || !got[0].LastTyped.Equal(now) ||
		!got[1].LastTyped.IsZero() {
		t.Errorf("%+v", got)
	}
	now = now.Add(31 * time.Second)
	if got := r.List(session); len(got) != 0 {
		t.Errorf("nobody asks any longer: %+v", got)
	}
	if left := r.Expire(); len(left) != 2 || left[0].Session != session {
		t.Errorf("left: %+v", left)
	}
	if left := r.Expire(); len(left) != 0 {
		t.Errorf("left twice: %+v", left)
	}
	for i := range 64 {
		if _, err := r.Watch(session, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Watch(session, "one too many"); sekisho.CodeOf(err) != sekisho.CodeLimit {
		t.Errorf("one too many: %v", err)
	}
	if !r.Leave(session, "5") || r.Leave(session, "5") {
		t.Error("a participant leaves once")
	}
}
