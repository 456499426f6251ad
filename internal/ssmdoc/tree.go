package ssmdoc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"unicode/utf8"

	"sekisho/internal/safetext"
)

// object is a JSON object that remembers the order of its members. The other
// values of a tree are string, json.Number, bool, nil and []any.
type object struct {
	keys   []string
	values map[string]any
}

func (o *object) get(name string) (any, bool) {
	v, ok := o.values[name]
	return v, ok
}

// with returns o with another value for an existing name.
func (o *object) with(name string, value any) *object {
	out := &object{keys: o.keys, values: maps.Clone(o.values)}
	out.values[name] = value
	return out
}

// MarshalJSON implements [json.Marshaler].
func (o *object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, k := range o.keys {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(k)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(o.values[k])
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// maxDepth bounds the nesting of a document; AWS's documents have four levels.
const maxDepth = 16

// decode decodes a JSON object. Unlike encoding/json, it refuses duplicate names, invalid UTF-8 and
// trailing data.
func decode(text []byte) (*object, error) {
	v, err := decodeAny(text)
	if err != nil {
		return nil, err
	}
	o, ok := v.(*object)
	if !ok {
		return nil, errors.New("it must be an object")
	}
	return o, nil
}

// decodeAny is decode for a JSON value of any kind.
func decodeAny(text []byte) (any, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	v, err := decodeValue(dec, 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("it has data after its end")
	}
	return v, nil
}

func decodeValue(dec *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d levels", maxDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		if err == io.EOF {
			return nil, errors.New("it ends too early")
		}
		return nil, err
	}
	switch tok {
	case json.Delim('{'):
		o := &object{values: map[string]any{}}
		for dec.More() {
			tok, err := dec.Token()
			if err != nil {
				return nil, err
			}
			name, ok := tok.(string)
			if !ok {
				return nil, errors.New("a member has no name")
			}
			if _, dup := o.values[name]; dup {
				return nil, fmt.Errorf("the name %q appears twice in one object", safetext.Clip(name, maxQuoted))
			}
			if o.values[name], err = decodeValue(dec, depth+1); err != nil {
				return nil, err
			}
			o.keys = append(o.keys, name)
		}
		_, err := dec.Token()
		return o, err
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, err := decodeValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	}
	return tok, nil
}

// walk calls f with every string in v and its place.
func walk(where string, v any, f func(where, text string)) {
	switch v := v.(type) {
	case string:
		f(where, v)
	case []any:
		for i, e := range v {
			walk(fmt.Sprintf("%s[%d]", where, i), e, f)
		}
	case *object:
		for _, k := range v.keys {
			walk(where+"."+k, v.values[k], f)
		}
	}
}
