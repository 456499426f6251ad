package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sekisho/internal/agent/agenttest"
	"sekisho/internal/agent/uplink"
	"sekisho/internal/wire/mgs"
)

// asAgent in the environment makes the test binary act as the agent.
const asAgent = "SEKISHO_TEST_AS_AGENT"

func TestMain(m *testing.M) {
	if os.Getenv(asAgent) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// syncBuffer is a buffer for concurrent use.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// machine is a place where an agent can run as an ordinary user, so that its
// sessions change nothing on the machine of the test.
type machine struct {
	dir, bin, ca string
	uid          int
}

func newMachine(t *testing.T, srv *agenttest.Server) *machine {
	t.Helper()
	m := &machine{dir: t.TempDir(), uid: os.Geteuid()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m.bin = filepath.Join(m.dir, "agent")
	if err := copyFile(self, m.bin); err != nil {
		t.Fatal(err)
	}
	m.ca = filepath.Join(m.dir, "ca.pem")
	if err := os.WriteFile(m.ca, []byte(srv.Address().CA), 0o644); err != nil {
		t.Fatal(err)
	}
	if m.uid == 0 {
		m.uid = 54321
		for _, err := range []error{os.Chmod(filepath.Dir(m.dir), 0o755), os.Chmod(m.dir, 0o755),
			os.Chown(m.dir, m.uid, m.uid)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return m
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

// command runs the agent's program as a careless script would: with signals
// ignored, a narrow umask and an open file.
func (m *machine) command(ctx context.Context, args ...string) *exec.Cmd {
	script := `trap "" INT HUP; umask 077; exec 7</dev/null; exec "$@"`
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", script, "sh", m.bin}, args...)...)
	cmd.Dir = "/"
	cmd.Env = []string{
		asAgent + "=1",
		"PATH=/usr/bin:/bin",
		"LD_PRELOAD_NOT=1",
		"AWS_SECRET_ACCESS_KEY=from-the-agents-environment",
	}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(m.uid), Gid: uint32(m.uid)}}
	}
	return cmd
}

func (m *machine) state() string { return filepath.Join(m.dir, "state") }

func (m *machine) register(t *testing.T, srv *agenttest.Server, args ...string) (string, error) {
	t.Helper()
	cmd := m.command(t.Context(), append([]string{
		"register", "--state", m.state(), "--endpoint", srv.Address().Endpoint,
		"--activation-id", agenttest.ActivationID, "--ca", m.ca, "--region", agenttest.Region,
	}, args...)...)
	cmd.Stdin = strings.NewReader(agenttest.ActivationCode + "\n")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestProcess runs the real program as a process, and a session in it.
func TestProcess(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	m := newMachine(t, srv)
	if out, err := m.register(t, srv, "--activation-code", "-"); err != nil ||
		!regexp.MustCompile(`^mi-[0-9a-f]{17}\n$`).MatchString(out) {
		t.Fatalf("register: %q, %v", out, err)
	}
	if out, err := m.register(t, srv, "--activation-code", "-"); err == nil || !strings.Contains(out, "--force") {
		t.Errorf("register again: %q, %v", out, err)
	}
	if out, err := m.register(t, srv, "--activation-code", "-", "--force"); err != nil ||
		!strings.Contains(out, "identity-") {
		t.Errorf("register with force: %q, %v", out, err)
	}

	var log syncBuffer
	agent := m.command(t.Context(), "run", "--state", m.state(), "--debug")
	agent.Stderr = &log
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- agent.Wait() }()
	t.Cleanup(func() {
		_ = agent.Process.Kill() // it has ended by now unless the test failed
		if t.Failed() {
			t.Logf("log of the agent:\n%s", log.String())
		}
	})
	srv.Control()
	c := srv.StartSession(agenttest.Start{Size: mgs.Size{Cols: 200, Rows: 50}})
	c.Type(
		"stty size; echo shell=$$.; id -u; umask; grep SigIgn /proc/self/status; ls /proc/$$/fd | tr '\\n' ' '; env; " +
			"echo done''.\n",
	)
	out := strings.ReplaceAll(c.AwaitOutput("\ndone."), "\r", "")
	for _, want := range []string{"50 200\n", fmt.Sprintf("\n%d\n", m.uid), "\n0022\n",
		"\nSEKISHO_SESSION_ID=" + c.ID + "\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("the session's output lacks %q: %q", want, out)
		}
	}
	// Signals 32 and 33 are not checked: posix_spawn of the C library, and so
	// every process started by make, ignores them.
	if !regexp.MustCompile(`SigIgn:\t0000000[01][08]0000000\n`).MatchString(out) {
		t.Errorf("signals that the session ignores: %q", out)
	}
	if !regexp.MustCompile(`\n0 1 (10 )?2 (10 )?`).MatchString(out) || strings.Contains(out, " 7 ") {
		t.Errorf("open files of the shell: %q", out)
	}
	for _, leak := range []string{asAgent, "LD_PRELOAD_NOT", "from-the-agents-environment"} {
		if strings.Contains(out, leak) {
			t.Errorf("the shell has %s of the agent's environment", leak)
		}
	}

	if found := listening(t, agent.Process.Pid); len(found) > 0 {
		t.Errorf("the agent listens: %q", found)
	}

	// The doctor examines the running agent and does not disturb it.
	exam := m.command(t.Context(), "doctor", "--state", m.state())
	report, err := exam.CombinedOutput()
	if err != nil || strings.Count(string(report), "OK ") != 10 || strings.Contains(string(report), "FAIL") {
		t.Errorf("doctor: %v\n%s", err, report)
	}
	if srv.Control().N != 1 {
		t.Error("the doctor has thrown the agent off its control channel")
	}
	second, err := m.command(t.Context(), "run", "--state", m.state()).CombinedOutput()
	if err == nil || !strings.Contains(string(second), "another sekisho-agent") {
		t.Errorf("a second agent: %q, %v", second, err)
	}

	shell, err := strconv.Atoi(regexp.MustCompile(`shell=(\d+)\.`).FindStringSubmatch(out)[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if done := srv.Completes(c.ID, 1)[0]; !strings.Contains(done.Output, "agent was stopped") {
		t.Errorf("complete %+v", done)
	}
	if err := <-exited; err != nil {
		t.Errorf("the agent's end: %v", err)
	}
	if err := syscall.Kill(shell, 0); err == nil {
		t.Error("the shell has outlived the agent")
	}
	for _, secret := range srv.Secrets() {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log tells a secret: %s", log.String())
		}
	}
}

// TestKilledAgentHangsUpItsSessions: an agent that is killed cannot end its
// sessions itself.
func TestKilledAgentHangsUpItsSessions(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	m := newMachine(t, srv)
	if out, err := m.register(t, srv, "--activation-code", agenttest.ActivationCode); err != nil {
		t.Fatalf("register: %q, %v", out, err)
	}
	agent := m.command(t.Context(), "run", "--state", m.state())
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	c := srv.StartSession(agenttest.Start{})
	c.Type("echo shell=$$.\n")
	shell, err := strconv.Atoi(c.AwaitMatch(regexp.MustCompile(`shell=(\d+)\.`))[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait() // it was killed
	ctx, cancel := context.WithTimeout(t.Context(), agenttest.Patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", shell))
		if err != nil || strings.Contains(string(b), ") Z ") {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the shell is still running")
		}
	}
}

// listening lists the sockets on which a process accepts connections or
// datagrams: listening TCP and Unix sockets, and bound UDP sockets without a
// peer.
func listening(t *testing.T, pid int) []string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/", pid)
	entries, err := os.ReadDir(dir + "fd")
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{}
	for _, e := range entries {
		target, err := os.Readlink(dir + "fd/" + e.Name())
		if inode, ok := strings.CutPrefix(target, "socket:["); err == nil && ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	if len(own) == 0 {
		t.Fatalf("process %d has no sockets: it is not the one to look at", pid)
	}
	var found []string
	for _, table := range []struct {
		name         string
		inode, field int
		value        string
	}{
		{"tcp", 9, 3, "0A"}, {"tcp6", 9, 3, "0A"},
		{"udp", 9, 3, "07"}, {"udp6", 9, 3, "07"},
		{"unix", 6, 3, "00010000"},
	} {
		b, err := os.ReadFile(dir + "net/" + table.name)
		if os.IsNotExist(err) {
			continue // no IPv6
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) > table.inode && own[f[table.inode]] && f[table.field] == table.value {
				found = append(found, table.name+": "+strings.TrimSpace(line))
			}
		}
	}
	return found
}

// TestListeningFindsASocket checks that the search for listening sockets finds one.
func TestListeningFindsASocket(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		addr := "127.0.0.1:0"
		if network == "unix" {
			addr = filepath.Join(t.TempDir(), "s")
		}
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		found := strings.Join(listening(t, os.Getpid()), "\n")
		l.Close()
		if !strings.Contains(found, network+":") {
			t.Errorf("%s listener not found among %q", network, found)
		}
	}
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if found := strings.Join(listening(t, os.Getpid()), "\n"); !strings.Contains(found, "udp:") {
		t.Errorf("UDP socket not found among %q", found)
	}
}

// execute runs the command line in the test's process.
func execute(t *testing.T, stdin string, env map[string]string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	c := command(strings.NewReader(stdin), &out, &errs, func(k string) string { return env[k] })
	c.SetArgs(args)
	err = c.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

func TestActivationCodeSources(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte(srv.Address().CA), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]struct {
		flag, stdin, env string
		ok               bool
	}{
		"flag":        {flag: agenttest.ActivationCode, ok: true},
		"stdin":       {flag: "-", stdin: agenttest.ActivationCode + "\n", ok: true},
		"stdin, bare": {flag: "-", stdin: agenttest.ActivationCode, ok: true},
		"environment": {env: agenttest.ActivationCode, ok: true},
		"none":        {},
		"empty stdin": {flag: "-", env: agenttest.ActivationCode},
		"wrong":       {flag: "wrong-wrong-wrong-wrong"},
	} {
		args := []string{
			"register",
			"--state",
			filepath.Join(t.TempDir(), "s"),
			"--endpoint",
			srv.Address().Endpoint,
			"--activation-id",
			agenttest.ActivationID,
			"--ca",
			ca,
		}
		if try.flag != "" {
			args = append(args, "--activation-code", try.flag)
		}
		out, _, err := execute(
			t,
			try.stdin,
			map[string]string{"SEKISHO_ACTIVATION_CODE": try.env, "AWS_REGION": agenttest.Region},
			args...)
		if (err == nil) != try.ok || try.ok && !strings.HasPrefix(out, "mi-") {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}

// selfSigned returns a certificate for the right name from an authority that
// the agent does not trust.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestDoctorNamesTheStep breaks one thing at a time.
func TestDoctorNamesTheStep(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	good := srv.Address()
	register := func(t *testing.T) string {
		t.Helper()
		dir := t.TempDir()
		ca := filepath.Join(dir, "ca.pem")
		if err := os.WriteFile(ca, []byte(good.CA), 0o600); err != nil {
			t.Fatal(err)
		}
		state := filepath.Join(dir, "state")
		if _, _, err := execute(t, "", nil, "register", "--state", state, "--endpoint", good.Endpoint, "--region",
			agenttest.Region,
			"--activation-id", agenttest.ActivationID, "--activation-code", agenttest.ActivationCode, "--ca", ca); err != nil {
			t.Fatal(err)
		}
		return state
	}
	edit := func(old, new string) func(*testing.T, string) {
		return func(t *testing.T, state string) {
			t.Helper()
			path := filepath.Join(state, "config.json")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(string(b), old, new, 1)
			if changed == string(b) {
				t.Fatalf("%q is not in %s", old, b)
			}
			if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	stranger := httptest.NewUnstartedServer(nil)
	stranger.TLS = &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	stranger.StartTLS()
	t.Cleanup(stranger.Close)
	// fake is a server that responds as each says, by X-Amz-Target or path,
	// and otherwise as a working server would.
	fake := func(answers map[string]http.HandlerFunc) func(*testing.T, string) {
		return func(t *testing.T, state string) {
			t.Helper()
			ts := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
				if strings.HasPrefix(r.URL.Path, "/v1/") {
					op = r.Method + " channel"
				}
				if answer := answers[op]; answer != nil {
					answer(w, r)
					return
				}
				switch op {
				case "RequestManagedInstanceRoleToken":
					fmt.Fprintf(
						w,
						`{"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"s","SessionToken":"t","TokenExpirationDate":%d}`,
						time.Now().Add(time.Hour).Unix(),
					)
				case "UpdateInstanceInformation":
					fmt.Fprint(w, "{}")
				case "POST channel":
					w.WriteHeader(http.StatusCreated)
					fmt.Fprint(
						w,
						`<CreateControlChannelResponse><TokenValue>token</TokenValue><MessageSchemaVersion>1.0</MessageSchemaVersion>`+
							`</CreateControlChannelResponse>`,
					)
				}
			}))
			t.Cleanup(ts.Close)
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ts.Certificate().Raw})
			b, err := json.Marshal(uplink.Server{Endpoint: ts.URL, Region: agenttest.Region, CA: string(ca)})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(state, "config.json"), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	refuse := func(code string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"__type":%q,"message":"no"}`, code)
		}
	}
	tests := []struct {
		name, fails, says string
		change            func(*testing.T, string)
	}{
		{
			"clock",
			"clock",
			"timedatectl",
			fake(map[string]http.HandlerFunc{"": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", time.Now().Add(-2*time.Hour).UTC().Format(http.TimeFormat))
			}}),
		},
		{
			"deregistered",
			"identity",
			"register it again",
			fake(map[string]http.HandlerFunc{"RequestManagedInstanceRoleToken": refuse("UnrecognizedClientException")}),
		},
		{
			"another machine",
			"identity",
			"approve the change",
			fake(
				map[string]http.HandlerFunc{
					"RequestManagedInstanceRoleToken": refuse("MachineFingerprintDoesNotMatch"),
				},
			),
		},
		{
			"role may not",
			"signature",
			"ssm:UpdateInstanceInformation",
			fake(map[string]http.HandlerFunc{"UpdateInstanceInformation": refuse("AccessDeniedException")}),
		},
		{
			"channel refused",
			"channel",
			"ssmmessages:CreateControlChannel",
			fake(map[string]http.HandlerFunc{"POST channel": refuse("AccessDeniedException")}),
		},
		{"a proxy without WebSockets", "channel", "proxies", fake(nil)},
		{"disk", "agent", "MiB free in", func(*testing.T, string) {}},
		{"stopped agent", "agent", "systemctl start", func(*testing.T, string) {}},
		{"not registered", "config", "Run: sekisho-agent register", func(t *testing.T, state string) {
			t.Helper()
			if err := os.Remove(filepath.Join(state, "identity.json")); err != nil {
				t.Fatal(err)
			}
		}},
		{"an invalid configuration", "config", "Ragion", edit(`"Region"`, `"Ragion"`)},
		{"a name that does not resolve", "DNS", "resolv.conf", edit("https://127.0.0.1", "https://no-such-host.invalid")},
		{"a closed port", "TCP", "firewall", edit(good.Endpoint, strings.Replace(closed.URL, "http:", "https:", 1))},
		{"another server", "TLS", "--ca FILE", edit(good.Endpoint, stranger.URL)},
		{"region", "signature", "region", edit(agenttest.Region, "ap-test-9")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			state := register(t)
			tt.change(t, state)
			out, _, err := execute(t, "", nil, "doctor", "--state", state)
			if (err != nil) != (tt.fails != "") || !strings.Contains(out, tt.says) {
				t.Errorf("%v:\n%s", err, out)
			}
			if failed := regexp.MustCompile(`(?m)^FAIL +(\S+)`).FindStringSubmatch(out); tt.fails != "" &&
				(failed == nil || failed[1] != tt.fails) {
				t.Errorf("failed at %v, want %s:\n%s", failed, tt.fails, out)
			}
		})
	}
}

func TestParsePrefixes(t *testing.T) {
	t.Parallel()
	got, err := parsePrefixes([]string{"10.1.2.3/8", "192.168.0.1", "fd00::1"})
	if err != nil || len(got) != 3 || got[0].String() != "10.0.0.0/8" || got[1].String() != "192.168.0.1/32" ||
		got[2].String() != "fd00::1/128" {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "10.0.0.0/33", "host.example", "10.0.0.0/8,"} {
		if got, err := parsePrefixes([]string{bad}); err == nil {
			t.Errorf("%q gives %v", bad, got)
		}
	}
}
