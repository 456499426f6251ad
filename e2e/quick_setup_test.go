package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sekisho/e2e/harness"
)

// sandbox runs a script as on a fresh machine: what it installs goes to file
// systems of its own, and a systemctl of the test's starts the agent.
const sandbox = `set -eu
mkdir -p /etc/systemd
for dir in /usr/local /var/lib /etc/systemd; do mount -t tmpfs tmpfs $dir; done
exec sh "$1"
`

const fakeSystemctl = `#!/bin/sh
echo "$@" >> "$SANDBOX/systemctl"
if [ "$1" = restart ]; then
	setsid /usr/local/bin/sekisho-agent run > "$SANDBOX/agent.log" 2>&1 &
	echo $! >> "$SANDBOX/pid"
fi
`

// TestQuickSetup makes the roles twice, adds a machine with the line that is
// printed, and looks at what the machine got.
func TestQuickSetup(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("a machine of its own needs root")
	}
	s := ownServer(t)
	setup := func(args ...string) string {
		t.Helper()
		r := harness.Do(t, s.Shell(t.Context(), nil, `sekisho quick-setup "$@"`, args...))
		if r.Code != 0 {
			t.Fatalf("exit %d: %s", r.Code, r.Stderr)
		}
		return r.Stdout
	}
	target := env(t, s)["SEKISHO_TARGET"]
	first := setup("--target", target)
	for _, want := range []string{
		"made the role AmazonSSMRoleForInstancesQuickSetup", "made the role AmazonSSMRoleForAutomationAssumeQuickSetup",
		"made the instance profile", "attached AmazonSSMManagedInstanceCore", "gave " + target + " the role AmazonSSMRoleForInstancesQuickSetup",
	} {
		if !strings.Contains(first, want) {
			t.Errorf("%q is not in\n%s", want, first)
		}
	}
	if again := setup("--target", target); again != "Everything was there already: nothing was changed.\n" {
		t.Errorf("the second time:\n%s", again)
	}
	// The agent has the new role by now, and no restart.
	s.AwaitConnected(t, target, awhile)

	out := setup("--register", "1", "--name", "fresh")
	line := regexp.MustCompile(`(?m)^ca=.*\| sudo sh$`).FindString(out)
	if line == "" || !strings.Contains(out, "#cloud-config\nruncmd:\n") {
		t.Fatalf("no line to copy in\n%s", out)
	}
	line = strings.Replace(line, "| sudo sh", "| sh", 1)
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("bin/systemctl", fakeSystemctl, 0o755)
	// Twice in one machine: the second time registers nothing anew.
	script := write("install.sh", "set -eu\n"+line+"\n"+line+"\nls -l /usr/local/bin/sekisho-agent; cat /etc/systemd/system/sekisho-agent.service\n", 0o700)
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", write("sandbox.sh", sandbox, 0o700), script)
	cmd.Env = []string{"PATH=" + filepath.Join(dir, "bin") + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + dir, "SANDBOX=" + dir, "TMPDIR=" + dir}
	t.Cleanup(func() {
		pids, _ := os.ReadFile(filepath.Join(dir, "pid"))
		for p := range strings.FieldsSeq(string(pids)) {
			if pid, err := strconv.Atoi(p); err == nil {
				_ = syscall.Kill(-pid, syscall.SIGKILL)
			}
		}
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "agent.log"))
			t.Logf("the agent's log:\n%s", log)
		}
	})
	began := time.Now()
	r := harness.Do(t, cmd)
	if r.Code != 0 {
		t.Fatalf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	node := regexp.MustCompile(`registered as (mi-[0-9a-f]{17})`).FindStringSubmatch(r.Stdout)
	if node == nil || !strings.Contains(r.Stdout, "registered already") || !strings.Contains(r.Stdout, "-rwxr-xr-x") || !strings.Contains(r.Stdout, "[Unit]") {
		t.Fatalf("it printed\n%s%s", r.Stdout, r.Stderr)
	}
	s.AwaitConnected(t, node[1], 20*time.Second)
	t.Logf("installed twice and connected after %v", time.Since(began).Round(time.Millisecond))
	calls, err := os.ReadFile(filepath.Join(dir, "systemctl"))
	if err != nil || !strings.Contains(string(calls), "enable sekisho-agent.service") {
		t.Errorf("systemctl was called with\n%s%v", calls, err)
	}
	listed := harness.Do(t, s.Shell(t.Context(), nil, `sekisho nodes`)).Stdout
	if !regexp.MustCompile(node[1] + ` +fresh +Connected`).MatchString(listed) {
		t.Errorf("listed as\n%s", listed)
	}
}
