package sekishoapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestRecordingLinks: a link shows one recording to callers without permission, except where a policy
// denies it; it ends when it is revoked, and its token is not in the audit trail.
func TestRecordingLinks(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys["sharer"] = allow("sekisho:ShareSessionRecording", session+"alice-*")
	f.keys["viewer"] = `{"Effect":"Deny","Action":"sekisho:GetSessionRecording","Resource":"` + session + `bob-*"}`
	f.keys["denied"] = allow("*", "*") + `,{"Effect":"Deny","Action":"sekisho:GetSessionRecording","Resource":"*"}`
	body := fmt.Sprintf(`{"SessionId":%q,"DurationSeconds":3600}`, alice)
	var link struct{ LinkID, Token, Path, SessionID, CreatedBy string }

	for by, want := range map[string]string{
		"nobody": "AccessDeniedException", "reader": "AccessDeniedException",
		"sharer": "AccessDeniedException", // cannot view it
	} {
		if _, code := f.call(t, by, "ShareSessionRecording", body, &link); code != want {
			t.Errorf("%s shares: %q, want %q", by, code, want)
		}
	}
	for _, seconds := range []int{-1, 59, 7*24*3600 + 1} {
		bad := fmt.Sprintf(`{"SessionId":%q,"DurationSeconds":%d}`, alice, seconds)
		if _, code := f.call(t, "alice", "ShareSessionRecording", bad, &link); code != "ValidationException" {
			t.Errorf("a link for %d s: %q", seconds, code)
		}
	}
	if status, code := f.call(t, "alice", "ShareSessionRecording", body, &link); status != http.StatusOK {
		t.Fatalf("alice shares: %d %q", status, code)
	}
	if link.Path != "/console/shared/"+link.LinkID+"#"+link.Token || link.SessionID != string(alice) {
		t.Errorf("link %+v", link)
	}

	view := fmt.Sprintf(`{"LinkId":%q,"Token":%q}`, link.LinkID, link.Token)
	var page struct {
		SessionID string
		Data      []byte
		Complete  bool
	}
	if status, code := f.call(t, "viewer", "GetSharedRecording", view, &page); status != http.StatusOK {
		t.Fatalf("the link is refused: %d %q", status, code)
	}
	if page.SessionID != string(alice) || !page.Complete || !bytes.Contains(page.Data, []byte("hello")) {
		t.Errorf("page %s, complete %v: %.100q", page.SessionID, page.Complete, page.Data)
	}
	for name, c := range map[string]struct{ by, body, code string }{
		"a policy denies it": {"denied", view, "AccessDeniedException"},
		"wrong token": {
			"viewer", strings.Replace(view, link.Token, strings.Repeat("A", len(link.Token)), 1), "ResourceNotFoundException",
		},
		"unknown link": {"viewer", strings.Replace(view, link.LinkID, "rl-0000000000000000", 1), "ResourceNotFoundException"},
		"no token":     {"viewer", fmt.Sprintf(`{"LinkId":%q}`, link.LinkID), "ValidationException"},
	} {
		if _, code := f.call(t, c.by, "GetSharedRecording", c.body, &page); code != c.code {
			t.Errorf("%s: %q, want %q", name, code, c.code)
		}
	}
	var list struct {
		Links []struct{ LinkID, Token string }
	}
	if _, code := f.call(t, "reader", "ListRecordingLinks", body, &list); code != "AccessDeniedException" {
		t.Errorf("somebody else lists the links: %q", code)
	}
	only := fmt.Sprintf(`{"SessionId":%q}`, alice)
	if _, code := f.call(t, "alice", "ListRecordingLinks", only, &list); code != "" || len(list.Links) != 1 ||
		list.Links[0].LinkID != link.LinkID || list.Links[0].Token != "" {
		t.Errorf("links %+v, %q", list, code)
	}
	revoke := fmt.Sprintf(`{"LinkId":%q}`, link.LinkID)
	var out struct{}
	if _, code := f.call(t, "viewer", "RevokeRecordingLink", revoke, &out); code != "AccessDeniedException" {
		t.Errorf("the viewer revokes it: %q", code)
	}
	if _, code := f.call(t, "alice", "RevokeRecordingLink", revoke, &out); code != "" {
		t.Errorf("alice revokes it: %q", code)
	}
	if status, _ := f.call(t, "viewer", "GetSharedRecording", view, &page); status != http.StatusBadRequest {
		t.Errorf("after it was revoked: %d", status)
	}
	for _, e := range f.trail.Events() {
		text, err := json.Marshal(e)
		if err != nil || strings.Contains(string(text), link.Token) {
			t.Errorf("the token is in the audit trail: %s (%v)", text, err)
		}
	}
}
