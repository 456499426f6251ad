package awsproto

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Constraints collects violations of a request's constraints and reports them in AWS's
// wording. The zero value is ready for use. Members are named as in AWS's messages, with a
// lower-case first letter: "target", "tags.1.member.key".
type Constraints struct {
	// Code is the error's code; empty means ValidationException.
	Code     string
	hidden   []string
	failures []string
}

const sensitive = "***sensitiveInformation***"

// Hide keeps the values of these members out of the error.
func (c *Constraints) Hide(members ...string) { c.hidden = append(c.hidden, members...) }

// Require requires the member to be present.
func (c *Constraints) Require(member string, present bool) {
	if !present {
		c.failures = append(c.failures,
			fmt.Sprintf("Value null at '%s' failed to satisfy constraint: Member must not be null", member))
	}
}

// Length requires min to max characters; a negative max means no limit.
func (c *Constraints) Length(member, value string, minLength, maxLength int) {
	c.length(member, value, utf8.RuneCountInString(value), minLength, maxLength)
}

// Count requires a list, which has n elements, to have min to max elements.
func (c *Constraints) Count(member string, n, minLength, maxLength int) {
	c.length(member, fmt.Sprintf("a list of %d", n), n, minLength, maxLength)
}

func (c *Constraints) length(member, value string, n, minLength, maxLength int) {
	if n < minLength {
		c.fail(member, value, "Member must have length greater than or equal to %d", minLength)
	}
	if maxLength >= 0 && n > maxLength {
		c.fail(member, value, "Member must have length less than or equal to %d", maxLength)
	}
}

// Range requires a number from min to max.
func (c *Constraints) Range(member string, n, minValue, maxValue int64) {
	value := strconv.FormatInt(n, 10)
	if n < minValue {
		c.fail(member, value, "Member must have value greater than or equal to %d", minValue)
	}
	if n > maxValue {
		c.fail(member, value, "Member must have value less than or equal to %d", maxValue)
	}
}

// Pattern requires the whole value to match re; re must be anchored.
func (c *Constraints) Pattern(member, value string, re *regexp.Regexp) {
	if !re.MatchString(value) {
		c.fail(member, value, "Member must satisfy regular expression pattern: %s", re)
	}
}

// Enum requires one of the allowed values.
func (c *Constraints) Enum(member, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		c.fail(member, value, "Member must satisfy enum value set: [%s]", strings.Join(allowed, ", "))
	}
}

func (c *Constraints) fail(member, value, format string, args ...any) {
	if slices.Contains(c.hidden, member) {
		value = sensitive
	}
	if utf8.RuneCountInString(value) > 1024 {
		value = string([]rune(value)[:1024]) + "…"
	}
	c.failures = append(c.failures, fmt.Sprintf("Value '%s' at '%s' failed to satisfy constraint: ", value,
		member)+fmt.Sprintf(format, args...))
}

// Err returns nil if every constraint is satisfied, and an *Error otherwise.
func (c *Constraints) Err() error {
	if len(c.failures) == 0 {
		return nil
	}
	code := c.Code
	if code == "" {
		code = "ValidationException"
	}
	noun := "errors"
	if len(c.failures) == 1 {
		noun = "error"
	}
	return SenderError(code, "%d validation %s detected: %s", len(c.failures), noun, strings.Join(c.failures, "; "))
}
