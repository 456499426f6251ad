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

// Pattern selects events, as EventBridge's event patterns do. Of its
// comparisons it has exact values, prefix, suffix, equals-ignore-case,
// anything-but, exists and cidr. What it does not have is refused.
type Pattern struct {
	fields []field // all must match
	// anything, when there are no fields.
}

type field struct {
	name  string
	below *Pattern    // of an object
	any   []condition // of a value: one must match
}

// condition is one element of a pattern's list.
type condition struct {
	absent bool // matches a missing member, and nothing else
	match  func(v any) bool
}

// Bounds of a pattern.
const (
	maxPattern      = 16 << 10
	maxPatternDepth = 8
)

// envelope are the fields of every event.
var envelope = []string{"version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"}

// OfTypes is the pattern of events of some types.
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

// ParsePattern reads a pattern. One that is not understood, or that no event
// can match, is an error.
func ParsePattern(text []byte) (*Pattern, error) {
	if len(text) > maxPattern {
		return nil, fmt.Errorf("a pattern has at most %d bytes", maxPattern)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("a pattern is a JSON object: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("a pattern is one JSON object, and something follows it")
	}
	p, err := object(v, "", 0)
	if err != nil {
		return nil, err
	}
	return p, sensible(v)
}

// sensible refuses a pattern for events that do not exist.
func sensible(v any) error {
	m, _ := v.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(envelope, name) {
			return fmt.Errorf("no event has %q: at the top are %s", name, strings.Join(envelope, ", "))
		}
	}
	types, _ := m["detail-type"].([]any)
	for _, t := range types {
		if s, ok := t.(string); ok && !slices.Contains(Types(), Type(s)) {
			return fmt.Errorf("there is no event %q; there are %s", s, words(Types()))
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
		return nil, fmt.Errorf("%s must be an object, or a list of values", place(at))
	}
	if depth > maxPatternDepth {
		return nil, fmt.Errorf("%s lies too deep", place(at))
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
		return "a pattern"
	}
	return "the pattern's " + at
}

// supported are the comparisons, as errors name them.
const supported = "prefix, suffix, equals-ignore-case, anything-but, exists and cidr are"

func conditionOf(e any) (condition, error) {
	op, ok := e.(map[string]any)
	if !ok {
		switch e.(type) {
		case string, json.Number, bool, nil:
			return condition{match: func(v any) bool { return equal(v, e) }}, nil
		}
		return condition{}, errors.New("a value is a text, a number, true, false, null, or a comparison")
	}
	if len(op) != 1 {
		return condition{}, errors.New("a comparison has one name")
	}
	for name, arg := range op {
		if name == "exists" {
			b, ok := arg.(bool)
			if !ok {
				return condition{}, errors.New("exists is true or false")
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
	panic("unreachable: there is one")
}

// textual are the comparisons with one text.
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
			return nil, fmt.Errorf("cidr: %q is not a network such as 10.0.0.0/24", want)
		}
		test = func(s string) bool {
			a, err := netip.ParseAddr(s)
			return err == nil && net.Contains(a.Unmap().WithZone(""))
		}
	default:
		return nil, fmt.Errorf("%q is not supported; %s", name, supported)
	}
	if !ok {
		return nil, fmt.Errorf("%s needs a text", name)
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
				return nil, errors.New("anything-but has a list of texts or numbers")
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
	return nil, errors.New("anything-but needs a text, a number, a list of these, or a prefix")
}

// equal compares values of JSON whose numbers are json.Number.
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

// asks reports whether p names types or sources of events.
func (p *Pattern) asks() bool {
	return p != nil && slices.ContainsFunc(p.fields, func(f field) bool { return f.name == "detail-type" || f.name == "source" })
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
		got, there := m[f.name]
		if !f.match(got, there) {
			return false
		}
	}
	return true
}

func (f field) match(v any, there bool) bool {
	if f.below != nil {
		return f.below.match(v) // every member of a missing value is absent
	}
	values, isList := v.([]any)
	if !isList {
		values = []any{v}
	}
	for _, c := range f.any {
		switch {
		case c.absent && !there:
			return true
		case c.absent || !there:
		case slices.ContainsFunc(values, c.match):
			return true
		}
	}
	return false
}
