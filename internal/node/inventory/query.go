package inventory

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Filter selects entries by one attribute.
type Filter struct {
	Type, Attribute string
	Operator        string // Equal if empty
	Values          []string
}

// Operators returns the operators of a Filter.
func Operators() []string {
	return []string{"Equal", "NotEqual", "BeginWith", "LessThan", "GreaterThan", "Exists"}
}

// ParseKey parses a filter's key: "AWS:Application.Name".
func ParseKey(key string) (typ, attribute string, ok bool) {
	i := strings.LastIndexByte(key, '.')
	if i < 0 || i == len(key)-1 || !Known(key[:i]) {
		return "", "", false
	}
	return key[:i], key[i+1:], true
}

// meets reports whether e matches f. NotEqual is Equal here: [Select] negates
// it.
func (f *Filter) meets(e Entry) bool {
	got, ok := e[f.Attribute]
	return f.meetsValue(got, ok)
}

// PassesValue reports whether an item passes f whose only entry has the value got of the attribute
// or, if ok is false, lacks it.
func (f *Filter) PassesValue(got string, ok bool) bool {
	return f.meetsValue(got, ok) != (f.Operator == "NotEqual")
}

func (f *Filter) meetsValue(got string, ok bool) bool {
	if f.Operator == "Exists" || !ok {
		return ok
	}
	return slices.ContainsFunc(f.Values, func(want string) bool {
		switch f.Operator {
		case "BeginWith":
			return strings.HasPrefix(got, want)
		case "LessThan":
			return Compare(got, want) < 0
		case "GreaterThan":
			return Compare(got, want) > 0
		}
		return got == want
	})
}

// Select returns the entries that match all filters, and whether the node does.
// With NotEqual, a node matches if none of the entries is equal: the filter
// finds nodes without a program, not nodes that also have another one.
func Select(content []Entry, filters []Filter) (selected []Entry, ok bool) {
	negative := false
	for _, e := range content {
		if !slices.ContainsFunc(filters, func(f Filter) bool { return f.Operator != "NotEqual" && !f.meets(e) }) {
			selected = append(selected, e)
		}
	}
	for _, f := range filters {
		if f.Operator != "NotEqual" {
			continue
		}
		negative = true
		if slices.ContainsFunc(selected, f.meets) {
			return nil, false
		}
	}
	positive := slices.ContainsFunc(filters, func(f Filter) bool { return f.Operator != "NotEqual" })
	return selected, len(selected) > 0 || negative && !positive || len(filters) == 0
}

// Compare orders version numbers such as "1.10.2" numerically.
func Compare(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		x, errX := strconv.ParseUint(as[i], 10, 64)
		y, errY := strconv.ParseUint(bs[i], 10, 64)
		c := cmp.Compare(x, y)
		if errX != nil || errY != nil {
			c = strings.Compare(as[i], bs[i])
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(as), len(bs))
}

// Tally counts entries by the values of attributes, most frequent first. Each line has the
// values and their Count.
func Tally(entries []Entry, attributes ...string) []Entry {
	count := map[string]int{}
	sample := map[string]Entry{}
	for _, e := range entries {
		var key strings.Builder
		line := Entry{}
		for _, a := range attributes {
			v, ok := e[a]
			if ok {
				line[a] = v
			}
			key.WriteString(strconv.Quote(v))
		}
		count[key.String()]++
		sample[key.String()] = line
	}
	keys := make([]string, 0, len(count))
	for k := range count {
		keys = append(keys, k)
	}
	slices.SortFunc(
		keys,
		func(a, b string) int { return cmp.Or(cmp.Compare(count[b], count[a]), strings.Compare(a, b)) },
	)
	out := []Entry{}
	for _, k := range keys {
		sample[k]["Count"] = strconv.Itoa(count[k])
		out = append(out, sample[k])
	}
	return out
}
