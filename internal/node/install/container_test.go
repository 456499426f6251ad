package install_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestContainerEntrypoint: the container registers once, with the code from a
// file and not among the arguments, and then runs the agent.
func TestContainerEntrypoint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file("sekisho-agent", `#!/bin/sh
echo "$*" >> "$DIR/calls"
if [ "$1" = register ]; then cat > "$DIR/code"; echo '{}' > "$SEKISHO_STATE/identity.json"; fi
`, 0o755)
	code := file("code-file", "the-code\n", 0o600)
	run := func(env ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "sh", "../../../packaging/container/agent-entrypoint.sh")
		cmd.Env = append(
			[]string{"PATH=" + dir + ":" + os.Getenv("PATH"), "DIR=" + dir, "SEKISHO_STATE=" + dir},
			env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("SEKISHO_ENDPOINT=https://h", "SEKISHO_ACTIVATION_ID=id"); err == nil ||
		!strings.Contains(out, "SEKISHO_ACTIVATION_CODE_FILE") {
		t.Errorf("without a code: %v, %s", err, out)
	}
	for range 2 {
		if out, err := run("SEKISHO_ENDPOINT=https://h", "SEKISHO_ACTIVATION_ID=id", "SEKISHO_ACTIVATION_CODE_FILE="+code,
			"SEKISHO_CA_FILE=/ca.pem"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	const want = "register --endpoint https://h --activation-id id --activation-code - --ca /ca.pem\nrun\nrun\n"
	if string(calls) != want {
		t.Errorf("the agent was called with\n%s", calls)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "code")); err != nil || string(got) != "the-code\n" {
		t.Errorf("the code: %q, %v", got, err)
	}
}

// TestContainerRecipes: the files that the images copy exist in the repository
// or are built by `make build`.
func TestContainerRecipes(t *testing.T) {
	t.Parallel()
	recipes, err := filepath.Glob("../../../packaging/container/*.Dockerfile")
	if err != nil || len(recipes) != 2 {
		t.Fatalf("%v, %v", recipes, err)
	}
	built := map[string]bool{
		"bin/sekishod": true, "bin/sekisho": true, "bin/sekisho-agent": true,
		"bin/sekisho-agent-linux-amd64": true, "bin/sekisho-agent-linux-arm64": true,
	}
	for _, recipe := range recipes {
		text, err := os.ReadFile(recipe)
		if err != nil {
			t.Fatal(err)
		}
		copies := 0
		for line := range strings.Lines(string(text)) {
			words := strings.Fields(line)
			if len(words) < 3 || words[0] != "COPY" {
				continue
			}
			for _, source := range words[1 : len(words)-1] {
				if strings.HasPrefix(source, "--") || built[source] {
					continue
				}
				if _, err := os.Stat(filepath.Join("../../..", source)); err != nil {
					t.Errorf("%s copies %s: %v", recipe, source, err)
				}
			}
			copies++
		}
		if copies == 0 {
			t.Errorf("%s copies nothing", recipe)
		}
	}
}
