package harness

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Agent is a sekisho-agent in its own process, registered with an activation.
type Agent struct {
	NodeID string
	Pid    int

	dir  string
	run  func() (*process, error)
	proc *process
}

// StartAgent creates an activation with the aws CLI, registers an agent with
// it and runs it as the user uid (the test's own if negative). It returns when
// the server reports that the node is connected. metadata is the metadata of
// the activation, as Key=…,Value=…
func (s *Server) StartAgent(t testing.TB, name string, uid int, metadata ...string) *Agent {
	t.Helper()
	script := `aws ssm create-activation --iam-role service-role/AmazonEC2RunCommandRoleForManagedInstances --output ` +
		`json --default-instance-name "$@"`
	args := []string{name}
	if len(metadata) > 0 {
		args = append(append(args, "--registration-metadata"), metadata...)
	}
	r := Do(t, s.Shell(t.Context(), nil, script, args...))
	var activation struct {
		ID   string `json:"ActivationId"`
		Code string `json:"ActivationCode"`
	}
	if err := json.Unmarshal([]byte(r.Stdout), &activation); err != nil || r.Code != 0 {
		t.Fatalf("create-activation: exit %d, %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	env, err := s.Env()
	if err != nil {
		t.Fatal(err)
	}

	// Everything the agent needs is copied to where its user may read it: the
	// clone and the server's folder may be closed to other users.
	//nolint:usetesting // other users cannot enter the folder above t.TempDir
	dir, err := os.MkdirTemp("", "sekisho-agent-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	a := &Agent{dir: dir}
	state, home := filepath.Join(dir, "state"), filepath.Join(dir, "home")
	program, ca := filepath.Join(dir, "sekisho-agent"), filepath.Join(dir, "ca.pem")
	if err := errors.Join(
		os.Chmod(dir, 0o755),
		os.Mkdir(state, 0o700),
		os.Mkdir(home, 0o755),
		copyFile(program, filepath.Join(s.Bin, "sekisho-agent"), 0o755),
		copyFile(ca, env["SSL_CERT_FILE"], 0o644),
	); err != nil {
		t.Fatal(err)
	}
	attr := &syscall.SysProcAttr{}
	if uid >= 0 {
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid), NoSetGroups: os.Geteuid() != 0}
		if err := errors.Join(os.Chown(state, uid, uid), os.Chown(home, uid, uid)); err != nil {
			t.Fatal(err)
		}
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(program, args...)
		cmd.Dir = dir
		cmd.Env = baseEnv(home)
		cmd.SysProcAttr = attr
		return cmd
	}

	register := command(
		"register",
		"--state",
		state,
		"--endpoint",
		cmp.Or(s.AgentEndpoint, env["AWS_ENDPOINT_URL"]),
		"--region",
		env["AWS_REGION"],
		"--activation-id",
		activation.ID,
		"--activation-code",
		activation.Code,
		"--ca",
		ca,
	)
	r = Do(t, register)
	if a.NodeID = strings.TrimSpace(r.Stdout); r.Code != 0 ||
		!strings.HasPrefix(a.NodeID, "mi-") && !strings.HasPrefix(a.NodeID, "i-") {
		t.Fatalf("sekisho-agent register: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	a.run = func() (*process, error) {
		return startProcess(command("run", "--state", state), filepath.Join(dir, "log"))
	}
	a.Run(t)
	t.Cleanup(func() {
		a.Kill()
		log, err := os.ReadFile(filepath.Join(dir, "log"))
		if t.Failed() || err != nil {
			t.Logf("log of agent %s: %v\n%s", name, err, tail(log, 40))
		}
		if bytes.Contains(log, []byte("WARNING: DATA RACE")) {
			t.Errorf("agent %s reported a data race:\n%s", name, tail(log, 200))
		}
	})

	s.AwaitConnected(t, a.NodeID, 30*time.Second)
	return a
}

// AwaitConnected waits until the server reports the node as connected.
func (s *Server) AwaitConnected(t testing.TB, node string, limit time.Duration) {
	t.Helper()
	Eventually(t, limit, func() error {
		r := Do(
			t,
			s.Shell(t.Context(), nil, `aws ssm get-connection-status --target "$1" --query Status --output text`, node),
		)
		if status := strings.TrimSpace(r.Stdout); r.Code != 0 || status != "connected" {
			return fmt.Errorf("connection status of %s: exit %d, %q %s", node, r.Code, status, r.Stderr)
		}
		return nil
	})
}

// Run starts the agent, or restarts it after it has ended.
func (a *Agent) Run(t testing.TB) {
	t.Helper()
	var err error
	if a.proc, err = a.run(); err != nil {
		t.Fatal(err)
	}
	a.Pid = a.proc.cmd.Process.Pid
}

// Kill ends the agent like a crash.
func (a *Agent) Kill() { _ = a.proc.stop(syscall.SIGKILL) }

// Stop ends the agent as a service manager does.
func (a *Agent) Stop(t testing.TB) {
	t.Helper()
	if err := a.proc.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// Alive reports whether the agent's process still runs.
func (a *Agent) Alive() bool {
	select {
	case <-a.proc.done:
		return false
	default:
		return true
	}
}

// Sockets counts the sockets of a process, according to /proc.
type Sockets struct {
	Listening   []string // addresses and paths it accepts connections or datagrams on
	Established int      // TCP connections
}

// SocketsOf reads the sockets of a process and of all its descendants.
func SocketsOf(pid int) (Sockets, error) {
	var found Sockets
	inodes := make(map[string]bool)
	for _, p := range descendants(pid) {
		fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p))
		if err != nil {
			return found, err
		}
		for _, fd := range fds {
			target, err := os.Readlink(fd)
			if err != nil {
				continue // closed meanwhile
			}
			if inode, ok := strings.CutPrefix(target, "socket:["); ok {
				inodes[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6", "raw", "raw6"} {
		rows, err := procTable(pid, table)
		if err != nil {
			return found, err
		}
		for _, f := range rows {
			if len(f) < 10 || !inodes[f[9]] {
				continue
			}
			switch state := f[3]; {
			case strings.HasPrefix(table, "tcp") && state == "0A":
				found.Listening = append(found.Listening, table+" "+f[1])
			case strings.HasPrefix(table, "tcp") && state == "01":
				found.Established++
			case !strings.HasPrefix(table, "tcp") && state != "01": // a bound socket without a peer
				found.Listening = append(found.Listening, table+" "+f[1])
			}
		}
	}
	rows, err := procTable(pid, "unix")
	if err != nil {
		return found, err
	}
	const acceptsConnections = 0x10000
	for _, f := range rows {
		if len(f) < 7 || !inodes[f[6]] {
			continue
		}
		if flags, err := strconv.ParseUint(f[3], 16, 64); err == nil && flags&acceptsConnections != 0 {
			found.Listening = append(found.Listening, "unix "+strings.Join(f[7:], " "))
		}
	}
	return found, nil
}

// procTable returns the rows of /proc/PID/net/NAME, split into fields.
func procTable(pid int, name string) ([][]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // this kernel has no such protocol
	}
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for line := range strings.SplitSeq(string(text), "\n") {
		rows = append(rows, strings.Fields(line))
	}
	return rows[1:], nil
}

// descendants returns pid and all processes below it.
func descendants(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		for _, list := range lists {
			text, _ := os.ReadFile(list)
			for child := range strings.FieldsSeq(string(text)) {
				if n, err := strconv.Atoi(child); err == nil {
					all = append(all, n)
				}
			}
		}
	}
	return all
}

func copyFile(to, from string, mode os.FileMode) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		return errors.Join(err, dst.Close())
	}
	// Set the mode regardless of the umask: another user must read it.
	return errors.Join(dst.Close(), os.Chmod(to, mode))
}
