package client

import (
	"fmt"
	"strings"
	"unicode"

	"sekisho/internal/safetext"
)

// Printable escapes everything in s that could move the cursor, hide text or make
// a terminal reply. Names and reasons are untrusted input.
func Printable(s string) string {
	clean := true
	for _, r := range s {
		if !printable(r) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case printable(r):
			b.WriteRune(r)
		case r == unicode.ReplacementChar:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func printable(r rune) bool {
	return r != unicode.ReplacementChar && safetext.Printable(r)
}
