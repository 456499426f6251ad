package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/e2e/harness"
)

// lookInArguments is a script that counts the processes of the machine whose
// arguments contain $secret, with shell builtins only, so that no program gets
// it as an argument. $control is a text that the arguments of some process
// contain.
const lookInArguments = `
secrets=0 controls=0
for p in /proc/[0-9]*; do
  line=$(tr '\000' ' ' <$p/cmdline) 2>/dev/null
  case $line in *"$secret"*) secrets=$((secrets+1)) ;; esac
  case $line in *"$control"*) controls=$((controls+1)) ;; esac
done
echo secrets=$secrets
[ $controls -gt 0 ] && echo controls
`

// TestSecretsAreNotInProcessArguments: every user of a machine can see the
// arguments of all its processes. The server, the agent and the client of this
// test run on one machine.
func TestSecretsAreNotInProcessArguments(t *testing.T) {
	t.Parallel()
	vars := env(t, shared)
	node := vars["SEKISHO_TARGET"]
	check := func(what, got string) {
		t.Helper()
		if got := strings.Join(strings.Fields(got), " "); got != "secrets=0 controls" {
			t.Errorf("%s: %q", what, got)
		}
	}
	// Input to a program of a session, and the caller's own key.
	for what, secret := range map[string]string{"the input": "XYZZYSECRETINPUT",
		"the secret key": vars["AWS_SECRET_ACCESS_KEY"]} {
		cmd := shared.Shell(t.Context(), nil, `sekisho exec "$1" -- sh -s`, node)
		cmd.Stdin = strings.NewReader(fmt.Sprintf("secret='%s' control='exec %s'\n%s", secret, node, lookInArguments))
		r := harness.Do(t, cmd)
		if r.Code != 0 {
			t.Fatalf("exit %d: %s", r.Code, r.Stderr)
		}
		check(what, r.Stdout)
	}
	// The script of a command. The aws CLI reads it from a file.
	const secret = "XYZZYSECRETPARAMETER"
	in, err := json.Marshal(map[string]any{
		"DocumentName": "AWS-RunShellScript", "InstanceIds": []string{node},
		"Parameters": map[string][]string{"commands": {"secret=" + secret + " control='sekishod'", lookInArguments}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "in.json")
	if err := os.WriteFile(file, in, 0o600); err != nil {
		t.Fatal(err)
	}
	id := ask(t, shared, nil, `aws ssm send-command --cli-input-json "file://$1" --query Command.CommandId --output text`,
		file)
	o := awaitOutcome(t, shared, id, node, "Success", "Failed")
	check("a command's script", o.StandardOutputContent)
}
