package client_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sekisho/internal/client"
	"sekisho/internal/wire/mgs"
)

// openPTY returns both ends of a pseudo terminal.
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}

func TestOpenTerminal(t *testing.T) {
	t.Parallel()
	master, slave := openPTY(t)
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 90, Row: 33}); err != nil {
		t.Fatal(err)
	}
	settings := func() unix.Termios {
		s, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return *s
	}
	before := settings()
	term, release := client.OpenTerminal(slave, slave, slave)
	defer release()
	if !term.Interactive || term.Size() != (mgs.Size{Cols: 90, Rows: 33}) {
		t.Errorf("interactive %v, size %+v", term.Interactive, term.Size())
	}
	restore, err := term.Raw()
	if err != nil {
		t.Fatal(err)
	}
	if raw := settings(); raw.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 {
		t.Errorf("local modes %#x", raw.Lflag)
	}
	restore()
	restore()
	if d := cmp.Diff(before, settings()); d != "" {
		t.Errorf("not restored (-want +got):\n%s", d)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	<-term.Resized
}

func TestOpenTerminalOnFiles(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	term, release := client.OpenTerminal(null, null, null)
	defer release()
	restore, err := term.Raw()
	if err != nil {
		t.Fatal(err)
	}
	restore()
	if term.Interactive || term.Size() != (mgs.Size{Cols: 300, Rows: 100}) {
		t.Errorf("interactive %v, size %+v", term.Interactive, term.Size())
	}
}
