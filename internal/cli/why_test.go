package cli_test

import (
	"errors"
	"strings"
	"testing"

	"sekisho/internal/client"
)

// The windows of a span are printed, and whether they may not be all.
func TestWhyWindows(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		sampled bool
		windows []any
		want    []string
		lacks   string
	}{
		"exact":   {false, []any{map[string]any{"From": 1776211201, "To": 1776225600}}, []string{"ALLOWED FROM", "2026-04-15T00:00:01Z  2026-04-15T04:00:00Z"}, "288"},
		"sampled": {true, []any{map[string]any{"From": 1776211201, "To": 1776225600}}, []string{"2026-04-15T00:00:01Z", "288 points", "may be missing"}, "never within"},
		"never":   {false, []any{}, []string{"never within"}, "ALLOWED FROM"},
	} {
		out, asked, err := run(t, map[string]func(map[string]any) any{"ExplainAccess": func(map[string]any) any {
			return map[string]any{"Allowed": false, "Reason": "window closed", "Steps": []any{}, "Windows": tc.windows, "Sampled": tc.sampled}
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
		if got := asked["ExplainAccess"]; len(got) != 1 || got[0]["UserName"] != "alice" || got[0]["From"] != 1776211200.0 {
			t.Errorf("%s: asked %v", name, got)
		}
	}
}
