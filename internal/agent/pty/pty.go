// Package pty runs a process on a new pseudo-terminal. It is the only importer of the PTY library.
//
// The process leads a new session with the PTY as its controlling terminal. It inherits no other
// open file.
package pty

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// KillDelay is the time between the hang-up and killing the remaining processes.
const KillDelay = 5 * time.Second

// Process is a running process and the master side of its terminal. Read and
// Write may be called concurrently with everything else.
type Process struct {
	master *os.File
	cmd    *exec.Cmd
	exited chan struct{} // closed once the process has been waited for
	state  *os.ProcessState
}

// Start starts cmd, whose standard files must be unset, on a new terminal of the given size, owned
// by the user of cmd.
func Start(cmd *exec.Cmd, cols, rows uint16) (*Process, error) {
	master, tty, err := open()
	if err != nil {
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	defer tty.Close()
	p := &Process{master: master, cmd: cmd, exited: make(chan struct{})}
	if err := p.start(tty, cols, rows); err != nil {
		master.Close()
		return nil, err
	}
	go func() {
		defer close(p.exited)
		_ = Wait(cmd) // the result is in ProcessState
		p.state = cmd.ProcessState
	}()
	return p, nil
}

func (p *Process) start(tty *os.File, cols, rows uint16) error {
	if cols > 0 && rows > 0 {
		if err := p.Resize(cols, rows); err != nil {
			return err
		}
	}
	attr := p.cmd.SysProcAttr
	if attr == nil {
		attr = &syscall.SysProcAttr{}
		p.cmd.SysProcAttr = attr
	}
	if c := attr.Credential; c != nil {
		// As login does. Otherwise the user could not reopen their own tty
		// by path, which screen, gpg and others do.
		if err := errors.Join(tty.Chmod(0o620), chownTTY(tty, int(c.Uid))); err != nil {
			return fmt.Errorf("give the terminal to its user: %w", err)
		}
	}
	attr.Setsid, attr.Setctty, attr.Ctty = true, true, 0
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = tty, tty, tty
	if err := ShutInherited(); err != nil {
		return err
	}
	return p.cmd.Start()
}

func chownTTY(tty *os.File, uid int) error {
	return control(tty, func(fd int) error { return unix.Fchown(fd, uid, -1) })
}

// open returns both sides of a new terminal. The master is non-blocking, so that Close and
// deadlines interrupt a Read.
func open() (master, tty *os.File, err error) {
	m, tty, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	// The library has switched the descriptor to blocking mode, which an os.File cannot undo: hence
	// a new one.
	fd, err := unix.FcntlInt(m.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	m.Close()
	if err == nil {
		if err = unix.SetNonblock(fd, true); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		tty.Close()
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd), "ptmx"), tty, nil
}

// ShutInherited sets close-on-exec on the files that this process inherited. Go sets
// it on all files that it opens.
func ShutInherited() error {
	err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	entries, err := os.ReadDir("/proc/self/fd") // kernels before 5.11
	if err != nil {
		return fmt.Errorf("list open files: %w", err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// Read reads the process's output. After the process has exited, it returns io.EOF or another
// error.
func (p *Process) Read(b []byte) (int, error) { return p.master.Read(b) }

// Write sends b as input to the terminal.
func (p *Process) Write(b []byte) (int, error) { return p.master.Write(b) }

// SetReadDeadline sets the deadline of Read.
func (p *Process) SetReadDeadline(t time.Time) error { return p.master.SetReadDeadline(t) }

// Resize sets the size of the terminal. The kernel notifies its foreground processes.
func (p *Process) Resize(cols, rows uint16) error {
	return control(p.master, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows})
	})
}

// Echoes reports whether input is shown on the terminal. A program that reads keys one by one,
// such as a shell with line editing, shows them itself, so only a terminal that reads lines
// without echo counts as silent.
func (p *Process) Echoes() bool {
	echoes := true
	err := control(p.master, func(fd int) error {
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil {
			echoes = t.Lflag&unix.ECHO != 0 || t.Lflag&unix.ICANON == 0
		}
		return err
	})
	return err != nil || echoes
}

func control(f *os.File, do func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// Exited returns a channel that is closed when the process has exited.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// ExitCode returns the exit code of an ended process: as with shells, 128 and
// the signal's number if a signal ended it.
func (p *Process) ExitCode() int {
	<-p.exited
	if status, ok := p.state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return p.state.ExitCode()
}

// PID returns the process ID, which is also its session ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Close closes the terminal, which hangs up the processes that still use it.
func (p *Process) Close() error { return p.master.Close() }

// End ends the process and all others of its session, like [EndSession], and closes the terminal.
func (p *Process) End(ctx context.Context) {
	hangUp(p.PID())
	p.Close()
	awaitEnd(ctx, p.PID(), p.exited)
}

// EndSession ends every process of session sid: it hangs them up, and kills those that remain after
// [KillDelay]. It returns when the session's leader has exited, which closes exited. When ctx ends,
// it kills immediately.
func EndSession(ctx context.Context, sid int, exited <-chan struct{}) {
	hangUp(sid)
	awaitEnd(ctx, sid, exited)
}

func hangUp(sid int) {
	signalSession(sid, syscall.SIGHUP)
	// A stopped process handles the hang-up only after it is continued.
	signalSession(sid, syscall.SIGCONT)
}

func awaitEnd(ctx context.Context, sid int, exited <-chan struct{}) {
	t := time.NewTimer(KillDelay)
	defer t.Stop()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for waiting := true; waiting && len(members(sid)) > 0; {
		select {
		case <-poll.C:
		case <-t.C:
			waiting = false
		case <-ctx.Done():
			waiting = false
		}
	}
	// Processes forked meanwhile are found in the next round.
	for range 100 {
		if !signalSession(sid, syscall.SIGKILL) {
			break
		}
		select {
		case <-poll.C:
		case <-exited:
		}
	}
	<-exited
}

// Signal signals the processes of session sid that are still in the group of
// its leader.
func Signal(sid int, sig syscall.Signal) error { return syscall.Kill(-sid, sig) }

// signalSession signals every process of session sid and reports whether there was any.
func signalSession(sid int, sig syscall.Signal) bool {
	pids := members(sid)
	for _, pid := range pids {
		signalMember(pid, sid, sig)
	}
	return len(pids) > 0
}

// signalMember signals pid if it still belongs to session sid. It takes the process
// handle before the check, so that the signal cannot reach another process that
// reuses the ID.
func signalMember(pid, sid int, sig syscall.Signal) {
	h, err := os.FindProcess(pid)
	if err != nil {
		return
	}
	defer func() { _ = h.Release() }()
	if b, err := os.ReadFile(statPath(pid)); err != nil {
		return
	} else if _, ok := memberOf(b, sid); ok {
		_ = h.Signal(sig) // it may be gone by now
	}
}

func statPath(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/stat" }

// members lists the living processes of session sid. An interactive shell puts each job into its
// own process group, so signalling one group would miss most.
func members(sid int) []int {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	var pids []int
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if pid, ok := memberOf(b, sid); ok {
			pids = append(pids, pid)
		}
	}
	return pids
}

// memberOf parses "PID (NAME) STATE PPID PGRP SESSION …", where NAME can contain anything.
func memberOf(stat []byte, sid int) (pid int, ok bool) {
	first, rest, ok := bytes.Cut(stat, []byte(" ("))
	end := bytes.LastIndexByte(rest, ')')
	if !ok || end < 0 {
		return 0, false
	}
	f := bytes.Fields(rest[end+1:])
	if len(f) < 4 || string(f[3]) != strconv.Itoa(sid) || string(f[0]) == "Z" || string(f[0]) == "X" {
		return 0, false
	}
	pid, err := strconv.Atoi(string(first))
	return pid, err == nil && pid > 1
}
