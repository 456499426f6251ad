package runas_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sekisho"
	"sekisho/internal/agent/runas"
)

const passwd = `root:x:0:0:root:/root:/bin/bash
toor:x:0:0::/root:/bin/sh
wheel:x:1001:0::/home/wheel:/bin/sh
alice:x:1002:1002:Alice,,,:/home/alice:/usr/bin/zsh
bare:x:1003:1003:::
nobodyatall:x:4294967295:4294967295::/:/bin/sh
broken:x:12
+nis:x:1004:1004::/:/bin/sh
`

const group = `root:x:0:
alice:x:1002:
docker:x:998:bob,alice
adm:x:4:alice
broken:x
`

// machine is a Host with its own files and a runner that records its calls.
type machine struct {
	*runas.Host
	dir   string
	calls [][]string
	// answer returns the output of a program; nil means that it fails.
	answer func(args []string) ([]byte, error)
}

func newMachine(t *testing.T, uid int) *machine {
	t.Helper()
	m := &machine{dir: t.TempDir()}
	for name, content := range map[string]string{"passwd": passwd, "group": group} {
		if err := os.WriteFile(filepath.Join(m.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.Host = &runas.Host{
		Passwd: filepath.Join(m.dir, "passwd"),
		Group:  filepath.Join(m.dir, "group"),
		UID:    uid,
		Lock:   filepath.Join(m.dir, "lock"),
		Find:   func(name string) string { return "/sbin/" + name },
		Run: func(_ context.Context, path string, args ...string) ([]byte, error) {
			call := append([]string{path}, args...)
			m.calls = append(m.calls, call)
			if m.answer == nil {
				return nil, errors.New("exit status 2")
			}
			return m.answer(call)
		},
	}
	return m
}

func (m *machine) addUser(t *testing.T, line string) {
	t.Helper()
	f, err := os.OpenFile(m.Passwd, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(line + "\n"); err != nil {
		t.Fatal(err)
	}
}

func TestResolveAsRoot(t *testing.T) {
	t.Parallel()
	got, err := newMachine(t, 0).Resolve(t.Context(), "alice")
	want := runas.User{
		Name:   "alice",
		UID:    1002,
		GID:    1002,
		Groups: []uint32{998, 4},
		Home:   "/home/alice",
		Shell:  "/usr/bin/zsh",
	}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	got, err = newMachine(t, 0).Resolve(t.Context(), "bare")
	want = runas.User{Name: "bare", UID: 1003, GID: 1003, Home: "/", Shell: "/bin/sh"}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestResolveRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		wanted string
		code   sekisho.Code
		says   string // part of the message
	}{
		{"root", sekisho.CodeDenied, `"root"`},
		{"toor", sekisho.CodeDenied, "user ID 0"},
		{"wheel", sekisho.CodeDenied, "group ID 0"},
		{"mallory", sekisho.CodeNotFound, `"mallory"`},
		{"nobodyatall", sekisho.CodeNotFound, `"nobodyatall"`},
		{"broken", sekisho.CodeNotFound, `"broken"`},
		{"0", sekisho.CodeInvalid, "not a valid"},
		{"1002", sekisho.CodeInvalid, "not a valid"},
		{"+nis", sekisho.CodeInvalid, "not a valid"},
		{"-alice", sekisho.CodeInvalid, "not a valid"},
		{"alice;id", sekisho.CodeInvalid, "not a valid"},
		{"$(id)", sekisho.CodeInvalid, "not a valid"},
		{"../alice", sekisho.CodeInvalid, "not a valid"},
		{"alice\x00", sekisho.CodeInvalid, "not a valid"},
		{"alice\n", sekisho.CodeInvalid, "not a valid"},
		{"alice:x", sekisho.CodeInvalid, "not a valid"},
		{" ", sekisho.CodeInvalid, "not a valid"},
		{"$", sekisho.CodeInvalid, "not a valid"},
		{strings.Repeat("a", 33), sekisho.CodeInvalid, "not a valid"},
	}
	for _, tt := range tests {
		t.Run(tt.wanted, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, 0)
			u, err := m.Resolve(t.Context(), tt.wanted)
			if sekisho.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %+v, %v; want code %q and a message with %q", u, err, tt.code, tt.says)
			}
			for _, c := range m.calls {
				if tt.code == sekisho.CodeInvalid || c[0] != "/sbin/getent" {
					t.Errorf("ran %q", c)
				}
			}
		})
	}
}

func TestDefaultUserIsCreatedIfMissing(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 0)
	m.answer = func(args []string) ([]byte, error) {
		if args[0] != "/sbin/useradd" {
			return nil, errors.New("exit status 2")
		}
		m.addUser(t, "ssm-user:x:1500:1500:Sekisho sessions:/home/ssm-user:/sbin/bash")
		return nil, nil
	}
	for range 2 {
		u, err := m.Resolve(t.Context(), "")
		if err != nil || u.Name != "ssm-user" || u.UID != 1500 {
			t.Fatalf("got %+v, %v", u, err)
		}
	}
	want := [][]string{
		{"/sbin/getent", "passwd", "ssm-user"},
		{
			"/sbin/useradd",
			"--create-home",
			"--user-group",
			"--shell",
			"/sbin/bash",
			"--comment",
			"Sekisho sessions",
			"ssm-user",
		},
	}
	if diff := cmp.Diff(want, m.calls); diff != "" {
		t.Errorf("programs run (-want +got):\n%s", diff)
	}
}

// TestDefaultUserIsCreatedOnce: sessions of several agents start at once on a
// machine without the user.
func TestDefaultUserIsCreatedOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 0)
	var made atomic.Int32
	m.Run = func(_ context.Context, path string, _ ...string) ([]byte, error) {
		if path != "/sbin/useradd" {
			return nil, errors.New("exit status 2")
		}
		f, err := os.OpenFile(m.Lock, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Error(err)
			return nil, err
		}
		defer f.Close()
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
			t.Errorf("useradd runs without the lock: %v", err)
		}
		m.addUser(t, fmt.Sprintf("ssm-user:x:%d:1500::/home/ssm-user:/bin/sh", 1500+made.Add(1)))
		return nil, nil
	}
	var all sync.WaitGroup
	for range 8 {
		other := *m.Host // created by another agent
		all.Go(func() {
			if u, err := other.Resolve(t.Context(), ""); err != nil || u.UID != 1501 {
				t.Errorf("got %+v, %v", u, err)
			}
		})
	}
	all.Wait()
	if n := made.Load(); n != 1 {
		t.Errorf("useradd ran %d times", n)
	}

	// An existing user is found without a lock.
	m.Lock = filepath.Join(m.dir, "missing", "lock")
	if u, err := m.Resolve(t.Context(), ""); err != nil || u.UID != 1501 {
		t.Errorf("without a place for the lock: %+v, %v", u, err)
	}
}

func TestDefaultUserCannotBeCreated(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 0)
	if _, err := m.Resolve(t.Context(), ""); err == nil || !strings.Contains(err.Error(), `"ssm-user" does not exist`) {
		t.Errorf("a default user that cannot be created: %v", err)
	}
	lock := m.Lock
	m.Lock = filepath.Join(m.dir, "missing", "lock")
	if _, err := m.Resolve(t.Context(), ""); sekisho.CodeOf(err) != sekisho.CodeInternal {
		t.Errorf("the lock file cannot be created: %v", err)
	}
	m.Lock = lock
	m.Find = func(string) string { return "" }
	if _, err := m.Resolve(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "no useradd") {
		t.Errorf("no useradd: %v", err)
	}
}

func TestDefaultUserThatIsRootIsRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 0)
	m.addUser(t, "ssm-user:x:0:0::/:/bin/sh")
	if _, err := m.Resolve(t.Context(), ""); sekisho.CodeOf(err) != sekisho.CodeDenied {
		t.Errorf("got %v", err)
	}
}

func TestDirectoryUser(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 0)
	m.answer = func(args []string) ([]byte, error) {
		switch args[0] {
		case "/sbin/getent":
			return []byte("carol@corp.example:*:70001:70000:Carol:/home/carol:/bin/bash\n"), nil
		case "/sbin/id":
			return []byte("70000 70005 998\n"), nil
		}
		return nil, errors.New("unexpected")
	}
	got, err := m.Resolve(t.Context(), "carol@corp.example")
	want := runas.User{
		Name:   "carol@corp.example",
		UID:    70001,
		GID:    70000,
		Groups: []uint32{70005, 998},
		Home:   "/home/carol",
		Shell:  "/bin/bash",
	}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	// An entry for another user is refused.
	if u, err := m.Resolve(t.Context(), "dave"); !sekisho.IsNotFound(err) {
		t.Errorf("asked for dave, got %+v, %v", u, err)
	}
}

func TestUnprivilegedAgentRunsSessionsAsItself(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1002)
	for _, wanted := range []string{"", "alice"} {
		if u, err := m.Resolve(t.Context(), wanted); err != nil || u.Name != "alice" || u.UID != 1002 {
			t.Errorf("wanted %q: got %+v, %v", wanted, u, err)
		}
	}
	for _, wanted := range []string{"root", "bob", "ssm-user"} {
		_, err := m.Resolve(t.Context(), wanted)
		if sekisho.CodeOf(err) != sekisho.CodeDenied || !strings.Contains(err.Error(), wanted) ||
			!strings.Contains(err.Error(), `"alice"`) {
			t.Errorf("wanted %q: got %v", wanted, err)
		}
	}
	if cred := m.LoginShell(runas.User{Name: "alice", UID: 1002, Home: "/",
		Shell: "/bin/sh"}).SysProcAttr.Credential; cred != nil {
		t.Errorf("an unprivileged agent tries to set credentials: %+v", cred)
	}
	m.calls = nil
	unknown := newMachine(t, 4242)
	if u, err := unknown.Resolve(t.Context(), ""); err != nil || u.Name != "4242" || u.Shell != "/bin/sh" {
		t.Errorf("user ID without a name: got %+v, %v", u, err)
	}
}

func TestLoginShell(t *testing.T) {
	t.Setenv("LANG", "")
	t.Setenv("SEKISHO_ACTIVATION_CODE", "secret")
	home := t.TempDir()
	m := newMachine(t, 0)
	cmd := m.LoginShell(
		runas.User{Name: "alice", UID: 1002, GID: 1003, Groups: []uint32{4}, Home: home, Shell: "/bin/bash"},
		"TERM=x",
	)
	if cmd.Path != "/bin/bash" || !cmp.Equal(cmd.Args, []string{"-bash"}) || cmd.Dir != home {
		t.Errorf("path %q args %q dir %q", cmd.Path, cmd.Args, cmd.Dir)
	}
	want := []string{
		"HOME=" + home,
		"USER=alice",
		"LOGNAME=alice",
		"SHELL=/bin/bash",
		"PATH=" + runas.Path,
		"LANG=C.UTF-8",
		"TERM=x",
	}
	if diff := cmp.Diff(want, cmd.Env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	c := cmd.SysProcAttr.Credential
	if c == nil || c.Uid != 1002 || c.Gid != 1003 || c.NoSetGroups || !cmp.Equal(c.Groups, []uint32{4}) {
		t.Errorf("credential %+v", c)
	}
	if got := m.LoginShell(runas.User{Home: home + "/gone", Shell: "/bin/sh"}).Dir; got != "/" {
		t.Errorf("directory without a home: %q", got)
	}
}

// TestRealUserChange starts a process as another user and asks the kernel for
// its identity. It changes nothing on the machine: the user is in a file of
// the test.
func TestRealUserChange(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	t.Parallel()
	m := newMachine(t, 0)
	m.addUser(t, "tester:x:54321:54322::/nonexistent:/bin/sh")
	f, err := os.OpenFile(m.Group, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("extra:x:54399:tester\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	u, err := m.Resolve(t.Context(), "tester")
	if err != nil {
		t.Fatal(err)
	}
	cmd := m.LoginShell(u)
	cmd.Args = append(cmd.Args, "-c", `echo $(id -u) $(id -ru) $(id -g) $(id -G); pwd`)
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "54321 54321 54322 54322 54399\n/\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func FuzzValidName(f *testing.F) {
	for _, s := range []string{"alice", "ssm-user", "0", "-x", "a b", "$", "a$", "../x", "é", "carol@corp.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !runas.ValidName(s) {
			return
		}
		if len(s) > 33 || strings.ContainsAny(s, " \t\n\x00:/\\;&|<>`'\"(){}*?~#!=,") || s[0] == '-' || s[0] == '.' ||
			('0' <= s[0] && s[0] <= '9') || strings.Contains(strings.TrimSuffix(s, "$"), "$") {
			t.Errorf("%q was accepted", s)
		}
	})
}
