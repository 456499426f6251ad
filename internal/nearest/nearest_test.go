package nearest_test

import (
	"strings"
	"testing"

	"sekisho/internal/nearest"
)

func TestName(t *testing.T) {
	t.Parallel()
	names := []string{"listen", "certificate", "Standard_Stream", "a"}
	for word, want := range map[string]string{
		"lissten":                        "listen",
		"certificat":                     "certificate",
		"cert":                           "certificate",
		"standard_stream":                "Standard_Stream",
		"listn":                          "listen",
		"xyz":                            "",
		"":                               "",
		"b":                              "",
		"listening":                      "listen",
		strings.Repeat("certificate", 9): "",
	} {
		if got := nearest.Name(word, names); got != want {
			t.Errorf("Name(%q) = %q, want %q", word, got, want)
		}
	}
	if got := nearest.Name("x", nil); got != "" {
		t.Errorf("without names: %q", got)
	}
}
