package ssmdoc

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"sekisho"
)

// reference is a place where a parameter's value goes.
var reference = regexp.MustCompile(`{{\s*([a-zA-Z0-9]+)\s*}}`)

// storeReference is a place where agents put a value of Parameter Store.
var storeReference = regexp.MustCompile(`{{\s*ssm(-secure)?\s*:[^}]*`)

// HasReference reports whether text refers to a parameter.
func HasReference(text string) bool { return reference.MatchString(text) }

// StoreReference returns the first reference to Parameter Store in text, or
// "". Sekisho has no Parameter Store.
func StoreReference(text string) string { return storeReference.FindString(text) }

// Substitution puts the values of parameters into a document.
type Substitution struct {
	// Values are the parameters by name. References to other names stay as
	// they are, as AWS's agent leaves them.
	Values map[string]any
	// Check, if not nil, is called with every value that is put in and with
	// every text that results. Its error ends the substitution.
	Check func(text string) error
}

// Tree returns a JSON value with the parameters put into every text of it.
// The value itself is not changed.
func (s *Substitution) Tree(tree any) (any, error) {
	var err error
	switch t := tree.(type) {
	case string:
		return s.Text(t)
	case []any:
		list := make([]any, len(t))
		for i, e := range t {
			if list[i], err = s.Tree(e); err != nil {
				return nil, err
			}
		}
		return list, nil
	case map[string]any:
		out := make(map[string]any, len(t))
		for _, k := range slices.Sorted(maps.Keys(t)) {
			if out[k], err = s.Tree(t[k]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case *object:
		return s.object(t)
	}
	return tree, nil
}

func (s *Substitution) object(o *object) (_ *object, err error) {
	out := &object{keys: o.keys, values: make(map[string]any, len(o.keys))}
	for _, k := range o.keys {
		if out.values[k], err = s.Tree(o.values[k]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Text puts values into text, once: references within a value are not
// followed. A text that is one reference and nothing else becomes the value
// itself, whatever its type. AWS's agent does the same.
func (s *Substitution) Text(text string) (any, error) {
	if at := reference.FindStringSubmatchIndex(text); at != nil && at[0] == 0 && at[1] == len(text) {
		name := text[at[2]:at[3]]
		if value, ok := s.Values[name]; ok {
			_, err := s.insert(name, value)
			return value, err
		}
	}
	var failed error
	out := reference.ReplaceAllStringFunc(text, func(ref string) string {
		name := reference.FindStringSubmatch(ref)[1]
		value, ok := s.Values[name]
		if !ok || failed != nil {
			return ref
		}
		inserted, err := s.insert(name, value)
		if err != nil {
			failed = err
		}
		return inserted
	})
	if failed == nil && s.Check != nil {
		failed = s.Check(out)
	}
	if failed != nil {
		return nil, failed
	}
	return out, nil
}

// insert returns the text that stands for the value of a parameter.
func (s *Substitution) insert(name string, value any) (string, error) {
	if value == nil {
		return "", sekisho.Errorf(sekisho.CodeInvalid, "The parameter %q has no value.", name)
	}
	text, ok := PlainText(value)
	if !ok {
		b, err := json.Marshal(value)
		if err != nil {
			return "", sekisho.Errorf(sekisho.CodeInvalid, "The parameter %q is not JSON: %w.", name, err)
		}
		text = string(b)
	}
	if s.Check == nil {
		return text, nil
	}
	return text, s.Check(text)
}

// PlainText returns the text of a string, boolean or number.
func PlainText(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case json.Number:
		return v.String(), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}
