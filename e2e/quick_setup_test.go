package e2e_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
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

// sandbox runs a script as on a fresh machine: it installs into its own file
// systems, and a fake systemctl starts the agent.
const sandbox = `set -eu
mkdir "$SANDBOX/etc"
cp -a /etc/. "$SANDBOX/etc"
mount --bind "$SANDBOX/etc" /etc
rm -rf /etc/amazon /etc/systemd
for dir in /usr/local /var/lib; do mount -t tmpfs tmpfs $dir; done
exec sh "$1"
`

const fakeSystemctl = `#!/bin/sh
echo "$@" >> "$SANDBOX/systemctl"
case "$*" in
"restart sekisho-agent.service")
	setsid /usr/local/bin/sekisho-agent run > "$SANDBOX/agent.log" 2>&1 &
	echo $! >> "$SANDBOX/pid" ;;
"disable --now sekisho-agent.service")
	for pid in $(cat "$SANDBOX/pid"); do kill -- "-$pid" 2>/dev/null; done ;;
esac
exit 0
`

// machine is a machine that is not a node yet.
type machine struct {
	t   *testing.T
	dir string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("a machine of its own needs root")
	}
	m := &machine{t, t.TempDir()}
	m.write("bin/systemctl", fakeSystemctl)
	t.Cleanup(func() {
		pids, _ := os.ReadFile(filepath.Join(m.dir, "pid"))
		for p := range strings.FieldsSeq(string(pids)) {
			if pid, err := strconv.Atoi(p); err == nil {
				_ = syscall.Kill(-pid, syscall.SIGKILL)
			}
		}
		if t.Failed() {
			t.Logf("the agent's log:\n%s", m.read("agent.log"))
		}
	})
	return m
}

// write creates a program in the machine's folder.
func (m *machine) write(name, text string) string {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		m.t.Fatal(err)
	}
	return path
}

func (m *machine) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(m.dir, name))
	return string(text)
}

// run runs a script on the machine, which is fresh except for the files in its
// folder.
func (m *machine) run(script string) harness.Result {
	m.t.Helper()
	if err := os.RemoveAll(filepath.Join(m.dir, "etc")); err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.CommandContext(
		m.t.Context(),
		"unshare",
		"--mount",
		"--propagation",
		"private",
		"sh",
		m.write("sandbox.sh", sandbox),
		m.write("script.sh", script),
	)
	// A script that waits for the test does not outlive it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = []string{
		"PATH=" + filepath.Join(m.dir, "bin") + ":/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + m.dir,
		"SANDBOX=" + m.dir,
		"TMPDIR=" + m.dir,
	}
	return harness.Do(m.t, cmd)
}

// installLines returns the commands that sekisho quick-setup prints to add and
// to remove a machine, for a caller who is root already.
func installLines(t *testing.T, out string) (install, remove string) {
	t.Helper()
	lines := regexp.MustCompile(`(?m)^ca=.*\| sudo sh.*$`).FindAllString(out, -1)
	if len(lines) != 2 || !strings.HasSuffix(lines[1], " --uninstall") ||
		!strings.Contains(out, "#cloud-config\nruncmd:\n") {
		t.Fatalf("the install and uninstall commands are missing in\n%s", out)
	}
	return strings.Replace(lines[0], "| sudo sh", "| sh", 1), strings.Replace(lines[1], "| sudo sh", "| sh", 1)
}

// quickSetup runs the command, which must succeed.
func quickSetup(t *testing.T, s *harness.Server, args ...string) string {
	t.Helper()
	r := harness.Do(t, s.Shell(t.Context(), nil, `sekisho quick-setup "$@"`, args...))
	if r.Code != 0 {
		t.Fatalf("exit %d: %s", r.Code, r.Stderr)
	}
	return r.Stdout
}

// TestQuickSetup creates the roles twice, adds a machine with the printed
// command, checks what was installed, and removes it again.
func TestQuickSetup(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	s := ownServer(t)
	target := env(t, s)["SEKISHO_TARGET"]
	first := quickSetup(t, s, "--target", target)
	for _, want := range []string{
		"created the role AmazonSSMRoleForInstancesQuickSetup", "created the role AmazonSSMRoleForAutomationAssumeQuickSetup",
		"created the instance profile", "attached AmazonSSMManagedInstanceCore",
		"gave " + target + " the role AmazonSSMRoleForInstancesQuickSetup",
	} {
		if !strings.Contains(first, want) {
			t.Errorf("%q is not in\n%s", want, first)
		}
	}
	if again := quickSetup(t, s, "--target", target); again != "Everything exists already. Nothing was changed.\n" {
		t.Errorf("the second time:\n%s", again)
	}
	// By now the agent has the new role, without a restart.
	s.AwaitConnected(t, target, awhile)

	line, remove := installLines(
		t,
		quickSetup(
			t,
			s,
			"--register",
			"1",
			"--name",
			"fresh",
			"--node-tag",
			"Hostname=fresh1",
			"--id-type",
			"instance",
		),
	)
	// Twice on one machine: the second run registers nothing. The machine then
	// waits for the removal of the agent.
	r := make(chan harness.Result, 1)
	began := time.Now()
	go func() {
		r <- m.run("set -eu\n" + line + "\n" + line +
			"\nls -l /usr/local/bin/sekisho-agent; cat /etc/systemd/system/sekisho-agent.service\n" +
			"touch $SANDBOX/installed; until [ -e $SANDBOX/remove ]; do sleep 0.1; done\n" + remove +
			"\nls /usr/local/bin /etc/systemd/system; ls /var/lib/sekisho-agent\n" + remove +
			" --purge\nls -d /var/lib/sekisho-agent || true\n")
	}()
	harness.Eventually(t, awhile, func() error {
		select {
		case done := <-r:
			t.Fatalf("exit %d\n%s%s", done.Code, done.Stdout, done.Stderr)
		default:
		}
		_, err := os.Stat(filepath.Join(m.dir, "installed"))
		return err
	})
	var node string
	listed := regexp.MustCompile(`(i-[0-9a-f]{17}) +fresh1 +`)
	harness.Eventually(t, awhile, func() error {
		out := harness.Do(t, s.Shell(t.Context(), nil, `sekisho nodes`)).Stdout
		if found := listed.FindStringSubmatch(out); found != nil {
			node = found[1]
			return nil
		}
		return fmt.Errorf("the node is not listed as expected:\n%s", out)
	})
	s.AwaitConnected(t, node, awhile)
	t.Logf("installed twice and connected after %v", time.Since(began).Round(time.Millisecond))
	tags := harness.Do(
		t,
		s.Shell(
			t.Context(),
			nil,
			`aws ssm list-tags-for-resource --resource-type ManagedInstance --resource-id "$1" --output text`,
			node,
		),
	).Stdout
	if !strings.Contains(tags, "Hostname\tfresh1") {
		t.Errorf("its tags are %q", tags)
	}

	m.write("remove", "")
	var done harness.Result
	select {
	case done = <-r:
	case <-time.After(awhile):
		t.Fatal("the simulated machine did not finish in time")
	}
	if done.Code != 0 {
		t.Fatalf("exit %d\n%s%s", done.Code, done.Stdout, done.Stderr)
	}
	for _, want := range []string{"registered as " + node, "registered already", "-rwxr-xr-x", "[Unit]", "identity stays",
		"identity.json", "is no node any more"} {
		if !strings.Contains(done.Stdout, want) {
			t.Errorf("%q is not in\n%s", want, done.Stdout)
		}
	}
	if _, after, _ := strings.Cut(done.Stdout, "removed /usr/local/bin/sekisho-agent"); strings.Contains(
		after,
		"sekisho-agent.service\n",
	) ||
		strings.Count(after, "/var/lib/sekisho-agent\n") > 0 {
		t.Errorf("left behind:\n%s", after)
	}
	if calls := m.read("systemctl"); !strings.Contains(calls, "enable sekisho-agent.service") {
		t.Errorf("systemctl was called with\n%s", calls)
	}
	// It is still listed, as disconnected.
	harness.Eventually(t, awhile, func() error {
		out := harness.Do(t, s.Shell(t.Context(), nil, `sekisho nodes`)).Stdout
		if !strings.Contains(out, node) || regexp.MustCompile(node+` +fresh1 +Connected`).MatchString(out) {
			return fmt.Errorf("the node is missing or still connected:\n%s", out)
		}
		return nil
	})
}

// fakeAgent is an agent that writes down its arguments.
const fakeAgent = `#!/bin/sh
echo "$(basename "$0") $*; CA ${SSL_CERT_FILE:-none}" >> "$SANDBOX/calls"
case "$1" in
register)
	cat > "$SANDBOX/code"
	mkdir -p /var/lib/sekisho-agent
	echo '{}' > /var/lib/sekisho-agent/identity.json
	echo mi-00000000000000000 ;;
-register)
	cp /etc/amazon/ssm/amazon-ssm-agent.json "$SANDBOX/config"
	mkdir -p /var/lib/amazon/ssm
	echo '{}' > /var/lib/amazon/ssm/registration ;;
esac
`

// agentsServer offers the agents in the folder that it returns.
func agentsServer(t *testing.T) (*harness.Server, string) {
	t.Helper()
	dir := t.TempDir()
	s := startServer(t, shared.Programs, t.TempDir(), "--nodes", "0", "--agents-dir", dir)
	return s, dir
}

// TestInstallOtherArchitecture: a machine gets the agent for its architecture,
// or an error that names the missing one.
func TestInstallOtherArchitecture(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	s, agents := agentsServer(t)
	if err := os.WriteFile(filepath.Join(agents, "sekisho-agent-linux-arm64"), []byte(fakeAgent), 0o644); err != nil {
		t.Fatal(err)
	}
	line, _ := installLines(t, quickSetup(t, s, "--register", "2"))
	refused := harness.Do(t, s.Shell(t.Context(), nil, `sekisho quick-setup --register 1 --arch amd64`))
	if refused.Code == 0 || !strings.Contains(refused.Stderr, "does not offer sekisho-agent-linux-amd64") {
		t.Errorf("an agent that is not there: exit %d %s", refused.Code, refused.Stderr)
	}

	m.write("bin/uname", "#!/bin/sh\ncase $1 in -m) echo x86_64 ;; *) echo Linux ;; esac\n")
	none := m.run(line)
	if none.Code == 0 || !strings.Contains(none.Stderr, "offers no agent for amd64") || m.read("calls") != "" {
		t.Errorf("a machine without an agent: exit %d %s", none.Code, none.Stderr)
	}
	m.write("bin/uname", "#!/bin/sh\ncase $1 in -m) echo aarch64 ;; *) echo Linux ;; esac\n")
	r := m.run("set -eu\n" + line + "\nsha256sum /usr/local/bin/sekisho-agent; ls -l /usr/local/bin/sekisho-agent\n")
	want := fmt.Sprintf("%x  /usr/local/bin/sekisho-agent", sha256.Sum256([]byte(fakeAgent)))
	if r.Code != 0 || !strings.Contains(r.Stdout, want) || !strings.Contains(r.Stdout, "-rwxr-xr-x") ||
		!strings.Contains(r.Stdout, "registered as mi-00000000000000000") {
		t.Errorf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	code := strings.TrimSpace(m.read("code"))
	if len(code) < 16 || strings.Contains(m.read("calls"), code) || !strings.Contains(line, "CODE="+code+";") {
		t.Errorf("the agent was called with %q and given the code %q", m.read("calls"), code)
	}

	// An agent with another checksum than announced is not installed.
	m.write(
		"bin/curl",
		"#!/bin/sh\n/usr/bin/curl \"$@\" || exit\nwhile [ $# -gt 1 ]; do [ \"$1\" != -o ] || echo '# and more' >> "+
			"\"$2\"; shift; done\n",
	)
	bad := m.run(line + "\nls /usr/local/bin\n")
	if !strings.Contains(bad.Stderr, "not the one announced") || strings.Contains(bad.Stdout, "sekisho-agent") {
		t.Errorf("a changed agent: exit %d\n%s%s", bad.Code, bad.Stdout, bad.Stderr)
	}
}

// TestInstallAmazonAgent sets up AWS's agent: an installed one, one from a
// package, and one that belonged to another server.
func TestInstallAmazonAgent(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	s, agents := agentsServer(t)
	pack := m.write("agent.deb", fakeAgent)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(fakeAgent)))
	// The download of a package trusts this server.
	if err := os.WriteFile(filepath.Join(agents, "sekisho-agent-linux-arm64"), []byte(fakeAgent), 0o644); err != nil {
		t.Fatal(err)
	}
	m.write(
		"bin/dpkg",
		"#!/bin/sh\necho dpkg $1 >> \"$SANDBOX/calls\"\ninstall -D -m 0755 \"$2\" /usr/local/bin/amazon-ssm-agent\n",
	)
	ready := env(t, s)
	endpoint := ready["AWS_ENDPOINT_URL"]

	line, remove := installLines(t, quickSetup(t, s, "--register", "5", "--agent", "amazon"))
	if r := m.run(line); r.Code == 0 || !strings.Contains(r.Stderr, "amazon-ssm-agent is not installed") {
		t.Errorf("without the agent: exit %d %s", r.Code, r.Stderr)
	}
	_, code, _ := strings.Cut(line, "SEKISHO_ACTIVATION_CODE=")
	code, _, _ = strings.Cut(code, ";")

	const there = "install -D -m 0755 $SANDBOX/agent.deb /usr/local/bin/amazon-ssm-agent; mkdir -p /etc/amazon/ssm; " +
		"echo before > /etc/amazon/ssm/amazon-ssm-agent.json\n"
	r := m.run(
		"set -eu\n" + there + line + "\n" + line +
			"\ncat /etc/systemd/system/amazon-ssm-agent.service.d/sekisho.conf; stat -c %a " +
			"/etc/amazon/ssm/amazon-ssm-agent.json\n" +
			"openssl x509 -in /etc/amazon/ssm/sekisho-ca.pem -noout && echo CA is good\n" +
			"echo ==; " + remove + " --purge; cat /etc/amazon/ssm/amazon-ssm-agent.json; find /etc/amazon /etc/systemd " +
			"/var/lib/amazon -type f\n",
	)
	if r.Code != 0 {
		t.Fatalf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	calls := m.read("calls")
	if strings.Count(calls, "-register") != 1 || !strings.Contains(calls, "-code "+code+" ") ||
		!strings.Contains(calls, "-region us-east-1 -y; CA /etc/amazon/ssm/sekisho-ca.pem") {
		t.Errorf("the agent was called with\n%s", calls)
	}
	var config map[string]map[string]any
	if err := json.Unmarshal([]byte(m.read("config")), &config); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"Mds", "Ssm", "Mgs", "Kms"} {
		if config[part]["Endpoint"] != endpoint {
			t.Errorf("%s is at %v", part, config[part]["Endpoint"])
		}
	}
	if got, want := config["S3"]["Endpoint"], strings.Replace(endpoint, "https://", "s3.", 1); got != want {
		t.Errorf("S3 is at %v, want %s", got, want)
	}
	before, after, _ := strings.Cut(r.Stdout, "==\n")
	for _, want := range []string{"SSL_CERT_FILE=/etc/amazon/ssm/sekisho-ca.pem", "600\n", "CA is good",
		"registered already"} {
		if !strings.Contains(before, want) {
			t.Errorf("%q is not in\n%s", want, before)
		}
	}
	if !strings.Contains(after, "\nbefore\n") || strings.Contains(after, "sekisho.conf\n") ||
		strings.Contains(after, "sekisho-ca.pem") ||
		strings.Contains(after, "/registration\n") {
		t.Errorf("left behind:\n%s", after)
	}
	systemctl := m.read("systemctl")
	for _, want := range []string{"enable amazon-ssm-agent.service", "restart amazon-ssm-agent.service",
		"disable --now amazon-ssm-agent.service"} {
		if !strings.Contains(systemctl, want) {
			t.Errorf("systemctl was called with\n%s", systemctl)
		}
	}

	for _, tc := range []struct {
		name, of, sum, refusal string
	}{
		{"from a file", pack, sum, ""},
		{"from a URL", endpoint + "/install/sekisho-agent-linux-arm64", sum, ""},
		{"with another checksum", pack, strings.Repeat("0", 64), "not the one with this SHA-256"},
		{"from a missing file", "/nowhere/agent.deb", sum, "there is no /nowhere/agent.deb"},
		{"from a missing URL", endpoint + "/install/nothing", sum, "could not be fetched"},
		{"over http", "http://127.0.0.1/agent.deb", sum, "by https:// only"},
		{"from an untrusted server", endpoint + "/install/sekisho-agent-linux-arm64", "", "SEKISHO_AGENT_SHA256 is needed"},
	} {
		m.write("calls", "")
		packaged := strings.Replace(
			line,
			"echo SEKISHO_AGENT=amazon; ",
			fmt.Sprintf(
				`echo SEKISHO_AGENT=amazon; echo "SEKISHO_AGENT_PACKAGE='%s'"; echo SEKISHO_AGENT_SHA256=%s; `,
				tc.of,
				tc.sum,
			),
			1,
		)
		r := m.run("export CURL_CA_BUNDLE='" + ready["AWS_CA_BUNDLE"] + "'\n" + packaged)
		calls := m.read("calls")
		switch {
		case tc.refusal == "" &&
			(r.Code != 0 || !strings.HasPrefix(calls, "dpkg -i\n") || !strings.Contains(calls, "amazon-ssm-agent -register")):
			t.Errorf("a package %s: exit %d\n%s%s%s", tc.name, r.Code, calls, r.Stdout, r.Stderr)
		case tc.refusal != "" && (r.Code == 0 || !strings.Contains(r.Stderr, tc.refusal) || calls != ""):
			t.Errorf("a package %s: exit %d\n%s%s%s", tc.name, r.Code, calls, r.Stdout, r.Stderr)
		}
	}
}
