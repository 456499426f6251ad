// Package safetext makes text from untrusted sources safe to store, log and
// print. It is the only place that clips strings or filters control
// characters.
//
// All functions return valid UTF-8. Lengths are in bytes.
package safetext

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// ellipsis marks text that was clipped. It counts towards the limit.
const ellipsis = "…"

// Line returns s as one printable line of at most limit bytes. Line breaks and
// other white space become spaces; characters that could act on a terminal,
// reorder text or hide it are removed (see Printable); invalid UTF-8 becomes
// U+FFFD.
func Line(s string, limit int) string {
	return filter(s, limit, func(r rune) rune {
		switch {
		case unicode.IsSpace(r) || r == '\u2028' || r == '\u2029':
			return ' '
		case Printable(r):
			return r
		}
		return -1
	})
}

// Text is Line for text of several lines: it keeps line feeds and tabs.
func Text(s string, limit int) string {
	return filter(s, limit, func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || Printable(r):
			return r
		case unicode.IsSpace(r) && r != '\r':
			return ' '
		}
		return -1
	})
}

// Sentence returns s with a period at its end, unless it ends with other
// punctuation of a sentence.
func Sentence(s string) string {
	if strings.HasSuffix(s, ".") || strings.HasSuffix(s, "?") || strings.HasSuffix(s, "!") {
		return s
	}
	return s + "."
}

// Clip returns the longest prefix of s that fits in limit bytes, with an
// ellipsis if anything was cut. It never splits a UTF-8 sequence. Use it for
// text that is known to be clean; Line and Text clip as well.
func Clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	if limit < len(ellipsis) {
		return Prefix(s, limit)
	}
	return Prefix(s, limit-len(ellipsis)) + ellipsis
}

// Prefix returns the longest prefix of s of at most limit bytes that does not
// split a UTF-8 sequence.
func Prefix(s string, limit int) string {
	if limit <= 0 {
		return ""
	}
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// Printable reports whether r can be shown without side effects. It is false
// for control characters, for format characters such as bidirectional
// overrides and zero-width characters, for surrogates and private-use
// characters, and for white space other than U+0020. U+FFFD is printable: it
// stands for what could not be decoded.
func Printable(r rune) bool { return unicode.IsPrint(r) }

// filter maps s and stops reading once the result is sure to be clipped, so
// that the cost depends on limit, not on len(s).
func filter(s string, limit int, keep func(rune) rune) string {
	limit = max(limit, 0)
	if clean(s, keep) {
		return Clip(s, limit)
	}
	var b strings.Builder
	b.Grow(min(len(s), limit+utf8.UTFMax))
	for _, r := range s { // ranging yields U+FFFD for invalid bytes
		if r = keep(r); r >= 0 {
			b.WriteRune(r)
		}
		if b.Len() > limit {
			break
		}
	}
	return Clip(b.String(), limit)
}

// clean reports whether filtering would leave s as it is.
func clean(s string, keep func(rune) rune) bool {
	for i, r := range s {
		if keep(r) != r {
			return false
		}
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return false
			}
		}
	}
	return true
}
