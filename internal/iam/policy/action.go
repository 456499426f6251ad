package policy

import "strings"

// actionPattern is one member of Action or NotAction, in lower case.
type actionPattern struct {
	glob  string
	never bool // malformed: it matches nothing
	exact bool // no wildcards
}

// compileAction compiles an action pattern. A malformed pattern matches nothing or, if wide, as
// much as its text could mean.
func compileAction(src string, wide bool) actionPattern {
	a := actionPattern{glob: lowerASCII(src), exact: !strings.ContainsAny(src, "*?")}
	if src == "*" {
		return a
	}
	service, _, ok := strings.Cut(src, ":")
	switch {
	case strings.ContainsAny(src, " \t\r\n"), strings.Count(src, ":") > 1:
		a.never = true
	case !ok, service != "*" && strings.ContainsAny(service, "*?"):
		a.never = !wide
	}
	return a
}

// matches reports whether the pattern covers action, in any case.
func (a *actionPattern) matches(action string) bool {
	if a.never {
		return false
	}
	if a.glob == "*" {
		return true
	}
	if a.exact {
		return len(action) == len(a.glob) && hasPrefixFold(action, a.glob)
	}
	return globFold(a.glob, action)
}

// literal returns the text before the first wildcard.
func (a *actionPattern) literal() string {
	if i := strings.IndexAny(a.glob, "*?"); i >= 0 {
		return a.glob[:i]
	}
	return a.glob
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func lowerASCII(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] != lower(s[i]) {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				b[j] = lower(b[j])
			}
			return string(b)
		}
	}
	return s
}

// hasPrefixFold reports whether s begins with the lower-case prefix.
func hasPrefixFold(s, prefix string) bool {
	if len(s) < len(prefix) {
		return false
	}
	for i := 0; i < len(prefix); i++ {
		if lower(s[i]) != prefix[i] {
			return false
		}
	}
	return true
}

// globFold matches text, in any case, against a lower-case glob.
func globFold(glob, text string) bool {
	g, t, star, from := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, from = g, t
			g++
		case g < len(glob) && glob[g] == '?':
			g++
			t += charLen(text, t)
		case g < len(glob) && glob[g] == lower(text[t]):
			g++
			t++
		case star >= 0:
			from += charLen(text, from)
			g, t = star+1, from
		default:
			return false
		}
	}
	for g < len(glob) && glob[g] == '*' {
		g++
	}
	return g == len(glob)
}
