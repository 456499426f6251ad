package exec_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	osexec "os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sekisho/internal/agent/exec"
	"sekisho/internal/agent/plugin"
	"sekisho/internal/wire/mgs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type message struct {
	pt mgs.PayloadType
	b  []byte
}

// stream is a client.
type stream struct {
	in   chan message
	got  map[mgs.PayloadType]*bytes.Buffer
	out  chan message
	last mgs.PayloadType
}

func (s *stream) Send(ctx context.Context, pt mgs.PayloadType, p []byte) error {
	select {
	case s.out <- message{pt, bytes.Clone(p)}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *stream) Receive(ctx context.Context) (mgs.PayloadType, []byte, error) {
	select {
	case m := <-s.in:
		return m.pt, m.b, nil
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
}

// run runs a script with /bin/sh and the client's input.
func run(t *testing.T, data mgs.PayloadType, script string, input ...message) (*stream, error) {
	t.Helper()
	return runCommand(t, data, osexec.Command("/bin/sh", "-c", script), input...)
}

func runCommand(t *testing.T, data mgs.PayloadType, cmd *osexec.Cmd, input ...message) (*stream, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s := &stream{in: make(chan message, len(input)), out: make(chan message), got: map[mgs.PayloadType]*bytes.Buffer{}}
	for _, m := range input {
		s.in <- m
	}
	done := make(chan error, 1)
	go func() {
		p := &exec.Program{Command: cmd, Data: data, Log: slog.New(slog.DiscardHandler)}
		done <- p.Run(ctx, s)
		close(s.out)
	}()
	for m := range s.out {
		if s.got[m.pt] == nil {
			s.got[m.pt] = new(bytes.Buffer)
		}
		s.got[m.pt].Write(m.b)
		s.last = m.pt
	}
	return s, <-done
}

func (s *stream) text(pt mgs.PayloadType) string {
	if s.got[pt] == nil {
		return ""
	}
	return s.got[pt].String()
}

var endOfInput = message{mgs.PayloadFlag, mgs.FlagDisconnectToPort.Bytes()}

func input(s string) message { return message{mgs.PayloadOutput, []byte(s)} }

func TestStreamsApart(t *testing.T) {
	t.Parallel()
	binary := "\x00\xff\x1b[2J\r\n\x04\x03"
	s, err := run(t, 0, `cat; echo problem >&2; exit 7`, input(binary), input("more"), endOfInput)
	if err != nil {
		t.Fatal(err)
	}
	if s.text(mgs.PayloadOutput) != binary+"more" || s.text(mgs.PayloadStdErr) != "problem\n" ||
		s.text(mgs.PayloadExitCode) != "EXIT_CODE: 7" ||
		s.last != mgs.PayloadExitCode {
		t.Errorf("%v", s.got)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]string{
		"true":                        "EXIT_CODE: 0",
		"exit 255":                    "EXIT_CODE: 255",
		"kill -TERM $$":               "EXIT_CODE: 143",
		"exec 0<&- 1>&- 2>&-; exit 3": "EXIT_CODE: 3",
		"sleep 1000 & exit 4":         "EXIT_CODE: 4", // the process it leaves behind holds its output
	} {
		s, err := run(t, 0, script+"\n")
		if err != nil || s.text(mgs.PayloadExitCode) != want {
			t.Errorf("%s: %q, %v", script, s.text(mgs.PayloadExitCode), err)
		}
	}
	s, err := runCommand(t, 0, osexec.Command("/no/such/program"))
	if err != nil || s.text(mgs.PayloadExitCode) != "EXIT_CODE: 127" ||
		!strings.Contains(s.text(mgs.PayloadStdErr), "no such file") {
		t.Errorf("%v, %v", s.got, err)
	}
}

func TestOtherData(t *testing.T) {
	t.Parallel()
	s, err := run(t, mgs.PayloadCopy, "cat", input("not this"), message{mgs.PayloadCopy, []byte("this")}, endOfInput)
	if err != nil || s.text(mgs.PayloadCopy) != "this" || s.text(mgs.PayloadOutput) != "" {
		t.Errorf("%v, %v", s.got, err)
	}
}

func TestLargeOutput(t *testing.T) {
	t.Parallel()
	s, err := run(t, 0, "seq 1 200000; seq 1 200000 >&2")
	if err != nil || len(s.text(mgs.PayloadOutput)) != 1288895 ||
		s.text(mgs.PayloadOutput) != s.text(mgs.PayloadStdErr) {
		t.Errorf("%d and %d bytes, %v", len(s.text(mgs.PayloadOutput)), len(s.text(mgs.PayloadStdErr)), err)
	}
}

func TestTerminate(t *testing.T) {
	t.Parallel()
	_, err := run(
		t,
		0,
		"trap '' TERM; sleep 1000; sleep 1000",
		message{mgs.PayloadFlag, mgs.FlagTerminateSession.Bytes()},
	)
	if !errors.Is(err, plugin.ErrTerminate) {
		t.Errorf("%v", err)
	}
}
