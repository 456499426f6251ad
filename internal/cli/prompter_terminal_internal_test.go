//go:build linux

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A secret answer is not shown, and Ctrl-C and Ctrl-D end the prompt: a signal
// would not interrupt it.
func TestSecretPrompts(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		keys, want string
		err        error
	}{
		"an answer": {"123456\r", "123456", nil},
		"Ctrl-C":    {"12\x03", "", errInterrupted},
		"Ctrl-D":    {"\x04", "", errInterrupted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
			if err != nil {
				t.Skipf("no pseudo terminals here: %v", err)
			}
			defer func() { _ = master.Close() }()
			if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
				t.Fatal(err)
			}
			n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
			if err != nil {
				t.Fatal(err)
			}
			slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = slave.Close() }()
			type answer struct {
				text string
				err  error
			}
			answered := make(chan answer, 1)
			go func() {
				text, err := (&prompter{in: slave, out: slave}).ask("Code: ", true)
				answered <- answer{text, err}
			}()
			// The terminal is in raw mode once the question is shown.
			var shown []byte
			read := func(until string) {
				t.Helper()
				buf := make([]byte, 256)
				for !bytes.Contains(shown, []byte(until)) {
					n, err := master.Read(buf)
					if err != nil {
						t.Fatal(err)
					}
					shown = append(shown, buf[:n]...)
				}
			}
			read("Code: ")
			if _, err := master.WriteString(tt.keys); err != nil {
				t.Fatal(err)
			}
			got := <-answered
			if got.text != tt.want || !errors.Is(got.err, tt.err) {
				t.Errorf("%q, %v; want %q, %v", got.text, got.err, tt.want, tt.err)
			}
			read("\n")
			if bytes.Contains(shown, []byte("12")) {
				t.Errorf("the terminal shows %q", shown)
			}
			s, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			if err != nil || s.Lflag&unix.ECHO == 0 || s.Lflag&unix.ICANON == 0 {
				t.Errorf("the terminal was not restored: %+v, %v", s, err)
			}
		})
	}
}
