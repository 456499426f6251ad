package fleet

import (
	"strings"
	"unicode"

	"sekisho/internal/safetext"
	"sekisho/internal/wire/id"
)

// hostName returns a safe form of the name that a machine reports for itself. Because nodes choose
// these names, names in the form of a node ID are refused, and characters that are patterns,
// separators or quotes in files and command lines become hyphens.
func hostName(reported string) string {
	name := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, safetext.Line(reported, maxFact))
	if name = strings.TrimLeft(name, "-."); id.ValidNode(strings.ToLower(name)) {
		return ""
	}
	return name
}
