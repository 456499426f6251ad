package runas

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"sekisho"
)

// DialSocket connects to a Unix socket as u, so that the socket's permissions apply
// to the user and not to the agent.
func (h *Host) DialSocket(ctx context.Context, u User, path string) (net.Conn, error) {
	if h.UID != 0 {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	if u.UID == 0 || u.GID == 0 {
		return nil, sekisho.Errorf(sekisho.CodeDenied, "refusing to connect to the socket %s as root", path)
	}
	type result struct {
		fd  int
		err error
	}
	done := make(chan result, 1)
	go func() {
		// The thread is never unlocked: it ends with the goroutine, so no other goroutine runs
		// under its IDs.
		runtime.LockOSThread()
		fd, err := connectAs(u, path)
		done <- result{fd, err}
	}()
	r := <-done
	if r.err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, r.err)
	}
	f := os.NewFile(uintptr(r.fd), path)
	defer f.Close()
	return net.FileConn(f)
}

func connectAs(u User, path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	if err = becomeThread(u); err == nil {
		// Non-blocking: if the socket's backlog is full, fail instead of waiting.
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// becomeThread sets the IDs of the calling thread only. The standard library's functions would
// change every thread.
func becomeThread(u User) error {
	groups := u.Groups
	var first unsafe.Pointer
	if len(groups) > 0 {
		first = unsafe.Pointer(&groups[0])
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0); e != 0 {
		return e
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETRESGID, uintptr(u.GID), uintptr(u.GID), uintptr(u.GID)); e != 0 {
		return e
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETRESUID, uintptr(u.UID), uintptr(u.UID), uintptr(u.UID)); e != 0 {
		return e
	}
	return nil
}
