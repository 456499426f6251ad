package pty

import (
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// Wait is cmd.Wait for a long-running program. A plain Wait blocks an operating-system thread while
// the program runs, and Go never releases the thread: an agent with hundreds of sessions would have
// hundreds. Wait uses the network poller instead.
func Wait(cmd *exec.Cmd) error {
	awaitExit(cmd.Process.Pid)
	return cmd.Wait()
}

// awaitExit returns when the child pid has exited, or immediately if the kernel does not support
// waiting like this.
func awaitExit(pid int) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return // a kernel before 5.10
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	// Read calls the function again each time the descriptor becomes readable, which a process
	// descriptor does when its process exits.
	_ = raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return err != nil && err != unix.EINTR || n > 0
	})
}
