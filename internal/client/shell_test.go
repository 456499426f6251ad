package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"sekisho/internal/client"
	"sekisho/internal/wire/mgs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const shellAction = `{"ActionType":"SessionType","ActionParameters":{"SessionType":"Standard_Stream",` +
	`"Properties":null}}`

func TestShell(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var started map[string]any
	s.override("StartSession", func(in map[string]any) any { started = in; return s.answer("StartSession") })
	p := newPerson(t, true)
	done := s.shell(t.Context(), p)

	r := s.handshake(shellAction)
	if len(r.ProcessedClientActions) != 1 || r.ProcessedClientActions[0].ActionStatus != mgs.ActionSuccess ||
		r.ClientVersion == "" {
		t.Errorf("handshake: %+v", r)
	}
	s.send(mgs.PayloadHandshakeComplete, `{"HandshakeTimeToComplete":1,"CustomerMessage":"be\u001b]0;x\u0007 good"}`)
	s.expect(mgs.PayloadSize, `{"cols":120,"rows":40}`)

	// Keys are sent unchanged, including Ctrl-C, Ctrl-Z and Ctrl-\.
	p.typeKeys(t, "ls\r\x03\x1a\x1c\n")
	s.expect(mgs.PayloadOutput, "ls\r\x03\x1a\x1c\n")
	p.resize(mgs.Size{Cols: 100, Rows: 30})
	s.expect(mgs.PayloadSize, `{"cols":100,"rows":30}`)

	s.send(mgs.PayloadOutput, "out\xff\x1b[0m")
	s.send(mgs.PayloadStdErr, "problem")
	s.send(mgs.PayloadOutput, "put")
	s.end("")
	if err := <-done; err != nil {
		t.Errorf("ended with %v", err)
	}
	if got := p.out.String(); got != "out\xff\x1b[0mput" {
		t.Errorf("stdout: %q", got)
	}
	stderr := p.err.String()
	for _, want := range []string{"Session alice-abc on mi-0.", "problem", `be\x1b]0;x\x07 good`} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr %q lacks %q", stderr, want)
		}
	}
	if p.restored != 1 {
		t.Errorf("the terminal was restored %d times", p.restored)
	}
	if want := map[string]any{"Target": "mi-0", "Reason": "test"}; !cmp.Equal(started, want) {
		t.Errorf("StartSession got %v", started)
	}
	if n := s.called("TerminateSession"); n != 0 {
		t.Errorf("a session that had ended was terminated %d times", n)
	}
}

// AWS's agent performs no handshake for a plain shell.
func TestShellWithoutHandshake(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newPerson(t, true)
	done := s.shell(t.Context(), p)
	s.send(mgs.PayloadOutput, "$ ")
	s.expect(mgs.PayloadSize, `{"cols":120,"rows":40}`)
	p.typeKeys(t, "exit\r")
	s.expect(mgs.PayloadOutput, "exit\r")
	s.end("")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := p.out.String(); got != "$ " {
		t.Errorf("stdout: %q", got)
	}
}

func TestShellReconnects(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newPerson(t, true)
	done := s.shell(t.Context(), p)
	s.send(mgs.PayloadOutput, "one ")
	s.expect(mgs.PayloadSize, `{"cols":120,"rows":40}`)
	for i := range 3 {
		s.cut()
		s.send(mgs.PayloadOutput, "more ")
		p.typeKeys(t, "k")
		s.expect(mgs.PayloadOutput, "k")
		if err := s.node.Drain(s.ctx); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	s.end("")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := p.out.String(); got != "one more more more " {
		t.Errorf("stdout: %q", got)
	}
	if !strings.Contains(p.err.String(), "reconnecting…") {
		t.Errorf("stderr: %q", p.err.String())
	}
	if n := s.called("ResumeSession"); n != 3 {
		t.Errorf("%d resumptions", n)
	}
	if n := s.called("StartSession"); n != 1 {
		t.Errorf("%d starts", n)
	}
}

// TestStartDuringARestart: the client retries the start and the stream while
// the server restarts. It does not retry refusals.
func TestStartDuringARestart(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	answers := []any{
		hangUp{}, refusal{http.StatusServiceUnavailable, "ServiceUnavailable", "starting"},
		refusal{http.StatusBadRequest, "TargetNotConnected", "mi-0 is not connected."},
	}
	s.override("StartSession", func(map[string]any) any {
		if len(answers) > 0 {
			next := answers[0]
			answers = answers[1:]
			return next
		}
		return s.answer("StartSession")
	})
	p := newPerson(t, true)
	done := s.shell(t.Context(), p)
	s.handshake(`{"ActionType":"SessionType","ActionParameters":{"SessionType":"Standard_Stream"}}`)
	s.send(mgs.PayloadHandshakeComplete, `{"HandshakeTimeToComplete":1,"CustomerMessage":""}`)
	s.end("")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := s.called("StartSession"); n != 4 {
		t.Errorf("StartSession was called %d times", n)
	}
	if !strings.Contains(p.err.String(), "unreachable") {
		t.Errorf("the user saw %q", p.err.String())
	}

	s.override("StartSession", func(map[string]any) any {
		return refusal{http.StatusBadRequest, "TargetNotConnected", "mi-0 is not connected."}
	})
	var refused *client.APIError
	if err := <-s.shell(t.Context(), newPerson(t, true)); !errors.As(err, &refused) ||
		refused.Code != "TargetNotConnected" {
		t.Errorf("got %v", err)
	}
	if n := s.called("StartSession"); n != 5 {
		t.Errorf("a refused call was repeated: %d calls", n)
	}
}

func TestShellEnds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answers map[string]func(map[string]any) any
		act     func(s *server, p *person, cancel context.CancelFunc)
		want    string
		ended   bool // by the server, so that the client does not call TerminateSession
	}{
		"for a reason": {
			act:  func(s *server, _ *person, _ context.CancelFunc) { s.end("idle for 20 minutes\x1b[2J") },
			want: `idle for 20 minutes\x1b[2J`, ended: true,
		},
		"the escape sequence": {
			act:  func(s *server, p *person, _ context.CancelFunc) { p.typeKeys(s.t, "\r~.") },
			want: "You left the session.",
		},
		"the escape sequence while disconnected": {
			answers: map[string]func(map[string]any) any{
				"ResumeSession": func(map[string]any) any { return refusal{500, "InternalServerError", ""} }},
			act:  func(s *server, p *person, _ context.CancelFunc) { s.cut(); p.typeKeys(s.t, "~.") },
			want: "You left the session.",
		},
		"a signal": {
			act:  func(_ *server, _ *person, cancel context.CancelFunc) { cancel() },
			want: "context canceled",
		},
		"while disconnected": {
			answers: map[string]func(map[string]any) any{
				"ResumeSession": func(map[string]any) any { return map[string]string{"SessionId": "alice-abc"} }},
			act:  func(s *server, _ *person, _ context.CancelFunc) { s.cut() },
			want: "The session has ended.",
		},
		"a refusal to resume": {
			answers: map[string]func(map[string]any) any{
				"ResumeSession": func(map[string]any) any { return refusal{400, "DoesNotExistException", "no such session"} }},
			act:  func(s *server, _ *person, _ context.CancelFunc) { s.cut() },
			want: "no such session",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			for op, f := range tc.answers {
				s.override(op, f)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			p := newPerson(t, true)
			done := s.shell(ctx, p)
			s.send(mgs.PayloadOutput, "$ ")
			s.expect(mgs.PayloadSize, `{"cols":120,"rows":40}`)
			tc.act(s, p, cancel)
			if err := <-done; err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("ended with %v, want %q", err, tc.want)
			}
			if p.restored != 1 {
				t.Error("the terminal was not restored")
			}
			if called := s.called("TerminateSession") == 1; called == tc.ended {
				t.Errorf("TerminateSession called: %v", called)
			}
		})
	}
}

func TestShellRefusals(t *testing.T) {
	t.Parallel()
	t.Run("start", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		s.override("StartSession", func(map[string]any) any {
			return refusal{400, "TargetNotConnected", "mi-0 is not connected."}
		})
		p := newPerson(t, true)
		err := <-s.shell(t.Context(), p)
		e, ok := errors.AsType[*client.APIError](err)
		if !ok || e.Code != "TargetNotConnected" || e.Message != "mi-0 is not connected." {
			t.Errorf("got %v", err)
		}
		if p.restored != 0 || p.out.String() != "" {
			t.Error("the terminal was touched")
		}
	})
	t.Run("unencrypted stream", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		s.override("StartSession", func(map[string]any) any {
			return map[string]string{
				"SessionId":  "alice-abc",
				"TokenValue": "t",
				"StreamUrl":  "ws://203.0.113.1/stream",
			}
		})
		if err := <-s.shell(t.Context(), newPerson(t, true)); err == nil ||
			!strings.Contains(err.Error(), "not wss://") {
			t.Errorf("got %v", err)
		}
		if s.called("TerminateSession") != 1 {
			t.Error("the session was left behind")
		}
	})
	t.Run("no stream", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		s.override("StartSession", func(map[string]any) any {
			return map[string]string{
				"SessionId":  "alice-abc",
				"TokenValue": "t",
				"StreamUrl":  "wss" + strings.TrimPrefix(s.http.URL, "https") + "/",
			}
		})
		s.override("ResumeSession", func(map[string]any) any { return refusal{503, "ServiceUnavailable", ""} })
		s.http.Config.Handler = handleOnlyAPI(s)
		if err := <-s.shell(t.Context(), newPerson(t, true)); err == nil ||
			!strings.Contains(err.Error(), "session's stream") {
			t.Errorf("got %v", err)
		}
	})
	for name, action := range map[string]string{
		"session type": `{"ActionType":"SessionType","ActionParameters":{"SessionType":"Song","Properties":{}}}`,
		"unknown":      `{"ActionType":"Dance","ActionParameters":null}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			done := s.shell(t.Context(), newPerson(t, true))
			r := s.handshake(shellAction + "," + action)
			if len(r.ProcessedClientActions) != 2 || r.ProcessedClientActions[1].ActionStatus != mgs.ActionUnsupported ||
				r.ProcessedClientActions[1].Error == "" ||
				len(r.Errors) != 1 {
				t.Errorf("%+v", r)
			}
			s.end("Handshake failed.")
			if err := <-done; err == nil || !strings.Contains(err.Error(), "Handshake failed.") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A shell may discard an end-of-file character while it starts or runs a
// command, so the client repeats it.
func TestEndOfPipedInputIsRepeated(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ input, sent string }{
		"lines":                {"~.\n", "~.\n"}, // data, not the escape
		"unfinished last line": {"exit 7", "exit 7"},
		"nothing":              {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			p := newPerson(t, false)
			done := s.shell(t.Context(), p)
			s.send(mgs.PayloadOutput, "$ ")
			s.expect(mgs.PayloadSize, `{"cols":120,"rows":40}`)
			if tc.input != "" {
				p.typeKeys(t, tc.input)
				s.expect(mgs.PayloadOutput, tc.sent)
			}
			if err := p.keys.Close(); err != nil {
				t.Fatal(err)
			}
			if tc.input == "exit 7" {
				s.expect(mgs.PayloadOutput, "\n")
			}
			for range 3 {
				s.expect(mgs.PayloadOutput, "\x04")
			}
			s.end("")
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// A session that ends without an exit code must never look like success.
func TestMissingExitCodeIsAnError(t *testing.T) {
	t.Parallel()
	t.Run("exec", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		c := s.client()
		done := make(chan error, 1)
		go func() {
			in := client.ExecInput{Target: "mi-0", Args: []string{"true"}}
			done <- c.Exec(t.Context(), in, strings.NewReader(""), io.Discard, io.Discard, client.Callbacks{})
		}()
		s.begin("4.0.0.0", "NonInteractiveCommands", `{"sekisho":["stdin"]}`)
		s.send(mgs.PayloadOutput, "begin\n")
		s.end("")
		if _, ok := errors.AsType[*client.NoExitCodeError](<-done); !ok {
			t.Error("exec reported success")
		}
	})
	for name, code := range map[string]int{"shell": -1, "shell that exits with 0": 0, "shell that exits with 7": 7} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			p := newPerson(t, true)
			done := s.shell(t.Context(), p)
			r := s.begin("4.0.0.0", "Standard_Stream", `{"sekisho":["exit-code"]}`)
			if got := string(r.ProcessedClientActions[0].ActionResult); !strings.Contains(got, `"exit-code"`) {
				t.Errorf("the client does not ask for the exit code: %s", got)
			}
			if code >= 0 {
				s.send(mgs.PayloadExitCode, string(mgs.AppendExitCode(nil, code)))
			}
			s.end("")
			err := <-done
			_, missing := errors.AsType[*client.NoExitCodeError](err)
			exit, failed := errors.AsType[*client.ExitError](err)
			if missing != (code < 0) || failed != (code > 0) || failed && exit.Code != code || code == 0 && err != nil {
				t.Errorf("exit code %d: %v", code, err)
			}
		})
	}
}

// As AWS's plugin, the client shows no exit code of a shell.
func TestJoinRequestsNoExitCode(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newPerson(t, true)
	c := s.client()
	stream := client.Stream{
		SessionID: "alice-abc", TokenValue: s.token, StreamURL: "wss" + strings.TrimPrefix(s.http.URL, "https") + "/stream",
	}
	done := make(chan error, 1)
	go func() {
		done <- c.Join(t.Context(), stream, "mi-0", p.Terminal, client.Callbacks{})
	}()
	r := s.begin("4.0.0.0", "Standard_Stream", `{"sekisho":["exit-code"]}`)
	if got := string(r.ProcessedClientActions[0].ActionResult); strings.Contains(got, `"exit-code"`) {
		t.Errorf("the client requests the exit code: %s", got)
	}
	s.end("")
	if err := <-done; err != nil {
		t.Errorf("a session without an exit code: %v", err)
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                          "",
		"Web server (é, 日本)":        "Web server (é, 日本)",
		"a\x1b[2Jb":                 `a\x1b[2Jb`,
		"a\r\nb\tc\x7f":             `a\x0d\x0ab\x09c\x7f`,
		"\u009b31m":                 `\x9b31m`,
		"right\u202eleft":           `right\u202eleft`,
		"bad\xff\xfe":               `bad\xff\xfe`,
		"zero\u200bwidth \u2028sep": `zero\u200bwidth \u2028sep`,
	} {
		if got := client.Printable(in); got != want {
			t.Errorf("%q is printed %q, want %q", in, got, want)
		}
	}
}
