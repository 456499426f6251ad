package fleet_test

import (
	"testing"

	"sekisho/internal/node/fleet"
)

// TestReportedNamesAreOnlyNames: a name that a node reports never has the form
// of another node's ID, a pattern or a list of hosts.
func TestReportedNamesAreOnlyNames(t *testing.T) {
	t.Parallel()
	f := setup(t)
	n := f.register().ID
	other := f.register().ID
	for reported, want := range map[string]string{
		"büro-1.example_x":     "büro-1.example_x",
		string(other):          "",
		"MI-0123456789ABCDEF0": "",
		"i-0123456789abcdef0":  "",
		"*":                    "",
		"web?":                 "web-",
		"a b,!c":               "a-b--c",
		"-oProxyCommand=x":     "oProxyCommand-x",
		"..":                   "",
		"x\"\n Host *":         "x---Host--",
	} {
		must(t, f.Report(t.Context(), n, fleet.Facts{ComputerName: reported, SourceIP: "192.0.2.1"}))
		if got := f.node(n).ComputerName; got != want {
			t.Errorf("%q became %q, want %q", reported, got, want)
		}
	}
}
