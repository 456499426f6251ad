package client_test

import (
	"slices"
	"testing"

	"sekisho/internal/client"
)

func TestCompareNames(t *testing.T) {
	t.Parallel()
	want := []string{"", "1", "02", "10", "büro-1", "büro-20", "db", "VM-2", "vm-2", "vm-10", "vm-10a", "vm-a", "web"}
	got := slices.Clone(want)
	slices.Reverse(got)
	if slices.SortFunc(got, client.CompareNames); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, pair := range [][2]string{{"vm-2", "vm-10"}, {"VM-2", "vm-2"}, {"a2b", "a10"}, {"a", "a1"}, {"2", "03"}} {
		if client.CompareNames(pair[0], pair[1]) >= 0 || client.CompareNames(pair[1], pair[0]) <= 0 {
			t.Errorf("%q does not precede %q", pair[0], pair[1])
		}
	}
}
