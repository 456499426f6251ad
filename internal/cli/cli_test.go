package cli_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"sekisho/internal/cli"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run runs a command line against a server with the given responses, and
// returns its output and the requests.
func run(
	t *testing.T,
	answers map[string]func(in map[string]any) any,
	args ...string,
) (string, map[string][]map[string]any, error) {
	t.Helper()
	asked := make(map[string][]map[string]any)
	lock := make(chan struct{}, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lock <- struct{}{}
		defer func() { <-lock }()
		_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		var in map[string]any
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		asked[op] = append(asked[op], in)
		if answers[op] == nil {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"AccessDeniedException","Message":"not you\u001b[2J"}`)
			return
		}
		if err := json.NewEncoder(w).Encode(answers[op](in)); err != nil {
			t.Error(err)
		}
	}))
	defer srv.Close()
	env := map[string]string{
		"HOME": t.TempDir(), "AWS_ENDPOINT_URL": srv.URL, "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "x",
	}
	in, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	root := cli.New(
		cli.Streams{In: in, Out: os.Stdout, Err: os.Stderr, Getenv: func(k string) string { return env[k] }},
	)
	var out strings.Builder
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err = root.ExecuteContext(t.Context())
	return out.String(), asked, err
}

func TestSessions(t *testing.T) {
	t.Parallel()
	answers := map[string]func(map[string]any) any{"DescribeSessions": func(in map[string]any) any {
		if in["NextToken"] == nil {
			return map[string]any{"NextToken": "2", "Sessions": []any{
				map[string]any{
					"SessionId": "alice-1",
					"Target":    "mi-1",
					"Status":    "Connected",
					"Owner":     "arn:aws:iam::0:user/alice",
					"Reason":    "fix\x1b]0;x\x07",
				},
			}}
		}
		return map[string]any{
			"Sessions": []any{
				map[string]any{
					"SessionId": "bob-2",
					"Target":    "mi-2",
					"Status":    "Disconnected",
					"StartDate": 1795433852.5,
				},
			},
		}
	}}
	out, asked, err := run(t, answers, "sessions")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out, "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "SESSION") || !strings.HasPrefix(lines[1], "alice-1  mi-1") ||
		!strings.HasPrefix(lines[2], "bob-2    mi-2") {
		t.Errorf("printed\n%s", out)
	}
	if !strings.Contains(lines[1], `fix\x1b]0;x\x07`) || !strings.Contains(lines[2], "2026-11-2") {
		t.Errorf("printed\n%s", out)
	}
	if got := asked["DescribeSessions"]; len(got) != 2 || got[0]["State"] != "Active" || got[1]["NextToken"] != "2" {
		t.Errorf("asked %v", got)
	}
	if _, asked, err = run(t, answers, "sessions", "--history"); err != nil ||
		asked["DescribeSessions"][0]["State"] != "History" {
		t.Errorf("asked %v, %v", asked, err)
	}
}

func TestNodes(t *testing.T) {
	t.Parallel()
	out, asked, err := run(t, map[string]func(map[string]any) any{
		"DescribeInstanceInformation": func(map[string]any) any {
			return map[string]any{"InstanceInformationList": []any{
				map[string]any{
					"InstanceId":      "mi-1",
					"Name":            "web\x1b[8m",
					"PingStatus":      "Online",
					"PlatformName":    "Debian",
					"PlatformVersion": "12",
				},
				map[string]any{"InstanceId": "mi-2", "ComputerName": "db", "PingStatus": "ConnectionLost"},
			}}
		},
		"GetConnectionStatus": func(in map[string]any) any {
			return map[string]any{
				"Status": map[string]string{"mi-1": "connected", "mi-2": "notconnected"}[in["Target"].(string)],
			}
		},
	}, "nodes")
	if err != nil {
		t.Fatal(err)
	}
	var got [][]string
	for line := range strings.Lines(out) {
		got = append(got, strings.Fields(line)[:4])
	}
	want := [][]string{
		{"NODE", "NAME", "STATE", "PING"},
		{"mi-2", "db", "notconnected", "ConnectionLost"},
		{"mi-1", `web\x1b[8m`, "connected", "Online"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(asked["GetConnectionStatus"]) != 2 {
		t.Errorf("asked %v", asked)
	}
}

func TestStartSessionFlags(t *testing.T) {
	t.Parallel()
	_, asked, err := run(t, nil, "start-session", "mi-1", "--document-name", "D", "--reason", "why",
		"--parameters", "a=1", "--parameters", "a=2=3", "--parameters", `{"b":["x","y"]}`)
	if err == nil || err.Error() != `StartSession: not you\x1b[2J (AccessDeniedException)` {
		t.Errorf("got %v", err)
	}
	want := []map[string]any{{
		"Target": "mi-1", "DocumentName": "D", "Reason": "why",
		"Parameters": map[string]any{"a": []any{"1", "2=3"}, "b": []any{"x", "y"}},
	}}
	if d := cmp.Diff(want, asked["StartSession"]); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, bad := range [][]string{
		{"start-session"}, {"start-session", "a", "b"}, {"start-session", "a", "--parameters", "x"},
		{"start-session", "a", "--parameters", "{"},
		{"replay"}, {"nodes", "x"}, {"sessions", "x"},
	} {
		if _, asked, err := run(t, nil, bad...); err == nil || len(asked) != 0 {
			t.Errorf("%v: %v, asked %v", bad, err, asked)
		}
	}
}
