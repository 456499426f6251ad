package agent_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/agent"
	"sekisho/internal/agent/agenttest"
	"sekisho/internal/agent/enroll"
	"sekisho/internal/agent/runas"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
)

// me runs sessions as the user who runs the tests, in a home directory of the
// test.
type me struct{ home string }

func (m me) Resolve(context.Context, string) (runas.User, error) {
	return runas.User{Name: "tester", Home: m.home, Shell: "/bin/sh"}, nil
}

func (m me) Elevated() (runas.User, error) { return (&runas.Host{UID: 1}).Elevated() }

func (m me) Command(u runas.User, path string, args []string, extra ...string) *exec.Cmd {
	// An arbitrary user ID, so that no credentials are set.
	return (&runas.Host{UID: 1}).Command(u, path, args, extra...)
}

func (m me) DialSocket(ctx context.Context, u runas.User, path string) (net.Conn, error) {
	return (&runas.Host{UID: 1}).DialSocket(ctx, u, path)
}

type logWriter struct{ t *testing.T }

func (w logWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// register registers a node with srv and returns its state directory.
func register(t *testing.T, srv *agenttest.Server) string {
	t.Helper()
	state := filepath.Join(t.TempDir(), "state")
	v, err := enroll.OpenVault(state, true)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	_, err = enroll.Register(t.Context(), v, enroll.Registration{
		Server: srv.Address(), ActivationID: agenttest.ActivationID, ActivationCode: agenttest.ActivationCode,
	})
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// start runs an agent until the test ends, or until the returned function is
// called, which waits for its end.
func start(t *testing.T, srv *agenttest.Server, change func(*agent.Config)) (stop func()) {
	t.Helper()
	cfg := agent.Config{
		StateDir: register(t, srv),
		Users:    me{t.TempDir()},
		Log:      slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx, cfg) }()
	stopped := false
	stop = func() {
		cancel()
		if !stopped {
			stopped = true
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestShellSession(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, ".profile"), []byte("echo first-size: $(stty size)\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, srv, func(c *agent.Config) { c.Users = me{home} })
	if open := srv.Control().Open; open.Cookie != nil || open.MessageSchemaVersion != "1.0" ||
		open.PlatformType != "linux" {
		t.Errorf("first frame on the control channel: %+v", open)
	}
	c := srv.StartSession(agenttest.Start{Size: mgs.Size{Cols: 132, Rows: 43}})

	request := c.AwaitRequest()
	if len(request.RequestedClientActions) != 1 ||
		string(
			request.RequestedClientActions[0].ActionParameters,
		) != `{"SessionType":"Standard_Stream","Properties":{"sekisho":["exit-code","join"],"osUser":"tester"}}` {
		t.Errorf("handshake request %+v", request)
	}
	if !regexp.MustCompile(`^\d+\.\d+\.\d+\.\d+$`).MatchString(request.AgentVersion) {
		t.Errorf("AgentVersion %q: AWS's plugin wants four numbers", request.AgentVersion)
	}
	c.AwaitOutput("first-size: 43 132")
	c.Type("echo mark$((40+2)) $0 $PWD $TERM $SEKISHO_SESSION_ID\n")
	pwd, err := filepath.EvalSymlinks(home)
	if err != nil {
		t.Fatal(err)
	}
	c.AwaitOutput(fmt.Sprintf("mark42 -sh %s xterm-256color %s", pwd, c.ID))
	c.Resize(mgs.Size{Cols: 71, Rows: 17})
	c.Type("stty size\n")
	c.AwaitOutput("17 71")
	// Ctrl-C reaches the program only once it is in the foreground.
	c.Type("sh -c 'echo slee''ping; exec sleep 1000'; echo not-interrupted\n")
	c.AwaitOutput("sleeping\r")
	c.Type("\x03")
	c.Type("umask; grep SigIgn /proc/self/status | tr -s '\\t0' '  '; echo bye-$((1+1)); exit 3\n")
	out := c.AwaitOutput("bye-2")
	if !strings.Contains(out, "0022\r\n") {
		t.Errorf("umask is not 0022: %q", out)
	}
	done := srv.Completes(c.ID, 1)[0]
	if done.FinalTaskStatus != mgs.TaskSuccess || done.Output != "" || done.TaskID != c.ID || done.RetryNumber != 1 ||
		done.InstanceID == "" {
		t.Errorf("complete %+v", done)
	}
	if got := c.AwaitStates(2); !slices.Equal(got, []string{mgs.SessionStateConnected, mgs.SessionStateTerminating}) {
		t.Errorf("states %q", got)
	}
	if open := c.OpenFrame(); open.ClientInstanceID != done.InstanceID || open.ClientID != "" ||
		open.ClientVersion != "" {
		t.Errorf("first frame on the data channel: %+v", open)
	}
}

func TestShellWithoutSize(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	c := srv.StartSession(agenttest.Start{NoSize: true})
	c.Type("stty size; exit\n")
	c.AwaitOutput("24 80")
	srv.Completes(c.ID, 1)
}

// TestLateClient: a client connects after the 15 seconds that AWS's agent
// would wait. Our agent has no such timeout.
func TestLateClient(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	c := srv.StartSession(agenttest.Start{Silent: true})
	c.AwaitRequest()
	if got := srv.Control(); got.N != 1 {
		t.Errorf("control channel %d", got.N)
	}
	c.Greet()
	c.Type("echo here$((1+1)); exit\n")
	c.AwaitOutput("here2")
	srv.Completes(c.ID, 1)
}

// TestClientWithoutHandshake: a client without a handshake gets a shell, too,
// and loses none of its input.
func TestClientWithoutHandshake(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	c := srv.StartSession(agenttest.Start{
		Ungreeted: true, Size: mgs.Size{Cols: 91, Rows: 19},
		Document: `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"sekisho":{"banner":"Hello.\nBe ` +
			`good."}}}`,
	})
	c.Type("stty size; exit\n")
	out := c.AwaitOutput("19 91")
	if !strings.HasPrefix(out, "Hello.\r\nBe good.\r\n") {
		t.Errorf("no banner: %q", out)
	}
	if n := c.Largest(); n > 1024 {
		t.Errorf("a message of %d bytes", n)
	}
	srv.Completes(c.ID, 1)
}

func TestReport(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	short := srv.AwaitUpdate("short", func(u map[string]any) bool { return len(u) == 4 })
	full := srv.AwaitUpdate(
		"full, connected",
		func(u map[string]any) bool { return u["SSMConnectionChannel"] == "ssmmessages" },
	)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if short["InstanceId"] != full["InstanceId"] || full["AgentStatus"] != "Active" ||
		full["PlatformType"] != "Linux" ||
		full["ComputerName"] != host {
		t.Errorf("short %v, full %v", short, full)
	}
}

// The inventory is reported only if it is enabled.
func TestInventory(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, func(c *agent.Config) { c.Inventory = 50 * time.Millisecond })
	srv.AwaitInventory()
}

func awaitGone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.NewTimer(agenttest.Patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(b), ") Z ") {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("process %d still runs", pid)
		}
	}
}

var pidMark = regexp.MustCompile(`pid=(\d+)\.`)

// shellPID asks the session's shell for its process ID.
func shellPID(t *testing.T, c *agenttest.Client) int {
	t.Helper()
	c.Type("echo pid=$$.\n")
	pid, err := strconv.Atoi(c.AwaitMatch(pidMark)[1])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestSessionEnds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		end        func(srv *agenttest.Server, c *agenttest.Client, stop func())
		wantStatus string
		wantOutput string // part of the reason
	}{
		{"channel_closed on the control channel", func(srv *agenttest.Server, c *agenttest.Client, _ func()) {
			srv.Control().Send(mgs.NewChannelClosed("mi-x", c.ID, ""))
		}, mgs.TaskSuccess, ""},
		{"channel_closed on the data channel", func(_ *agenttest.Server, c *agenttest.Client, _ func()) {
			m := mgs.NewChannelClosed("mi-x", c.ID, "idle")
			c.Write(link.Binary, m.AppendTo(nil))
		}, mgs.TaskSuccess, ""},
		{"the client's flag", func(_ *agenttest.Server, c *agenttest.Client, _ func()) {
			c.Flag(mgs.FlagTerminateSession)
		}, mgs.TaskSuccess, ""},
		{"the server has forgotten the session", func(_ *agenttest.Server, c *agenttest.Client, _ func()) {
			c.Terminate()
			c.Drop()
		}, mgs.TaskSuccess, ""},
		{"the agent stops", func(_ *agenttest.Server, _ *agenttest.Client, stop func()) {
			stop()
		}, mgs.TaskFailed, "agent was stopped"},
		{"garbage on the data channel", func(_ *agenttest.Server, c *agenttest.Client, _ func()) {
			c.Write(link.Binary, []byte("not a frame"))
		}, mgs.TaskFailed, "protocol"},
		{"text on the data channel", func(_ *agenttest.Server, c *agenttest.Client, _ func()) {
			c.Write(link.Text, []byte("{}"))
		}, mgs.TaskFailed, "protocol"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := agenttest.New(t)
			stop := start(t, srv, nil)
			c := srv.StartSession(agenttest.Start{})
			pid := shellPID(t, c)
			tt.end(srv, c, stop)
			done := srv.Completes(c.ID, 1)[0]
			if done.FinalTaskStatus != tt.wantStatus || !strings.Contains(done.Output, tt.wantOutput) ||
				(tt.wantOutput == "" && done.Output != "") {
				t.Errorf("complete %+v", done)
			}
			awaitGone(t, pid)
		})
	}
}

func TestSessionsThatCannotStart(t *testing.T) {
	t.Parallel()
	document := func(kind, inputs string) string {
		return fmt.Sprintf(`{"schemaVersion":"1.0","sessionType":%q,"inputs":%s}`, kind, inputs)
	}
	tests := []struct {
		name  string
		start agenttest.Start
		want  string
	}{
		{"port", agenttest.Start{Document: document("Port", `{}`)}, "is not a port number"},
		{"command", agenttest.Start{Document: document("InteractiveCommands", `{}`)}, "has no command for Linux"},
		{
			"command without terminal",
			agenttest.Start{Document: document("NonInteractiveCommands", `{}`)},
			"has no command for Linux",
		},
		{"unknown type", agenttest.Start{Document: document("Telepathy", `{}`)}, `"Telepathy"`},
		{
			"schema",
			agenttest.Start{Document: `{"schemaVersion":"2.2","sessionType":"Standard_Stream"}`},
			`schemaVersion "2.2"`,
		},
		{"no object", agenttest.Start{Document: `[]`}, "not valid"},
		{
			"run-as is neither on nor off",
			agenttest.Start{Document: document("Standard_Stream", `{"runAsEnabled":1}`)},
			"not valid",
		},
		{
			"run-as of a missing user",
			agenttest.Start{Document: document("Standard_Stream", `{"runAsEnabled":true}`), RunAs: "mallory"},
			`"mallory"`,
		},
		{
			"run-as of a missing default user",
			agenttest.Start{
				Document: document("Standard_Stream", `{"runAsEnabled":"true","runAsDefaultUser":"trudy"}`),
			},
			`"trudy"`,
		},
		{
			"run-as without a user",
			agenttest.Start{Document: document("Standard_Stream", `{"runAsEnabled":true}`)},
			"no OS user is named",
		},
		{
			"run-as root",
			agenttest.Start{Document: document("Standard_Stream", `{"runAsEnabled":true}`), RunAs: "root"},
			"do not run as root",
		},
		{
			"run-as with shell characters",
			agenttest.Start{Document: document("Standard_Stream", `{"runAsEnabled":true}`), RunAs: "x;reboot"},
			`"x;reboot"`,
		},
		{
			"run-as with an option",
			agenttest.Start{Document: document("Standard_Stream", `{"runAsEnabled":true}`), RunAs: "-G"},
			"not a valid OS user name",
		},
		{
			"no shell",
			agenttest.Start{Document: document("Standard_Stream", `{"runAsEnabled":true}`), RunAs: "shell-less"},
			`"/does/not/exist" as the OS user "shell-less"`,
		},
		{
			"the client refuses",
			agenttest.Start{
				Document: document("Standard_Stream", `{"runAsEnabled":true}`),
				RunAs:    "shell-less",
				Refuse:   true,
			},
			": no[2J such thing",
		},
	}
	srv := agenttest.New(t)
	passwd := filepath.Join(t.TempDir(), "passwd")
	lines := "root:x:0:0::/root:/bin/sh\nshell-less:x:54321:54321::/:/does/not/exist\n"
	if err := os.WriteFile(passwd, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, srv, func(c *agent.Config) {
		c.Users = &runas.Host{
			Passwd: passwd, Group: passwd + ".none", UID: 0,
			Find: func(string) string { return "" },
			Run:  func(context.Context, string, ...string) ([]byte, error) { return nil, errors.New("nothing is run") },
		}
	})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Contains(tt.want, "shell-less") && os.Geteuid() != 0 {
				t.Skip("needs root to become another user")
			}
			c := srv.StartSession(tt.start)
			done := srv.Completes(c.ID, 1)[0]
			if done.FinalTaskStatus != mgs.TaskFailed || !strings.Contains(done.Output, tt.want) {
				t.Errorf("complete %+v, want output with %q", done, tt.want)
			}
		})
	}
}

// TestHostileControlFrames: no frame of the server ends the agent, starts a
// session whose name is not an ID, or makes the agent request a path made of
// one.
func TestHostileControlFrames(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	c := srv.Expect(agenttest.Start{})
	good := c.Start()
	frame := good.AppendTo(nil)
	long := mgs.New(mgs.TypeInteractiveShell, []byte(strings.Repeat("[", 200<<10)))

	ignored := [][]byte{
		must(mgs.New("no_such_type", []byte("x"))),
		must(mgs.New(mgs.TypeInteractiveShell, nil)),
		must(mgs.New(mgs.TypeInteractiveShell, []byte("null"))),
		must(mgs.New(mgs.TypeInteractiveShell, []byte(`{"Content":5}`))),
		must(mgs.New(mgs.TypeInteractiveShell, []byte(`{"Content":"{}","TaskId":"../../x"}`))),
		must(mgs.New(mgs.TypeInteractiveShell, []byte(`{"Content":"{","TaskId":"../../x"}`))),
		long.AppendTo(nil),
		must(mgs.New(mgs.TypeChannelClosed, []byte(`{}`))),
		must(mgs.New(mgs.TypeChannelClosed, []byte(`[1`))),
		must(mgs.New(mgs.TypeAgentTaskAcknowledge, []byte(`{"MessageId":"x"}`))),
		must(mgs.New(mgs.TypeAgentTaskAcknowledge, []byte(`{}`))),
		must(mgs.New(mgs.TypeOutputStreamData, []byte("x"))),
	}
	for _, bad := range []string{
		"", ".", "..", "../etc/passwd", "a/../b", "/etc/passwd", "a\x00b", "a b", "a\nb", "-rf", ".hidden", "a..b", `a\b`,
		"ä", "a%2fb", "a?b", "a#b",
		strings.Repeat("a", 97),
	} {
		m, err := mgs.NewInteractiveShell(
			mgs.AgentTaskPayload{SessionID: bad, DocumentContent: []byte(agenttest.ShellDocument)},
		)
		if err != nil {
			t.Fatal(err)
		}
		ignored = append(ignored, m.AppendTo(nil))
	}
	control := srv.Control()
	control.Write(link.Text, []byte("hello"))
	for _, b := range ignored {
		control.Write(link.Binary, b)
	}
	// A start that cannot be parsed is answered if it names a session.
	control.Send(mgs.New(mgs.TypeInteractiveShell, []byte(`{"Content":"{","TaskId":"alice-unreadable"}`)))
	if done := srv.Completes("alice-unreadable", 1)[0]; done.FinalTaskStatus != mgs.TaskFailed ||
		!strings.Contains(done.Output, "malformed") {
		t.Errorf("complete %+v", done)
	}
	if srv.Control().N != 1 {
		t.Error("the agent closed its control channel because of a malformed request")
	}
	if srv.Requested("data-channel") {
		t.Error("the agent opened a data channel for one of the malformed starts")
	}

	// Garbage costs the connection and nothing else.
	lying := slices.Clone(frame)
	lying[0] = 0xff
	wrong := slices.Clone(frame)
	wrong[len(wrong)-1] ^= 1
	for _, b := range [][]byte{{}, frame[:100], frame[:len(frame)-1], lying, wrong} {
		now := srv.Control()
		now.Write(link.Binary, b)
		srv.ControlAfter(now.N)
	}
	srv.Control().Send(good)
	c.Type("echo alive$((1+1)); exit\n")
	c.AwaitOutput("alive2")
	if done := srv.Completes(c.ID, 1)[0]; done.FinalTaskStatus != mgs.TaskSuccess {
		t.Errorf("complete %+v", done)
	}
	if got := srv.Sessions(); !slices.Equal(got, []string{c.ID}) {
		t.Errorf("sessions %q", got)
	}
}

func must(m mgs.Message) []byte { return m.AppendTo(nil) }

func TestGarbageEndsOneSessionOnly(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	victim := srv.StartSession(agenttest.Start{})
	other := srv.StartSession(agenttest.Start{})
	shellPID(t, victim)
	shellPID(t, other)
	victim.Write(link.Binary, []byte{1, 2, 3})
	srv.Completes(victim.ID, 1)
	other.Type("echo still$((1+1)); exit\n")
	other.AwaitOutput("still2")
	if srv.Control().N != 1 {
		t.Error("the control channel was lost")
	}
}

// TestCutsLoseNothing cuts the connection in the middle of output and checks
// every line.
func TestCutsLoseNothing(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	c := srv.StartSession(agenttest.Start{Cuts: []int{3_000, 150_000, 400, 200_001}})
	const last = 150_000
	c.Type(fmt.Sprintf("stty -echo; PS1=; echo be''gin; seq 1 %d; echo e''nd; exit\n", last))
	out := c.AwaitOutput("\r\nend\r\n")
	_, out, _ = strings.Cut(out, "begin\r\n")
	out, _, _ = strings.Cut(out, "end\r\n")
	lines := strings.Split(strings.TrimSuffix(out, "\r\n"), "\r\n")
	if len(lines) != last {
		t.Errorf("%d lines, want %d", len(lines), last)
	}
	for i, line := range lines {
		if line != strconv.Itoa(i+1) {
			t.Fatalf("line %d is %q", i+1, line)
		}
	}
	c.AwaitAttached(5)
	srv.Completes(c.ID, 1)
	if got := c.AwaitStates(6); got[0] != mgs.SessionStateConnected || got[5] != mgs.SessionStateTerminating {
		t.Errorf("states %q", got)
	}
}

func TestPayloadSizeFollowsTheClient(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	for version, most := range map[string]int{"1.2.764.0": 8 << 10, "sekisho/1": 32 << 10, "0.0.1": 1 << 10,
		"1.0": 1 << 10, "": 8 << 10} {
		c := srv.StartSession(agenttest.Start{Version: version})
		c.Type("seq 1 100000; echo e''nd; exit\n")
		c.AwaitOutput("\r\nend\r\n")
		srv.Completes(c.ID, 1)
		if got := c.Largest(); got > most || got <= most/8 {
			t.Errorf("client %q: largest payload %d, want up to %d", version, got, most)
		}
	}
}

func TestControlReconnect(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	c := srv.StartSession(agenttest.Start{})
	shellPID(t, c)
	first := srv.Control()
	first.Drop()
	second := srv.ControlAfter(first.N)
	c.Type("echo kept$((1+1))\n") // the session does not notice
	c.AwaitOutput("kept2")
	// A repeated start of a running session starts no second one.
	second.Send(c.Start())
	other := srv.StartSession(agenttest.Start{})
	other.Type("exit\n")
	srv.Completes(other.ID, 1)
	if got := c.AwaitStates(1); len(got) != 1 {
		t.Errorf("states %q", got)
	}
	c.Type("exit\n")
	srv.Completes(c.ID, 1)
	// A session that has ended is not started again.
	second.Send(c.Start())
	third := srv.StartSession(agenttest.Start{})
	third.Type("exit\n")
	srv.Completes(third.ID, 1)
	if got := c.AwaitStates(2); len(got) != 2 {
		t.Errorf("the ended session was started again: states %q", got)
	}
}

func TestEndIsReportedUntilAcknowledged(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	c := srv.StartSession(agenttest.Start{})
	srv.IgnoreCompletes(2)
	c.Type("exit\n")
	srv.Completes(c.ID, 2)
	control := srv.Control()
	control.Drop() // the third one arrives over the next connection
	srv.ControlAfter(control.N)
	got := srv.Completes(c.ID, 3)
	for i, g := range got {
		if g.RetryNumber != i+1 || g.MessageID != got[0].MessageID || g.FinalTaskStatus != mgs.TaskSuccess {
			t.Errorf("report %d: %+v", i, g)
		}
	}
	// After the acknowledgement another drop causes no fourth report. It has
	// arrived once a later session has started.
	for range 2 {
		other := srv.StartSession(agenttest.Start{})
		other.Type("exit\n")
		srv.Completes(other.ID, 1)
		control = srv.Control()
		control.Drop()
		srv.ControlAfter(control.N)
	}
	if got := srv.Completes(c.ID, 3); len(got) != 3 {
		t.Errorf("reported %d times", len(got))
	}
}

func TestCredentialsAreRenewed(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	srv.SetTokenLife(2 * time.Second)
	start(t, srv, nil)
	srv.AwaitIssued(3)
	c := srv.StartSession(agenttest.Start{})
	c.Type("exit\n")
	srv.Completes(c.ID, 1)
}

// TestServerForgetsCredentials: a server restarted without its state. The
// agent must not wait for half an hour.
func TestServerForgetsCredentials(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	n := srv.Control().N
	srv.Forget()
	srv.ControlAfter(n)
	srv.AwaitIssued(2)
}

func TestSessionLimit(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, func(c *agent.Config) { c.MaxSessions = 1 })
	first := srv.StartSession(agenttest.Start{})
	shellPID(t, first)
	second := srv.StartSession(agenttest.Start{})
	if done := srv.Completes(second.ID, 1)[0]; done.FinalTaskStatus != mgs.TaskFailed ||
		!strings.Contains(done.Output, "maximum number of sessions") {
		t.Errorf("complete %+v", done)
	}
	first.Type("exit\n")
	srv.Completes(first.ID, 1)
}

func TestSessionGivesUpOnALostServer(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, func(c *agent.Config) { c.Patience = time.Second })
	c := srv.StartSession(agenttest.Start{Cuts: make([]int, 50)}) // every connection is cut at its first byte
	done := srv.Completes(c.ID, 1)[0]
	if done.FinalTaskStatus != mgs.TaskFailed || !strings.Contains(done.Output, "no data channel for 1s") {
		t.Errorf("complete %+v", done)
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	state := register(t, srv)
	log := slog.New(slog.DiscardHandler)
	err := agent.Run(t.Context(), agent.Config{StateDir: filepath.Join(t.TempDir(), "none"), Log: log})
	if !sekisho.IsNotFound(err) || !strings.Contains(err.Error(), "register") {
		t.Errorf("not registered: %v", err)
	}
	v, err := enroll.OpenVault(state, false)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := v.Lock(); err != nil {
		t.Fatal(err)
	}
	if err := agent.Run(t.Context(), agent.Config{StateDir: state, Log: log}); sekisho.CodeOf(
		err,
	) != sekisho.CodeInUse {
		t.Errorf("second agent on one state: %v", err)
	}
}
