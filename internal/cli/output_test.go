package cli_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"

	"sekisho/internal/cli"
)

// exit runs sekisho as a program, with standard error in a file, and returns
// its exit code and that output.
func exit(t *testing.T, env map[string]string, args ...string) (int, string) {
	t.Helper()
	errOut, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errOut.Close() }()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	std := cli.Streams{In: null, Out: null, Err: errOut, Getenv: func(k string) string { return env[k] }}
	code := cli.Main(t.Context(), std, append([]string{"sekisho"}, args...))
	text, err := os.ReadFile(errOut.Name())
	if err != nil {
		t.Fatal(err)
	}
	return code, string(text)
}

// refusing returns an error for every call.
func refusing(t *testing.T, status int, code string) map[string]string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"__type":"` + code + `","message":"no"}`))
	}))
	t.Cleanup(srv.Close)
	return environment(t, srv.URL)
}

func environment(t *testing.T, endpoint string) map[string]string {
	t.Helper()
	return map[string]string{
		"HOME":                  t.TempDir(),
		"AWS_ENDPOINT_URL":      endpoint,
		"AWS_ACCESS_KEY_ID":     "AKIAEXAMPLE",
		"AWS_SECRET_ACCESS_KEY": "x",
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		env  map[string]string
		args []string
		want int
		text string
	}{
		"missing argument":    {nil, []string{"exec"}, 2, "missing argument TARGET\n\nUsage:\n  sekisho exec TARGET"},
		"missing program":     {nil, []string{"exec", "web-1"}, 2, "missing argument PROGRAM"},
		"missing destination": {nil, []string{"cp", "a"}, 2, "missing argument DESTINATION"},
		"extra argument":      {nil, []string{"forward", "web-1", "8080:80"}, 2, `unexpected argument "8080:80"`},
		"argument of a list":  {nil, []string{"nodes", "web-1"}, 2, `unexpected argument "web-1"`},
		"unknown flag":        {nil, []string{"nodes", "--nope"}, 2, "Usage:"},
		"unknown format":      {nil, []string{"nodes", "-o", "xml"}, 2, "table, json, yaml"},
		"grant to nobody":     {nil, []string{"grant", "--target", "*", "--apply"}, 2, "--user, --group or --role"},
		"malformed time":      {nil, []string{"grant", "--target", "*", "--not-before", "now"}, 2, "--not-before"},
		"unknown command":     {nil, []string{"nope"}, 2, "nope"},
		"no configuration":    {map[string]string{"HOME": t.TempDir()}, []string{"nodes"}, 1, "AWS_ENDPOINT_URL"},
		"no credentials": {map[string]string{"HOME": t.TempDir(), "AWS_ENDPOINT_URL": "https://h.example"},
			[]string{"nodes"}, 4, "login"},
		"denied":  {refusing(t, 400, "AccessDeniedException"), []string{"nodes"}, 4, "AccessDeniedException"},
		"expired": {refusing(t, 400, "ExpiredTokenException"), []string{"nodes"}, 4, "sekisho login"},
		"not found": {refusing(t, 400, "DoesNotExistException"), []string{"sessions", "terminate", "alice-1"}, 5,
			"DoesNotExistException"},
		"server fault":       {refusing(t, 500, "InternalServerError"), []string{"nodes"}, 1, "InternalServerError"},
		"refused connection": {environment(t, nobody), []string{"nodes"}, 6, "AWS_ENDPOINT_URL"},
		"not an HTTPS server": {
			environment(t, strings.Replace(refusing(t, 200, "")["AWS_ENDPOINT_URL"], "http:", "https:", 1)), []string{"nodes"},
			6, "does not use TLS"},
		"node not connected": {refusing(t, 400, "TargetNotConnected"), []string{"forward", "mi-1", "-L", "0:localhost:80"},
			6, "TargetNotConnected"},
		"program did not run": {refusing(t, 400, "TargetNotConnected"), []string{"exec", "mi-1", "true"}, 255,
			"TargetNotConnected"},
		"shell did not run": {refusing(t, 400, "AccessDeniedException"), []string{"start-session", "mi-1"}, 255,
			"AccessDeniedException"},
		"version": {nil, []string{"--version"}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, text := exit(t, tc.env, tc.args...)
			if code != tc.want || !strings.Contains(text, tc.text) || strings.Count(strings.TrimSpace(text), "\n") > 5 {
				t.Errorf("exit code %d, want %d; printed\n%s", code, tc.want, text)
			}
		})
	}
}

func TestUntrustedCertificate(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = nil
	srv.StartTLS()
	defer srv.Close()
	code, text := exit(t, environment(t, srv.URL), "nodes")
	if code != 6 || !strings.Contains(text, "AWS_CA_BUNDLE") || strings.Count(strings.TrimSpace(text), "\n") != 0 {
		t.Errorf("exit code %d: %s", code, text)
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // otherwise the server does not notice the end of the request
		cancel()
		<-r.Context().Done()
	}))
	defer srv.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	env := environment(t, srv.URL)
	std := cli.Streams{In: null, Out: null, Err: null, Getenv: func(k string) string { return env[k] }}
	if code := cli.Main(ctx, std, []string{"sekisho", "nodes"}); code != 130 {
		t.Errorf("exit code %d", code)
	}
}

// Every command that lists or shows something can print JSON and YAML.
func TestEveryListHasOutputFormats(t *testing.T) {
	t.Parallel()
	also := map[string]bool{"sekisho why": true, "sekisho verify": true, "sekisho cp": true, "sekisho whoami": true}
	found := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if verb, _, _ := strings.Cut(cmd.Short, " "); cmd.Runnable() && (verb == "List" || verb == "Show" ||
			verb == "Search" ||
			also[cmd.CommandPath()]) {
			found++
			if cmd.Flags().Lookup("output") == nil {
				t.Errorf("%s (%s) has no -o", cmd.CommandPath(), cmd.Short)
			}
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(cli.New(cli.Streams{Getenv: func(string) string { return "" }}))
	if found < 14 {
		t.Errorf("only %d commands list something", found)
	}
}

// Every list is available as JSON and YAML, with the same data.
func TestOutputFormats(t *testing.T) {
	t.Parallel()
	answers := map[string]func(map[string]any) any{
		"DescribeSessions": func(map[string]any) any {
			return map[string]any{
				"Sessions": []any{
					map[string]any{
						"SessionId": "alice-1",
						"Target":    "mi-1",
						"StartDate": 1795433852.5,
						"Reason":    "<b>: 日本",
					},
				},
			}
		},
		"DescribeInstanceInformation": func(map[string]any) any {
			return map[string]any{
				"InstanceInformationList": []any{map[string]any{"InstanceId": "mi-1", "State": "Connected"}},
			}
		},
		"ListSeenMachines": func(map[string]any) any { return map[string]any{} },
		"ListEvents": func(map[string]any) any {
			return map[string]any{"Events": []any{map[string]any{"id": "1", "detail-type": "Node Up"}}}
		},
		"ListWebhooks":  func(map[string]any) any { return map[string]any{} },
		"ExplainAccess": func(map[string]any) any { return map[string]any{"Allowed": true, "Reason": "ok"} },
		"VerifySessionRecording": func(map[string]any) any {
			return map[string]any{"SessionId": "alice-1", "Verified": true}
		},
		"ListCalendars": func(map[string]any) any { return map[string]any{} },
		"GetCalendar":   func(map[string]any) any { return map[string]any{"Name": "holidays"} },
		"ListMyAccess":  func(map[string]any) any { return map[string]any{} },
		"SearchSessionRecordings": func(map[string]any) any {
			return map[string]any{"Results": []any{map[string]any{"SessionId": "alice-1", "Text": "found"}}}
		},
		"ApplyQuickSetup":   func(map[string]any) any { return map[string]any{"Steps": []any{}} },
		"GetCallerIdentity": func(map[string]any) any { return map[string]any{"Arn": "arn:alice"} },
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"sessions"}, `[{"SessionId":"alice-1","Target":"mi-1","Status":"",` +
			`"StartDate":"2026-11-23T11:37:32.5Z","EndDate":null,"DocumentName":"","Owner":"","Reason":"<b>: 日本",` +
			`"EndReason":"","LogNotDelivered":"","NodeName":""}]`},
		{[]string{"nodes"}, ""},
		{[]string{"nodes", "--seen"}, `{"Machines":[],"Deregistered":[]}`},
		{[]string{"events"}, `[{"id":"1","detail-type":"Node Up"}]`},
		{[]string{"events", "--webhooks"}, `[]`},
		{[]string{"why", "--user", "alice", "--target", "mi-1"}, ""},
		{[]string{"verify", "alice-1"}, ""},
		{[]string{"quick-setup"}, `{"Steps":[]}`},
		{[]string{"calendars", "list"}, `[]`},
		{[]string{"calendars", "show", "holidays"}, ""},
		{[]string{"reach"}, `[]`},
		{[]string{"search", "found"}, `[{"SessionId":"alice-1","Owner":"","Target":"","StartedAt":"","OffsetMs":0,` +
			`"Text":"found"}]`},
	} {
		out, _, err := run(t, answers, append(tc.args, "-o", "json")...)
		var got, want any
		if jsonErr := json.Unmarshal([]byte(out), &got); err != nil || jsonErr != nil {
			t.Errorf("%v: %v, %v\n%s", tc.args, err, jsonErr, out)
			continue
		}
		if tc.want != "" {
			if err := json.Unmarshal([]byte(tc.want), &want); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%v (-want +got):\n%s", tc.args, d)
			}
		}
		yaml, _, err := run(t, answers, append(tc.args, "-o", "yaml")...)
		if err != nil || strings.HasPrefix(yaml, "{\"") || yaml == "" {
			t.Errorf("%v: %v\n%s", tc.args, err, yaml)
		}
	}
}

// Characters that take two columns must not shift the columns after them.
func TestWideCharactersAlign(t *testing.T) {
	t.Parallel()
	out, _, err := run(t, map[string]func(map[string]any) any{"DescribeSessions": func(map[string]any) any {
		return map[string]any{"Sessions": []any{
			map[string]any{"SessionId": "関所-1", "Target": "mi-1", "Reason": "end"},
			map[string]any{"SessionId": "alice-long", "Target": "mi-2", "Reason": "end"},
		}}
	}}, "sessions")
	if err != nil {
		t.Fatal(err)
	}
	columns := map[int]bool{}
	for line := range strings.Lines(out) {
		for _, cell := range []string{"TARGET", "mi-1", "mi-2"} {
			if before, _, found := strings.Cut(line, cell); found {
				columns[runewidth.StringWidth(before)] = true
			}
		}
	}
	if len(columns) != 1 {
		t.Errorf("the second column starts at %v:\n%s", columns, out)
	}
}

func TestSessionFilters(t *testing.T) {
	t.Parallel()
	answers := map[string]func(map[string]any) any{
		"DescribeSessions": func(map[string]any) any {
			return map[string]any{
				"NextToken": "2",
				"Sessions":  []any{map[string]any{"SessionId": "a"}, map[string]any{"SessionId": "b"}},
			}
		},
		"TerminateSession": func(in map[string]any) any { return map[string]any{} },
	}
	out, asked, err := run(
		t,
		answers,
		"sessions",
		"--target",
		"mi-1",
		"--owner",
		"arn:alice",
		"--status",
		"Connected",
		"--since",
		"1h",
		"--limit",
		"3",
	)
	if err != nil || strings.Count(out, "\n") != 4 {
		t.Errorf("%v\n%s", err, out)
	}
	var keys []any
	for _, f := range asked["DescribeSessions"][0]["Filters"].([]any) {
		keys = append(keys, f.(map[string]any)["key"])
	}
	if d := cmp.Diff([]any{"Target", "Owner", "Status", "InvokedAfter"}, keys); d != "" ||
		asked["DescribeSessions"][0]["MaxResults"] != 3.0 {
		t.Errorf("asked %v", asked)
	}
	if _, asked, err = run(t, answers, "sessions", "terminate", "a", "b"); err != nil ||
		len(asked["TerminateSession"]) != 2 {
		t.Errorf("asked %v, %v", asked, err)
	}
	if out, _, err = run(t, nil, "sessions", "terminate", "a", "b"); err == nil ||
		strings.Count(err.Error(), "AccessDenied") != 2 {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	answers := map[string]func(map[string]any) any{
		"DescribeInstanceInformation": func(map[string]any) any {
			return map[string]any{"InstanceInformationList": []any{
				map[string]any{
					"InstanceId": "mi-1",
					"Name":       "web-1",
				}, map[string]any{"InstanceId": "mi-2", "Name": "$(reboot)"},
				map[string]any{"InstanceId": "mi-3", "ComputerName": "web-evil"},
				map[string]any{"InstanceId": "mi-4", "Name": "web;reboot"},
				map[string]any{"InstanceId": "mi-5", "Name": "web>file"},
				map[string]any{"InstanceId": "mi-6", "Name": "web|reboot"},
			}}
		},
		"DescribeSessions": func(map[string]any) any {
			return map[string]any{"Sessions": []any{map[string]any{"SessionId": "alice-1"}}}
		},
		"ListDocuments": func(map[string]any) any {
			return map[string]any{"DocumentIdentifiers": []any{map[string]any{"Name": "AWS-StartSSHSession"}}}
		},
	}
	for _, tc := range []struct {
		args []string
		want []string
	}{
		{[]string{"exec", "w"}, []string{"web-1"}},
		{[]string{"start-session", ""}, []string{"mi-1", "web-1", "mi-2", "mi-3", "mi-4", "mi-5", "mi-6"}},
		{[]string{"start-session", "mi-1", "--document-name", "A"}, []string{"AWS-StartSSHSession"}},
		{[]string{"cp", "web"}, []string{"web-1:"}},
		{[]string{"replay", "al"}, []string{"alice-1"}},
		{[]string{"sessions", "terminate", ""}, []string{"alice-1"}},
		{[]string{"nodes", "-o", ""}, []string{"table", "json", "yaml"}},
	} {
		out, _, err := run(t, answers, append([]string{"__complete"}, tc.args...)...)
		var got []string
		for line := range strings.Lines(out) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			if word != "" && !strings.HasPrefix(word, ":") && !strings.HasPrefix(word, "Completion ended") {
				got = append(got, word)
			}
		}
		if d := cmp.Diff(tc.want, got); err != nil || d != "" {
			t.Errorf("%v: %v (-want +got):\n%s", tc.args, err, d)
		}
	}
	if out, _, err := run(t, nil, "__complete", "exec", "w"); err != nil || strings.Contains(out, "Error") {
		t.Errorf("without permission: %v\n%s", err, out)
	}
}
