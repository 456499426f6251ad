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
	values  *contextValues
	unknown map[string]bool // keys whose value is only known at request time
	assume  assumption
	// change and foreign are set by Changing.
	change  Aspects
	foreign *Context
}

// commonKeys are the keys of most requests, in lower case.
var commonKeys = [...]string{
	currentTimeKey, sourceIPKey, "aws:epochtime", "aws:securetransport", "aws:viaawsservice",
	"aws:principalisawsservice", "aws:useragent", "aws:referer", "aws:requestedregion", "aws:principaltype",
	"aws:principalaccount", "aws:resourceaccount", "aws:userid", "aws:principalarn", "aws:username",
	"aws:tokenissuetime", "aws:multifactorauthpresent", "aws:multifactorauthage", "aws:tagkeys",
	"ssm:sessiondocumentaccesscheck",
}

// slot is the place of a common key; 0 stands for any other key.
type slot uint8

// currentTimeSlot is the slot of the current time, the first of the common keys.
const currentTimeSlot slot = 1

var slots = func() map[string]slot {
	m := make(map[string]slot, len(commonKeys))
	for i, key := range commonKeys {
		m[key] = slot(i + 1)
	}
	return m
}()

// contextValues are the values of keys. Those of common keys are in an array, because policies compare them
// most often.
type contextValues struct {
	common [len(commonKeys) + 1]Value
	has    uint32 // a bit for each slot
	other  map[string]Value
}

// NewContext returns a context without keys.
func NewContext() *Context { return &Context{values: &contextValues{}} }

// Set gives key the value v, replacing any other.
func (c *Context) Set(key string, v Value) {
	key = strings.ToLower(key)
	v = v.parseAhead(key)
	if s := slots[key]; s != 0 {
		c.values.common[s], c.values.has = v, c.values.has|1<<s
		return
	}
	if c.values.other == nil {
		c.values.other = map[string]Value{}
	}
	c.values.other[key] = v
}

// Delete makes key absent.
func (c *Context) Delete(key string) {
	key = strings.ToLower(key)
	c.values.has &^= 1 << slots[key]
	delete(c.values.other, key)
}

// Get returns the value of key.
func (c *Context) Get(key string) (Value, bool) {
	key = strings.ToLower(key)
	return c.lookup(slots[key], key)
}

// Clone returns an independent copy; for a nil context, an empty one.
func (c *Context) Clone() *Context {
	n := NewContext()
	if c != nil && c.values != nil {
		*n.values = *c.values
		n.values.other = maps.Clone(c.values.other)
	}
	return n
}

// All returns every key, in lower case, with its value, in no order.
func (c *Context) All() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if c == nil || c.values == nil {
			return
		}
		for i, key := range commonKeys {
			if v, ok := c.lookup(slot(i+1), key); ok && !yield(key, v) {
				return
			}
		}
		for key, v := range c.values.other {
			if !yield(key, v) {
				return
			}
		}
	}
}

// lookup returns the value of a key, in lower case, with its slot.
func (c *Context) lookup(s slot, key string) (Value, bool) {
	switch {
	case c == nil || c.values == nil:
		return Value{}, false
	case s != 0:
		return c.values.common[s], c.values.has&(1<<s) != 0
	}
	v, ok := c.values.other[key]
	return v, ok
}
