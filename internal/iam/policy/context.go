package policy

import (
	"iter"
	"maps"
	"net/netip"
	"strings"
)

// Value is the value of a condition key in a request: one string, or a list. A list is only
// compared under ForAllValues and ForAnyValue, and cannot be used as a policy variable.
type Value struct {
	single string
	list   []string
	multi  bool
	parsed *parsedValue // nil for keys that are not parsed ahead
}

// parsedValue is the value of a key that many conditions compare: it is parsed
// once per request, not once per condition.
type parsedValue struct {
	addr      netip.Addr
	time      instant
	isAddr    bool
	isInstant bool
}

// parseAhead parses the value of a key, in lower case, that is an address or a
// time in nearly every policy.
func (v Value) parseAhead(key string) Value {
	if v.multi {
		return v
	}
	switch key {
	case sourceIPKey:
		p := &parsedValue{}
		p.addr, p.isAddr = parseAddr(v.single)
		v.parsed = p
	case currentTimeKey:
		p := &parsedValue{}
		p.time, p.isInstant = parseInstant(v.single)
		v.parsed = p
	}
	return v
}

// Single returns the value of a single-valued key.
func Single(s string) Value { return Value{single: s} }

// Multi returns the value of a multivalued key; without arguments the key counts as absent.
func Multi(ss ...string) Value { return Value{list: ss, multi: true} }

// Bool returns the value of a boolean key.
func Bool(b bool) Value {
	if b {
		return Single("true")
	}
	return Single("false")
}

// Multivalued reports whether v is a list.
func (v Value) Multivalued() bool { return v.multi }

// Strings returns the strings of v.
func (v Value) Strings() []string {
	if v.multi {
		return v.list
	}
	return []string{v.single}
}

func (v *Value) empty() bool { return v.multi && len(v.list) == 0 }

// Key is a condition key specific to a request: a resource tag, a request tag,
// the document check of StartSession.
type Key struct {
	Name   string
	Values []string
	Multi  bool
}

// Context holds the condition keys of one request. The case of key names does
// not matter. A Context must not be changed while requests that refer to it
// are evaluated.
type Context struct {
	values  map[string]Value
	unknown map[string]bool // keys whose value is only known at request time
	assume  assumption
}

// NewContext returns a context without keys.
func NewContext() *Context { return &Context{values: make(map[string]Value, 24)} }

// Set gives key the value v, replacing any other.
func (c *Context) Set(key string, v Value) {
	key = strings.ToLower(key)
	c.values[key] = v.parseAhead(key)
}

// Delete makes key absent.
func (c *Context) Delete(key string) { delete(c.values, strings.ToLower(key)) }

// Get returns the value of key.
func (c *Context) Get(key string) (Value, bool) { return c.lookup(strings.ToLower(key)) }

// Clone returns an independent copy; for a nil context, an empty one.
func (c *Context) Clone() *Context {
	n := NewContext()
	if c != nil {
		maps.Copy(n.values, c.values)
	}
	return n
}

// All returns every key, in lower case, with its value, in no order.
func (c *Context) All() iter.Seq2[string, Value] {
	if c == nil {
		return func(func(string, Value) bool) {}
	}
	return maps.All(c.values)
}

// lookup expects a lower-case key.
func (c *Context) lookup(key string) (Value, bool) {
	if c == nil {
		return Value{}, false
	}
	v, ok := c.values[key]
	return v, ok
}
