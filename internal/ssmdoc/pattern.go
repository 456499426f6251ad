package ssmdoc

import (
	"fmt"
	"regexp"
	"regexp/syntax"
)

// maxPattern bounds the size of a compiled pattern, in instructions, counted before it is compiled. Nested repetitions
// such as (a{30}){30} expand a short pattern to many instructions, which cost memory and time.
const maxPattern = 10_000

// maxPatterns bounds the size of all patterns of one document.
const maxPatterns = 20_000

// pattern compiles a pattern so that it must match a whole value, regardless of its own anchors and
// flags.
func (c *checker) pattern(where, text string) *regexp.Regexp {
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		c.failf(where, "cannot be used: %v (patterns have the syntax of RE2: no look-around, no back-references)", err)
		return nil
	}
	size := patternSize(re)
	if c.patternSize += size; size > maxPattern || c.patternSize > maxPatterns {
		c.failf(
			where,
			"is too large after expanding repetitions: the limit is %d instructions for a pattern, and %d for all "+
				"patterns of a document",
			maxPattern,
			maxPatterns,
		)
		return nil
	}
	compiled, err := regexp.Compile(`\A(?:` + text + `)\z`)
	if err != nil {
		c.failf(where, "cannot be used: %v", fmt.Errorf("as a whole: %w", err))
		return nil
	}
	return compiled
}

// patternSize estimates the number of instructions that re compiles to, without compiling it. A
// character class counts as its ranges, which are copied.
func patternSize(re *syntax.Regexp) int {
	size := 1
	switch re.Op {
	case syntax.OpLiteral:
		size = len(re.Rune)
	case syntax.OpCharClass:
		size = 1 + len(re.Rune)/32
	}
	for _, sub := range re.Sub {
		if size += patternSize(sub); size > maxPatterns {
			return maxPatterns + 1
		}
	}
	if re.Op == syntax.OpRepeat {
		if size *= max(re.Min, re.Max, 1); size > maxPatterns {
			return maxPatterns + 1
		}
	}
	return size
}
