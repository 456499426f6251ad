// Package shellquote quotes words for POSIX shells. It is kept by hand because
// the rule is one line; the libraries we considered also split, which nothing
// here needs.
package shellquote

import "strings"

// plain are the characters that no POSIX shell treats specially anywhere in a
// word.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./:,@%"

// Quote returns s as one word of a POSIX shell command line. Words that need
// no quotes are returned unchanged. A NUL byte cannot be passed to a program;
// callers must reject it before.
func Quote(s string) string {
	if s != "" && strings.IndexFunc(s, special) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func special(r rune) bool { return !strings.ContainsRune(plain, r) }

// Join quotes each argument and joins them with spaces.
func Join(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = Quote(a)
	}
	return strings.Join(quoted, " ")
}
