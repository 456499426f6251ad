package install_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/internal/node/install"
)

func handler(t *testing.T, cfg install.Config) *install.Handler {
	t.Helper()
	h, err := install.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(t *testing.T, h http.Handler, method, host, path string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "https://example.com"+path, nil)
	r.Host = host
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func agents(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, arch := range []string{"amd64", "arm64"} {
		if err := os.WriteFile(filepath.Join(dir, "sekisho-agent-linux-"+arch), []byte("agent for "+arch),
			0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestServed(t *testing.T) {
	t.Parallel()
	h := handler(
		t,
		install.Config{
			Dir:    agents(t),
			CA:     "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
			Region: "eu-central-1",
		},
	)
	script := get(t, h, http.MethodGet, "sekisho.example.com:8443", "/install/agent.sh").Body.String()
	sums := get(t, h, http.MethodGet, "sekisho.example.com:8443", "/install/SHA256SUMS").Body.String()
	for _, want := range []string{"set -eu", "endpoint='https://sekisho.example.com:8443'", "region='eu-central-1'",
		"-----BEGIN CERTIFICATE-----\nAAAA"} {
		if !strings.Contains(script, want) {
			t.Errorf("%q is not in the script", want)
		}
	}
	if !strings.HasSuffix(script, "\nmain \"$@\"\n") {
		t.Error("half a script would run")
	}
	if !strings.Contains(sums, fmt.Sprintf("%x  agent.sh\n", sha256.Sum256([]byte(script)))) {
		t.Errorf("the script's sum is not in\n%s", sums)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		agent := get(t, h, http.MethodGet, "h", "/install/sekisho-agent-linux-"+arch)
		sum := fmt.Sprintf("%x", sha256.Sum256(agent.Body.Bytes()))
		if agent.Code != http.StatusOK || !strings.Contains(script, sum) ||
			!strings.Contains(sums, sum+"  sekisho-agent-linux-"+arch) {
			t.Errorf("%s: %d, sum %s not announced", arch, agent.Code, sum)
		}
	}
}

// TestReplacedAgent: the server announces the checksum of a replaced agent.
func TestReplacedAgent(t *testing.T) {
	t.Parallel()
	dir := agents(t)
	h := handler(t, install.Config{Dir: dir})
	before, err := h.Offered(t.Context())
	if err != nil || len(before) != 2 {
		t.Fatalf("%v, %v", before, err)
	}
	if again, err := h.Offered(t.Context()); err != nil || again["arm64"] != before["arm64"] {
		t.Errorf("again: %v, %v", again, err)
	}
	file := filepath.Join(dir, "sekisho-agent-linux-arm64")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if gone, err := h.Offered(t.Context()); err != nil || len(gone) != 1 || gone["amd64"] == "" {
		t.Errorf("without arm64: %v, %v", gone, err)
	}
	if err := os.WriteFile(file, []byte("another agent for arm64"), 0o644); err != nil {
		t.Fatal(err)
	}
	after, err := h.Offered(t.Context())
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte("another agent for arm64"))); err != nil ||
		after["arm64"] != want ||
		after["amd64"] != before["amd64"] {
		t.Errorf("afterwards: %v, %v", after, err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	h := handler(t, install.Config{Dir: agents(t)})
	for _, tc := range []struct {
		method, host, path string
		want               int
	}{
		{http.MethodGet, "a'; rm -rf /; '", "/install/agent.sh", http.StatusBadRequest},
		{http.MethodGet, "a$(id)", "/install/agent.sh", http.StatusBadRequest},
		{http.MethodGet, "", "/install/SHA256SUMS", http.StatusBadRequest},
		{http.MethodGet, "[::1]:8443", "/install/agent.sh", http.StatusOK},
		{http.MethodHead, "h", "/install/agent.sh", http.StatusOK},
		{http.MethodPost, "h", "/install/agent.sh", http.StatusMethodNotAllowed},
		{http.MethodGet, "h", "/install/secret", http.StatusNotFound},
		{http.MethodGet, "h", "/install/../secret", http.StatusNotFound},
		{http.MethodGet, "h", "/install/", http.StatusNotFound},
		{http.MethodGet, "h", "/install/sekisho-agent-linux-mips", http.StatusNotFound},
	} {
		if got := get(t, h, tc.method, tc.host, tc.path).Code; got != tc.want {
			t.Errorf("%s %q %s: %d, want %d", tc.method, tc.host, tc.path, got, tc.want)
		}
	}
	if _, err := install.New(install.Config{CA: "'"}); err == nil {
		t.Error("a CA that ends its quotes was accepted")
	}
	none := handler(t, install.Config{Dir: t.TempDir()})
	if got := get(t, none, http.MethodGet, "h", "/install/sekisho-agent-linux-amd64"); got.Code != http.StatusNotFound {
		t.Errorf("an agent that is not there: %d", got.Code)
	}
}

// The script is valid shell code, and refuses to run as another user than
// root.
func TestScript(t *testing.T) {
	t.Parallel()
	script := get(
		t,
		handler(t, install.Config{Dir: agents(t), Region: "us-east-1"}),
		http.MethodGet,
		"127.0.0.1:1",
		"/install/agent.sh",
	).Body.String()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "id"), []byte("#!/bin/sh\necho 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh")
	cmd.Stdin = strings.NewReader(script)
	cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH")}
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "must run as root") {
		t.Errorf("%v: %s", err, out)
	}
	half := exec.CommandContext(t.Context(), "sh")
	half.Stdin = strings.NewReader(strings.TrimSuffix(script, "main \"$@\"\n"))
	half.Env = cmd.Env
	if out, err := half.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("half a script did something: %v, %s", err, out)
	}
}

// The unit that the script writes is the one in the packages, except for the
// path of the program.
func TestUnit(t *testing.T) {
	t.Parallel()
	packaged, err := os.ReadFile("../../../packaging/sekisho-agent/sekisho-agent.service")
	if err != nil {
		t.Fatal(err)
	}
	script := get(t, handler(t, install.Config{Dir: agents(t)}), http.MethodGet, "h", "/install/agent.sh").Body.String()
	_, unit, _ := strings.Cut(script, "<<'UNIT'\n")
	unit, _, ok := strings.Cut(unit, "UNIT\n")
	settings := func(text string) string {
		var keep []string
		for line := range strings.SplitSeq(text, "\n") {
			if line != "" && !strings.HasPrefix(line, "#") {
				keep = append(keep, line)
			}
		}
		return strings.Join(keep, "\n")
	}
	if got, want := settings(unit), settings(strings.Replace(string(packaged), "/usr/bin/", "/usr/local/bin/", 1)); !ok ||
		got != want {
		t.Errorf("the script's unit is\n%s\nthe package's\n%s", got, want)
	}
}
