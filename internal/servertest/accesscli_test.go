package servertest_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/internal/servertest"
	"sekisho/internal/wire/sigv4"
)

// as runs the sekisho command with an access key.
func as(t *testing.T, s *servertest.Server, keys sigv4.Credentials) *command {
	t.Helper()
	c := newCommand(t, s)
	c.env["AWS_ENDPOINT_URL"], c.env["AWS_ACCESS_KEY_ID"], c.env["AWS_SECRET_ACCESS_KEY"] = s.URL, keys.AccessKeyID,
		keys.SecretAccessKey
	return c
}

// ok runs a command that must succeed and returns its output.
func (c *command) ok(args ...string) string {
	c.t.Helper()
	code, out, errOut := c.run("", args...)
	if code != 0 {
		c.t.Fatalf("sekisho %s: exit code %d: %s", strings.Join(args, " "), code, errOut)
	}
	return out
}

// Calendars are stored, shown, used by grants, and deleted once no policy uses
// them.
func TestCalendarAndGrantCommands(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	s.User("alice", "")
	c := as(t, s, s.Admin)
	c.ok("calendars", "put", "holidays", "--zone", "Asia/Tokyo", "--on", "2030-01-01/2030-01-03")
	file := filepath.Join(t.TempDir(), "rota.ics")
	must(
		t,
		os.WriteFile(
			file,
			[]byte(
				"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20300101T000000Z\r\n"+
					"DTSTART:20300101T090000Z\r\nDTEND:20300101T170000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
			),
			0o600,
		),
	)
	c.ok("calendars", "put", "rota", "--icalendar", file)
	if out := c.ok("calendars", "list"); !strings.Contains(out, "holidays") || !strings.Contains(out, "rota") {
		t.Errorf("list: %s", out)
	}
	if out := c.ok("calendars", "show", "holidays"); !strings.Contains(out, "2029-12-31T15:00:00Z") {
		t.Errorf("show: %s", out)
	}
	if exit, _, text := c.run("", "calendars", "put", "bad", "--on", "tomorrow"); exit != 1 {
		t.Errorf("an invalid date: exit code %d: %s", exit, text)
	}
	args := []string{
		"grant", "--user", "alice", "--target", n.ID, "--weekdays", "mon-fri", "--from", "09:00", "--to", "18:00", "--zone",
		"Asia/Tokyo",
		"--source-ip", "203.0.113.0/24", "--except", "holidays",
	}
	var doc struct{ Statement []any }
	printed := c.ok(args...)
	if err := json.Unmarshal([]byte(printed), &doc); err != nil || len(doc.Statement) == 0 {
		t.Errorf("grant printed %s: %v", printed, err)
	}
	if out := c.ok("reach", "--user", "alice"); strings.Contains(out, n.ID) {
		t.Errorf("grant without --apply gave access: %s", out)
	}
	if applied := c.ok(append(args, "--apply")...); applied != printed {
		t.Errorf("--apply attached %s, want %s", applied, printed)
	}
	for _, question := range [][]string{{"reach", "--user", "alice"}, {"reach", "--target", n.ID}} {
		if out := c.ok(question...); !strings.Contains(out, "aws:SourceIp IpAddress 203.0.113.0/24") {
			t.Errorf("%v: %s", question, out)
		}
	}
	if out := c.ok("reach", "--user", "alice", "--source-ip", "198.51.100.1"); strings.Contains(out, n.ID) {
		t.Errorf("from another address: %s", out)
	}
	if exit, _, _ := c.run("", "reach", "--user", "alice", "--target", n.ID); exit != 2 && exit != 1 {
		t.Errorf("--user together with --target: exit code %d", exit)
	}
	if exit, _, _ := c.run("", "calendars", "delete", "holidays"); exit == 0 {
		t.Error("a calendar that a policy uses was deleted")
	}
	c.ok("calendars", "delete", "rota")
	if out := c.ok("calendars", "list"); strings.Contains(out, "rota") {
		t.Errorf("after deletion: %s", out)
	}
}

// A request is made, approved and revoked by commands.
func TestAccessCommands(t *testing.T) {
	t.Parallel()
	f := newAccessFixture(t)
	admin, ann, bob := as(t, f.Server, f.Admin), as(t, f.Server, f.ann), as(t, f.Server, f.bob)
	for _, wrong := range [][]string{nil, {"--tag", "Env=prod", "--all-nodes"}} {
		args := append([]string{"access", "rules", "put", "prod"}, wrong...)
		if exit, _, text := admin.run("", args...); exit != 2 {
			t.Errorf("%q: exit code %d: %s", args, exit, text)
		}
	}
	admin.ok("access", "rules", "put", "prod", "--tag", "Env=prod", "--approvals", "1", "--duration", "1h")
	if out := admin.ok("access", "rules", "list"); !strings.Contains(out, "prod") || !strings.Contains(out, "1h0m0s") {
		t.Errorf("rules: %s", out)
	}
	id := strings.TrimSpace(ann.ok("access", "request", "--target", f.node.ID, "--reason", "ticket 4711"))
	if out := bob.ok("access", "list"); !strings.Contains(out, id) || !strings.Contains(out, "0 of 1") {
		t.Errorf("list: %s", out)
	}
	if exit, _, _ := ann.run("", "access", "approve", id, "--reason", "mine"); exit != 4 {
		t.Errorf("approving an own request: exit code %d, want 4", exit)
	}
	if exit, _, _ := bob.run("", "access", "approve", id); exit != 2 && exit != 1 {
		t.Errorf("approving without a reason: exit code %d", exit)
	}
	if out := bob.ok("access", "approve", id, "--reason", "agreed"); !strings.Contains(out, "Approved") ||
		!strings.Contains(out, "1 of 1") {
		t.Errorf("approve: %s", out)
	}
	if out := bob.ok("access", "revoke", id, "--reason", "done"); !strings.Contains(out, "Revoked") {
		t.Errorf("revoke: %s", out)
	}
	if out := bob.ok("access", "list"); strings.Contains(out, id) {
		t.Errorf("list shows a revoked request without --all: %s", out)
	}
	if out := bob.ok("access", "list", "--all"); !strings.Contains(out, id) {
		t.Errorf("list --all: %s", out)
	}
	admin.ok("access", "rules", "delete", "prod")
}
