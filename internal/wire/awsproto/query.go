package awsproto

import (
	"encoding"
	"encoding/base64"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"sekisho/internal/safetext"
)

const (
	maxFormKeys  = 20_000
	maxListIndex = 1_000
)

// DecodeQuery reads a form into the struct v points to. Fields are named by
// the tag query:"Name" (or their own name); "-" leaves one out. A list is
// Name.member.N or Name.N (EC2's), a map Name.entry.N.key and .value, a
// struct Name.Member. The error is an *Error.
func DecodeQuery(form url.Values, v any) error {
	root := &node{}
	if len(form) > maxFormKeys {
		return malformedQuery("The request has more than %d parameters.", maxFormKeys)
	}
	for key, values := range form {
		if len(values) != 1 {
			return malformedQuery("The parameter %s appears more than once.", clip(key))
		}
		if strings.Count(key, ".") >= maxDepth {
			return malformedQuery("A parameter is nested deeper than %d levels.", maxDepth)
		}
		n := root
		for part := range strings.SplitSeq(key, ".") {
			n = n.kid(part)
		}
		n.text, n.set = values[0], true
	}
	return root.assign(reflect.ValueOf(v).Elem(), "")
}

// node is the form as a tree: one level for each dot in a name.
type node struct {
	text string
	set  bool
	kids map[string]*node
}

func (n *node) kid(name string) *node {
	k := n.kids[name]
	if k == nil {
		if n.kids == nil {
			n.kids = map[string]*node{}
		}
		k = &node{}
		n.kids[name] = k
	}
	return k
}

func (n *node) assign(v reflect.Value, path string) error {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		return n.assign(v.Elem(), path)
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := n.scalar(path); err != nil {
			return err
		}
		if err := u.UnmarshalText([]byte(n.text)); err != nil {
			return badValue(n, path, err.Error())
		}
		return nil
	}
	switch v.Kind() {
	case reflect.Struct:
		if n.set && n.text != "" {
			return badValue(n, path, "it is a structure")
		}
		for _, f := range fields(v, "query") {
			if k := n.kids[f.name]; k != nil {
				if err := k.assign(f.value, join(path, f.name)); err != nil {
					return err
				}
			}
		}
		return nil
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b, err := base64.StdEncoding.DecodeString(n.text)
			if err != nil {
				return badValue(n, path, "it must be base64 text")
			}
			v.SetBytes(b)
			return nil
		}
		items, err := n.items("member", path)
		if err != nil {
			return err
		}
		list := reflect.MakeSlice(v.Type(), len(items), len(items))
		for i, item := range items {
			if err := item.assign(list.Index(i), path+"."+strconv.Itoa(i+1)); err != nil {
				return err
			}
		}
		v.Set(list)
		return nil
	case reflect.Map:
		items, err := n.items("entry", path)
		if err != nil {
			return err
		}
		m := reflect.MakeMapWithSize(v.Type(), len(items))
		for _, item := range items {
			key, value := item.kids["key"], item.kids["value"]
			if key == nil || !key.set || value == nil {
				return malformedQuery("An entry of %s needs a key and a value.", path)
			}
			k := reflect.ValueOf(key.text).Convert(v.Type().Key())
			if m.MapIndex(k).IsValid() {
				return malformedQuery("The key %s of %s appears twice.", clip(key.text), path)
			}
			e := reflect.New(v.Type().Elem()).Elem()
			if err := value.assign(e, path+".value"); err != nil {
				return err
			}
			m.SetMapIndex(k, e)
		}
		v.Set(m)
		return nil
	}
	return n.assignScalar(v, path)
}

func (n *node) assignScalar(v reflect.Value, path string) error {
	if err := n.scalar(path); err != nil {
		return err
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.text)
	case reflect.Bool:
		switch strings.ToLower(n.text) {
		case "true", "1":
			v.SetBool(true)
		case "false", "0":
			v.SetBool(false)
		default:
			return badValue(n, path, "it must be true or false")
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(n.text, 10, v.Type().Bits())
		if err != nil {
			return badValue(n, path, "it must be a whole number in range")
		}
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.text, 64)
		if err != nil {
			return badValue(n, path, "it must be a number")
		}
		v.SetFloat(f)
	default:
		return &Error{Code: "InternalFailure", Message: "The parameter " + path + " cannot be decoded."}
	}
	return nil
}

func (n *node) scalar(path string) error {
	if len(n.kids) > 0 || !n.set {
		return malformedQuery("The parameter %s is a single value.", path)
	}
	return nil
}

// items returns a list's elements in the order of their indices. "Name=" denotes an empty
// list.
func (n *node) items(wrapper, path string) ([]*node, error) {
	if w := n.kids[wrapper]; w != nil {
		if len(n.kids) > 1 {
			return nil, malformedQuery("The list %s mixes two ways of numbering.", path)
		}
		n = w
	}
	if n.set && n.text != "" {
		return nil, badValue(n, path, "it is a list, numbered from 1")
	}
	byIndex := map[int]*node{}
	for name, k := range n.kids {
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 || i > maxListIndex || strconv.Itoa(i) != name {
			return nil, malformedQuery("The list %s has the index %s; it must be a number up to %d.", path, clip(name),
				maxListIndex)
		}
		byIndex[i] = k
	}
	items := make([]*node, 0, len(byIndex))
	for _, i := range slices.Sorted(maps.Keys(byIndex)) {
		items = append(items, byIndex[i])
	}
	return items, nil
}

func malformedQuery(format string, args ...any) *Error {
	return SenderError("MalformedQueryString", format, args...)
}

func badValue(n *node, path, why string) *Error {
	return SenderError("InvalidParameterValue", "Value (%s) for parameter %s is invalid: %s.", clip(n.text), path, why)
}

// clip shortens what a caller sent before it is quoted back.
func clip(s string) string { return safetext.Line(s, 100) }
