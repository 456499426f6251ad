package e2e_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"sekisho/e2e/harness"
)

// TestServerRestart: stopping and starting on the same folder keeps users, nodes, history
// and recordings, and nodes reconnect by themselves.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	agent := s.StartAgent(t, "stays", -1)
	before := env(t, s)

	run := func(script string, args ...string) string {
		t.Helper()
		r := harness.Do(t, s.Shell(t.Context(), nil, script, args...))
		if r.Code != 0 {
			t.Fatalf("%s: exit %d: %s", script, r.Code, r.Stderr)
		}
		return strings.TrimSpace(r.Stdout)
	}
	run(`aws iam create-user --user-name alice`)
	run(`aws iam put-user-policy --user-name alice --policy-name look --policy-document "$1"`,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:DescribeSessions","Resource":"*"}]}`)
	alice := strings.Fields(
		run(
			`aws iam create-access-key --user-name alice --output text --query 'AccessKey.[AccessKeyId,SecretAccessKey]'`,
		),
	)
	term, id := startSession(t, s, nil, 24, 80, before["SEKISHO_TARGET"])
	term.Send("echo kept acr''oss\r")
	term.Expect(soon, `(?m)^kept across$`)
	term.Send("exit\r")
	term.Wait(soon)

	for _, how := range []struct {
		name string
		end  func() error
	}{{"stop", s.Stop}, {"kill", s.Kill}} {
		if err := how.end(); err != nil {
			t.Fatalf("%s: %v", how.name, err)
		}
		if err := s.Run(); err != nil {
			t.Fatalf("start after %s: %v", how.name, err)
		}
		after := env(t, s)
		for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "SEKISHO_TARGET", "AWS_ENDPOINT_URL"} {
			if after[name] != before[name] {
				t.Errorf("after %s %s changed", how.name, name)
			}
		}
		// The user and the policy still exist: the policy's actions are allowed, all others
		// denied.
		as := `AWS_ACCESS_KEY_ID=$1 AWS_SECRET_ACCESS_KEY=$2; export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; `
		got := run(
			as+`aws ssm describe-sessions --state History --filters "key=SessionId,value=$3" --output text --query `+
				`'Sessions[].Status'`,
			alice[0],
			alice[1],
			id,
		)
		if got != "Terminated" {
			t.Errorf("after %s the history says %q of the session", how.name, got)
		}
		r := harness.Do(
			t,
			s.Shell(t.Context(), nil, as+`aws ssm start-session --target "$SEKISHO_TARGET"`, alice[0], alice[1]),
		)
		if r.Code == 0 || !strings.Contains(r.Stderr, "AccessDenied") {
			t.Errorf("after %s alice may start sessions: exit %d %s", how.name, r.Code, r.Stderr)
		}
		replay(t, s, id, "kept across")

		s.AwaitConnected(t, before["SEKISHO_TARGET"], awhile)
		s.AwaitConnected(t, agent.NodeID, awhile)
		if !agent.Alive() {
			t.Fatalf("the agent ended when the server did (%s)", how.name)
		}
		term, _ := startSession(t, s, nil, 24, 80, agent.NodeID)
		term.Send("exit\r")
		term.Expect(soon, "Exiting session")
	}
}

// TestAgentListensOnNothing checks the sockets of the agent, and of the shell
// below it, while a session is open.
func TestAgentListensOnNothing(t *testing.T) {
	t.Parallel()
	agent := shared.StartAgent(t, "quiet", -1)
	term, _ := startSession(t, shared, nil, 24, 80, agent.NodeID)
	term.Send("echo op''en\r")
	term.Expect(soon, `(?m)^open$`)

	sockets, err := harness.SocketsOf(agent.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if len(sockets.Listening) != 0 {
		t.Errorf("the agent listens on %v", sockets.Listening)
	}
	if sockets.Established == 0 {
		t.Error("no connection of the agent was seen; this test would not see a listening one either")
	}
	// The same check does find the server's listeners.
	if server, err := harness.SocketsOf(shared.Pid()); err != nil || len(server.Listening) == 0 {
		t.Errorf("the server's own listening socket is not seen (%v)", err)
	}
	term.Send("exit\r")
	term.Expect(soon, "Exiting session")
}

// TestUnprivilegedAgent runs an agent as an ordinary user: the shell runs as
// that user.
func TestUnprivilegedAgent(t *testing.T) {
	t.Parallel()
	uid := os.Getuid()
	if uid == 0 {
		uid = 61234 // an unused user ID: containers run with such IDs
	}
	agent := shared.StartAgent(t, "unprivileged", uid)
	term, _ := startSession(t, shared, nil, 24, 80, agent.NodeID)
	term.Send("echo user=$(id -u)\r")
	term.Expect(soon, fmt.Sprintf(`(?m)^user=%d$`, uid))
	term.Send("exit\r")
	term.Expect(soon, "Exiting session")
}

// TestAgentKilled: when an agent dies, the server reports that the node is gone. Its
// sessions end as soon as it runs again: until then it might only be disconnected.
func TestAgentKilled(t *testing.T) {
	t.Parallel()
	agent := shared.StartAgent(t, "dies", -1)
	term, id := startSession(t, shared, nil, 24, 80, agent.NodeID)
	term.Send("echo ali''ve\r")
	term.Expect(soon, `(?m)^alive$`)

	agent.Kill()
	harness.Eventually(t, soon, func() error {
		r := harness.Do(
			t,
			shared.Shell(
				t.Context(),
				nil,
				`aws ssm get-connection-status --target "$1" --query Status --output text`,
				agent.NodeID,
			),
		)
		if status := strings.TrimSpace(r.Stdout); status != "notconnected" {
			return fmt.Errorf("connection status: %q %s", status, r.Stderr)
		}
		return nil
	})
	r := harness.Do(t, shared.Shell(t.Context(), nil, `aws ssm start-session --target "$1"`, agent.NodeID))
	if r.Code == 0 || !strings.Contains(r.Stderr, "TargetNotConnected") || !strings.Contains(r.Stderr, "last heard") {
		t.Errorf("a session with a dead node: exit %d: %s", r.Code, r.Stderr)
	}
	agent.Run(t)
	term.Expect(30*time.Second, id)
	term.Wait(soon)
}

// TestTerminateFromOutside: an administrator ends a session; its user sees the
// reason.
func TestTerminateFromOutside(t *testing.T) {
	t.Parallel()
	term, id := startSession(t, shared, nil, 24, 80, env(t, shared)["SEKISHO_TARGET"])
	if r := harness.Do(t, shared.Shell(t.Context(), nil, `aws ssm terminate-session --session-id "$1"`, id)); r.Code != 0 {
		t.Fatalf("terminate-session: exit %d: %s", r.Code, r.Stderr)
	}
	term.Expect(soon, `Exiting session with sessionId: `+id+`|SessionId: `+id)
	term.Wait(soon)
}
