package servertest_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"sekisho/internal/cli"
	"sekisho/internal/servertest"
)

// command is the sekisho command of one user, with a home directory.
type command struct {
	t   *testing.T
	env map[string]string
}

func newCommand(t *testing.T, s *servertest.Server) *command {
	t.Helper()
	home := t.TempDir()
	ca := filepath.Join(home, "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate()})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return &command{t, map[string]string{"HOME": home, "AWS_CA_BUNDLE": ca, "AWS_REGION": servertest.Region}}
}

// run returns the exit code, standard output and standard error.
func (c *command) run(input string, args ...string) (code int, out, errOut string) {
	c.t.Helper()
	dir := c.t.TempDir()
	files := make([]*os.File, 3)
	for i, name := range []string{"in", "out", "err"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(input), 0o600); err != nil {
			c.t.Fatal(err)
		}
		input = ""
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
		if err != nil {
			c.t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		files[i] = f
	}
	std := cli.Streams{In: files[0], Out: files[1], Err: files[2], Getenv: func(k string) string { return c.env[k] }}
	code = cli.Main(c.t.Context(), std, append([]string{"sekisho"}, args...))
	texts := make([]string, 2)
	for i, name := range []string{"out", "err"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			c.t.Fatal(err)
		}
		texts[i] = string(b)
	}
	return code, texts[0], texts[1]
}

// A user signs in with a password and a code, and needs no access key.
func TestLoginWithPasswordAndCode(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.User("alice", servertest.Allow("*", "ssm:DescribeInstanceInformation"))
	_, err := s.Directory.Logins.Create(t.Context(), "alice", password, false)
	must(t, err)
	secret := enrolTOTP(t, s, "alice")
	code := func() string {
		// The codes of enrolment are used up.
		text, err := totp.GenerateCode(secret, time.Now().Add(30*time.Second))
		must(t, err)
		return text
	}

	c := newCommand(t, s)
	if exit, _, text := c.run("", "whoami"); exit == 0 {
		t.Errorf("whoami before login: %s", text)
	}
	if exit, _, text := c.run("wrong\n", "login", s.URL, "--user", "alice"); exit != 4 {
		t.Errorf("a wrong password: exit code %d: %s", exit, text)
	}
	if exit, _, text := c.run(password+"\n"+code()+"\n", "login", s.URL, "--user", "alice", "--name", "test"); exit != 0 ||
		!strings.Contains(text, "user/alice") {
		t.Fatalf("login: exit code %d: %s", exit, text)
	}
	file := filepath.Join(c.env["HOME"], ".sekisho", "contexts.json")
	st, err := os.Stat(file)
	must(t, err)
	if st.Mode().Perm() != 0o600 {
		t.Errorf("the file of the credentials has the mode %v", st.Mode())
	}
	text, err := os.ReadFile(file)
	must(t, err)
	if strings.Contains(string(text), password) {
		t.Error("the password was stored")
	}
	delete(c.env, "AWS_CA_BUNDLE") // the context has the certificate
	if exit, out, text := c.run("", "whoami", "-o", "json"); exit != 0 || !strings.Contains(out, ":user/alice\"") {
		t.Errorf("whoami: exit code %d: %s%s", exit, out, text)
	}
	if exit, _, text := c.run("", "nodes"); exit != 0 {
		t.Errorf("nodes: exit code %d: %s", exit, text)
	}
	if exit, out, text := c.run("", "contexts"); exit != 0 || !strings.Contains(out, "test") ||
		strings.Contains(out, "ASIA") {
		t.Errorf("contexts: exit code %d: %s%s", exit, out, text)
	}
	exit, out, _ := c.run("", "credentials")
	var process struct {
		Version      int
		SessionToken string
	}
	if err := json.Unmarshal([]byte(out), &process); exit != 0 || err != nil || process.Version != 1 ||
		process.SessionToken == "" {
		t.Errorf("credentials: exit code %d, %v", exit, err)
	}
	if e := s.Events("GetSessionToken"); len(e) == 0 || e[0].ErrorCode != "" {
		t.Errorf("the audit trail has %+v", e)
	}
	if exit, _, _ = c.run("", "logout"); exit != 0 {
		t.Errorf("logout: exit code %d", exit)
	}
	if exit, _, text := c.run("", "nodes"); exit != 4 || !strings.Contains(text, "sekisho login") {
		t.Errorf("after logout: exit code %d: %s", exit, text)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if exit, _, text := c.run("", "nodes"); exit == 0 || !strings.Contains(text, "chmod 600") {
		t.Errorf("a file that others can read: exit code %d: %s", exit, text)
	}
}

// The second factor of the sign-in satisfies policies that require one.
func TestLoginKeepsTheSecondFactor(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.User(
		"alice",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:DescribeInstanceInformation","Resource":"*",
		"Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}}]}`,
	)
	_, err := s.Directory.Logins.Create(t.Context(), "alice", password, false)
	must(t, err)
	c := newCommand(t, s)
	if exit, _, text := c.run(password+"\n", "login", s.URL, "--user", "alice"); exit != 0 {
		t.Fatalf("login: exit code %d: %s", exit, text)
	}
	if exit, _, _ := c.run("", "nodes"); exit != 4 {
		t.Errorf("without a second factor: exit code %d", exit)
	}
	secret := enrolTOTP(t, s, "alice")
	code, err := totp.GenerateCode(secret, time.Now().Add(30*time.Second))
	must(t, err)
	if exit, _, text := c.run(password+"\n"+code+"\n", "login", s.URL, "--user", "alice"); exit != 0 {
		t.Fatalf("login: exit code %d: %s", exit, text)
	}
	if exit, _, text := c.run("", "nodes"); exit != 0 {
		t.Errorf("with a second factor: exit code %d: %s", exit, text)
	}
}

// enrolTOTP gives a user an authenticator app and returns its secret.
func enrolTOTP(t *testing.T, s *servertest.Server, user string) string {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	device, err := s.Directory.MFA.Create(ctx, "/", user, nil)
	must(t, err)
	var codes [2]string
	for i := range codes {
		codes[i], err = totp.GenerateCode(device.Seed, time.Now().Add(time.Duration(i-1)*30*time.Second))
		must(t, err)
	}
	must(t, s.Directory.MFA.Enable(ctx, user, device.Serial, codes[0], codes[1]))
	return device.Seed
}
