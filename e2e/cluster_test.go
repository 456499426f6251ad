package e2e_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sekisho/e2e/docs"
	"sekisho/e2e/harness"
	"sekisho/internal/server/localca"
	"sekisho/internal/store/storetest/pgtest"
)

// clusterMember is one sekishod of a cluster.
type clusterMember struct {
	name, address, config, log, data string
	// at is how programs reach this member.
	at *harness.Server

	cmd *exec.Cmd
}

// testCluster is three members on one PostgreSQL database, and a load balancer before them.
type testCluster struct {
	members  [3]*clusterMember
	balanced *harness.Server // reached through the load balancer
	database *pgtest.Server
}

func writeFiles(t *testing.T, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// issue returns the chain and the key of a certificate for an address, and the authority that it makes in dir.
func issue(t *testing.T, dir, authority, address string) (chain, key []byte, ca *localca.Authority) {
	t.Helper()
	ca, err := localca.Open(dir, authority)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(time.Hour, address)
	if err != nil {
		t.Fatal(err)
	}
	chain, key, err = localca.Encode(pair)
	if err != nil {
		t.Fatal(err)
	}
	return chain, key, ca
}

// startCluster starts three members. The first creates the account and the keys; the others get a copy of the keys.
func startCluster(t *testing.T) *testCluster {
	t.Helper()
	c := &testCluster{database: pgtest.Start(t)}
	if err := c.database.Exec(t.Context(), "postgres", "CREATE DATABASE sekisho"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	shared, recordings := filepath.Join(dir, "shared"), filepath.Join(dir, "recordings")
	chain, key, ca := issue(t, filepath.Join(dir, "ca"), "cluster", "127.0.0.1")
	writeFiles(t, map[string]string{filepath.Join(dir, "chain"): string(chain), filepath.Join(dir, "key"): string(key)})
	if err := errors.Join(os.Mkdir(shared, 0o700), os.Mkdir(recordings, 0o700)); err != nil {
		t.Fatal(err)
	}
	addresses := freeAddresses(t, 2*len(c.members))
	var fronts []string
	for i := range c.members {
		name := fmt.Sprintf("m%d", i+1)
		m := &clusterMember{
			name: name, address: addresses[2*i], config: filepath.Join(dir, name+".yaml"), log: filepath.Join(dir, name+".log"),
			data: filepath.Join(dir, name),
		}
		c.members[i], fronts = m, append(fronts, m.address)
		writeFiles(t, map[string]string{m.config: fmt.Sprintf(`
account: "100000000000"
data: %s
listen: %s
tls: {certificate: %s/chain, key: %s/key}
database: {url: "%s"}
cluster: {name: %s, listen: %s, address: %s, shared: %s}
recordings: {store: {folder: %s, upload_every: 1s}}
`, m.data, m.address, dir, dir, c.database.URL("sekisho"), name, addresses[2*i+1], addresses[2*i+1], shared, recordings)})
	}
	c.members[0].start(t)
	credentials := filepath.Join(c.members[0].data, "first-administrator")
	harness.Eventually(t, awhile, func() error {
		text, err := os.ReadFile(credentials)
		if err == nil && !strings.Contains(string(text), "AWS_SECRET_ACCESS_KEY=") {
			err = errors.New("the account is being created")
		}
		return err
	})
	for i, m := range c.members {
		m.at = reached(t, filepath.Join(dir, "at-"+m.name), m.address, ca.File, credentials)
		if i > 0 {
			if r := harness.Do(t, exec.CommandContext(t.Context(), "sh", "-c",
				`mkdir -m 700 "$2" && cp -a "$1/keys" "$2/keys"`, "sh", c.members[0].data, m.data)); r.Code != 0 {
				t.Fatalf("copy the keys: %s", r.Stderr)
			}
			m.start(t)
		}
	}
	c.await(t, len(c.members))
	for _, m := range c.members {
		harness.Eventually(t, awhile, func() error { // it has joined before it serves
			if r := harness.Do(t, m.at.Shell(t.Context(), nil, `aws sts get-caller-identity`)); r.Code != 0 {
				return errors.New(r.Stderr)
			}
			return nil
		})
	}
	c.balanced = reached(t, filepath.Join(dir, "balanced"), balance(t, fronts), ca.File, credentials)
	return c
}

// reached returns a server at an address, as programs see it.
func reached(t *testing.T, dir, address, ca, credentials string) *harness.Server {
	t.Helper()
	s := &harness.Server{Programs: shared.Programs, Data: dir, Home: filepath.Join(dir, "home")}
	writeFiles(t, map[string]string{
		s.EnvFile(): fmt.Sprintf(`. '%s'
export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 AWS_ENDPOINT_URL=https://%s
export SSL_CERT_FILE='%s' AWS_CA_BUNDLE='%s'
aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }
`, credentials, address, ca, ca),
		filepath.Join(s.Home, ".keep"): "",
	})
	return s
}

// balance forwards connections to the first address that accepts them, beginning with another one each time.
func balance(t *testing.T, to []string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	ctx := t.Context()
	wg.Go(func() {
		for n := 0; ; n++ {
			near, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer near.Close()
				for i := range to {
					far, err := net.Dial("tcp", to[(n+i)%len(to)])
					if err != nil {
						continue
					}
					stop := context.AfterFunc(ctx, func() { _ = near.Close(); _ = far.Close() })
					defer stop()
					go func() {
						_, _ = io.Copy(far, near)
						_ = far.Close()
					}()
					_, _ = io.Copy(near, far)
					_ = far.Close()
					return
				}
			})
		}
	})
	return l.Addr().String()
}

func (m *clusterMember) start(t *testing.T) {
	t.Helper()
	out, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	m.cmd = exec.Command(filepath.Join(shared.Bin, "sekishod"), "serve", "--config", m.config)
	m.cmd.Stdout, m.cmd.Stderr = out, out
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.stop(syscall.SIGTERM)
		_ = out.Close()
		if text, err := os.ReadFile(m.log); err == nil && (t.Failed() || strings.Contains(string(text), "DATA RACE")) {
			t.Errorf("log of %s:\n%s", m.name, text[max(0, len(text)-6000):])
		}
	})
}

func (m *clusterMember) stop(sig syscall.Signal) {
	if m.cmd.ProcessState != nil {
		return
	}
	_ = m.cmd.Process.Signal(sig)
	_ = m.cmd.Wait() // the signal is its exit reason
}

type memberStatus struct {
	Name, Status    string
	Coordinator     bool
	Nodes, Sessions int
}

func (c *testCluster) status(t *testing.T) map[string]memberStatus {
	t.Helper()
	r := harness.Do(t, exec.CommandContext(t.Context(), filepath.Join(shared.Bin, "sekishod"),
		"cluster", "status", "--json", "--config", c.members[0].config))
	var all []memberStatus
	if err := json.Unmarshal([]byte(r.Stdout), &all); err != nil {
		t.Fatalf("cluster status: exit %d, %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	byName := map[string]memberStatus{}
	for _, m := range all {
		byName[m.Name] = m
	}
	return byName
}

// shell starts an agent, and a session on its node once every member shows it as connected.
func (c *testCluster) shell(t *testing.T) *harness.Terminal {
	t.Helper()
	node := c.balanced.StartAgent(t, "node", -1)
	for _, m := range c.members {
		m.at.AwaitConnected(t, node.NodeID, awhile)
	}
	term := harness.OpenTerminal(t, 24, 80, c.balanced.Shell(t.Context(), nil, `sekisho start-session "$1"`, node.NodeID))
	term.Expect(awhile, harness.Prompt)
	return term
}

// await waits until n members run and one of them is the coordinator.
func (c *testCluster) await(t *testing.T, n int) {
	t.Helper()
	harness.Eventually(t, awhile, func() error {
		running, coordinators := 0, 0
		for _, m := range c.status(t) {
			if m.Status == "Running" {
				running++
				if m.Coordinator {
					coordinators++
				}
			}
		}
		if running != n || coordinators != 1 {
			return fmt.Errorf("%d members run, %d coordinate", running, coordinators)
		}
		return nil
	})
}

// TestCluster uses one service through different members: the agent is on one, the clients are on others.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	m1, m2, m3 := c.members[0], c.members[1], c.members[2]
	node := m2.at.StartAgent(t, "node", -1)
	m3.at.AwaitConnected(t, node.NodeID, awhile)
	if s := c.status(t); s["m2"].Nodes != 1 || s["m1"].Nodes != 0 {
		t.Errorf("owners: %+v", s)
	}

	r := harness.Do(t, m1.at.Shell(t.Context(), nil, `sekisho exec "$1" -- sh -c 'cat; exit 7'`, node.NodeID))
	if r.Code != 7 {
		t.Errorf("exec through another member: exit %d, %q, %s", r.Code, r.Stdout, r.Stderr)
	}
	term := harness.OpenTerminal(t, 24, 80, m3.at.Shell(t.Context(), nil,
		`aws ssm start-session --target "$1" --document-name AWS-StartNonInteractiveCommand --parameters "$2"`,
		node.NodeID, `{"command":["echo over-there"]}`))
	term.Expect(awhile, "Exiting session with sessionId")
	if !strings.Contains(term.Text(), "over-there") {
		t.Errorf("AWS's plugin through another member: %q", term.Text())
	}
	for _, m := range c.members {
		r = harness.Do(t, m.at.Shell(t.Context(), nil, `id=$(aws ssm send-command --instance-ids "$1" \
			--document-name AWS-RunShellScript --parameters commands="echo ran" --query Command.CommandId --output text) &&
			aws ssm wait command-executed --command-id "$id" --instance-id "$1" &&
			aws ssm get-command-invocation --command-id "$id" --instance-id "$1" --query StandardOutputContent --output text`,
			node.NodeID))
		if r.Code != 0 || strings.TrimSpace(r.Stdout) != "ran" {
			t.Errorf("a command through %s: exit %d, %q, %s", m.name, r.Code, r.Stdout, r.Stderr)
		}
	}

	// A session that one member has begun is ended through another one.
	term = harness.OpenTerminal(t, 24, 80, m1.at.Shell(t.Context(), nil, `sekisho start-session "$1"`, node.NodeID))
	term.Expect(awhile, harness.Prompt)
	term.Send("echo session=$SEKISHO_SESSION_ID\r")
	session := term.Expect(soon, `(?m)^session=(\S+)\s*$`)[1]
	r = harness.Do(t, m3.at.Shell(t.Context(), nil, `aws ssm terminate-session --session-id "$1"`, session))
	if r.Code != 0 {
		t.Errorf("terminate-session: exit %d, %s", r.Code, r.Stderr)
	}
	term.Wait(soon)

	c.revoke(t)
}

// revoke deletes a key through one member, and waits until the others refuse it.
func (c *testCluster) revoke(t *testing.T) {
	t.Helper()
	r := harness.Do(t, c.members[0].at.Shell(t.Context(), nil, `aws iam create-user --user-name alice >&2 &&
		aws iam create-access-key --user-name alice --query 'AccessKey.[AccessKeyId,SecretAccessKey]' --output text`))
	key := strings.Fields(r.Stdout)
	if r.Code != 0 || len(key) != 2 {
		t.Fatalf("create-access-key: exit %d, %q, %s", r.Code, r.Stdout, r.Stderr)
	}
	who := func(m *clusterMember) harness.Result {
		return harness.Do(t, m.at.Shell(t.Context(), nil,
			`AWS_ACCESS_KEY_ID=$1 AWS_SECRET_ACCESS_KEY=$2 aws sts get-caller-identity`, key...))
	}
	harness.Eventually(t, soon, func() error {
		if r := who(c.members[1]); r.Code != 0 {
			return errors.New(r.Stderr)
		}
		return nil
	})
	r = harness.Do(t, c.members[0].at.Shell(t.Context(), nil,
		`aws iam delete-access-key --user-name alice --access-key-id "$1"`, key[0]))
	if r.Code != 0 {
		t.Fatalf("delete-access-key: exit %d, %s", r.Code, r.Stderr)
	}
	<-time.After(2 * time.Second) // the documented bound
	for _, m := range c.members {
		if r := who(m); r.Code == 0 || !strings.Contains(r.Stderr, "InvalidClientTokenId") {
			t.Errorf("%s accepts a deleted key: exit %d, %s", m.name, r.Code, r.Stderr)
		}
	}
}

// TestClusterLosesMembers kills the members of a running session one after the other. Each time, the session
// continues on another one, and its recording has everything that the user saw.
func TestClusterLosesMembers(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	term := c.shell(t)
	term.Send("echo session=$SEKISHO_SESSION_ID\r")
	session := term.Expect(soon, `(?m)^session=(\S+)\s*$`)[1]
	for round, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		owner := ""
		for name, m := range c.status(t) {
			if m.Sessions == 1 && m.Status == "Running" {
				owner = name
			}
		}
		for _, m := range c.members {
			if m.name != owner {
				continue
			}
			<-time.After(2 * time.Second) // what was printed is in the store of recordings by now
			m.stop(sig)
			term.Send(fmt.Sprintf("echo after''-%d\r", round))
			term.Expect(2*awhile, fmt.Sprintf(`(?m)^after-%d\s*$`, round))
			m.start(t)
			c.await(t, len(c.members))
		}
		if owner == "" {
			t.Fatalf("the session has no owner: %+v", c.status(t))
		}
	}
	term.Send("exit\r")
	if code := term.Wait(soon); code != 0 {
		t.Errorf("the session ended with exit code %d", code)
	}
	harness.Eventually(t, awhile, func() error {
		r := harness.Do(t, c.balanced.Shell(t.Context(), nil, `sekisho replay --speed 10000 --idle-limit 1ms "$1"`, session))
		for _, want := range []string{"after-0", "after-1"} {
			if !strings.Contains(r.Stdout, want) {
				return fmt.Errorf("the recording lacks %s: exit %d\n%s%s", want, r.Code, r.Stdout, r.Stderr)
			}
		}
		return nil
	})
}

// TestClusterLosesTheDatabase: while the database is away, no member decides on state that it cannot confirm. When the
// database is back, the session continues.
func TestClusterLosesTheDatabase(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	term := c.shell(t)
	if err := c.database.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, m := range c.members { // TestBoundOfStaleness tests the bound
		harness.Eventually(t, awhile, func() error {
			r := harness.Do(t, m.at.Shell(t.Context(), nil, `AWS_MAX_ATTEMPTS=1 aws sts get-caller-identity`))
			if r.Code == 0 || !strings.Contains(r.Stderr, "ServiceUnavailable") {
				return fmt.Errorf("%s answers without the database: exit %d, %s%s", m.name, r.Code, r.Stdout, r.Stderr)
			}
			return nil
		})
	}
	if err := c.database.Start(); err != nil {
		t.Fatal(err)
	}
	c.await(t, len(c.members))
	term.Send("echo aga''in\r")
	term.Expect(2*awhile, `(?m)^again\s*$`)
	term.Send("exit\r")
	if code := term.Wait(soon); code != 0 {
		t.Errorf("the session ended with exit code %d", code)
	}
}

// TestClusterDocs runs the commands of docs/cluster.md, with other paths and an address of its own.
func TestClusterDocs(t *testing.T) {
	t.Parallel()
	page, err := docs.Parse("..", "docs/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, b := range page.Blocks {
		if b.Kind == docs.Test && b.Arg == t.Name() {
			blocks = append(blocks, b.Text)
		}
	}
	if len(blocks) != 2 {
		t.Fatalf("the page has %d blocks for this test, want 2", len(blocks))
	}
	database := pgtest.Start(t)
	if err := database.Exec(t.Context(), "postgres", "CREATE DATABASE sekisho"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	b := make([]byte, 2)
	_, _ = rand.Read(b) // never fails
	ip := fmt.Sprintf("127.%d.%d.2", 100+b[0]%100, b[1])
	chain, key, _ := issue(t, filepath.Join(dir, "ca"), "cluster", ip)
	writeFiles(t, map[string]string{
		filepath.Join(dir, "cert.pem"): string(chain), filepath.Join(dir, "key.pem"): string(key),
	})
	out, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	run := func(block string) {
		t.Helper()
		cmd := exec.Command("sh", "-ec", strings.NewReplacer("/srv/sekisho", filepath.Join(dir, "srv"), "127.0.0.1", ip,
			"postgres://sekisho@localhost/sekisho", database.URL("sekisho")).Replace(block))
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
		cmd.Env = append(os.Environ(), "PATH="+shared.Bin+":"+os.Getenv("PATH"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the group of the members that it starts
		err := cmd.Run()
		t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) })
		if err != nil {
			text, _ := os.ReadFile(out.Name())
			t.Fatalf("%s\n%v\n%s", block, err, text)
		}
	}
	run(blocks[0])
	harness.Eventually(t, awhile, func() error {
		text, err := os.ReadFile(out.Name())
		if err == nil && !strings.Contains(string(text), "first administrator's credentials") {
			err = errors.New("the account is being created")
		}
		return err
	})
	run(blocks[1])
	c := &testCluster{}
	c.members[0] = &clusterMember{config: filepath.Join(dir, "m1.yaml")}
	c.await(t, 3)
}
