package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sekisho/e2e/harness"
)

func bytesOf(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// TestExec: three streams, unchanged arguments, the exit code.
func TestExec(t *testing.T) {
	t.Parallel()
	blob := bytesOf(t, 2<<20)
	cmd := shared.Shell(
		t.Context(),
		nil,
		`sekisho exec "$SEKISHO_TARGET" -- sh -c 'cat; echo "$1" >&2; exit 42' name "it's  \$HOME \"x\""`,
	)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(blob), &stdout, &stderr
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 42 {
		t.Errorf("exit code %d (%v)", code, err)
	}
	if !bytes.Equal(stdout.Bytes(), blob) {
		t.Errorf("%d bytes came back of %d", stdout.Len(), len(blob))
	}
	if got := stderr.String(); got != "it's  $HOME \"x\"\n" {
		t.Errorf("stderr: %q", got)
	}
	r := harness.Do(t, shared.Shell(t.Context(), nil, `sekisho exec "$SEKISHO_TARGET" no-such-program`))
	if r.Code != 127 || r.Stdout != "" {
		t.Errorf("a program that does not exist: exit %d, %q, %q", r.Code, r.Stdout, r.Stderr)
	}
}

// A session without a terminal ends with its input, with the shell's exit code.
func TestSessionWithoutTerminalEndsLikeSSH(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		script string
		code   int
		want   string
	}{
		"pipe":                 {`printf 'echo $((6*7))x\nexit 7\n' | sekisho start-session "$SEKISHO_TARGET"`, 7, "42x"},
		"unfinished last line": {`printf 'exit 7' | sekisho start-session "$SEKISHO_TARGET"`, 7, ""},
		"null device":          {`sekisho start-session "$SEKISHO_TARGET" </dev/null`, 0, ""},
		"here-document":        {"sekisho start-session \"$SEKISHO_TARGET\" <<X\nsleep 2\necho $((6*7))x\nX\n", 0, "42x"},
		"interactive command": {
			`printf 'first\nlast' | sekisho start-session "$SEKISHO_TARGET" --document-name AWS-StartInteractiveCommand ` +
				`--parameters 'command=cat; exit 5'`, 5, "last",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), awhile)
			defer cancel()
			r := harness.Do(t, shared.Shell(ctx, nil, tc.script))
			if r.Code != tc.code || !strings.Contains(r.Stdout, tc.want) {
				t.Errorf("exit code %d, want %d; printed %q, %q", r.Code, tc.code, r.Stdout, r.Stderr)
			}
		})
	}
}

// TestTargets: names, and tags that match two nodes.
func TestTargets(t *testing.T) {
	t.Parallel()
	a, b := shared.StartAgent(t, "twin-a", -1), shared.StartAgent(t, "twin-b", -1)
	for _, id := range []string{a.NodeID, b.NodeID} {
		r := harness.Do(t, shared.Shell(
			t.Context(),
			nil,
			`aws ssm add-tags-to-resource --resource-type ManagedInstance --resource-id "$1" --tags Key=Role,Value=twin `+
				`"Key=Only,Value=$1"`,
			id,
		))
		if r.Code != 0 {
			t.Fatalf("tags: %s", r.Stderr)
		}
	}
	r := harness.Do(t, shared.Shell(t.Context(), nil, `sekisho exec tag:Role=twin true`))
	if r.Code == 0 || !strings.Contains(r.Stderr, a.NodeID) || !strings.Contains(r.Stderr, b.NodeID) {
		t.Errorf("an ambiguous tag: exit %d, %s", r.Code, r.Stderr)
	}
	r = harness.Do(
		t,
		shared.Shell(t.Context(), nil, `sekisho exec "tag:Only=$1" -- sh -c 'echo "$SEKISHO_SESSION_ID"'`, a.NodeID),
	)
	if r.Code != 0 {
		t.Fatalf("a tag of one node: exit %d, %s", r.Code, r.Stderr)
	}
	id := strings.TrimSpace(r.Stdout)
	r = harness.Do(t, shared.Shell(
		t.Context(),
		nil,
		`aws ssm describe-sessions --state History --filters "key=SessionId,value=$1" --output text --query `+
			`'Sessions[].Target'`,
		id,
	))
	if got := strings.TrimSpace(r.Stdout); got != a.NodeID {
		t.Errorf("session %s was on %q, want %s", id, got, a.NodeID)
	}
}

// TestCopy: to a node and back, a second time, and the records of the copies.
func TestCopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	src := filepath.Join(dir, "source")
	for name, size := range map[string]int{"big": 5 << 20, "deep/small": 10, "empty": 0} {
		name = filepath.Join(src, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, bytesOf(t, size), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	far := fmt.Sprintf("copied-%d", time.Now().UnixNano())
	t.Cleanup(func() {
		cmd := shared.Shell(context.WithoutCancel(t.Context()), nil, `sekisho exec "$SEKISHO_TARGET" rm -rf "$1"`, far)
		_ = cmd.Run() // it does not exist if the test failed early
	})
	for range 2 { // the second time nothing is sent
		if r := harness.Do(t, shared.Shell(t.Context(), nil, `sekisho cp "$1" "$SEKISHO_TARGET:$2"`, src,
			far)); r.Code != 0 ||
			r.Stdout != "" {
			t.Fatalf("there: exit %d, %q, %s", r.Code, r.Stdout, r.Stderr)
		}
		far = strings.TrimSuffix(far, "/") + "/" // the folder exists, so the copy goes into it
	}
	far = strings.TrimSuffix(far, "/")
	back := filepath.Join(dir, "back")
	if r := harness.Do(t, shared.Shell(t.Context(), nil, `sekisho cp "$SEKISHO_TARGET:$1/source" "$2"`, far,
		back)); r.Code != 0 {
		t.Fatalf("back: exit %d, %s", r.Code, r.Stderr)
	}
	if out, err := exec.Command("diff", "-r", src, back).CombinedOutput(); err != nil {
		t.Errorf("the copies differ: %v %s", err, out)
	}
	for _, name := range []string{"big", "deep/small"} {
		a, err := os.Stat(filepath.Join(src, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.Stat(filepath.Join(back, name))
		if err != nil {
			t.Fatal(err)
		}
		if a.Mode() != b.Mode() || !a.ModTime().Equal(b.ModTime()) {
			t.Errorf("%s: %v %v became %v %v", name, a.Mode(), a.ModTime(), b.Mode(), b.ModTime())
		}
	}
	r := harness.Do(t, shared.Shell(
		t.Context(),
		nil,
		`aws ssm describe-sessions --state History --output text --query "Sessions[?DocumentName=='Sekisho-Copy'].SessionId"`,
	))
	found := false
	for id := range strings.FieldsSeq(r.Stdout) {
		shown := harness.Do(t, shared.Shell(t.Context(), nil, `sekisho replay --speed 1000 "$1"`, id))
		found = found ||
			strings.Contains(shown.Stdout, far+"/big: 5242880 bytes") && strings.Contains(shown.Stdout, "sha256") &&
				strings.Contains(shown.Stderr, "uploaded source/big, mode 0640, 5242880 bytes, sha256 ")
	}
	if !found {
		t.Error("no recording says what was copied")
	}
	if r := harness.Do(t, shared.Shell(t.Context(), nil,
		`sekisho cp /etc/hostname "$SEKISHO_TARGET:/etc/not-mine"`)); os.Getuid() == 0 &&
		(r.Code == 0 || !strings.Contains(r.Stderr, "permission denied")) {
		t.Errorf("a copy to a directory that only root can write: exit %d, %s", r.Code, r.Stderr)
	}
}

// website responds to every request with body.
func website(t *testing.T, body []byte) (port string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(body)
	}))
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

// background runs a command until the test ends, and returns its standard
// error line by line.
func background(t *testing.T, cmd *exec.Cmd, wait *regexp.Regexp) []string {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var text []byte
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, err := stderr.Read(buf)
			mu.Lock()
			text = append(text, buf[:n]...)
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		<-done
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("it said: %s", text)
		}
	})
	var found []string
	harness.Eventually(t, awhile, func() error {
		mu.Lock()
		defer mu.Unlock()
		if found = wait.FindStringSubmatch(string(text)); found == nil {
			return fmt.Errorf("it said %q", text)
		}
		return nil
	})
	return found
}

// get reads a page, which must have the body.
func get(c *http.Client, u string, body []byte) error {
	resp, err := c.Get(u)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && !bytes.Equal(got, body) {
		err = fmt.Errorf("%d bytes of %d", len(got), len(body))
	}
	return err
}

// TestForward: many ports at once, 64 connections one of which is not read, a
// SOCKS proxy, and one record for each destination.
func TestForward(t *testing.T) {
	t.Parallel()
	body := bytesOf(t, 1<<20)
	port := website(t, body)
	listening := regexp.MustCompile(`(?s)on (\S+) for localhost.*on (\S+) for 127\.0\.0\.1.*on (\S+) for SOCKS`)
	on := background(t, shared.Shell(
		t.Context(),
		nil,
		`exec sekisho forward "$SEKISHO_TARGET" -L "0:localhost:$1" -L "127.0.0.1:0:127.0.0.1:$1" -D 0`,
		port,
	), listening)

	direct := &http.Client{Timeout: awhile, Transport: &http.Transport{DisableKeepAlives: true}}
	if err := get(direct, "http://"+on[2], body); err != nil {
		t.Error(err)
	}
	if err := socksGet(on[3], port, body); err != nil {
		t.Errorf("SOCKS: %v", err)
	}

	stalled, err := net.Dial("tcp", on[1])
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()
	if _, err := stalled.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 63 {
		all.Go(func() {
			if err := get(direct, "http://"+on[1], body); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
		})
	}
	all.Wait()
	rest, err := io.ReadAll(stalled)
	if err != nil || !bytes.HasSuffix(rest, body) {
		t.Errorf("the stalled connection: %d bytes, %v", len(rest), err)
	}
}

// socksGet requests a page through a SOCKS 5 proxy.
func socksGet(proxy, port string, want []byte) error {
	conn, err := net.Dial("tcp", proxy)
	if err != nil {
		return err
	}
	defer conn.Close()
	var n int
	if _, err := fmt.Sscan(port, &n); err != nil {
		return err
	}
	host := "localhost"
	request := append([]byte{5, 1, 0, 5, 1, 0, 3, byte(len(host))}, host...)
	request = append(request, byte(n>>8), byte(n))
	request = append(request, "GET / HTTP/1.0\r\n\r\n"...)
	if _, err := conn.Write(request); err != nil {
		return err
	}
	got, err := io.ReadAll(conn)
	if err == nil && (!bytes.HasPrefix(got, []byte{5, 0, 5, 0}) || !bytes.HasSuffix(got, want)) {
		err = fmt.Errorf("%d bytes came, beginning with %q", len(got), got[:min(len(got), 40)])
	}
	return err
}

// asPlugin returns a folder in which our client has the name of AWS's plugin.
func asPlugin(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(shared.Bin, "sekisho"), filepath.Join(dir, "session-manager-plugin")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestAsPlugin has the unmodified aws command run our client as its plugin.
func TestAsPlugin(t *testing.T) {
	t.Parallel()
	eachCLI(t, func(t *testing.T, path []string) {
		path = append([]string{asPlugin(t)}, path...)
		target := env(t, shared)["SEKISHO_TARGET"]
		endpoint := `--endpoint-url "$AWS_ENDPOINT_URL"` // Debian's version needs it

		term := harness.OpenTerminal(
			t,
			31,
			87,
			shared.Shell(t.Context(), path, `aws ssm start-session `+endpoint+` --target "$1"`, target),
		)
		id := term.Expect(awhile, `Starting session with SessionId: (\S+)`)[1]
		term.Expect(soon, harness.Prompt)
		term.Send("stty size\r")
		term.Expect(soon, `(?m)^31 87$`)
		term.Send("exit\r")
		term.Expect(soon, `Exiting session with sessionId: `+id)
		if code := term.Wait(soon); code != 0 {
			t.Errorf("aws exits with %d", code)
		}

		body := bytesOf(t, 300000)
		port := website(t, body)
		term = harness.OpenTerminal(t, 24, 80, shared.Shell(
			t.Context(),
			path,
			`aws ssm start-session `+endpoint+
				` --target "$1" --document-name AWS-StartPortForwardingSession --parameters "portNumber=$2"`,
			target,
			port,
		))
		local := term.Expect(awhile, `Port (\d+) opened for sessionId`)[1]
		term.Expect(soon, `Waiting for connections`)
		resp, err := http.Get("http://localhost:" + local)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes through the port, %v", len(got), err)
		}
		term.Send("\x03")
		term.Wait(soon)

		// As ssh runs it: bytes both ways and nothing else on stdout.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		}()
		_, sshPort, _ := net.SplitHostPort(l.Addr().String())
		cmd := shared.Shell(
			t.Context(),
			path,
			`aws ssm start-session `+endpoint+` --target "$1" --document-name AWS-StartSSHSession --parameters "portNumber=$2"`,
			target,
			sshPort,
		)
		var stdout, stderr bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(body), &stdout, &stderr
		if err := cmd.Run(); err != nil || !bytes.Equal(stdout.Bytes(), body) {
			t.Errorf("SSH session: %d bytes of %d, %v, %s", stdout.Len(), len(body), err, stderr.String())
		}
	})
}

// middle is a TCP proxy between clients and the server.
type middle struct {
	net.Listener
	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newMiddle(t *testing.T, to string) *middle {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &middle{Listener: l, conns: map[net.Conn]bool{}}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		m.cut()
		all.Wait()
	})
	pass := func(a, b net.Conn) {
		_, _ = io.Copy(a, b)
		_ = a.Close()
		_ = b.Close()
	}
	all.Go(func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				_ = a.Close()
				continue
			}
			m.mu.Lock()
			m.conns[a] = true
			m.mu.Unlock()
			all.Go(func() { pass(a, b) })
			all.Go(func() { pass(b, a) })
		}
	})
	return m
}

func (m *middle) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.conns {
		_ = c.Close()
	}
	clear(m.conns)
}

// countdown is output that reveals every loss and repetition, and lasts a
// while.
const lines = 3000

const countdown = `i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo "line-$i"; [ $((i%30)) -eq 0 ] && sleep 0.05; ` +
	`done; echo all-do''ne` + "\r"

func wantLines(t *testing.T, text string) {
	t.Helper()
	var want strings.Builder
	for i := 1; i <= lines; i++ {
		fmt.Fprintf(&want, "line-%d\n", i)
	}
	if !strings.Contains(text, "line-1\n") {
		t.Fatal("there is no output")
	}
	// Only the client's notices appear between the lines.
	notice := regexp.MustCompile(`(?m)^(connection lost; reconnecting….*|reconnected|)\n`)
	whole := notice.ReplaceAllString(text, "")
	if !strings.Contains(whole, want.String()) {
		t.Error("not every line arrived once and in order")
	}
}

// TestClientCutOff: the client's connection breaks repeatedly during output.
func TestClientCutOff(t *testing.T) {
	t.Parallel()
	e := env(t, shared)
	u, err := url.Parse(e["AWS_ENDPOINT_URL"])
	if err != nil {
		t.Fatal(err)
	}
	m := newMiddle(t, u.Host)
	_, port, _ := net.SplitHostPort(m.Addr().String())
	through := "https://" + net.JoinHostPort(u.Hostname(), port)
	term := harness.OpenTerminal(t, 24, 200, shared.Shell(t.Context(), nil,
		`AWS_ENDPOINT_URL=$1; export AWS_ENDPOINT_URL; sekisho start-session "$SEKISHO_TARGET"`, through))
	term.Expect(awhile, harness.Prompt)
	term.Send(countdown)
	for _, at := range []string{"line-200\n", "line-900\n", "line-1700\n"} {
		term.Expect(awhile, at)
		m.cut()
		term.Expect(soon, "reconnecting")
	}
	term.Expect(awhile, `(?m)^all-done$`)
	wantLines(t, term.Text())
	term.Send("exit\r")
	if code := term.Wait(soon); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestServerKilledUnderSession: the server is killed and restarted; the session
// resumes and loses nothing.
func TestServerKilledUnderSession(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	agent := s.StartAgent(t, "outlives", -1)
	term := harness.OpenTerminal(t, 24, 200, s.Shell(t.Context(), nil, `sekisho start-session "$1"`, agent.NodeID))
	term.Expect(awhile, harness.Prompt)
	term.Send(countdown)
	term.Expect(awhile, "line-500\n")
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	term.Expect(soon, "reconnecting")
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	term.Expect(2*awhile, `(?m)^all-done$`)
	wantLines(t, term.Text())
	term.Send("exit\r")
	if code := term.Wait(soon); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestSSHConfig: ssh itself reads the generated configuration.
func TestSSHConfig(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("there is no ssh here")
	}
	target := env(t, shared)["SEKISHO_TARGET"]
	file := filepath.Join(t.TempDir(), "config")
	r := harness.Do(
		t,
		shared.Shell(
			t.Context(),
			nil,
			`sekisho ssh-config --user alice > "$1" && ssh -F "$1" -G "$SEKISHO_TARGET"`,
			file,
		),
	)
	if r.Code != 0 || !strings.Contains(r.Stdout, "user alice\n") ||
		!regexp.MustCompile(`(?m)^proxycommand \S*/sekisho ssh-proxy (%h|`+target+`) (%p|22)$`).MatchString(r.Stdout) {
		t.Errorf("exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// TestReverse: the node accepts connections for the client, but only with a grant of the
// document.
func TestReverse(t *testing.T) {
	t.Parallel()
	body := bytesOf(t, 300000)
	port := website(t, body)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, far, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	background(
		t,
		shared.Shell(t.Context(), nil, `exec sekisho forward "$SEKISHO_TARGET" -R "$1:localhost:$2"`, far, port),
		regexp.MustCompile(`Listening on localhost:`+far+` on the node`),
	)
	harness.Eventually(t, soon, func() error {
		resp, err := http.Get("http://localhost:" + far)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, body) {
			return fmt.Errorf("%d other bytes", len(got))
		}
		return nil
	})

	run := func(script string, args ...string) harness.Result {
		return harness.Do(t, shared.Shell(t.Context(), nil, script, args...))
	}
	if r := run(`aws iam create-user --user-name rita && aws iam put-user-policy --user-name rita --policy-name p `+
		`--policy-document "$1"`,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:StartSession",`+
			`"Resource":["arn:aws:ssm:*:*:managed-instance/*","arn:aws:ssm:*:*:document/AWS-*"]}]}`); r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	key := strings.Fields(
		run(
			`aws iam create-access-key --user-name rita --output text --query 'AccessKey.[AccessKeyId,SecretAccessKey]'`,
		).Stdout,
	)
	if len(key) != 2 {
		t.Fatal("no key for rita")
	}
	r := run(
		`AWS_ACCESS_KEY_ID=$1 AWS_SECRET_ACCESS_KEY=$2; export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; sekisho forward `+
			`"$SEKISHO_TARGET" -R 9999:localhost:1`,
		key[0],
		key[1],
	)
	if r.Code == 0 || !strings.Contains(r.Stderr, "AccessDenied") {
		t.Errorf("without a grant: exit %d, %s", r.Code, r.Stderr)
	}
}
