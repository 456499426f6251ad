package noninteractive_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/agent/agenttest"
	"sekisho/internal/agent/noninteractive"
	"sekisho/internal/agent/plugin"
	"sekisho/internal/wire/mgs"
)

func sh(script string) *exec.Cmd {
	return &exec.Cmd{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Dir: "/", Env: []string{"PATH=/usr/bin:/bin"}}
}

// run runs a script to its end.
func run(t *testing.T, c *noninteractive.Command) (*agenttest.Stream, error) {
	t.Helper()
	s := agenttest.NewStream(t)
	c.Log = slog.New(slog.DiscardHandler)
	return s, c.Run(t.Context(), s)
}

func TestOutput(t *testing.T) {
	t.Parallel()
	const script = "echo out; echo err >&2; cat; test -t 0 || echo blind; exit 5"
	for _, tt := range []struct {
		name           string
		c              noninteractive.Command
		out, err, exit string
	}{
		{"separate", noninteractive.Command{Separate: true}, "out\nblind\n", "err\n", "EXIT_CODE: 5"},
		{"together", noninteractive.Command{}, "out\nerr\nblind\n", "", ""},
	} {
		tt.c.Exec = sh(script)
		s, err := run(t, &tt.c)
		if out, stderr, exit := s.Text(mgs.PayloadOutput), s.Text(mgs.PayloadStdErr),
			s.Text(mgs.PayloadExitCode); err != nil ||
			out != tt.out ||
			stderr != tt.err ||
			exit != tt.exit {
			t.Errorf("%s: %q, %q, %q, %v", tt.name, out, stderr, exit, err)
		}
	}
}

// TestPrefixes: each chunk that begins a line has the prefix of its stream.
func TestPrefixes(t *testing.T) {
	t.Parallel()
	s, err := run(
		t,
		&noninteractive.Command{
			Exec:      sh("printf 'one line'; printf 'problem\\n' >&2"),
			Separate:  true,
			OutPrefix: "O:",
			ErrPrefix: "E:",
		},
	)
	if out, stderr := s.Text(mgs.PayloadOutput), s.Text(mgs.PayloadStdErr); err != nil || out != "O:one line" ||
		stderr != "E:problem\n" {
		t.Errorf("%q, %q, %v", out, stderr, err)
	}
}

func TestSignals(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{"\x03": "EXIT_CODE: 130", "a\x1cb": "EXIT_CODE: 131"} {
		s := agenttest.NewStream(t)
		c := &noninteractive.Command{
			Exec:     sh("ulimit -c 0; echo ready; exec sleep 1000"),
			Separate: true,
			Log:      slog.New(slog.DiscardHandler),
		}
		done := make(chan error, 1)
		go func() { done <- c.Run(t.Context(), s) }()
		s.Await(mgs.PayloadOutput, "the start", func(out string) bool { return out != "" })
		s.Give(mgs.PayloadOutput, "no signal")
		s.Give(mgs.PayloadOutput, key)
		if err := <-done; err != nil || s.Text(mgs.PayloadExitCode) != want {
			t.Errorf("%q: %q, %v", key, s.Text(mgs.PayloadExitCode), err)
		}
	}
}

// TestEnds: when the client, the stream or the session ends, the command and
// its children end.
func TestEnds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		end  func(s *agenttest.Stream, cancel context.CancelCauseFunc)
		want error
	}{
		"flag": {func(s *agenttest.Stream, _ context.CancelCauseFunc) { s.Flag(mgs.FlagTerminateSession) },
			plugin.ErrTerminate},
		"stream":  {func(s *agenttest.Stream, _ context.CancelCauseFunc) { s.End() }, agenttest.ErrEnded},
		"session": {func(_ *agenttest.Stream, c context.CancelCauseFunc) { c(errors.ErrUnsupported) }, errors.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := agenttest.NewStream(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			c := &noninteractive.Command{Exec: sh("sleep 1000 & echo $!; wait"), Log: slog.New(slog.DiscardHandler)}
			done := make(chan error, 1)
			go func() { done <- c.Run(ctx, s) }()
			text := s.Await(
				mgs.PayloadOutput,
				"the child",
				func(out string) bool { return strings.HasSuffix(out, "\n") },
			)
			pid, err := strconv.Atoi(strings.TrimSpace(text))
			if err != nil {
				t.Fatal(err)
			}
			tt.end(s, cancel)
			if err := <-done; !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			// Its new parent may not have reaped it yet.
			if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil &&
				!strings.Contains(string(stat), ") Z ") {
				t.Errorf("the child is still running: %s", stat)
			}
		})
	}
}

// TestLeftBehind: a daemon that keeps the output open does not keep the
// session open, and output written before the end arrives.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	s, err := run(t, &noninteractive.Command{Exec: sh("trap '' HUP; sleep 60 & echo $!"), Separate: true})
	pid, aerr := strconv.Atoi(strings.TrimSpace(s.Text(mgs.PayloadOutput)))
	if err != nil || aerr != nil || s.Text(mgs.PayloadExitCode) != "EXIT_CODE: 0" {
		t.Fatalf("%v, %v, %q", err, aerr, s.Text(mgs.PayloadExitCode))
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error("the background process was killed")
	}
}

func TestNotStarted(t *testing.T) {
	t.Parallel()
	s, err := run(
		t,
		&noninteractive.Command{
			Exec:     &exec.Cmd{Path: "/does/not/exist", Args: []string{"x"}, Dir: "/"},
			Separate: true,
		},
	)
	if err == nil || !strings.Contains(err.Error(), `"/does/not/exist"`) ||
		s.Text(mgs.PayloadExitCode) != "EXIT_CODE: 127" {
		t.Errorf("%v, %q", err, s.Text(mgs.PayloadExitCode))
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]string{
		`ls -l`:                     {"ls", "-l"},
		"  a \t b\nc ":              {"a", "b", "c"},
		`a 'b c' "d e"f`:            {"a", "b c", "d ef"},
		`a\ b "c\"d" 'e\f' "\$x\y"`: {"a b", `c"d`, `e\f`, `$x\y`},
		`a '' ""`:                   {"a", "", ""},
		`a $(b) ; c | d > e`:        {"a", "$(b)", ";", "c", "|", "d", ">", "e"},
		"a # b\nc#d":                {"a", "c#d"},
		"é '日本'":                    {"é", "日本"},
		"":                          nil, "  ": nil, "'a": nil, `"a`: nil, `a\`: nil, "# only": nil,
	} {
		got, err := noninteractive.Split(line)
		if diff := cmp.Diff(want, got); diff != "" || (err == nil) != (want != nil) {
			t.Errorf("%q: %v\n%s", line, err, diff)
		}
	}
}

// FuzzSplit: quoted words are split into the same words again.
func FuzzSplit(f *testing.F) {
	f.Add("a", "b c", "'\"\\")
	f.Add("", "\n", "$(x)`y`")
	f.Add("é", "#", "-")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		words := []string{a, b, c}
		line := ""
		for _, w := range words {
			if strings.ToValidUTF8(w, "") != w {
				t.Skip()
			}
			line += " '" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		got, err := noninteractive.Split(line)
		if diff := cmp.Diff(words, got); diff != "" || err != nil {
			t.Errorf("%q: %v\n%s", line, err, diff)
		}
	})
}
