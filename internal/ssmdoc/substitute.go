package ssmdoc

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"sekisho"
)

// reference matches a reference to a parameter.
var reference = regexp.MustCompile(`{{\s*([a-zA-Z0-9]+)\s*}}`)

// storeReference matches a reference to Parameter Store, which agents resolve.
var storeReference = regexp.MustCompile(`{{\s*ssm(-secure)?\s*:[^}]*`)

// HasReference reports whether text refers to a parameter.
func HasReference(text string) bool { return reference.MatchString(text) }

// StoreReference returns the first reference to Parameter Store in text, or
// "". Sekisho has no Parameter Store.
func StoreReference(text string) string { return storeReference.FindString(text) }

// Substitution substitutes parameters' values in a document.
type Substitution struct {
	// Values are the parameters by name. As with AWS's agent, references to other names stay
	// unchanged.
	Values map[string]any
	// Check, if not nil, is called with every substituted value and with every resulting text. Its
	// error ends the substitution.
	Check func(text string) error
}

// Tree returns a copy of a JSON value with the parameters substituted in every string.
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

// Text substitutes values in text. It does not resolve references within a value. A text that
// consists of only one reference becomes the value itself, whatever its type, as with AWS's agent.
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

// insert returns the text of a parameter's value.
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

// PlainText returns a string, boolean or number as text.
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
