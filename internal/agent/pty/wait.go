package pty

import (
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// Wait is cmd.Wait for a program that may run long. A plain Wait holds an
// operating-system thread for as long as the program runs, and Go keeps the
// thread for ever: an agent with hundreds of sessions would have hundreds. Here
// the end of the program is polled for, as on a socket.
func Wait(cmd *exec.Cmd) error {
	awaitExit(cmd.Process.Pid)
	return cmd.Wait()
}

// awaitExit returns when the child pid has ended, or at once where the kernel
// cannot say so.
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
	// Read calls the function again each time the descriptor becomes readable,
	// which a process descriptor does when its process ends.
	_ = raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return err != nil && err != unix.EINTR || n > 0
	})
}
