package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"sekisho"
	"sekisho/e2e/harness"
	"sekisho/internal/session/record"
)

// TestShell tests the main purpose: a working shell through AWS's own
// programs.
func TestShell(t *testing.T) {
	t.Parallel()
	eachCLI(t, func(t *testing.T, path []string) {
		term, id := startSession(t, shared, path, 37, 113, env(t, shared)["SEKISHO_TARGET"])

		// The very first command: the size arrived before the first keystroke.
		term.Send("stty size\r")
		term.Expect(soon, `(?m)^37 113$`)
		term.Expect(soon, harness.Prompt)

		// The input differs from the output, so that its echo is not mistaken
		// for the output.
		term.Send("echo he''llo from \"th\"ere\r")
		term.Expect(soon, `(?m)^hello from there$`)
		term.Expect(soon, harness.Prompt)

		// An agent that runs as root starts the shell as ssm-user, never as
		// root.
		name := "ssm-user"
		if os.Getuid() != 0 {
			u, err := user.Current()
			if err != nil {
				t.Fatal(err)
			}
			name = u.Username
		}
		term.Send("echo i=$(id -un)\r")
		term.Expect(soon, `(?m)^i=`+name+`$`)
		term.Expect(soon, harness.Prompt)

		term.Send(`printf '\033[1;31mred\033[0m \033[38;2;1;22;133mtrue\033[m \342\226\210 \343\201\202\n'` + "\r")
		term.Expect(soon, `(?m)^red true █ あ$`)
		want := []byte("\x1b[1;31mred\x1b[0m \x1b[38;2;1;22;133mtrue\x1b[m \u2588 \u3042")
		if !bytes.Contains(term.Raw(), want) {
			t.Errorf("colours did not pass unchanged: want %q in %q", want, term.Raw())
		}
		term.Expect(soon, harness.Prompt)

		term.Resize(51, 140)
		harness.Eventually(t, soon, func() error {
			term.Send("stty size\r")
			size := term.Expect(soon, `(?m)^(\d+ \d+)$`)[1]
			term.Expect(soon, harness.Prompt)
			if size != "51 140" {
				return fmt.Errorf("stty says %s", size)
			}
			return nil
		})

		// The process that prints the message is already in the terminal's foreground.
		// Before that, Ctrl-C would only reach the waiting shell.
		term.Send("(echo go''ing; exec sleep 100)\r")
		term.Expect(soon, `(?m)^going$`)
		term.Send("\x03")
		term.Expect(soon, harness.Prompt)
		term.Send("echo st''atus=$?\r")
		term.Expect(soon, `(?m)^status=130$`)
		term.Expect(soon, harness.Prompt)

		term.Send("exit\r")
		term.Expect(soon, `Exiting session with sessionId: `+id)
		if code := term.Wait(soon); code != 0 {
			t.Errorf("aws exits with %d", code)
		}
	})
}

// TestLargeOutput moves a megabyte and more through the session and counts it.
func TestLargeOutput(t *testing.T) {
	t.Parallel()
	term, _ := startSession(t, shared, nil, 24, 80, env(t, shared)["SEKISHO_TARGET"])
	const lines = 100000
	term.Send(fmt.Sprintf("seq 1 %d; echo do''ne\r", lines))
	term.Expect(awhile, `(?m)^done$`)
	text := term.Text()
	var want strings.Builder
	for i := 1; i <= lines; i++ {
		fmt.Fprintf(&want, "%d\n", i)
	}
	if !strings.Contains(text, want.String()) {
		t.Errorf("the numbers 1 to %d did not arrive whole and in order (%d bytes arrived)", lines, len(text))
	}
}

// TestSessionIsKept checks the data that the server keeps of a session.
func TestSessionIsKept(t *testing.T) {
	t.Parallel()
	target := env(t, shared)["SEKISHO_TARGET"]
	term, id := startSession(t, shared, nil, 30, 100, target)

	describe := func(state string) string {
		t.Helper()
		r := harness.Do(t, shared.Shell(
			t.Context(),
			nil,
			`aws ssm describe-sessions --state "$1" --filters "key=SessionId,value=$2" --output text --query `+
				`'Sessions[].[SessionId,Target,Status,Owner]'`,
			state,
			id,
		))
		if r.Code != 0 {
			t.Fatalf("describe-sessions: exit %d: %s", r.Code, r.Stderr)
		}
		return strings.TrimSpace(r.Stdout)
	}
	active := strings.Fields(describe("Active"))
	if len(active) != 4 || active[0] != id || active[1] != target || active[2] != "Connected" ||
		!strings.HasPrefix(active[3], "arn:aws:") {
		t.Errorf("describe-sessions Active says %q", active)
	}

	term.Send("echo unfor''gettable\r")
	term.Expect(soon, `(?m)^unforgettable$`)
	term.Send("exit\r")
	term.Expect(soon, `Exiting session`)
	term.Wait(soon)

	harness.Eventually(t, soon, func() error {
		if got := strings.Fields(describe("History")); len(got) != 4 || got[2] != "Terminated" {
			return fmt.Errorf("describe-sessions History says %q", got)
		}
		return nil
	})
	if got := describe("Active"); got != "" {
		t.Errorf("an ended session is still active: %q", got)
	}

	replay(t, shared, id, "unforgettable")
	verify(t, shared, id)
}

// TestJoin: a second terminal joins a running session and types into it. Both
// show the same, and the recording says who typed.
func TestJoin(t *testing.T) {
	t.Parallel()
	owner, id := startSession(t, shared, nil, 30, 100, env(t, shared)["SEKISHO_TARGET"])
	owner.Send("echo before''hand\r")
	owner.Expect(soon, `(?m)^beforehand$`)
	joined := harness.OpenTerminal(t, 30, 100, shared.Shell(t.Context(), nil, `sekisho join "$1"`, id))
	joined.Expect(soon, `You joined`)
	joined.Expect(soon, `beforehand`) // the current screen
	joined.Send("echo from''bob\r")
	owner.Expect(soon, `(?m)^frombob$`)
	joined.Expect(soon, `frombob`)
	joined.Send("\r~.")
	if code := joined.Wait(soon); code != 0 {
		t.Errorf("join ended with exit code %d", code)
	}
	owner.Send("exit\r")
	owner.Wait(soon)
	harness.Eventually(t, soon, func() error {
		r := harness.Do(t, shared.Shell(t.Context(), nil, `sekisho replay --speed 1000 "$1"`, id))
		if r.Code != 0 || !strings.Contains(r.Stderr, "typed by arn:aws:") {
			return fmt.Errorf("replay: exit %d, %q", r.Code, r.Stderr)
		}
		return nil
	})
	verify(t, shared, id)
}

// replay plays the recording of a session and expects text in its output.
func replay(t *testing.T, s *harness.Server, id, text string) {
	t.Helper()
	harness.Eventually(t, soon, func() error {
		r := harness.Do(t, s.Shell(t.Context(), nil, `sekisho replay --speed 1000 "$1"`, id))
		if r.Code != 0 {
			return fmt.Errorf("sekisho replay: exit %d: %s", r.Code, r.Stderr)
		}
		if !strings.Contains(r.Stdout, text) {
			return fmt.Errorf("the recording does not hold %q: %q", text, r.Stdout)
		}
		return nil
	})
}

// verify checks a recording with only its files and the public keys, as an
// auditor without a server would, and that a changed byte is detected.
func verify(t *testing.T, s *harness.Server, id string) {
	t.Helper()
	recordings := filepath.Join(s.Data, "recordings")
	pems, err := filepath.Glob(filepath.Join(recordings, "keys", "*.pem"))
	if err != nil || len(pems) == 0 {
		t.Fatalf("no public keys of recordings (%v)", err)
	}
	var text []byte
	for _, name := range pems {
		pem, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, pem...)
	}
	keys, err := record.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := filepath.Glob(filepath.Join(recordings, "*", "*", id))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("recordings of %s: %v, %v", id, dirs, err)
	}
	if _, err := record.Verify(os.DirFS(dirs[0]), keys, sekisho.SessionID(id)); err != nil {
		t.Errorf("the recording does not verify: %v", err)
	}
	forged := t.TempDir()
	if err := os.CopyFS(forged, os.DirFS(dirs[0])); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(forged, record.MainFile)
	if text, err = os.ReadFile(name); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("unforgettable")) {
		t.Error("the recording is not encrypted")
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := record.Verify(os.DirFS(forged), keys, sekisho.SessionID(id)); err == nil {
		t.Error("a forged recording verifies")
	}
}

// TestOwnClient opens a shell with our own client.
func TestOwnClient(t *testing.T) {
	t.Parallel()
	term := harness.OpenTerminal(t, 41, 99, shared.Shell(t.Context(), nil, `sekisho start-session "$SEKISHO_TARGET"`))
	term.Expect(awhile, harness.Prompt)
	term.Send("stty size\r")
	term.Expect(soon, `(?m)^41 99$`)
	term.Expect(soon, harness.Prompt)
	term.Send("exit\r")
	if code := term.Wait(soon); code != 0 {
		t.Errorf("sekisho start-session exits with %d", code)
	}
}
