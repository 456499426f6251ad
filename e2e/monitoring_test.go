package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sekisho/e2e/harness"
)

// TestMonitoring checks the alerts and the dashboard of packaging/monitoring: with promtool, and
// against the metrics of a server.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "packaging", "monitoring")
	if _, err := exec.LookPath("promtool"); err == nil {
		for _, args := range [][]string{
			{"check", "rules", "sekisho-alerts.yaml"}, {"test", "rules", "sekisho-alerts-test.yaml"},
		} {
			cmd := exec.CommandContext(t.Context(), "promtool", args...)
			cmd.Dir = dir
			if r := harness.Do(t, cmd); r.Code != 0 {
				t.Errorf("promtool %v: exit %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
			}
		}
	} else if os.Getenv("CI") != "" {
		t.Error("there is no promtool (scripts/setup installs it)")
	}

	admin := freeAddresses(t, 2)
	etc := t.TempDir()
	file := filepath.Join(etc, "sekishod.yaml")
	setup := exec.CommandContext(t.Context(), filepath.Join(shared.Bin, "sekishod"), "setup", "--yes",
		"--name", "127.0.0.1",
		"--listen", admin[0], "--config", file, "--data", filepath.Join(etc, "data"),
		"--agents-dir", shared.Bin, "--user", "")
	if r := harness.Do(t, setup); r.Code != 0 {
		t.Fatalf("setup: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintf(f, "admin_listen: %s\n", admin[1])
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	stop := serveConfig(t, file, filepath.Join(t.TempDir(), "log"))
	defer stop()
	var metrics string
	harness.Eventually(t, awhile, func() error {
		resp, err := http.Get("http://" + admin[1] + "/metrics")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		metrics = string(b)
		if err == nil && !strings.Contains(metrics, "sekisho_ready 1") {
			err = fmt.Errorf("not ready: %s", metrics)
		}
		return err
	})
	// Metrics with labels appear with their first value: these counters need a call and its audit event.
	have := map[string]bool{"sekisho_api_calls_total": true, "sekisho_api_call_seconds_bucket": true,
		"sekisho_audit_transactions_total": true}
	for _, m := range regexp.MustCompile(`(?m)^(\w+)[{ ]`).FindAllStringSubmatch(metrics, -1) {
		have[m[1]] = true
	}
	for _, name := range []string{"sekisho-alerts.yaml", "sekisho-dashboard.json"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		used := regexp.MustCompile(`\b(sekisho|process|go)_[a-z_0-9]+`).FindAllString(string(text), -1)
		if len(used) < 5 {
			t.Errorf("%s uses only %v", name, used)
		}
		for _, metric := range used {
			if !have[metric] {
				t.Errorf("%s uses %s, which the server does not have", name, metric)
			}
		}
	}
	var dashboard struct {
		Title  string
		Panels []struct {
			ID      int
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "sekisho-dashboard.json"))
	if err == nil {
		err = json.Unmarshal(text, &dashboard)
	}
	if err != nil || dashboard.Title == "" || len(dashboard.Panels) == 0 {
		t.Fatalf("the dashboard: %v", err)
	}
	ids := map[int]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 || len(p.Targets) == 0 {
			t.Errorf("panel %d: its ID is not unique, it does not fit, or it has no query", p.ID)
		}
		ids[p.ID] = true
	}
}
