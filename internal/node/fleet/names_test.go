package fleet_test

import (
	"testing"

	"sekisho"
	"sekisho/internal/node/fleet"
)

// TestReportedNamesAreOnlyNames: the name that a node reports never has the form
// of another node's ID, nor of a pattern or a list of hosts.
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

// TestResolvePrefersAdministratorsNames: tags and activations name a node before
// the name that any machine reports, and ambiguity is an error.
func TestResolvePrefersAdministratorsNames(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := setup(t)
	web, db, rogue := f.register().ID, f.register().ID, f.register().ID
	tag := func(n sekisho.NodeID, key, value string) {
		must(
			t,
			f.SetTags(
				ctx,
				n,
				func(map[string]string) (map[string]string, error) { return map[string]string{key: value}, nil },
			),
		)
	}
	report := func(n sekisho.NodeID, name string) {
		must(t, f.Report(ctx, n, fleet.Facts{ComputerName: name, SourceIP: "192.0.2.1"}))
	}
	resolve := func(target string, want sekisho.NodeID, code sekisho.Code) {
		t.Helper()
		n, err := f.Resolve(ctx, target)
		if sekisho.CodeOf(err) != code || code == "" && n.ID != want {
			t.Errorf("%q: %+v, %v", target, n, err)
		}
	}
	tag(web, "Name", "web-1")
	report(db, "db-1")
	report(rogue, "web-1")
	resolve(string(web), web, "")
	resolve("web-1", web, "")
	resolve("db-1", db, "")
	resolve("tag:Name=web-1", web, "")
	resolve("tag:Name=", "", sekisho.CodeNotFound) // nodes without the tag do not have it empty
	resolve("nobody", "", sekisho.CodeNotFound)
	resolve("", "", sekisho.CodeInvalid)
	resolve("tag:Name", "", sekisho.CodeInvalid)
	report(rogue, "db-1")
	resolve("db-1", "", sekisho.CodeConflict)
	tag(db, "Name", "web-1")
	resolve("web-1", "", sekisho.CodeConflict)
	tag(db, "Empty", "")
	resolve("tag:Empty=", db, "")
	must(t, f.Deregister(ctx, db))
	resolve("tag:Empty=", "", sekisho.CodeNotFound)
	resolve(string(db), "", sekisho.CodeNotFound)
}
