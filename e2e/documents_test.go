package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/e2e/harness"
)

// TestSessionDocuments: the account's preferences and custom documents, created with the
// aws CLI, apply to the sessions of AWS's plugin.
func TestSessionDocuments(t *testing.T) {
	t.Parallel()
	s := ownServer(t) // preferences affect all tests
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file://" + path
	}
	run := func(script string, args ...string) string {
		t.Helper()
		r := harness.Do(t, s.Shell(t.Context(), nil, script, args...))
		if r.Code != 0 {
			t.Fatalf("%s: exit %d: %s", script, r.Code, r.Stderr)
		}
		return strings.TrimSpace(r.Stdout)
	}
	refused := func(code, text, script string, args ...string) {
		t.Helper()
		r := harness.Do(t, s.Shell(t.Context(), nil, script, args...))
		if r.Code == 0 || !strings.Contains(r.Stderr, "("+code+")") || !strings.Contains(r.Stderr, text) {
			t.Errorf("%s %q: exit %d: %s; want %s with %q", script, args, r.Code, r.Stderr, code, text)
		}
	}

	refused("InvalidDocument", "does not exist", `aws ssm get-document --name SSM-SessionManagerRunShell`)
	const create = `aws ssm create-document --document-type Session --name "$1" --content "$2"`
	refused(
		"InvalidDocumentContent",
		`did you mean "idleSessionTimeout"`,
		create,
		"SSM-SessionManagerRunShell",
		file(
			"typo.json",
			`{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"idleSessionTimeOut":"5"}}`,
		),
	)
	run(
		create,
		"SSM-SessionManagerRunShell",
		file("preferences.json", `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{
		"idleSessionTimeout":"5","maxSessionDuration":"60",
		"sekisho":{"reasonRequired":true,"reasonPattern":"TICKET-[0-9]+","maxConcurrentSessions":{"perOwner":1}}}}`),
	)

	const start = `aws ssm start-session --target "$SEKISHO_TARGET"`
	refused("ValidationException", "A reason is required", start)
	refused("ValidationException", "TICKET-[0-9]+", start+` --reason "$1"`, "just so")
	term := harness.OpenTerminal(t, 24, 80, s.Shell(t.Context(), nil, start+` --reason TICKET-7`))
	id := term.Expect(awhile, `Starting session with SessionId: (\S+)`)[1]
	term.Expect(soon, harness.Prompt)
	refused("LimitExceededException", "1 active sessions", start+` --reason TICKET-8`)
	got := run(
		`aws ssm describe-sessions --state Active --output text --query 'Sessions[].[SessionId,Reason,MaxSessionDuration]'`,
	)
	if got != id+"\tTICKET-7\t60" {
		t.Errorf("the session is described as %q", got)
	}
	term.Send("exit\r")
	term.Expect(soon, "Exiting session")
	term.Wait(soon)

	// A custom document: its default version runs, and its parameters apply.
	greet := func(word string) string {
		return "schemaVersion: '1.0'\nsessionType: InteractiveCommands\nparameters:\n  name: {type: String, " +
			"allowedPattern: '[a-z]{1,9}'}\n" +
			"  text: {type: String, default: '', allowedPattern: '[^\\x00]*', sekisho: {quote: shell}}\n" +
			"properties:\n  linux:\n    commands: printf '%s-%s[%s]\\n' " + word + " {{ name }} {{ text }}\n"
	}
	run(create+` --document-format YAML`, "Greet", file("one.yaml", greet("first")))
	run(
		`aws ssm update-document --name Greet --document-version '$LATEST' --document-format YAML --content "$1"`,
		file("two.yaml", greet("second")),
	)
	session := start + ` --reason TICKET-9 --document-name Greet --parameters "$1"`
	refused("InvalidParameters", `"name"`, session, `{"text":["x"]}`)
	refused("InvalidParameters", `"name"`, session, `{"name":["a; reboot"]}`)
	refused("InvalidParameters", `"nmae"`, session, `{"name":["a"],"nmae":["a"]}`)
	says := func(parameters, want string) {
		t.Helper()
		term := harness.OpenTerminal(t, 24, 80, s.Shell(t.Context(), nil, session, parameters))
		term.Expect(awhile, want)
		term.Expect(soon, "Exiting session")
		term.Wait(soon)
	}
	says(`{"name":["alice"]}`, `first-alice\[\]`)
	run(`aws ssm update-document-default-version --name Greet --document-version 2`)
	says(`{"name":["bob"],"text":["'; id; echo $(id) '"]}`, `second-bob\['; id; echo \$\(id\) '\]`)

	run(`aws ssm delete-document --name Greet && aws ssm delete-document --name SSM-SessionManagerRunShell`)
	term, _ = startSession(t, s, nil, 24, 80, env(t, s)["SEKISHO_TARGET"])
	term.Send("exit\r")
	term.Expect(soon, "Exiting session")
}
