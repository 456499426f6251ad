package pty_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sekisho/internal/agent/pty"
)

func start(t *testing.T, script string) *pty.Process {
	t.Helper()
	p, err := pty.Start(exec.Command("/bin/sh", "-c", script), 100, 40)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		p.End(ctx)
	})
	return p
}

// all reads the terminal to its end.
func all(t *testing.T, p *pty.Process) string {
	t.Helper()
	if err := p.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(p)
	if err != nil && !errors.Is(err, syscall.EIO) {
		t.Fatalf("read: %v (got %q)", err, b)
	}
	return string(b)
}

func TestProcessHasTheTerminal(t *testing.T) {
	t.Parallel()
	p := start(t, `stty size; tty; ls /proc/self/fd | tr '\n' ' '; ps -o sid= -o tpgid= -p $$ | tr -s ' '; exit 3`)
	lines := strings.Split(strings.ReplaceAll(all(t, p), "\r", ""), "\n")
	if len(lines) < 3 || lines[0] != "40 100" || !strings.HasPrefix(lines[1], "/dev/pts/") {
		t.Fatalf("got %q", lines)
	}
	// 3 is the directory that ls itself reads.
	if got := lines[2]; !strings.HasPrefix(got, "0 1 2 3 ") || strings.HasPrefix(got, "0 1 2 3 4") {
		t.Errorf("open files and session: %q", got)
	}
	if got := p.ExitCode(); got != 3 {
		t.Errorf("exit code %d", got)
	}
}

func TestInheritedFilesAreNotPassedOn(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	fd, err := syscall.Dup(int(r.Fd())) // without close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	p := start(t, "ls -l /proc/self/fd")
	if got := all(t, p); strings.Contains(got, "pipe:") {
		t.Errorf("the child inherited the pipe: %s", got)
	}
}

func TestResizeReachesTheProgram(t *testing.T) {
	t.Parallel()
	p := start(t, `trap 'stty size; exit' WINCH; echo ready; while :; do read x; done`)
	r := bufio.NewReader(p)
	if line, err := r.ReadString('\n'); err != nil || line != "ready\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if err := p.Resize(77, 22); err != nil {
		t.Fatal(err)
	}
	if line, err := r.ReadString('\n'); err != nil || line != "22 77\r\n" {
		t.Errorf("%q, %v", line, err)
	}
}

func TestOutputBeforeExitIsKept(t *testing.T) {
	t.Parallel()
	for range 20 {
		p := start(t, `i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done`)
		if got := all(t, p); strings.Count(got, "\n") != 200 || !strings.HasSuffix(got, "line 199\r\n") {
			t.Fatalf("%d lines, ending %q", strings.Count(got, "\n"), got[max(0, len(got)-20):])
		}
		p.End(t.Context())
	}
}

func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// TestEndReachesEveryProcess has a job in its own process group that ignores
// SIGHUP.
func TestEndReachesEveryProcess(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(
		"/bin/bash",
		"-c",
		`set -m; (trap '' HUP TERM; while :; do sleep 100; done) & echo $!; trap '' HUP; while :; do sleep 100; done`,
	)
	p, err := pty.Start(cmd, 80, 24)
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(p).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	job, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if !alive(job) {
		t.Fatal("the job does not run")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // skips the delay
	p.End(ctx)
	if alive(job) || alive(p.PID()) {
		t.Errorf("still running: job %v, leader %v", alive(job), alive(p.PID()))
	}
}

func TestEndSendsSIGHUPFirst(t *testing.T) {
	t.Parallel()
	mark := t.TempDir() + "/hup"
	// Under nohup a shell would find SIGHUP ignored, and could set no trap.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	// It waits without children: dash may lose a trap for a signal that
	// arrives while it starts one.
	cmd := exec.Command(
		"/bin/sh",
		"-c",
		`trap 'echo bye >"$MARK"; exit' HUP; echo ready; while :; do read -r never; done`,
	)
	cmd.Env = append(os.Environ(), "MARK="+mark)
	p, err := pty.Start(cmd, 80, 24)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(p).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	p.End(t.Context())
	if b, err := os.ReadFile(mark); err != nil || string(b) != "bye\n" {
		t.Errorf("the hang-up was not seen: %q, %v", b, err)
	}
}

func TestTerminalBelongsToItsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	t.Parallel()
	cmd := exec.Command("/bin/sh", "-c", `stat -c %u:%a $(tty) && : <>$(tty) && echo opened`)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: 54321}}
	p, err := pty.Start(cmd, 80, 24)
	if err != nil {
		t.Fatal(err)
	}
	if got := all(t, p); got != "54321:620\r\nopened\r\n" {
		t.Errorf("got %q", got)
	}
	p.End(t.Context())
}
