package inventory_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/node/inventory"
)

func TestSelect(t *testing.T) {
	t.Parallel()
	bash, zsh := inventory.Entry{"Name": "bash", "Version": "5.10"}, inventory.Entry{"Name": "zsh", "Version": "5.9"}
	both := []inventory.Entry{bash, zsh}
	where := func(attribute, operator string, values ...string) inventory.Filter {
		return inventory.Filter{Type: "AWS:Application", Attribute: attribute, Operator: operator, Values: values}
	}
	for name, tc := range map[string]struct {
		content []inventory.Entry
		filters []inventory.Filter
		want    []inventory.Entry
		ok      bool
	}{
		"no filter":          {both, nil, both, true},
		"no filter, nothing": {nil, nil, nil, true},
		"equal":              {both, []inventory.Filter{where("Name", "Equal", "bash")}, []inventory.Entry{bash}, true},
		"equal by default":   {both, []inventory.Filter{where("Name", "", "x", "bash")}, []inventory.Entry{bash}, true},
		"numbers": {both, []inventory.Filter{where("Version", "GreaterThan", "5.9")}, []inventory.Entry{bash},
			true},
		"smaller": {both, []inventory.Filter{where("Version", "LessThan", "5.9.1")}, []inventory.Entry{zsh},
			true},
		"begins": {both, []inventory.Filter{where("Name", "BeginWith", "z")}, []inventory.Entry{zsh},
			true},
		"exists":                     {both, []inventory.Filter{where("Name", "Exists", "true")}, both, true},
		"does not exist":             {both, []inventory.Filter{where("Epoch", "Exists", "true")}, nil, false},
		"an attribute that it lacks": {both, []inventory.Filter{where("Epoch", "LessThan", "9")}, nil, false},
		"one entry meets all filters": {both,
			[]inventory.Filter{where("Name", "Equal", "bash"), where("Version", "Equal", "5.9")}, nil, false},
		"does not exist in any entry":          {both, []inventory.Filter{where("Name", "NotEqual", "fish")}, both, true},
		"exists among others":                  {both, []inventory.Filter{where("Name", "NotEqual", "zsh")}, nil, false},
		"does not exist in an empty inventory": {nil, []inventory.Filter{where("Name", "NotEqual", "zsh")}, nil, true},
		"not equal to another": {both,
			[]inventory.Filter{where("Name", "Equal", "bash"), where("Version", "NotEqual", "5.9")}, []inventory.Entry{bash},
			true},
		"not equal to itself": {both,
			[]inventory.Filter{where("Name", "Equal", "zsh"), where("Version", "NotEqual", "5.9")}, nil, false},
		"missing, and not equal to another": {nil,
			[]inventory.Filter{where("Name", "Equal", "bash"), where("Version", "NotEqual", "5.9")}, nil, false},
	} {
		got, ok := inventory.Select(tc.content, tc.filters)
		if d := cmp.Diff(tc.want, got); d != "" || ok != tc.ok {
			t.Errorf("%s: %v, %s", name, ok, d)
		}
	}
}

func TestTally(t *testing.T) {
	t.Parallel()
	got := inventory.Tally([]inventory.Entry{
		{
			"A": "x",
			"B": "1",
		}, {"A": "x", "B": "2", "C": "whatever"}, {"A": "y", "B": "1"}, {"A": "x", "B": "1"}, {"B": "1"}, {"A": `x" "1`},
	}, "A", "B")
	want := []inventory.Entry{
		{
			"A":     "x",
			"B":     "1",
			"Count": "2",
		}, {"B": "1", "Count": "1"}, {"A": "x", "B": "2", "Count": "1"}, {"A": `x" "1`, "Count": "1"},
		{"A": "y", "B": "1", "Count": "1"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := inventory.Tally(nil, "A"); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{{"1.9", "1.10"}, {"1", "1.0"}, {"", "0"}, {"3.0.11-1", "3.0.9-1"}, {"1.a", "1.b"},
		{"99999999999999999999", "a"}} {
		if c := inventory.Compare(pair[0], pair[1]); c >= 0 {
			t.Errorf("%q is not before %q: %d", pair[0], pair[1], c)
		}
		if c := inventory.Compare(pair[1], pair[0]); c <= 0 {
			t.Errorf("%q is not after %q: %d", pair[1], pair[0], c)
		}
	}
	if inventory.Compare("1.02", "1.2") != 0 {
		t.Error("zeros in front count")
	}
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	for key, want := range map[string][2]string{
		"AWS:Application.Name": {"AWS:Application", "Name"}, "Custom:a.b.c": {"Custom:a.b", "c"},
		"AWS:Application": {}, "AWS:Application.": {}, "AWS:Nonsense.Name": {}, "Custom:.x": {}, "": {}, ".": {},
	} {
		typ, attribute, ok := inventory.ParseKey(key)
		if ok != (want[0] != "") || ok && [2]string{typ, attribute} != want {
			t.Errorf("%q: %q, %q, %v", key, typ, attribute, ok)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	for _, s := range []string{"AWS:Application.Name", "Custom:a.b.c", "Custom:", ".", "AWS:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		typ, attribute, ok := inventory.ParseKey(key)
		if ok && (typ+"."+attribute != key || attribute == "" || !strings.Contains(typ, ":")) {
			t.Errorf("%q: %q, %q", key, typ, attribute)
		}
	})
}
