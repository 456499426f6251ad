package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Pattern selects events like an EventBridge event pattern. It supports exact values,
// prefix, suffix, equals-ignore-case, anything-but, exists and cidr, and refuses
// everything else.
type Pattern struct {
	fields []field // all must match
	// No fields match everything.
}

type field struct {
	name  string
	below *Pattern    // for an object
	any   []condition // for a value: one must match
}

// condition is one element of a pattern's list.
type condition struct {
	absent bool // matches only a missing member
	match  func(v any) bool
}

// Limits of a pattern.
const (
	maxPattern      = 16 << 10
	maxPatternDepth = 8
)

// envelope lists the fields of every event.
var envelope = []string{"version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"}

// OfTypes returns a pattern that matches events of the given types.
func OfTypes(types []string) (*Pattern, error) {
	if len(types) == 0 {
		return &Pattern{}, nil
	}
	b, err := json.Marshal(map[string][]string{"detail-type": types})
	if err != nil {
		return nil, err
	}
	return ParsePattern(b)
}

// ParsePattern parses a pattern. It refuses unsupported patterns and those that cannot
// match any event.
func ParsePattern(text []byte) (*Pattern, error) {
	if len(text) > maxPattern {
		return nil, fmt.Errorf("the pattern has %d bytes, more than the limit of %d", len(text), maxPattern)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("the pattern is not valid JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the pattern must be one JSON object: remove the text after it")
	}
	p, err := object(v, "", 0)
	if err != nil {
		return nil, err
	}
	return p, sensible(v)
}

// sensible refuses a pattern that names unknown fields or event types.
func sensible(v any) error {
	m, _ := v.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(envelope, name) {
			return fmt.Errorf("unknown field %q: want one of %s", name, strings.Join(envelope, ", "))
		}
	}
	types, _ := m["detail-type"].([]any)
	for _, t := range types {
		if s, ok := t.(string); ok && !slices.Contains(Types(), Type(s)) {
			return fmt.Errorf("unknown event type %q: want one of %s", s, words(Types()))
		}
	}
	return nil
}

func words(types []Type) string {
	var all []string
	for _, t := range types {
		all = append(all, fmt.Sprintf("%q", t))
	}
	return strings.Join(all, ", ")
}

func object(v any, at string, depth int) (*Pattern, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s must be an object or a list of values", place(at))
	}
	if depth > maxPatternDepth {
		return nil, fmt.Errorf("%s is nested more than %d levels deep", place(at), maxPatternDepth)
	}
	if len(m) == 0 {
		return nil, fmt.Errorf("%s is empty", place(at))
	}
	p := &Pattern{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		where := strings.TrimPrefix(at+"."+name, ".")
		if strings.HasPrefix(name, "$") {
			return nil, fmt.Errorf("%s: %s is not supported", place(at), name)
		}
		f := field{name: name}
		list, isList := m[name].([]any)
		if !isList {
			below, err := object(m[name], where, depth+1)
			if err != nil {
				return nil, err
			}
			f.below = below
			p.fields = append(p.fields, f)
			continue
		}
		if len(list) == 0 {
			return nil, fmt.Errorf("%s is an empty list, which matches nothing", place(where))
		}
		for _, e := range list {
			c, err := conditionOf(e)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", place(where), err)
			}
			f.any = append(f.any, c)
		}
		p.fields = append(p.fields, f)
	}
	return p, nil
}

func place(at string) string {
	if at == "" {
		return "the pattern"
	}
	return "the pattern's " + at
}

// supported lists the comparisons for error messages.
const supported = "prefix, suffix, equals-ignore-case, anything-but, exists or cidr"

func conditionOf(e any) (condition, error) {
	op, ok := e.(map[string]any)
	if !ok {
		switch e.(type) {
		case string, json.Number, bool, nil:
			return condition{match: func(v any) bool { return equal(v, e) }}, nil
		}
		return condition{}, errors.New("a value must be a string, a number, true, false, null, or a comparison")
	}
	if len(op) != 1 {
		return condition{}, fmt.Errorf("a comparison must have exactly one operator, got %d", len(op))
	}
	for name, arg := range op {
		if name == "exists" {
			b, ok := arg.(bool)
			if !ok {
				return condition{}, errors.New("exists must be true or false")
			}
			return condition{absent: !b, match: func(any) bool { return b }}, nil
		}
		if name == "anything-but" {
			m, err := anythingBut(arg)
			return condition{match: m}, err
		}
		m, err := textual(name, arg)
		return condition{match: m}, err
	}
	panic("unreachable: op has one entry")
}

// textual returns a comparison with one string.
func textual(name string, arg any) (func(v any) bool, error) {
	want, ok := arg.(string)
	var test func(s string) bool
	switch name {
	case "prefix":
		test = func(s string) bool { return strings.HasPrefix(s, want) }
	case "suffix":
		test = func(s string) bool { return strings.HasSuffix(s, want) }
	case "equals-ignore-case":
		test = func(s string) bool { return strings.EqualFold(s, want) }
	case "cidr":
		net, err := netip.ParsePrefix(want)
		if err != nil {
			return nil, fmt.Errorf("cidr: %q is not a network: want, for example, 10.0.0.0/24", want)
		}
		test = func(s string) bool {
			a, err := netip.ParseAddr(s)
			return err == nil && net.Contains(a.Unmap().WithZone(""))
		}
	default:
		return nil, fmt.Errorf("unsupported operator %q: want %s", name, supported)
	}
	if !ok {
		return nil, fmt.Errorf("%s requires a string", name)
	}
	return func(v any) bool { s, ok := v.(string); return ok && test(s) }, nil
}

func anythingBut(arg any) (func(v any) bool, error) {
	switch x := arg.(type) {
	case string, json.Number:
		return func(v any) bool { return !equal(v, x) }, nil
	case []any:
		for _, e := range x {
			switch e.(type) {
			case string, json.Number:
			default:
				return nil, errors.New("anything-but must have a list of strings or numbers")
			}
		}
		if len(x) > 0 {
			return func(v any) bool { return !slices.ContainsFunc(x, func(e any) bool { return equal(v, e) }) }, nil
		}
	case map[string]any:
		if want, ok := x["prefix"].(string); ok && len(x) == 1 {
			return func(v any) bool { s, ok := v.(string); return ok && !strings.HasPrefix(s, want) }, nil
		}
	}
	return nil, errors.New("anything-but requires a string, a number, a list of these, or a prefix")
}

// equal compares JSON values whose numbers are json.Number.
func equal(v, want any) bool {
	a, ok1 := v.(json.Number)
	b, ok2 := want.(json.Number)
	if ok1 && ok2 {
		x, err1 := a.Float64()
		y, err2 := b.Float64()
		return err1 == nil && err2 == nil && x == y
	}
	switch v.(type) {
	case string, bool, nil, json.Number:
		return v == want
	}
	return false
}

// namesTypes reports whether p names event types or sources.
func (p *Pattern) namesTypes() bool {
	return p != nil &&
		slices.ContainsFunc(p.fields, func(f field) bool { return f.name == "detail-type" || f.name == "source" })
}

// Match reports whether an event's JSON matches.
func (p *Pattern) Match(body []byte) bool {
	if p == nil || len(p.fields) == 0 {
		return true
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v map[string]any
	return dec.Decode(&v) == nil && v != nil && p.match(v)
}

func (p *Pattern) match(v any) bool {
	m, _ := v.(map[string]any)
	for _, f := range p.fields {
		got, present := m[f.name]
		if !f.match(got, present) {
			return false
		}
	}
	return true
}

func (f field) match(v any, present bool) bool {
	if f.below != nil {
		return f.below.match(v) // every member of a missing value is absent
	}
	values, isList := v.([]any)
	if !isList {
		values = []any{v}
	}
	for _, c := range f.any {
		switch {
		case c.absent && !present:
			return true
		case c.absent || !present:
		case slices.ContainsFunc(values, c.match):
			return true
		}
	}
	return false
}
