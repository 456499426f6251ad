package doctor_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sekisho/internal/config"
	"sekisho/internal/server"
	"sekisho/internal/server/doctor"
	"sekisho/internal/server/setup"
)

// verdicts returns which checks passed and which failed.
func verdicts(t *testing.T, file string) (well bool, ok, failed map[string]bool, text string) {
	t.Helper()
	var out strings.Builder
	well = doctor.Run(t.Context(), file, &out)
	ok, failed = map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(out.String()) {
		f := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "OK "):
			ok[f[1]] = true
		case strings.HasPrefix(line, "FAIL "):
			failed[f[1]] = true
		}
	}
	return well, ok, failed, out.String()
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	agents := filepath.Join(dir, "agents")
	if err := os.MkdirAll(agents, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(agents, "sekisho-agent-linux-amd64"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := setup.Run(t.Context(), setup.Options{
		Names: []string{"sekisho.example"}, Listen: "127.0.0.1:0", Config: filepath.Join(dir, "etc", "sekishod.yaml"),
		Data: filepath.Join(dir, "state"), Account: "123456789012", Region: "us-east-1", TLS: setup.OwnCA,
		AgentsDir: agents, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if well, ok, failed, text := verdicts(t, r.Config); well || !failed["process"] || !ok["certificate"] ||
		!ok["data"] ||
		!ok["agents"] {
		t.Errorf("stopped server:\n%s", text)
	}

	if _, ok, _, text := verdicts(t, r.Config); !ok["database"] {
		t.Errorf("a database of SQLite:\n%s", text)
	}
	text, err := os.ReadFile(r.Config)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(dir, "etc", "postgres.yaml")
	text = append(text, "\ndatabase: {url: postgres://sekisho@127.0.0.1:1/state}\n"...)
	if err := os.WriteFile(elsewhere, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, failed, text := verdicts(t, elsewhere); !failed["database"] || failed["data"] {
		t.Errorf("a PostgreSQL database that cannot be reached:\n%s", text)
	}

	// The configured port must be the one that is served.
	c := listening(t, r.Config)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	ready := make(chan struct{})
	wg.Go(func() {
		if err := server.Run(ctx, c, io.Discard, slog.New(readyHandler{slog.DiscardHandler, ready})); err != nil {
			t.Error(err)
		}
	})
	<-ready
	if well, _, _, text := verdicts(t, r.Config); !well {
		t.Errorf("running server:\n%s", text)
	}
	if err := os.Chmod(c.Data, 0o755); err != nil {
		t.Fatal(err)
	}
	if well, _, failed, text := verdicts(t, r.Config); well || !failed["config"] {
		t.Errorf("readable state:\n%s", text)
	}
	if err := os.Chmod(c.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	cancel()
	wg.Wait()

	if err := os.Rename(filepath.Join(c.Data, "keys"), filepath.Join(c.Data, "lost")); err != nil {
		t.Fatal(err)
	}
	if well, _, failed, text := verdicts(t, r.Config); well || !failed["data"] || !failed["process"] {
		t.Errorf("no keys:\n%s", text)
	}
	if well, _, failed, text := verdicts(t, filepath.Join(dir, "missing.yaml")); well || !failed["config"] ||
		len(failed) != 1 {
		t.Errorf("no configuration:\n%s", text)
	}
}

// listening changes the configuration to a free port, and returns it.
func listening(t *testing.T, file string) *config.Server {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), "127.0.0.1:0", freeAddress(t), 1))
	if err := os.WriteFile(file, text, 0o640); err != nil {
		t.Fatal(err)
	}
	c, err := config.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// readyHandler closes ready when the server logs that it serves.
type readyHandler struct {
	slog.Handler
	ready chan struct{}
}

func (h readyHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h readyHandler) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "serving" {
		close(h.ready)
	}
	return nil
}

func (h readyHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h readyHandler) WithGroup(string) slog.Handler      { return h }
