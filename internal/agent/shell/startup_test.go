package shell_test

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sekisho/internal/agent/agenttest"
	"sekisho/internal/agent/runas"
	"sekisho/internal/agent/shell"
	"sekisho/internal/wire/mgs"
)

// open starts a shell as a session would and returns its stream.
func open(t *testing.T, path string, st shell.Startup, files map[string]string) (s *agenttest.Stream, wait func()) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no %s here", path)
	}
	home := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	u := runas.User{Name: "alice", Home: home, Shell: path}
	st.Fallback = "mi-0123456789abcdef0"
	cmd, typed, err := st.Shell(&runas.Host{UID: 1}, u, "TERM=dumb") // the IDs of the test's own user
	if err != nil {
		t.Fatal(err)
	}
	s = agenttest.NewStream(t)
	done := make(chan error, 1)
	go func() {
		sh := &shell.Shell{
			Command: cmd,
			User:    "alice",
			Size:    mgs.Size{Cols: 200, Rows: 24},
			Type:    typed,
			Log:     slog.New(slog.DiscardHandler),
		}
		done <- sh.Run(t.Context(), s)
	}()
	return s, func() {
		t.Helper()
		s.Give(mgs.PayloadOutput, "exit\r")
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func awaitMatch(t *testing.T, s *agenttest.Stream, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	return s.Await(mgs.PayloadOutput, pattern, re.MatchString)
}

// The prompt has the user name that the shell knows.
const anyUser = `\[[a-z0-9_-]+@`

// TestPrompt: the first prompt is the node's, after the user's own profile and
// without output before it. A tag value is never executed.
func TestPrompt(t *testing.T) {
	t.Parallel()
	hostile := "a$(echo${IFS}RUN)`echo${IFS}RUN`\\$(id)'\"\\u"
	for _, path := range []string{"/bin/bash", "/bin/sh", "/bin/dash"} {
		for name, shown := range map[string]string{
			"MyEC2Instance": "MyEC2Instance", hostile: hostile,
			"two words": "mi-0123456789abcdef0", "東京": "mi-0123456789abcdef0", "\x1b[2J": "mi-0123456789abcdef0",
			strings.Repeat("x", 65): "mi-0123456789abcdef0",
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				t.Parallel()
				s, wait := open(t, path, shell.Startup{Login: true, Name: name}, map[string]string{
					".profile": "PS1='mine> '; MARK=profile-was-read\n", ".bash_history": "earlier command\n",
				})
				prompt := anyUser + regexp.QuoteMeta(shown) + ` ~\][$#] $`
				if got := awaitMatch(t, s, prompt); !regexp.MustCompile(`^` + prompt).MatchString(got) {
					t.Errorf("the first prompt is %q", got)
				}
				s.Give(
					mgs.PayloadOutput,
					"cd /usr/lib; echo $0 $MARK ${ENV-unset} ${POSIXLY_CORRECT-unset}; ls /proc/self/fd | tr '\\n' ' '\r",
				)
				base := filepath.Base(path)
				got := awaitMatch(
					t,
					s,
					`\r\n-`+base+` profile-was-read unset unset\r\n0 1 2 3 `+`[^\n]*`+anyUser+regexp.QuoteMeta(
						shown,
					)+` lib\][$#] $`,
				)
				if strings.Contains(got, "RUN ") || strings.Contains(got, "RUN]") || strings.Contains(got, "uid=") {
					t.Errorf("the shell executed the name: %q", got)
				}
				if path == "/bin/bash" {
					s.Give(mgs.PayloadOutput, "shopt login_shell; history | head -3; echo $HISTFILE\r")
					got = awaitMatch(t, s, `\.bash_history\r\n`)
					if !regexp.MustCompile(`login_shell\s+on\r\n\s+1  earlier command\r\n\s+2  cd /usr/lib`).
						MatchString(got) {
						t.Errorf("not a login shell with its history: %q", got)
					}
				}
				wait()
			})
		}
	}
}

// TestProfile: the commands of the document run once, without output, before
// the first prompt and in the shell itself. A mistake in them has no other
// effect.
func TestProfile(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/bin/bash", "/bin/sh", "/bin/dash"} {
		for _, login := range []bool{true, false} {
			s, wait := open(
				t,
				path,
				shell.Startup{Login: login, Profile: "x='it''s '$((40+2))\necho \"first $x\"\ncd /usr"},
				nil,
			)
			got := awaitMatch(t, s, `[$#] $`)
			if !strings.HasPrefix(got, "first its 42\r\n") || strings.Contains(got, "echo") ||
				strings.Count(got, "first") != 1 {
				t.Errorf("%s: %q", path, got)
			}
			s.Give(mgs.PayloadOutput, "echo $PWD,$x\r")
			awaitMatch(t, s, `\r\n/usr,its 42\r\n`)
			wait()
		}
		s, wait := open(t, path, shell.Startup{Login: true, Name: "node", Profile: "if then )"}, nil)
		awaitMatch(t, s, anyUser+`node ~\][$#] $`)
		wait()
	}
}

// TestPlainShell: without a prompt and a profile nothing is typed. Without a
// login shell it is sh.
func TestPlainShell(t *testing.T) {
	t.Parallel()
	users := &runas.Host{UID: 1}
	u := runas.User{Name: "alice", Home: "/", Shell: "/bin/bash"}
	for _, tt := range []struct {
		st    shell.Startup
		shell string
		args  string
		typed string
		path  string
	}{
		{shell.Startup{Login: true}, "/bin/bash", "-bash", "", "bash"},
		{shell.Startup{Login: true, Profile: " \n"}, "/bin/bash", "-bash", "", "bash"},
		{shell.Startup{}, "/bin/bash", "sh", "", "sh"},
		{shell.Startup{Login: true, Name: "n", Profile: "date"}, "/usr/sbin/nologin", "-nologin", "date\n", "nologin"},
		{shell.Startup{Login: true, Name: "n", Profile: "date"}, "/bin/tcsh", "-tcsh", "date\n", "tcsh"},
	} {
		u.Shell = tt.shell
		cmd, typed, err := tt.st.Shell(users, u)
		if err != nil || strings.Join(cmd.Args, " ") != tt.args || typed != tt.typed ||
			filepath.Base(cmd.Path) != tt.path ||
			len(cmd.ExtraFiles) > 0 ||
			hasEnv(cmd, "ENV=") {
			t.Errorf("%+v with %s: %q %q, types %q, %v", tt.st, tt.shell, cmd.Path, cmd.Args, typed, err)
		}
	}
	u.Shell = "/usr/bin/zsh"
	cmd, typed, err := (&shell.Startup{Login: true, Name: "web-1.a", Fallback: "mi-1"}).Shell(users, u)
	if err != nil || typed != "" || !hasEnv(cmd, "PS1=[%n@web-1.a %1~]%# ") {
		t.Errorf("zsh: %q, %v", cmd.Env, err)
	}
	if cmd, _, err = (&shell.Startup{Login: true, Name: "a$(id)", Fallback: "mi-1"}).Shell(users, u); err != nil ||
		!hasEnv(cmd, "PS1=[%n@mi-1 ") {
		t.Errorf("zsh: %q, %v", cmd.Env, err)
	}
	u.Shell = "/usr/bin/fish"
	if cmd, _, err = (&shell.Startup{Login: true, Name: `a'$(x)\`, Profile: "date"}).Shell(users, u); err != nil ||
		len(cmd.Args) != 3 ||
		!strings.Contains(cmd.Args[2], `'a\'$(x)\\'`) {
		t.Errorf("fish: %q, %v", cmd.Args, err)
	}
}

func hasEnv(cmd *exec.Cmd, prefix string) bool {
	for _, e := range cmd.Env {
		if strings.HasPrefix(e, prefix) {
			return true
		}
	}
	return false
}
