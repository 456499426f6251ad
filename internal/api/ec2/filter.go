package ec2

import (
	"slices"

	"sekisho/internal/wire/awsproto"
)

// filter is one filter of a request. An item passes if it matches any of the values; it must pass
// all filters.
type filter struct {
	Name  string
	Value []string
}

// AWS's limits.
const (
	maxFilters = 50
	maxValues  = 200
)

// attributes returns the values of an item's attribute to compare; none if the item lacks it. known
// is false if no such attribute exists.
type attributes[T any] func(item T, name string) (values []string, known bool)

// selected returns the items that pass every filter. Unknown filters are refused: without them,
// more items would match than requested.
func selected[T any](all []T, filters []filter, of attributes[T]) ([]T, error) {
	passes, err := matcher(filters, of)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(all), func(item T) bool { return !passes(item) }), nil
}

// matcher returns a function that reports whether an item passes every filter.
func matcher[T any](filters []filter, of attributes[T]) (func(item T) bool, error) {
	if len(filters) > maxFilters {
		return nil, awsproto.SenderError("FilterLimitExceeded", "A request can have at most %d filters.", maxFilters)
	}
	var none T
	for _, f := range filters {
		if _, known := of(none, f.Name); !known {
			return nil, awsproto.SenderError("InvalidParameterValue", "The filter '%.100s' is invalid", f.Name)
		}
		if len(f.Value) > maxValues {
			return nil, awsproto.SenderError("FilterLimitExceeded", "A filter can have at most %d values.", maxValues)
		}
	}
	return func(item T) bool {
		for _, f := range filters {
			values, _ := of(item, f.Name)
			if !slices.ContainsFunc(f.Value, func(pattern string) bool {
				return slices.ContainsFunc(values, func(v string) bool { return like(pattern, v) })
			}) {
				return false
			}
		}
		return true
	}, nil
}

// like reports whether s matches pattern: * matches any text, ? one byte, and a backslash escapes
// the next character.
func like(pattern, s string) bool {
	// Where to resume when a comparison fails: behind the last star, which then matches one more
	// byte.
	star, from := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
			continue
		case p < len(pattern) && pattern[p] == '?':
			p++
			i++
			continue
		case p < len(pattern) && pattern[p] == '\\' && p+1 < len(pattern):
			if pattern[p+1] == s[i] {
				p += 2
				i++
				continue
			}
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
			continue
		}
		if star < 0 {
			return false
		}
		from++
		p, i = star+1, from
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
