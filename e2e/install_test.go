package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/e2e/harness"
)

// TestFirstServer follows docs/install.md without packages: set up a server,
// start it, use it as its first administrator, diagnose it, and restore
// access.
func TestFirstServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	etc, state := filepath.Join(dir, "etc"), filepath.Join(dir, "state")
	file := filepath.Join(etc, "sekishod.yaml")
	address := freeAddresses(t, 1)[0]
	log := filepath.Join(dir, "sekishod.log")
	sh := func(script string) harness.Result {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
		cmd.Env = []string{"HOME=" + dir, "PATH=" + shared.Bin + ":" + os.Getenv("PATH"), "LANG=C.UTF-8"}
		return harness.Do(t, cmd)
	}
	agents := filepath.Join(dir, "agents")
	if err := os.MkdirAll(agents, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(shared.Bin, "sekisho-agent"),
		filepath.Join(agents, "sekisho-agent-linux-amd64")); err != nil {
		t.Fatal(err)
	}
	setup := fmt.Sprintf(
		"sekishod setup --yes --name 127.0.0.1 --listen %s --config %s --data %s --agents-dir %s --user ''",
		address,
		file,
		state,
		agents,
	)
	r := sh(setup)
	credentials := filepath.Join(etc, "first-administrator")
	if r.Code != 0 || !strings.Contains(r.Stdout, credentials) || strings.Contains(r.Stdout, "AKIA") {
		t.Fatalf("setup: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if info, err := os.Stat(credentials); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v", credentials, info.Mode(), err)
	}
	if r := sh(setup); r.Code == 0 || !strings.Contains(r.Stderr, file) {
		t.Errorf("a second setup: exit %d, %s", r.Code, r.Stderr)
	}
	if r := sh("sekishod config check --config " + file); r.Code != 0 {
		t.Errorf("config check: exit %d, %s", r.Code, r.Stderr)
	}
	if r := sh("sekishod doctor --config " + file); r.Code == 0 ||
		!strings.Contains(r.Stdout, "not running") && !strings.Contains(r.Stdout, "no server") {
		t.Errorf("doctor of a stopped server: exit %d\n%s", r.Code, r.Stdout)
	}

	serve := func() (stop func()) {
		t.Helper()
		stop = serveConfig(t, file, log)
		harness.Eventually(t, awhile, func() error {
			if r := sh("sekishod doctor --config " + file); r.Code != 0 {
				return fmt.Errorf("doctor: exit %d\n%s", r.Code, r.Stdout)
			}
			return nil
		})
		return stop
	}
	stop := serve()
	r = sh(". " + credentials + " && sekisho nodes && sekisho quick-setup --register 1")
	if r.Code != 0 || !strings.Contains(r.Stdout, "https://"+address) {
		t.Errorf("the first administrator: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if log, err := os.ReadFile(log); err != nil ||
		strings.Contains(string(log), "AKIA") ||
		strings.Contains(string(log), "password") {
		t.Errorf("the log contains credentials, %v:\n%s", err, log)
	}
	if r := sh("sekishod admin reset --config " + file); r.Code == 0 {
		t.Error("an administrator was reset beside a running server")
	}
	stop()
	r = sh("sekishod admin reset --user rescue --config " + file)
	if info, err := os.Stat(filepath.Join(etc, "reset-rescue")); r.Code != 0 || err != nil ||
		info.Mode().Perm() != 0o600 {
		t.Errorf("admin reset: exit %d, %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	defer serve()()
	r = sh(
		". " + credentials + ` && aws --endpoint-url "$AWS_ENDPOINT_URL" cloudtrail lookup-events --lookup-attributes ` +
			`AttributeKey=EventName,AttributeValue=AdministratorReset --query 'length(Events)' --output text`,
	)
	if r.Code != 0 || strings.TrimSpace(r.Stdout) != "1" {
		t.Errorf("the reset in the audit trail: exit %d, %q\n%s", r.Code, r.Stdout, r.Stderr)
	}
}
