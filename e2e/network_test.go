package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/e2e/harness"
)

// Addresses of the test's network: two namespaces, one cable.
const (
	serverIP = "10.203.0.1"
	nodeIP   = "10.203.1.2"
	movedIP  = "10.203.2.3"
)

// network is a server and a node at the two ends of a cable.
type network struct {
	t            *testing.T
	server, node string // namespaces
}

// newNetwork creates the cable. It needs root, which CI has; elsewhere the
// test may be skipped.
func newNetwork(t *testing.T) *network {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("network namespaces need root")
	}
	of := fmt.Sprintf("%d-%s", os.Getpid(), t.Name())
	n := &network{t: t, server: "sks" + of, node: "skn" + of}
	for _, ns := range []string{n.server, n.node} {
		n.ip("netns", "add", ns)
		t.Cleanup(func() { n.ip("netns", "del", ns) }) // and the cable with it
		n.ip("-n", ns, "link", "set", "lo", "up")
	}
	n.ip("link", "add", "cable", "netns", n.server, "type", "veth", "peer", "name", "cable", "netns", n.node)
	for ns, ip := range map[string]string{n.server: serverIP, n.node: nodeIP} {
		n.ip("-n", ns, "addr", "add", ip+"/16", "dev", "cable")
		n.ip("-n", ns, "link", "set", "cable", "up")
	}
	return n
}

func (n *network) ip(args ...string) {
	n.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// programs are the programs under test and the aws CLI, each in its namespace.
func (n *network) programs(dir string) harness.Programs {
	n.t.Helper()
	aws, err := exec.LookPath("aws")
	if err != nil {
		n.t.Fatal(err)
	}
	bin := shared.Bin
	for _, p := range []struct{ name, ns, program string }{
		{"sekishod", n.server, filepath.Join(bin, "sekishod")},
		{"sekisho", n.server, filepath.Join(bin, "sekisho")},
		{"aws", n.server, aws},
		{"sekisho-agent", n.node, filepath.Join(bin, "sekisho-agent")},
	} {
		script := fmt.Sprintf("#!/bin/sh\nexec ip netns exec %s '%s' \"$@\"\n", p.ns, p.program)
		if err := os.WriteFile(filepath.Join(dir, p.name), []byte(script), 0o755); err != nil {
			n.t.Fatal(err)
		}
	}
	return harness.Programs{Bin: dir, Plugin: shared.Plugin}
}

// TestNodeMovesAndVanishes changes the address of a node with open channels,
// and then cuts its cable.
func TestNodeMovesAndVanishes(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	s := startServer(t, n.programs(t.TempDir()), t.TempDir(), "--listen", serverIP+":0", "--nodes", "0")
	agent := s.StartAgent(t, "roams", -1)
	term, _ := startSession(t, s, nil, 24, 80, agent.NodeID)
	term.Send("here=sti''ll; echo be''fore\r")
	term.Expect(soon, `(?m)^before$`)

	// look returns the output of sekisho nodes.
	look := func() string {
		r := harness.Do(t, s.Shell(t.Context(), nil, `sekisho nodes`))
		if r.Code != 0 {
			return fmt.Sprintf("exit %d: %s", r.Code, r.Stderr)
		}
		return r.Stdout
	}

	// The node's address changes. Its connections are not notified: its packets are
	// dropped.
	n.ip("-n", n.node, "addr", "del", nodeIP+"/16", "dev", "cable")
	n.ip("-n", n.node, "addr", "add", movedIP+"/16", "dev", "cable")
	moved := time.Now()
	term.Send("echo $here he''re\r")
	term.Expect(time.Minute, `(?m)^still here$`)
	t.Logf("its session went on %v after the move", time.Since(moved).Round(time.Millisecond))
	harness.Eventually(t, time.Minute, func() error {
		out := look()
		for _, want := range []string{agent.NodeID, "Connected", "Its address changed from " + nodeIP + " to " + movedIP} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("%q is not in\n%s", want, out)
			}
		}
		return nil
	})
	if !agent.Alive() {
		t.Error("the agent ended")
	}
	term.Send("exit\r")
	term.Expect(soon, "Exiting session")

	// Its cable is cut. Pings detect that well before TCP does.
	cut := time.Now()
	n.ip("-n", n.node, "link", "set", "cable", "down")
	harness.Eventually(t, 30*time.Second, func() error { // 15, and the time that a busy machine needs to ask
		r := harness.Do(
			t,
			s.Shell(
				t.Context(),
				nil,
				`aws ssm get-connection-status --target "$1" --query Status --output text`,
				agent.NodeID,
			),
		)
		if strings.TrimSpace(r.Stdout) != "notconnected" {
			return fmt.Errorf("exit %d, %q %s", r.Code, r.Stdout, r.Stderr)
		}
		return nil
	})
	t.Logf("noticed %v after the cut", time.Since(cut).Round(time.Millisecond))
	if out := look(); !strings.Contains(out, "Lost") || !strings.Contains(out, "no answer to a ping") {
		t.Errorf("the status does not give the reason:\n%s", out)
	}
	n.ip("-n", n.node, "link", "set", "cable", "up")
	s.AwaitConnected(t, agent.NodeID, time.Minute)
	if !agent.Alive() {
		t.Error("the agent ended")
	}
}
