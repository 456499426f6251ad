// Package terminal measures a terminal as the user sees it: when a prompt appears, and when
// a key is echoed.
package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/creack/pty"
)

// Contender is one way to a shell on this machine.
type Contender struct {
	Name    string
	Command func() *exec.Cmd
}

// Shell is a shell in a pseudo-terminal. Its output arrives in chunks.
type Shell struct {
	cmd    *exec.Cmd
	tty    *os.File
	output chan []byte
	shown  []byte
}

const patience = 30 * time.Second

var (
	prompt  = regexp.MustCompile(`[#$] (\x1b\[[0-9;?]*[a-zA-Z])*$`)
	waiting = []byte("wait-for-keys\r")
)

// Open starts a Contender and returns when its prompt appears.
func Open(ctx context.Context, c Contender) (*Shell, time.Duration, error) {
	cmd := c.Command()
	began := time.Now()
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		return nil, 0, err
	}
	s := &Shell{cmd: cmd, tty: tty, output: make(chan []byte, 64)}
	go func() {
		defer close(s.output)
		for {
			buf := make([]byte, 4096)
			n, err := tty.Read(buf)
			if n > 0 {
				s.output <- buf[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	if err := s.until(ctx, prompt.Match); err != nil {
		s.Kill()
		return nil, 0, err
	}
	return s, time.Since(began), nil
}

// until reads until the output satisfies done.
func (s *Shell) until(ctx context.Context, done func([]byte) bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !done(s.shown) {
		select {
		case chunk, ok := <-s.output:
			if !ok {
				return fmt.Errorf("it ended after showing %q", s.shown)
			}
			s.shown = append(s.shown, chunk...)
		case <-ctx.Done():
			return fmt.Errorf("%w; it showed %q", ctx.Err(), s.shown)
		}
	}
	s.shown = s.shown[:0]
	return nil
}

// Silence starts a program that reads and prints nothing, so that only the terminal's own
// echo answers a key.
func (s *Shell) Silence(ctx context.Context) error {
	if _, err := s.tty.WriteString("echo wait-''for-keys; cat >/dev/null\r"); err != nil {
		return err
	}
	return s.until(ctx, func(b []byte) bool { return bytes.Contains(b, waiting) })
}

// Key types one key and waits for its echo.
func (s *Shell) Key(ctx context.Context, key byte) (time.Duration, error) {
	began := time.Now()
	if _, err := s.tty.Write([]byte{key}); err != nil {
		return 0, err
	}
	err := s.until(ctx, func(b []byte) bool { return bytes.IndexByte(b, key) >= 0 })
	return time.Since(began), err
}

// End leaves the shell and waits until the client has ended.
func (s *Shell) End(ctx context.Context) error {
	if _, err := s.tty.WriteString("exit\r"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		select {
		case _, ok := <-s.output:
			if !ok {
				return nil
			}
		case <-ctx.Done():
			return errors.New("the client did not end with its shell")
		}
	}
}

// Kill ends whatever is left of the session.
func (s *Shell) Kill() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	_ = s.cmd.Wait()
	_ = s.tty.Close()
}

// Percentile returns the p-th percentile: the smallest sample that p percent do not exceed.
func Percentile(samples []time.Duration, p int) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}
