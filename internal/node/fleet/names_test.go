package fleet_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"sekisho"
	"sekisho/internal/node/fleet"
)

// TestSelect: an ID, a tag and a given name come before a name that a machine reports.
func TestSelect(t *testing.T) {
	t.Parallel()
	nodes := []*sekisho.Node{
		{ID: "mi-1", Name: "web", ComputerName: "vm-1", Tags: map[string]string{"Env": "prod"}},
		{ID: "mi-2", ComputerName: "web", Tags: map[string]string{"Env": "prod", "Hostname": "db=1"}},
		{ID: "mi-3", ComputerName: "mi-1", Tags: map[string]string{"Empty": ""}},
	}
	for target, want := range map[string]string{
		"mi-1": "mi-1", "web": "mi-1", "vm-1": "mi-1", "Env=prod": "mi-1 mi-2", "tag:Env=prod": "mi-1 mi-2",
		"db=1": "mi-2", "Empty=": "mi-3", "Env=": "", "": "", "none": "",
	} {
		var got []string
		for _, n := range (fleet.Naming{}).Select(nodes, target) {
			got = append(got, string(n.ID))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q selects %q, want %q", target, got, want)
		}
	}
}

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

// TestNamesOfNodes: administrators' names come before the one that the machine reports, the
// account's tag before the others.
func TestNamesOfNodes(t *testing.T) {
	t.Parallel()
	all := sekisho.Node{
		Name: "activation", ComputerName: "reported",
		Tags: map[string]string{"Hostname": "host", "Name": "named", "Asset": "a-17"},
	}
	for _, c := range []struct {
		name, tag string
		node      sekisho.Node
		given     []string
		display   string
	}{
		{"every name", "", all, []string{"host", "named", "activation"}, "host"},
		{"another tag", "Asset", all, []string{"a-17", "named", "activation"}, "a-17"},
		{"a tag that the node lacks", "Role", all, []string{"named", "activation"}, "named"},
		{"the tag Name chosen", "Name", all, []string{"named", "activation"}, "named"},
		{"only the reported name", "", sekisho.Node{ComputerName: "reported"}, nil, "reported"},
		{"no name", "", sekisho.Node{}, nil, ""},
		{"an empty tag", "", sekisho.Node{Name: "x", Tags: map[string]string{"Hostname": "  "}}, []string{"x"}, "x"},
		{"controls and direction marks", "", sekisho.Node{Tags: map[string]string{"Hostname": "a\x1b[31m\u202eb\n"}},
			[]string{"a[31mb"}, "a[31mb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			names := fleet.NewNames(func(context.Context) (string, error) { return c.tag, nil })
			rule, err := names.Naming(t.Context())
			must(t, err)
			if got := rule.Given(&c.node); !slices.Equal(got, c.given) {
				t.Errorf("given names: %q, want %q", got, c.given)
			}
			if got := names.Of(t.Context(), &c.node); got != c.display {
				t.Errorf("display name: %q, want %q", got, c.display)
			}
		})
	}
	long := sekisho.Node{Name: strings.Repeat("é", 400)}
	if got := (fleet.Naming{}).Display(&long); len(got) > 256 || !strings.HasPrefix(got, "éééé") {
		t.Errorf("a long name is shown with %d bytes", len(got))
	}
	broken := fleet.NewNames(func(context.Context) (string, error) { return "", errors.New("no database") })
	if got := broken.Of(t.Context(), &all); got != "host" {
		t.Errorf("without the setting: %q", got)
	}
	var none *fleet.Names
	if got := none.Of(t.Context(), &all); got != "host" {
		t.Errorf("without names: %q", got)
	}
}
