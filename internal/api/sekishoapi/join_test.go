package sekishoapi_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	root "sekisho"
	"sekisho/internal/session/cast"
	"sekisho/internal/session/participants"
	"sekisho/internal/session/record"
)

// present is a node that accepts input.
type present struct {
	*participants.Registry
	typed []byte
}

func (p *present) Watch(_ context.Context, s *root.Session, principal string) error {
	_, err := p.Registry.Watch(s.ID, principal)
	return err
}

func (p *present) Join(_ context.Context, s *root.Session, principal string, typed bool) error {
	_, err := p.Registry.Join(s.ID, principal, typed)
	return err
}

func (p *present) Leave(_ context.Context, s *root.Session, principal string) error {
	p.Registry.Leave(s.ID, principal)
	return nil
}

func (p *present) Type(_ context.Context, _ *root.Session, data []byte) error {
	p.typed = append(p.typed, data...)
	return nil
}

// TestJoinSession: a user with permission types into the session, the
// recording says who typed, and the owner sees who is present.
func TestJoinSession(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys["joiner"] = allow("sekisho:JoinSession", "*") + "," + allow("sekisho:GetSessionRecording", "*") + "," +
		allow("sekisho:ListSessionParticipants", "*")
	rec := f.start(t, bob)
	body := fmt.Sprintf(`{"SessionId":%q}`, bob)
	input := fmt.Sprintf(`{"SessionId":%q,"Data":%q}`, bob, base64.StdEncoding.EncodeToString([]byte("ls\r")))
	var out struct{}
	if _, code := f.call(t, "reader", "JoinSession", body, &out); code != "AccessDeniedException" {
		t.Errorf("without permission: %q", code)
	}
	if _, code := f.call(t, "joiner", "JoinSession", body, &out); code != "AlreadyExistsException" {
		t.Errorf("before the agent has connected: %q", code)
	}
	if err := rec.SetKind(record.SessionKind{Type: "Standard_Stream", Joinable: true}); err != nil {
		t.Fatal(err)
	}
	if status, code := f.call(t, "joiner", "JoinSession", body, &out); status != http.StatusOK {
		t.Errorf("%d %q", status, code)
	}
	for _, tt := range []struct{ by, code string }{{"reader", "AccessDeniedException"}, {"joiner", ""}} {
		if _, code := f.call(t, tt.by, "SendSessionInput", input, &out); code != tt.code {
			t.Errorf("%s types: %q, want %q", tt.by, code, tt.code)
		}
	}
	for _, bad := range []string{"", strings.Repeat("AAAA", 6<<10)} {
		bad := fmt.Sprintf(`{"SessionId":%q,"Data":%q}`, bob, bad)
		if _, code := f.call(t, "joiner", "SendSessionInput", bad, &out); code != "ValidationException" {
			t.Errorf("%d bytes: %q", len(bad), code)
		}
	}
	if string(f.present.typed) != "ls\r" {
		t.Errorf("the node got %q", f.present.typed)
	}
	var list struct {
		Participants []struct {
			Principal string
			Keyboard  bool
			LastTyped string
		}
	}
	if _, code := f.call(t, "joiner", "ListSessionParticipants", body, &list); code != "" ||
		len(list.Participants) != 1 || !list.Participants[0].Keyboard || list.Participants[0].LastTyped == "" {
		t.Errorf("%q %+v", code, list)
	}
	var page struct {
		Data         []byte
		NextPosition string
		Live         bool
	}
	now := fmt.Sprintf(`{"SessionId":%q,"Position":"now"}`, bob)
	if _, code := f.call(t, "joiner", "GetSessionRecording", now, &page); code != "" || !page.Live ||
		page.NextPosition == "" || !strings.HasPrefix(string(page.Data), `{"version":3`) {
		t.Errorf("%q %+v", code, page)
	}
	if _, code := f.call(t, "joiner", "LeaveSession", body, &out); code != "" || len(f.present.List(bob)) != 0 {
		t.Errorf("%q", code)
	}
	// The keystrokes are in the recording only.
	for _, e := range f.trail.Events() {
		if strings.Contains(fmt.Sprint(e), "bHMN") {
			t.Errorf("the audit trail has what was typed: %+v", e)
		}
	}
	if err := rec.Marker(cast.EncryptedMarker); err != nil {
		t.Fatal(err)
	}
	if _, code := f.call(t, "joiner", "JoinSession", body, &out); code != "AlreadyExistsException" {
		t.Errorf("an encrypted session: %q", code)
	}
}
