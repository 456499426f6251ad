package loggroup

import "strings"

// Pattern is a filter pattern for unstructured events: a message matches if it contains all
// required words, no excluded word, and at least one of the alternatives, if there are any.
// The zero Pattern matches everything.
type Pattern struct {
	all, none, any []string
}

const maxPattern = 1024

// ParsePattern reads a filter pattern. It rejects patterns for JSON, for columns and with
// regular expressions.
func ParsePattern(text string) (Pattern, error) {
	var p Pattern
	if len(text) > maxPattern {
		return p, invalid("A filter pattern has at most %d characters.", maxPattern)
	}
	rest := strings.TrimSpace(text)
	if strings.HasPrefix(rest, "{") || strings.HasPrefix(rest, "[") || strings.HasPrefix(rest, "%") {
		return p, invalid(
			"Only filter patterns of words are understood here: word \"some words\" -without ?either ?or.",
		)
	}
	for rest != "" {
		list := &p.all
		switch rest[0] {
		case '-':
			list, rest = &p.none, rest[1:]
		case '?':
			list, rest = &p.any, rest[1:]
		}
		var word string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			var closed bool
			if word, rest, closed = unquote(quoted); !closed {
				return Pattern{}, invalid("Invalid filter pattern: a quotation mark is missing.")
			}
		} else {
			end := strings.IndexAny(rest, " \t\r\n")
			if end < 0 {
				end = len(rest)
			}
			word, rest = rest[:end], rest[end:]
			// CloudWatch requires quotes around words with characters other than letters,
			// digits and _.
			if i := strings.IndexFunc(word, func(r rune) bool {
				return r != '_' && r != '.' && r < 0x80 && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
			}); i >= 0 {
				return Pattern{}, invalid("Invalid character(s) in term '%s': put it in quotation marks.", word)
			}
		}
		if word == "" {
			return Pattern{}, invalid("Invalid filter pattern: a term is empty.")
		}
		*list = append(*list, word)
		rest = strings.TrimSpace(rest)
	}
	return p, nil
}

// unquote reads up to the closing quotation mark.
func unquote(s string) (word, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
			b.WriteByte(s[i])
		case s[i] == '"':
			return b.String(), s[i+1:], true
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}

// Match reports whether a message matches.
func (p Pattern) Match(message string) bool {
	for _, w := range p.all {
		if !strings.Contains(message, w) {
			return false
		}
	}
	for _, w := range p.none {
		if strings.Contains(message, w) {
			return false
		}
	}
	for _, w := range p.any {
		if strings.Contains(message, w) {
			return true
		}
	}
	return len(p.any) == 0
}
