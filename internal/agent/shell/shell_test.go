package shell_test

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sekisho/internal/agent/shell"
	"sekisho/internal/wire/mgs"
)

// stream is a client that the test controls.
type stream struct {
	in chan []byte // the client's input
	// sent is called for each Send and may block.
	sent func(ctx context.Context, p []byte) error
}

func (s *stream) Send(ctx context.Context, pt mgs.PayloadType, p []byte) error {
	if pt != mgs.PayloadOutput {
		return errors.New("not output")
	}
	return s.sent(ctx, p)
}

func (s *stream) Receive(ctx context.Context) (mgs.PayloadType, []byte, error) {
	select {
	case b, ok := <-s.in:
		if !ok {
			return 0, nil, errors.New("the stream is closed")
		}
		return mgs.PayloadOutput, b, nil
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
}

// A shell reports its exit code only to clients that support it.
func TestExitCode(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]int{"exit 7": 7, "exit 0": 0, "kill -TERM $$": 128 + 15} {
		codes := &exitCodes{
			stream: stream{in: make(chan []byte), sent: func(context.Context, []byte) error { return nil }},
		}
		sh := newShell(script)
		within(t, "the shell", func() {
			if err := sh.Run(t.Context(), codes); err != nil || len(codes.got) != 0 {
				t.Errorf("%q: codes %v, %v, though nobody asked", script, codes.got, err)
			}
		})
		sh = newShell(script)
		sh.ReportExit = true
		within(t, "the shell", func() {
			if err := sh.Run(t.Context(), codes); err != nil || !slices.Equal(codes.got, []int{want}) {
				t.Errorf("%q: codes %v, %v; want %d", script, codes.got, err, want)
			}
		})
	}
}

// exitCodes is a stream that accepts exit codes.
type exitCodes struct {
	stream
	got []int
}

func (s *exitCodes) Send(ctx context.Context, pt mgs.PayloadType, p []byte) error {
	if pt != mgs.PayloadExitCode {
		return s.stream.Send(ctx, pt, p)
	}
	code, err := mgs.ParseExitCode(p)
	s.got = append(s.got, code)
	return err
}

func newShell(script string) *shell.Shell {
	return &shell.Shell{
		Command: exec.Command("/bin/sh", "-c", script),
		User:    "alice",
		Size:    mgs.Size{Cols: 80, Rows: 24},
		Log:     slog.New(slog.DiscardHandler),
	}
}

// within fails the test if do takes longer than any user would wait.
func within(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	timer := time.NewTimer(20 * time.Second)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		t.Fatalf("%s does not end", what)
	}
}

// TestCharactersStayWhole: only the last payload may end within a character.
func TestCharactersStayWhole(t *testing.T) {
	t.Parallel()
	var all []string
	s := &stream{in: make(chan []byte), sent: func(_ context.Context, p []byte) error {
		all = append(all, string(p))
		return nil
	}}
	// é in two writes, Latin-1 in the middle, and an incomplete character at
	// the end.
	sh := newShell(`stty -opost; printf 'a\303'; sleep 0.2; printf '\251b\351c\342\202'`)
	within(t, "the shell", func() {
		if err := sh.Run(t.Context(), s); err != nil {
			t.Error(err)
		}
	})
	if got := strings.Join(all, ""); got != "a\u00e9b\xe9c\xe2\x82" {
		t.Errorf("got %q", got)
	}
	for i, p := range all[:len(all)-1] {
		if strings.HasSuffix(p, "\xc3") {
			t.Errorf("payload %d of %q ends within a character", i, all)
		}
	}
}

// TestStalledClient: a client stops reading. Memory stays small, and the
// session can be ended.
func TestStalledClient(t *testing.T) {
	t.Parallel()
	took := make(chan int, 1)
	s := &stream{in: make(chan []byte), sent: func(ctx context.Context, p []byte) error {
		took <- len(p)
		<-ctx.Done()
		return ctx.Err()
	}}
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := errors.New("ended by the test")
	go func() {
		<-took
		cancel(ended)
	}()
	within(t, "the session", func() {
		if err := newShell("yes").Run(ctx, s); !errors.Is(err, ended) {
			t.Errorf("got %v", err)
		}
	})
}

// TestProgramThatDoesNotRead: a client pastes more than a terminal holds for a
// program that reads nothing.
func TestProgramThatDoesNotRead(t *testing.T) {
	t.Parallel()
	ready := make(chan struct{})
	var once sync.Once
	s := &stream{in: make(chan []byte), sent: func(context.Context, []byte) error {
		once.Do(func() { close(ready) })
		return nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-ready
		for range 3 { // the last one is accepted only once the first is written, which never happens
			select {
			case s.in <- []byte(strings.Repeat("x", 1<<20)):
			case <-time.After(300 * time.Millisecond):
			}
		}
		cancel()
	}()
	within(t, "the session", func() {
		if err := newShell("stty raw -echo; echo ready; exec sleep 1000").Run(ctx, s); !errors.Is(
			err,
			context.Canceled,
		) {
			t.Errorf("got %v", err)
		}
	})
}

func TestClosedStreamEndsTheShell(t *testing.T) {
	t.Parallel()
	s := &stream{in: make(chan []byte), sent: func(context.Context, []byte) error { return nil }}
	close(s.in)
	within(t, "the session", func() {
		if err := newShell("sleep 1000").Run(t.Context(), s); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("got %v", err)
		}
	})
}

// TestBackgroundJobsDoNotHoldTheSession: exit ends the session although a job
// still has the terminal open.
func TestBackgroundJobsDoNotHoldTheSession(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := &stream{in: make(chan []byte), sent: func(_ context.Context, p []byte) error {
		out.Write(p)
		return nil
	}}
	within(t, "the session", func() {
		if err := newShell(`(trap '' HUP; exec sleep 15) & echo last words`).Run(t.Context(), s); err != nil {
			t.Error(err)
		}
	})
	if out.String() != "last words\r\n" {
		t.Errorf("got %q", out.String())
	}
}
