// Package naive is a second evaluator of AWS's policy language, for tests. It follows the IAM User
// Guide as directly as possible, without compilation, index or optimization, and shares no code
// with package policy.
package naive

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Request is a request. A key with one value is a string, one with several a
// []string.
type Request struct {
	Action, Resource string
	Context          map[string]any // by key in lower case
}

// Document is a policy document as JSON.
type Document struct {
	Version   string
	Statement []Statement
}

// Statement is a statement as JSON.
type Statement struct {
	Effect      string
	Action      []string
	NotAction   []string
	Resource    []string
	NotResource []string
	Condition   map[string]map[string][]string
}

// Parse parses a document whose elements are all lists.
func Parse(text string) (Document, error) {
	var d Document
	err := json.Unmarshal([]byte(text), &d)
	return d, err
}

// Decide returns "explicit deny", "implicit deny" or "allow". The limits are policies that must
// also allow: boundaries, session policies, SCPs.
func Decide(identity []Document, limits [][]Document, r Request) string {
	all := append([][]Document{identity}, limits...)
	for _, docs := range all {
		if applies(docs, "Deny", r) {
			return "explicit deny"
		}
	}
	for _, docs := range all {
		if !applies(docs, "Allow", r) {
			return "implicit deny"
		}
	}
	return "allow"
}

func applies(docs []Document, effect string, r Request) bool {
	for _, d := range docs {
		for _, s := range d.Statement {
			if s.Effect == effect && s.matches(r, d.Version == "2012-10-17") {
				return true
			}
		}
	}
	return false
}

func (s Statement) matches(r Request, variables bool) bool {
	action := func(pattern string) bool {
		return glob(wildcards(strings.ToLower(pattern)), strings.ToLower(r.Action))
	}
	if s.Action != nil && !slices.ContainsFunc(s.Action, action) ||
		s.NotAction != nil && slices.ContainsFunc(s.NotAction, action) {
		return false
	}
	resource := func(pattern string) bool { return matchesResource(pattern, r, variables) }
	if s.Resource != nil && !slices.ContainsFunc(s.Resource, resource) ||
		s.NotResource != nil && slices.ContainsFunc(s.NotResource, resource) {
		return false
	}
	for operator, keys := range s.Condition {
		for key, values := range keys {
			if !condition(operator, key, values, r, variables) {
				return false
			}
		}
	}
	return true
}

// token is a character of a pattern, or a wildcard.
type token struct {
	char rune
	any  bool // *
	one  bool // ?
}

func wildcards(s string) []token {
	var out []token
	for _, c := range s {
		out = append(out, token{char: c, any: c == '*', one: c == '?'})
	}
	return out
}

func literal(s string) []token {
	var out []token
	for _, c := range s {
		out = append(out, token{char: c})
	}
	return out
}

var variable = regexp.MustCompile(`\$\{([^}]*)\}`)

// expand replaces variables; ok is false if one has no value.
func expand(pattern string, r Request, variables, wild bool) (out []token, ok bool) {
	plain := literal
	if wild {
		plain = wildcards
	}
	if !variables {
		return plain(pattern), true
	}
	at := 0
	for _, m := range variable.FindAllStringSubmatchIndex(pattern, -1) {
		out = append(out, plain(pattern[at:m[0]])...)
		at = m[1]
		name := pattern[m[2]:m[3]]
		if name == "*" || name == "?" || name == "$" {
			out = append(out, literal(name)...)
			continue
		}
		key, fallback, hasFallback := strings.Cut(name, ", '")
		value, isString := r.Context[strings.ToLower(key)].(string)
		switch _, present := r.Context[strings.ToLower(key)]; {
		case isString:
			out = append(out, literal(value)...)
		case !present && hasFallback:
			out = append(out, literal(strings.TrimSuffix(fallback, "'"))...)
		default:
			return nil, false
		}
	}
	return append(out, plain(pattern[at:])...), true
}

// glob matches by backtracking.
func glob(pattern []token, text string) bool {
	if len(pattern) == 0 {
		return text == ""
	}
	p, rest := pattern[0], pattern[1:]
	if p.any {
		for i := range text + "x" {
			if glob(rest, text[i:]) {
				return true
			}
		}
		return false
	}
	for i, c := range text {
		next := i + len(string(c))
		return (p.one || p.char == c) && glob(rest, text[next:])
	}
	return false
}

// parts splits at the first five colons.
func parts(pattern []token) [][]token {
	out := [][]token{nil}
	for _, t := range pattern {
		if t.char == ':' && len(out) < 6 {
			out = append(out, nil)
			continue
		}
		out[len(out)-1] = append(out[len(out)-1], t)
	}
	return out
}

func matchesARN(pattern []token, text string) bool {
	p, t := parts(pattern), strings.SplitN(text, ":", 6)
	if len(p) != 6 || len(t) != 6 {
		return false
	}
	for i := range p {
		if !glob(p[i], t[i]) {
			return false
		}
	}
	return true
}

func matchesResource(pattern string, r Request, variables bool) bool {
	if pattern == "*" {
		return true
	}
	// A last star of a short ARN covers the missing parts.
	for strings.HasSuffix(pattern, "*") && strings.Count(pattern, ":") < 5 {
		pattern += ":*"
	}
	p, ok := expand(pattern, r, variables, true)
	return ok && matchesARN(p, r.Resource)
}

func condition(operator, key string, want []string, r Request, variables bool) bool {
	have, present := r.Context[strings.ToLower(key)]
	if operator == "Null" {
		return slices.Contains(want, strconv.FormatBool(!present))
	}
	operator, forAll := strings.CutPrefix(operator, "ForAllValues:")
	operator, forAny := strings.CutPrefix(operator, "ForAnyValue:")
	operator, ifExists := strings.CutSuffix(operator, "IfExists")
	compare, negated := comparison(operator)
	test := func(value string) bool {
		return slices.ContainsFunc(want, func(w string) bool { return compare(value, w, r, variables) }) != negated
	}
	values, isList := have.([]string)
	if s, ok := have.(string); ok {
		values = []string{s}
	}
	switch {
	case forAll:
		return !slices.ContainsFunc(values, func(v string) bool { return !test(v) })
	case forAny:
		return slices.ContainsFunc(values, test)
	case !present:
		return ifExists || negated
	case isList:
		return false
	}
	return test(values[0])
}

type compareFunc func(value, want string, r Request, variables bool) bool

// comparison returns the comparison of an operator, and whether it is negated.
func comparison(operator string) (compareFunc, bool) {
	ordered := func(name string, cmp func(a, b string) (int, bool)) (compareFunc, bool) {
		relation := strings.TrimPrefix(operator, name)
		return func(value, want string, _ Request, _ bool) bool {
			c, ok := cmp(value, want)
			return ok && map[string]bool{
				"Equals": c == 0, "NotEquals": c == 0, "LessThan": c < 0, "LessThanEquals": c <= 0,
				"GreaterThan": c > 0, "GreaterThanEquals": c >= 0,
			}[relation]
		}, relation == "NotEquals"
	}
	text := func(wild bool, equal func(pattern []token, value string) bool) compareFunc {
		return func(value, want string, r Request, variables bool) bool {
			p, ok := expand(want, r, variables, wild)
			return ok && equal(p, value)
		}
	}
	fold := func(p []token, value string) bool {
		var b strings.Builder
		for _, t := range p {
			b.WriteRune(t.char)
		}
		return strings.EqualFold(b.String(), value)
	}
	negated := strings.Contains(operator, "Not")
	switch {
	case strings.HasSuffix(operator, "IgnoreCase"):
		return text(false, fold), negated
	case operator == "StringEquals" || operator == "StringNotEquals":
		return text(false, glob), negated
	case operator == "StringLike" || operator == "StringNotLike":
		return text(true, glob), negated
	case strings.HasPrefix(operator, "Arn"):
		return text(true, matchesARN), negated
	case operator == "Bool":
		return text(false, func(p []token, value string) bool {
			return (strings.EqualFold(value, "true") || strings.EqualFold(value, "false")) && fold(p, value)
		}), false
	case strings.HasPrefix(operator, "Numeric"):
		return ordered("Numeric", compareNumbers)
	case strings.HasPrefix(operator, "Date"):
		return ordered("Date", compareDates)
	case strings.HasSuffix(operator, "IpAddress"):
		return func(value, want string, _ Request, _ bool) bool {
			if !strings.Contains(want, "/") {
				if strings.Contains(want, ":") {
					want += "/128"
				} else {
					want += "/32"
				}
			}
			_, network, err := net.ParseCIDR(want)
			ip := net.ParseIP(value)
			return err == nil && ip != nil && (ip.To4() == nil) == strings.Contains(want, ":") && network.Contains(ip)
		}, negated
	}
	return func(value, want string, _ Request, _ bool) bool { // BinaryEquals
		a, err1 := base64.StdEncoding.DecodeString(value)
		b, err2 := base64.StdEncoding.DecodeString(want)
		return err1 == nil && err2 == nil && bytes.Equal(a, b)
	}, false
}

var number = regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$`)

func compareNumbers(a, b string) (int, bool) {
	if !number.MatchString(a) || !number.MatchString(b) {
		return 0, false
	}
	x, ok1 := new(big.Rat).SetString(a)
	y, ok2 := new(big.Rat).SetString(b)
	if !ok1 || !ok2 {
		return 0, false
	}
	return x.Cmp(y), true
}

func compareDates(a, b string) (int, bool) {
	x, ok1 := date(a)
	y, ok2 := date(b)
	return x.Compare(y), ok1 && ok2
}

func date(s string) (time.Time, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(n, 0), true
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05.999999999",
		"2006-01-02T15:04", "2006-01-02", "2006-01"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
