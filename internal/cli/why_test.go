package cli_test

import (
	"errors"
	"strings"
	"testing"

	"sekisho"
	"sekisho/internal/client"
)

// The windows of a period are printed, and a note if there may be more.
func TestWhyWindows(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		sampled bool
		windows []any
		want    []string
		lacks   string
	}{
		"exact": {false, []any{map[string]any{"From": 1776211201, "To": 1776225600}},
			[]string{"ALLOWED FROM", "2026-04-15T00:00:01Z  2026-04-15T04:00:00Z"}, "288"},
		"sampled": {true, []any{map[string]any{"From": 1776211201, "To": 1776225600}},
			[]string{"2026-04-15T00:00:01Z", "288 points", "may be missing"}, "never within"},
		"never": {false, []any{}, []string{"never within"}, "ALLOWED FROM"},
	} {
		out, asked, err := run(t, map[string]func(map[string]any) any{"ExplainAccess": func(map[string]any) any {
			return map[string]any{
				"Allowed": false,
				"Reason":  "window closed",
				"Steps":   []any{},
				"Windows": tc.windows,
				"Sampled": tc.sampled,
			}
		}}, "why", "--user", "alice", "--target", "mi-1", "--from", "2026-04-15T00:00:00Z", "--to", "2026-04-16T00:00:00Z")
		if e, ok := errors.AsType[*client.ExitError](err); !ok || e.Code != 3 {
			t.Errorf("%s: ended with %v", name, err)
		}
		for _, want := range tc.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s", name, want, out)
			}
		}
		if strings.Contains(out, tc.lacks) {
			t.Errorf("%s: %q in\n%s", name, tc.lacks, out)
		}
		if got := asked["ExplainAccess"]; len(got) != 1 || got[0]["UserName"] != "alice" ||
			got[0]["From"] != 1776211200.0 {
			t.Errorf("%s: asked %v", name, got)
		}
	}
}

// why does not answer about targets that it did not look up, and it names the
// deciding statement without repeating the reason.
func TestWhyLooksUpTheTarget(t *testing.T) {
	t.Parallel()
	answers := map[string]func(map[string]any) any{
		"DescribeInstanceInformation": func(map[string]any) any {
			return map[string]any{"InstanceInformationList": []any{map[string]any{"InstanceId": "mi-1", "Name": "web"}}}
		},
		"ExplainAccess": func(map[string]any) any {
			return map[string]any{
				"Allowed": false, "Failed": []string{"MFA", "Other"}, "Reason": "allowed but for MFA",
				"Statement": "statement Window of oncall", "Steps": []any{
					map[string]any{
						"ResourceArn": "arn:node",
						"Decision":    "implicitDeny",
						"Reason":      "allowed but for MFA",
						"Statement":   "statement Window of oncall",
					},
				},
			}
		},
	}
	if _, asked, err := run(t, answers, "why", "--user", "alice"); err == nil || len(asked["ExplainAccess"]) != 0 {
		t.Errorf("without a target: %v, asked %v", err, asked)
	}
	for target, want := range map[string]any{"web": "mi-1", "mi-1": "mi-1"} {
		out, asked, _ := run(t, answers, "why", "--user", "alice", "--target", target)
		if got := asked["ExplainAccess"]; len(got) != 1 || got[0]["Target"] != want {
			t.Errorf("%s: asked %v", target, got)
		}
		// Aspects are explained. An aspect of a newer server is shown as it
		// is.
		if !strings.Contains(out, "failed: MFA (") || !strings.Contains(out, "), Other\n") {
			t.Errorf("aspects are not explained:\n%s", out)
		}
		if strings.Count(out, "allowed but for MFA") != 1 || !strings.Contains(out, "statement Window of oncall") {
			t.Errorf("printed\n%s", out)
		}
	}
	if _, asked, err := run(t, answers, "why", "--user", "alice", "--target", "typo"); sekisho.CodeOf(
		err,
	) != sekisho.CodeNotFound ||
		len(asked["ExplainAccess"]) != 0 {
		t.Errorf("a typo: %v, asked %v", err, asked)
	}
	if _, asked, _ := run(t, answers, "why", "--user", "alice", "--action", "ssm:TerminateSession", "--target",
		"bob-1"); len(
		asked["ExplainAccess"],
	) != 1 ||
		asked["ExplainAccess"][0]["Target"] != "bob-1" {
		t.Errorf("a session: asked %v", asked)
	}
}
