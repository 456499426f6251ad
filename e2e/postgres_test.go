package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/e2e/harness"
	"sekisho/internal/store/storetest/pgtest"
)

// TestPostgres runs a server on PostgreSQL. A session continues while PostgreSQL restarts and while it is
// gone, calls meanwhile fail with an error that says so, and the server recovers by itself. Then the state
// moves to SQLite, where the server finds the session.
func TestPostgres(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	if err := pg.Exec(t.Context(), "postgres", "CREATE DATABASE state TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := startServer(t, shared.Programs, dir, "--nodes", "0", "--database-url", pg.URL("state"))
	agent := s.StartAgent(t, "stored", -1)
	run := func(script string, args ...string) harness.Result {
		t.Helper()
		return harness.Do(t, s.Shell(t.Context(), nil, script, args...))
	}
	term, id := startSession(t, s, nil, 24, 100, agent.NodeID)
	term.Send("echo before''hand\r")
	term.Expect(soon, `(?m)^beforehand$`)
	if err := pg.Restart(); err != nil {
		t.Fatal(err)
	}
	term.Send("echo after''wards\r")
	term.Expect(soon, `(?m)^afterwards$`)
	if r := run(`aws ssm describe-sessions --state Active --output text --query 'Sessions[].SessionId'`); r.Code != 0 ||
		!strings.Contains(r.Stdout, id) {
		t.Errorf("after a restart of PostgreSQL: exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}

	if err := pg.Stop(); err != nil {
		t.Fatal(err)
	}
	if r := run(`AWS_MAX_ATTEMPTS=1 aws iam create-user --user-name bob`); r.Code == 0 ||
		!strings.Contains(r.Stderr, "ServiceUnavailable") {
		t.Errorf("without PostgreSQL: exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	term.Send("echo mean''while\r")
	term.Expect(soon, `(?m)^meanwhile$`)
	if err := pg.Start(); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, awhile, func() error {
		if r := run(`aws iam create-user --user-name alice`); r.Code != 0 {
			return fmt.Errorf("after the outage: exit %d: %s", r.Code, r.Stderr)
		}
		return nil
	})
	term.Send("exit\r")
	term.Wait(soon)
	replay(t, s, id, "meanwhile")
	verify(t, s, id)

	// The state moves to SQLite.
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sekishod.yaml")
	text := fmt.Sprintf("account: %q\ndata: %s\ntls: {certificate: /c.pem, key: /k.pem}\ndatabase: {url: %q}\n",
		"100000000000", s.Data, pg.URL("state"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		`verify --config "$1"`, `migrate-state --config "$1" --from "$2" --to "$3"`, `verify --data "$4"`,
	} {
		r := run("sekishod "+args, file, pg.URL("state"), filepath.Join(s.Data, "sekisho.db"), s.Data)
		if r.Code != 0 {
			t.Fatalf("%s: exit %d: %s%s", args, r.Code, r.Stdout, r.Stderr)
		}
	}
	moved, err := harness.Start(shared.Programs, dir, "--nodes", "0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := moved.Stop(); err != nil {
			t.Error(err)
		}
	})
	r := harness.Do(t, moved.Shell(t.Context(), nil, `aws ssm describe-sessions --state History --output text `+
		`--query 'Sessions[].SessionId' && aws iam get-user --user-name alice`))
	if r.Code != 0 || !strings.Contains(r.Stdout, id) {
		t.Errorf("after the move: exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
}
