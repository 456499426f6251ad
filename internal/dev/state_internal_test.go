package dev

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sekisho"
)

// Sourcing DIR/env makes sekisho and the aws command's plugin available.
func TestEnvProvidesPrograms(t *testing.T) {
	programs, dir := filepath.Join(t.TempDir(), "it's bin"), t.TempDir()
	if err := os.Mkdir(programs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(programs, "sekisho"), []byte("#!/bin/sh\necho run as \"$(basename \"$0\")\"\n"),
		0o755); err != nil {
		t.Fatal(err)
	}
	others := t.TempDir() // a PATH without AWS's plugin
	for _, name := range []string{"sh", "basename"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(others, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", others)
	run := func() string {
		t.Helper()
		if err := writeEnv(dir, programs, nil); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(
			"sh",
			"-c",
			`. "$1/env"; . "$1/env"; sekisho; session-manager-plugin; echo "$PATH"`,
			"sh",
			dir,
		)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	out := run()
	if !strings.HasPrefix(out, "run as sekisho\nrun as session-manager-plugin\n") || strings.Count(out, programs) != 1 {
		t.Errorf("printed %s", out)
	}
	// AWS's own plugin takes precedence.
	if err := os.WriteFile(filepath.Join(others, pluginName), []byte("#!/bin/sh\necho of AWS\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out = run(); !strings.HasPrefix(out, "run as sekisho\nof AWS\n") {
		t.Errorf("printed %s", out)
	}
}

func TestBusyAddressNamesTheRemedy(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	if _, err := listen(busy.Addr().String(), ""); sekisho.CodeOf(err) != sekisho.CodeInUse ||
		!strings.Contains(err.Error(), "LISTEN=") {
		t.Errorf("got %v", err)
	}
}
