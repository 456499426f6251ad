// Package e2e_test runs Sekisho's own programs together with AWS's: the aws
// CLI, session-manager-plugin and boto3, in terminals, as users do.
package e2e_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"sekisho/e2e/harness"
)

// shared is a server that most tests use. Tests that stop servers start their
// own.
var shared *harness.Server

func TestMain(m *testing.M) {
	if os.Getenv("SEKISHO_E2E") != "1" {
		fmt.Println("e2e: not run; these tests need built programs: make e2e (it sets SEKISHO_E2E=1)")
		os.Exit(0)
	}
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "sekisho-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer func() {
		if code == 0 {
			_ = os.RemoveAll(dir)
		} else {
			fmt.Fprintln(os.Stderr, "e2e: the shared server's files stay in", dir)
		}
	}()
	programs, err := harness.Locate("..")
	if err == nil {
		shared, err = harness.Start(programs, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	code = m.Run()
	if err := shared.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: stop the shared server:", err)
		return 1
	}
	return code
}

// startServer starts sekishod dev with a data directory, and stops it when the
// test ends.
func startServer(t *testing.T, programs harness.Programs, dir string, args ...string) *harness.Server {
	t.Helper()
	s, err := harness.Start(programs, dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server's log ends:\n%s", s.LogTail())
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ownServer starts a server that the test can stop and kill.
func ownServer(t *testing.T) *harness.Server {
	t.Helper()
	return startServer(t, shared.Programs, t.TempDir())
}

// env sources the server's environment file.
func env(t *testing.T, s *harness.Server) map[string]string {
	t.Helper()
	e, err := s.Env()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// eachCLI runs the test with every aws program of this machine.
func eachCLI(t *testing.T, test func(t *testing.T, path []string)) {
	t.Helper()
	for _, cli := range harness.CLIs(t, shared.Home) {
		t.Run(cli.Version, func(t *testing.T) {
			t.Parallel()
			test(t, cli.Path)
		})
	}
}

// How long a step can take before the test fails.
const (
	soon   = 20 * time.Second
	awhile = 45 * time.Second
)

// startSession opens a shell on target with the aws CLI and AWS's plugin,
// waits for its prompt and returns the terminal and the session's ID.
func startSession(
	t *testing.T,
	s *harness.Server,
	path []string,
	rows, cols uint16,
	target string,
) (*harness.Terminal, string) {
	t.Helper()
	term := harness.OpenTerminal(
		t,
		rows,
		cols,
		s.Shell(t.Context(), path, `aws ssm start-session --target "$1"`, target),
	)
	id := term.Expect(awhile, `Starting session with SessionId: (\S+)`)[1]
	term.Expect(soon, harness.Prompt)
	return term, id
}

// TestEnvironmentFile tests that the file sets what its documentation promises.
func TestEnvironmentFile(t *testing.T) {
	t.Parallel()
	info, err := os.Stat(shared.EnvFile())
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %o; it holds a secret key, so 600", shared.EnvFile(), info.Mode().Perm())
	}
	e := env(t, shared)
	for _, name := range []string{
		"AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_CA_BUNDLE", "SSL_CERT_FILE",
		"AWS_EC2_METADATA_DISABLED", "SEKISHO_TARGET", "SEKISHO_CONSOLE_URL",
	} {
		if e[name] == "" {
			t.Errorf("%s is not set", name)
		}
	}
	if e["SEKISHO_CONSOLE_URL"] != shared.Console {
		t.Errorf("SEKISHO_CONSOLE_URL is %q, the ready line said %q", e["SEKISHO_CONSOLE_URL"], shared.Console)
	}
	client, err := harness.Client(e)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get(e["SEKISHO_CONSOLE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("the console answers %s", resp.Status)
	}
}
