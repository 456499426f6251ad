package agent_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/agent"
	"sekisho/internal/agent/agenttest"
	"sekisho/internal/agent/runas"
	"sekisho/internal/wire/mgs"
)

// inputs returns a shell document with these inputs.
func inputs(in string) string {
	return `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":` + in + `}`
}

func TestCommandSessions(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	doc := func(kind, more string) string {
		return `{"schemaVersion":"1.0","sessionType":"` + kind +
			`","inputs":{},"parameters":{"command":{"type":"String"}},"properties":{"linux":{"commands":"{{ command }}"` + more +
			`}}}`
	}
	run := func(kind, more, command string) *agenttest.Client {
		t.Helper()
		c := srv.StartSession(
			agenttest.Start{Document: doc(kind, more), Parameters: map[string]any{"command": command}},
		)
		if done := srv.Completes(c.ID, 1)[0]; done.FinalTaskStatus != mgs.TaskSuccess {
			t.Errorf("%s: %+v", command, done.TaskComplete)
		}
		return c
	}
	c := run("InteractiveCommands", "", "stty size; echo $((6*7)) $SEKISHO_SESSION_ID; exit 3")
	// The end is reported on another connection: output may arrive after it.
	if got, want := c.AwaitOutput("42 "+c.ID+"\r\n"), "24 80\r\n42 "+c.ID+"\r\n"; got != want {
		t.Errorf("interactive: %q, want %q", got, want)
	}
	c = run(
		"NonInteractiveCommands",
		`,"separateOutputStream":"true","stdErrSeparatorPrefix":"E:"`,
		`sh -c 'echo out; echo err >&2; exit 3'`,
	)
	if c.AwaitExit() != "EXIT_CODE: 3" || c.Output() != "out\n" || c.StdErr() != "E:err\n" {
		t.Errorf("separate: %q, %q, %q", c.Output(), c.StdErr(), c.Exit())
	}
	c = run("NonInteractiveCommands", "", `echo $(id) ; {{ command }}`)
	if c.AwaitOutput("command }}\n") != "$(id) ; {{ command }}\n" || c.Exit() != "" {
		t.Errorf("no shell: %q", c.Output())
	}
	c = srv.StartSession(
		agenttest.Start{
			Document:   doc("InteractiveCommands", `,"runAsElevated":true`),
			Parameters: map[string]any{"command": "id"},
		},
	)
	if done := srv.Completes(c.ID, 1)[0]; done.FinalTaskStatus != mgs.TaskFailed ||
		!strings.Contains(done.Output, "elevated") ||
		c.Output() != "" {
		t.Errorf("an elevated command by an agent that is not root: %+v", done.TaskComplete)
	}
}

// TestGreeting: the banner, prompt and profile of a document.
func TestGreeting(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	c := srv.StartSession(
		agenttest.Start{
			Document: inputs(
				`{"shellProfile":{"linux":"echo for-all"},"sekisho":{"loginShell":true,"prompt":"MyEC2Instance",` +
					`"banner":"Mind the gap.\nThank you."}}`,
			),
		},
	)
	c.AwaitOutput("@MyEC2Instance ~]$ ")
	if got := c.Output(); !strings.HasPrefix(got, "for-all\r\n[") {
		t.Errorf("before the prompt: %q", got)
	}
	if c.Message() != "Mind the gap.\nThank you." {
		t.Errorf("banner %q", c.Message())
	}
	c.Type("exit\n")
	srv.Completes(c.ID, 1)
}

func TestEncryptedSession(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	doc := inputs(`{"kmsKeyId":"` + agenttest.KeyID + `"}`)
	c := srv.StartSession(agenttest.Start{Document: doc})
	c.Type("echo the-magic-$((5+4))-word; seq 1 5000; exit\n")
	c.AwaitOutput("the-magic-9-word")
	if done := srv.Completes(c.ID, 1)[0]; done.FinalTaskStatus != mgs.TaskSuccess {
		t.Errorf("%+v", done.TaskComplete)
	}
	out := c.Output()
	if !strings.Contains(out, "\n4999\r\n5000\r\n") {
		t.Errorf("the output ends %q", out[max(0, len(out)-50):])
	}
	if c.Largest() > 8<<10+28 {
		t.Errorf("a payload of %d bytes", c.Largest())
	}
	wire := c.Wire()
	if strings.Contains(wire, "magic") || strings.Contains(wire, "\n4999") || len(wire) < len(out) {
		t.Error("the relay could read the session")
	}
	if !strings.Contains(c.Message(), "encrypted") {
		t.Errorf("the client sees %q", c.Message())
	}
	actions := c.AwaitRequest().RequestedClientActions
	if len(actions) != 2 || actions[1].ActionType != mgs.ActionKMSEncryption ||
		!strings.Contains(string(actions[1].ActionParameters), agenttest.KeyID) {
		t.Errorf("asked for %+v", actions)
	}
}

// TestEncryptionIsNotOptional: without the right key on both sides there is
// neither a session nor a shell.
func TestEncryptionIsNotOptional(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	doc := inputs(`{"kmsKeyId":"` + agenttest.KeyID + `"}`)
	for name, tt := range map[string]struct {
		st   agenttest.Start
		want string
	}{
		"no key":        {agenttest.Start{Document: doc, Naked: true}, "client's key"},
		"another key":   {agenttest.Start{Document: doc, Key: make([]byte, 64)}, "did not prove"},
		"no proof":      {agenttest.Start{Document: doc, Forge: true}, "did not prove"},
		"refused":       {agenttest.Start{Document: doc, Refuse: true}, "cannot"},
		"not permitted": {agenttest.Start{Document: inputs(`{"kmsKeyId":"alias/other"}`)}, "AccessDeniedException"},
	} {
		c := srv.StartSession(tt.st)
		if done := srv.Completes(c.ID, 1)[0]; done.FinalTaskStatus != mgs.TaskFailed ||
			!strings.Contains(done.Output, tt.want) ||
			c.Output() != "" {
			t.Errorf("%s: %+v, output %q", name, done.TaskComplete, c.Output())
		}
	}
	// Unencrypted input of the client is refused, too.
	c := srv.StartSession(agenttest.Start{Document: doc})
	c.Inject([]byte("touch /tmp/should-not-be; exit\r"))
	if done := srv.Completes(c.ID, 1)[0]; done.FinalTaskStatus != mgs.TaskFailed ||
		!strings.Contains(done.Output, "decrypt") {
		t.Errorf("%+v", done.TaskComplete)
	}
}

func TestPortSession(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tcp.Close() })
	srv := agenttest.New(t)
	start(t, srv, nil)
	properties := map[string]net.Listener{
		`{"socket":"` + l.Addr().String() + `"}`:                                                l,
		fmt.Sprintf(`{"portNumber":"%d"}`, tcp.Addr().(*net.TCPAddr).Port):                      tcp,
		fmt.Sprintf(`{"portNumber":%d,"host":"::1"}`, tcp.Addr().(*net.TCPAddr).Port):           nil,
		fmt.Sprintf(`{"portNumber":["%d"],"host":"127.0.0.1"}`, tcp.Addr().(*net.TCPAddr).Port): tcp,
	}
	for text, listener := range properties {
		c := srv.StartSession(
			agenttest.Start{
				Document: `{"schemaVersion":"1.0","sessionType":"Port","inputs":{"kmsKeyId":"x"},"properties":` + text + `}`,
				NoSize:   true,
			},
		)
		if listener == nil {
			if done := srv.Completes(c.ID, 1)[0]; done.FinalTaskStatus != mgs.TaskFailed ||
				!strings.Contains(done.Output, "could not connect") {
				t.Errorf("%s: %+v", text, done.TaskComplete)
			}
			continue
		}
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Type("ping")
		got := make([]byte, 4)
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != "ping" {
			t.Errorf("%s: %q, %v", text, got, err)
		}
		if _, err = io.WriteString(conn, "pong"); err == nil {
			err = conn.Close()
		}
		if err != nil {
			t.Error(err)
		}
		c.AwaitOutput("pong")
		if done := srv.Completes(c.ID, 1)[0]; done.FinalTaskStatus != mgs.TaskSuccess {
			t.Errorf("%s: %+v", text, done.TaskComplete)
		}
		var request mgs.SessionTypeRequest
		if err := json.Unmarshal(c.AwaitRequest().RequestedClientActions[0].ActionParameters, &request); err != nil {
			t.Fatal(err)
		}
		var sent, want map[string]any
		if err := errors.Join(json.Unmarshal(request.Properties, &sent), json.Unmarshal([]byte(text), &want)); err != nil {
			t.Fatal(err)
		}
		want["sekisho"] = []any{"reset"}
		if !cmp.Equal(sent, want) {
			t.Errorf("the client sees %s, not %s", request.Properties, text)
		}
	}
}

// TestPortSessionsThatCannotStart: each reports why, and nothing is connected
// to.
func TestPortSessionsThatCannotStart(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	for properties, want := range map[string]string{
		`{"portNumber":"80","host":"169.254.169.254"}`: "Connections from this node to 169.254.169.254 are denied",
		`{"portNumber":"80","host":"[fd00:ec2::254]"}`: "are denied",
		`{"portNumber":"0"}`:                           "not a port number",
		`{"portNumber":"65536"}`:                       "not a port number",
		`{"portNumber":"80;reboot"}`:                   "not a port number",
		`{"portNumber":{"a":1}}`:                       "not valid",
		`{"socket":"relative"}`:                        "absolute path",
		`{"socket":"/x","portNumber":"80"}`:            "absolute path",
		`{"socket":"/does/not/exist"}`:                 "no such file",
		`null`:                                         "not a port number",
	} {
		c := srv.StartSession(
			agenttest.Start{
				Document: `{"schemaVersion":"1.0","sessionType":"Port","inputs":{},"properties":` + properties + `}`,
				NoSize:   true,
			},
		)
		if done := srv.Completes(c.ID, 1)[0]; done.FinalTaskStatus != mgs.TaskFailed ||
			!strings.Contains(done.Output, want) {
			t.Errorf("%s: %+v, want %q", properties, done.TaskComplete, want)
		}
	}
}

// TestSocketPermissions: an agent that is root connects to a socket only if
// the session's user may.
func TestSocketPermissions(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root becomes another user")
	}
	//nolint:usetesting // other users cannot enter the folder above t.TempDir
	dir, err := os.MkdirTemp("/tmp", "sekisho-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o660), os.Chown(path, 0, 4242)); err != nil {
		t.Fatal(err)
	}
	host := runas.System()
	for _, tt := range []struct {
		user runas.User
		ok   bool
	}{
		{runas.User{Name: "a", UID: 4343, GID: 4343}, false},
		{runas.User{Name: "b", UID: 4343, GID: 4242}, true},
		{runas.User{Name: "c", UID: 4343, GID: 4343, Groups: []uint32{5, 4242}}, true},
		{runas.User{Name: "d", UID: 0, GID: 0}, false},
	} {
		conn, err := host.DialSocket(t.Context(), tt.user, path)
		if (err == nil) != tt.ok {
			t.Errorf("%+v: %v", tt.user, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
	if os.Geteuid() != 0 {
		t.Error("the agent no longer runs as root")
	}
}

// TestNoSecondAttachment: after its final message the agent does not
// reconnect.
func TestNoSecondAttachment(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, func(c *agent.Config) {})
	c := srv.StartSession(agenttest.Start{HangUp: true})
	c.Type("exit\n")
	srv.Completes(c.ID, 1)
	if got := c.AwaitStates(2); !slices.Equal(got, []string{mgs.SessionStateConnected, mgs.SessionStateTerminating}) {
		t.Errorf("states %q", got)
	}
	if n := srv.Creations(c.ID); n != 1 {
		t.Errorf("the channel was made %d times", n)
	}
}

// TestNoticesOfTheServer: a notice of the server appears in the terminal of
// its session, as one clean line, and nowhere else.
func TestNoticesOfTheServer(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	doc := `{"schemaVersion":"1.0","sessionType":"InteractiveCommands","inputs":{},` +
		`"properties":{"linux":{"commands":"echo ready; read x; echo got $x"}}}`
	one := srv.StartSession(agenttest.Start{Document: doc})
	two := srv.StartSession(agenttest.Start{Document: doc})
	one.AwaitOutput("ready\r\n")
	two.AwaitOutput("ready\r\n")
	srv.Control().Send(mgs.NewSessionNotice("nobody-abcdefghijklmnopqrstuvwxyz", "not for them"))
	srv.Control().Send(mgs.NewSessionNotice(one.ID, "five\x1b[2J\nminutes"))
	if got := one.AwaitOutput("minutes\r\n"); strings.Contains(got, "\x1b[2J") ||
		strings.Contains(got, "not for them") {
		t.Errorf("%q", got)
	}
	for _, c := range []*agenttest.Client{one, two} {
		c.Type("word\r")
		c.AwaitOutput("got word\r\n")
	}
	if got := two.Output(); strings.Contains(got, "minutes") {
		t.Errorf("the other session shows %q", got)
	}
}

// TestInputOfUsersWhoJoined: input from users who joined a session reaches
// its terminal and no other.
func TestInputOfUsersWhoJoined(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	doc := `{"schemaVersion":"1.0","sessionType":"InteractiveCommands","inputs":{},` +
		`"properties":{"linux":{"commands":"echo ready; read x; echo got $x"}}}`
	one := srv.StartSession(agenttest.Start{Document: doc})
	two := srv.StartSession(agenttest.Start{Document: doc})
	one.AwaitOutput("ready\r\n")
	two.AwaitOutput("ready\r\n")
	srv.Control().Send(mgs.NewSessionInput("nobody-abcdefghijklmnopqrstuvwxyz", []byte("lost\r")))
	srv.Control().Send(mgs.NewSessionInput(one.ID, []byte("from bob\r")))
	one.AwaitOutput("got from bob\r\n")
	two.Type("own\r")
	two.AwaitOutput("got own\r\n")
}
