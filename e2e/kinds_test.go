package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sekisho/e2e/harness"
)

// runDocument starts a session with a document in a terminal.
func runDocument(t *testing.T, path []string, document, parameters string) *harness.Terminal {
	t.Helper()
	return harness.OpenTerminal(t, 30, 200, shared.Shell(
		t.Context(),
		path,
		`aws ssm start-session --target "$SEKISHO_TARGET" --document-name "$1" --parameters "$2"`,
		document,
		parameters,
	))
}

// TestInteractiveCommand runs one command at a terminal.
func TestInteractiveCommand(t *testing.T) {
	t.Parallel()
	eachCLI(t, func(t *testing.T, path []string) {
		term := runDocument(
			t,
			path,
			"AWS-StartInteractiveCommand",
			`{"command":["test -t 0 && stty size; read -r x; echo \"got<$x>\"; exit 3"]}`,
		)
		term.Expect(awhile, `(?m)^30 200$`)
		term.Send("some words\r")
		term.Expect(soon, `(?m)^got<some words>$`)
		term.Expect(soon, `Exiting session with sessionId`)
		if code := term.Wait(soon); code != 0 {
			t.Errorf("aws exits with %d", code)
		}
	})
}

// TestNonInteractiveCommand runs commands without a terminal.
func TestNonInteractiveCommand(t *testing.T) {
	t.Parallel()
	eachCLI(t, func(t *testing.T, path []string) {
		const command = `"command":["sh -c \"echo to-out; echo to-err >&2; test -t 1 || echo no-tty; exit 7\""]`
		term := runDocument(
			t,
			path,
			"AWS-StartNonInteractiveCommand",
			`{`+command+`,"separateOutputStream":["true"],"stdOutSeparatorPrefix":["O:"],"stdErrSeparatorPrefix":["E:"]}`,
		)
		term.Expect(awhile, `Exiting session with sessionId`)
		for _, want := range []string{"O:to-out\n", "E:to-err\n", "no-tty\n", "EXIT_CODE: 7"} {
			if !strings.Contains(term.Text(), want) {
				t.Errorf("%q is missing in %q", want, term.Text())
			}
		}
		term = runDocument(t, path, "AWS-StartNonInteractiveCommand", `{`+command+`}`)
		term.Expect(awhile, `Exiting session with sessionId`)
		if text := term.Text(); !strings.Contains(text, "\nto-out\n") || !strings.Contains(text, "\nto-err\n") ||
			strings.Contains(text, "EXIT_CODE") {
			t.Errorf("one stream: %q", text)
		}
		term = runDocument(
			t,
			path,
			"AWS-StartNonInteractiveCommand",
			`{"command":["sh -c \"trap '' HUP; echo wai''ting; sleep 100\""]}`,
		)
		term.Expect(awhile, `(?m)^waiting$`)
		// The plugin shows output before it handles Ctrl-C.
		harness.Eventually(t, soon, func() error {
			if strings.Contains(term.Text(), "Exiting session") {
				return nil
			}
			term.Send("\x03")
			return errors.New("the command still runs")
		})
		term = runDocument(t, path, "AWS-StartNonInteractiveCommand", `{"command":["no-such-program --x"]}`)
		term.Expect(awhile, `SessionId: \S+ : .*The program "no-such-program" was not found on the node`)
	})
}

// forward runs AWS's plugin as a port forwarder and returns the address it
// listens on.
func forward(t *testing.T, path []string, document, parameters string) string {
	t.Helper()
	term := runDocument(t, path, document, parameters)
	port := term.Expect(awhile, `Port (\d+) opened for sessionId`)[1]
	term.Expect(soon, `Waiting for connections`)
	return net.JoinHostPort("localhost", port)
}

// portOf returns the port of a listener's address.
func portOf(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestPortForwarding reaches an HTTP server on the node's loopback interface
// through AWS's plugin, 50 times at once.
func TestPortForwarding(t *testing.T) {
	t.Parallel()
	big := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(big)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" {
			_, _ = w.Write(big)
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, body)
	}))
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	eachCLI(t, func(t *testing.T, path []string) {
		for _, tt := range []struct{ document, more string }{
			{"AWS-StartPortForwardingSession", ""},
			{"AWS-StartPortForwardingSessionToRemoteHost", `,"host":["127.0.0.1"]`},
		} {
			addr := forward(t, path, tt.document, `{"portNumber":["`+u.Port()+`"]`+tt.more+`}`)
			r := harness.Do(
				t,
				exec.CommandContext(t.Context(), "curl", "-sS", "-d", "question", "http://"+addr+"/asked"),
			)
			if r.Stdout != "POST /asked question" {
				t.Errorf("%s: curl says %q %s", tt.document, r.Stdout, r.Stderr)
			}
			// Each has its own connection, all at once.
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			var all sync.WaitGroup
			for i := range 50 {
				all.Go(func() {
					where := "/" + strconv.Itoa(i)
					want := []byte("GET " + where + " ")
					if i%10 == 0 {
						where, want = "/big", big
					}
					resp, err := client.Get("http://" + addr + where)
					if err != nil {
						t.Errorf("%s %s: %v", tt.document, where, err)
						return
					}
					defer resp.Body.Close()
					if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s %s: %d bytes, %v", tt.document, where, len(got), err)
					}
				})
			}
			all.Wait()
		}
	})
}

// TestForwardingDenied: services that hand out credentials cannot be reached through a node
// under any name, and the user sees the reason.
func TestForwardingDenied(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "0.0.0.0"} {
		term := runDocument(
			t,
			nil,
			"AWS-StartPortForwardingSessionToRemoteHost",
			`{"portNumber":["80"],"host":["`+host+`"]}`,
		)
		term.Expect(awhile, `SessionId: \S+ : .*Connections from this node to `+regexp.QuoteMeta(host)+`.* are denied`)
		if strings.Contains(term.Text(), "Waiting for connections") {
			t.Errorf("%s: a port was opened", host)
		}
	}
}

// sshServer runs an sshd and returns its port, a client configuration file in
// which "node" reaches it through AWS's plugin, and a folder.
func sshServer(t *testing.T, path []string) (config, dir string) {
	t.Helper()
	sshd := "/usr/sbin/sshd"
	for _, program := range []string{sshd, "ssh", "ssh-keygen", "scp", "sftp", "rsync"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%v (scripts/setup installs it)", err)
		}
	}
	dir = t.TempDir()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"host", "id"} {
		if r := harness.Do(t, exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
			filepath.Join(dir, key))); r.Code != 0 {
			t.Fatalf("ssh-keygen: %s", r.Stderr)
		}
	}
	if err := exec.Command("cp", filepath.Join(dir, "id.pub"), filepath.Join(dir, "authorized")).Run(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := portOf(t, l.Addr().String())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	server := filepath.Join(dir, "sshd_config")
	lines := []string{
		"ListenAddress 127.0.0.1", "Port " + port, "HostKey " + filepath.Join(dir, "host"), "PidFile none",
		"AuthorizedKeysFile " + filepath.Join(
			dir,
			"authorized",
		), "StrictModes no", "UsePAM no", "PasswordAuthentication no",
		"PermitRootLogin prohibit-password", "Subsystem sftp internal-sftp",
	}
	if err := os.WriteFile(server, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 { // where it confines its unprivileged part
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	cmd := exec.Command(sshd, "-D", "-e", "-f", server)
	cmd.Stderr = &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sshd: %s", log.String())
		}
	})
	harness.Eventually(t, soon, func() error {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return err
		}
		return c.Close()
	})
	config = filepath.Join(dir, "ssh_config")
	proxy := `aws ssm start-session --target "$SEKISHO_TARGET" --document-name AWS-StartSSHSession --parameters ` +
		`portNumber=%p`
	text := fmt.Sprintf(
		"Host node\n  ProxyCommand sh -c '. %q && %s'\n  Port %s\n  User %s\n  IdentityFile %q\n  IdentitiesOnly yes\n  "+
			"StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n  BatchMode yes\n",
		shared.EnvFile(),
		proxy,
		port,
		me.Username,
		filepath.Join(dir, "id"),
	)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config, dir
}

// TestSSH carries ssh, scp, sftp and rsync through AWS's plugin.
func TestSSH(t *testing.T) {
	t.Parallel()
	eachCLI(t, func(t *testing.T, path []string) {
		config, dir := sshServer(t, path)
		do := func(script string, args ...string) harness.Result {
			t.Helper()
			r := harness.Do(
				t,
				shared.Shell(t.Context(), path, `C=$1; shift; `+script, append([]string{config}, args...)...),
			)
			if r.Code != 0 {
				t.Errorf("%s: exit %d: %s%s", script, r.Code, r.Stdout, r.Stderr)
			}
			return r
		}
		r := do(`echo "some input" | ssh -F "$C" node 'cat; echo from afar; exit 0'`)
		if r.Stdout != "some input\nfrom afar\n" {
			t.Errorf("ssh says %q", r.Stdout)
		}
		r = harness.Do(t, shared.Shell(t.Context(), path, `ssh -F "$1" node exit 9`, config))
		if r.Code != 9 {
			t.Errorf("ssh exits with %d, want 9, the code of its command: %s", r.Code, r.Stderr)
		}
		file := filepath.Join(dir, "file")
		data := make([]byte, 3<<20)
		_, _ = rand.NewChaCha8([32]byte{2}).Read(data)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		same := func(how, name string) {
			t.Helper()
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %d of %d bytes, %v", how, len(got), len(data), err)
			}
		}
		do(`scp -q -F "$C" "$1" "node:$1.up" && scp -q -F "$C" "node:$1.up" "$1.down"`, file)
		same("scp up", "file.up")
		same("scp down", "file.down")
		do(`printf 'put %s %s.sftp\nget %s.sftp %s.back\n' "$1" "$1" "$1" "$1" | sftp -q -F "$C" -b - node`, file)
		same("sftp", "file.back")
		do(`rsync -a -e "ssh -F $C" "$1" "node:$1.rsync" && rsync -a -e "ssh -F $C" "node:$1.rsync" "$1.again"`, file)
		same("rsync", "file.again")
	})
}

// TestPaste pastes ten megabytes into a program, none of which are lost.
func TestPaste(t *testing.T) {
	t.Parallel()
	term, _ := startSession(t, shared, nil, 24, 80, env(t, shared)["SEKISHO_TARGET"])
	const size = 10 << 20
	term.Send(fmt.Sprintf("stty raw -echo; echo rea''dy; head -c %d | sha256sum; stty sane\r", size))
	term.Expect(soon, `(?m)^ready$`)
	text := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(text)
	for i, b := range text { // text without keys that the plugin handles
		text[i] = ' ' + b%('~'-' ')
	}
	sum := sha256.Sum256(text)
	go term.Send(string(text))
	if got := term.Expect(4*awhile, `(?m)^\s*([0-9a-f]{64})  -`)[1]; got != hex.EncodeToString(sum[:]) {
		t.Errorf("what arrived has the sum %s, not %x", got, sum)
	}
}

// TestInterruptUnderFlood: Ctrl-C ends a program that writes without end, and little of its
// output follows.
func TestInterruptUnderFlood(t *testing.T) {
	t.Parallel()
	// The plugin writes to a pipe of ours: a terminal whose Ctrl-C flushes what is being
	// written to it can block the writer forever.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	cmd := shared.Shell(t.Context(), nil, `aws ssm start-session --target "$SEKISHO_TARGET"`)
	cmd.Stdout = w
	term := harness.OpenTerminal(t, 24, 80, cmd)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now().Add(2 * awhile)); err != nil {
		t.Fatal(err)
	}
	var end []byte // of the received data
	total := 0
	until := func(what string, good func() bool) {
		t.Helper()
		buf := make([]byte, 32<<10)
		for !good() {
			n, err := r.Read(buf)
			if err != nil {
				t.Fatalf("%s: %v after %d bytes, ending %q", what, err, total, end)
			}
			total += n
			end = append(end, buf[:n]...)
			end = bytes.Clone(end[max(0, len(end)-4096):])
		}
	}
	prompt := func() bool { return bytes.HasSuffix(end, []byte("$ ")) }
	until("the prompt", prompt)
	term.Send("yes flood\r")
	until("the flood", func() bool { return total > 8<<20 })
	term.Send("\x03")
	before := total
	until("the prompt after Ctrl-C", func() bool { return prompt() && bytes.Contains(end, []byte("^C")) })
	if total-before > 4<<20 {
		t.Errorf("%d bytes came after Ctrl-C", total-before)
	}
	t.Logf("%d bytes came after Ctrl-C", total-before)
}

// TestPrompt: the prompt shows a node's tag, but only in interactive sessions.
func TestPrompt(t *testing.T) {
	t.Parallel()
	node := shared.StartAgent(t, "prompt", -1).NodeID
	tag := func(value string) {
		t.Helper()
		r := harness.Do(t, shared.Shell(
			t.Context(),
			nil,
			`aws ssm add-tags-to-resource --resource-type ManagedInstance --resource-id "$1" --tags "$2"`,
			node,
			`[{"Key":"Hostname","Value":"`+value+`"}]`,
		))
		if r.Code != 0 {
			t.Fatalf("add-tags-to-resource: %s", r.Stderr)
		}
	}
	name := "ssm-user"
	if os.Getuid() != 0 {
		u, err := user.Current()
		if err != nil {
			t.Fatal(err)
		}
		name = u.Username
	}
	for value, shown := range map[string]string{
		"MyEC2Instance":   "MyEC2Instance",
		"a$(id)`id`\\\\u": "a$(id)`id`\\u",
		"東京":              node, // names with other characters are not for prompts
	} {
		tag(value)
		term := harness.OpenTerminal(
			t,
			24,
			100,
			shared.Shell(t.Context(), nil, `aws ssm start-session --target "$1"`, node),
		)
		term.Expect(awhile, `Starting session with SessionId`)
		term.Expect(soon, `(?m)^\[`+name+`@`+regexp.QuoteMeta(shown)+` ~\]\$ $`)
		before, _, _ := strings.Cut(term.Text(), "["+name)
		if rest := strings.TrimSpace(before[strings.Index(before, "SessionId"):]); strings.Contains(rest, "\n") {
			t.Errorf("the commands that set the prompt are visible: %q", rest)
		}
		term.Send("cd /; history | tail -n 2; echo $ENV,$BASH_VERSION,$-\r")
		term.Expect(soon, `(?m)^\[`+name+`@`+regexp.QuoteMeta(shown)+` /\]\$ $`)
		term.Send("exit\r")
		term.Wait(soon)
	}
}
