package config

import (
	"errors"
	"fmt"
	"reflect"
	"sekisho/internal/nearest"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decode fills c from the YAML document b. Its errors name all unknown keys and all values of a wrong type, with
// their lines. It returns the document's root node, nil if the document is empty.
func decode(b []byte, c *Server) (*yaml.Node, error) {
	dec := yaml.NewDecoder(strings.NewReader(string(b)))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if len(strings.TrimSpace(string(b))) == 0 || err.Error() == "EOF" {
			return nil, nil
		}
		return nil, yamlError(err)
	}
	if err := dec.Decode(new(yaml.Node)); err == nil || err.Error() != "EOF" {
		return nil, errors.New("the file contains more than one YAML document; keep one")
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode && root.Tag != "!!null" {
		return nil, fmt.Errorf("line %d: the file is not a list of \"key: value\" lines", root.Line)
	}
	errs := unknownKeys(root, reflect.TypeFor[Server](), "")
	if err := root.Decode(c); err != nil {
		errs = append(errs, yamlError(err))
	}
	return root, errors.Join(errs...)
}

// yamlError rewords the parser's errors. Type errors have one line each.
func yamlError(err error) error {
	typed, ok := errors.AsType[*yaml.TypeError](err)
	if !ok {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var all []error
	for _, e := range typed.Errors {
		all = append(all, errors.New(e))
	}
	return errors.Join(all...)
}

// unknownKeys returns an error for each key in a mapping that the type has no
// field for. Path is the key that holds the mapping.
func unknownKeys(node *yaml.Node, t reflect.Type, path string) []error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var errs []error
	switch {
	case node.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for _, item := range node.Content {
			errs = append(errs, unknownKeys(item, t.Elem(), path)...)
		}
	case node.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		fields := map[string]reflect.Type{}
		var names []string
		for f := range t.Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != "" && name != "-" {
				fields[name] = f.Type
				names = append(names, name)
			}
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			if ft, ok := fields[key.Value]; ok {
				errs = append(errs, unknownKeys(value, ft, path+key.Value+": ")...)
				continue
			}
			e := fmt.Sprintf("line %d: %sunknown key %q", key.Line, path, key.Value)
			if best := nearest.Name(key.Value, names); best != "" {
				e += fmt.Sprintf("; did you mean %q?", best)
			} else {
				e += "; valid keys are " + strings.Join(names, ", ")
			}
			errs = append(errs, errors.New(e))
		}
	}
	return errs
}

// withLine prefixes an error of the form "key: key: problem" with the line of the innermost key that
// the document has. Each line of a joined error gets its own.
func withLine(root *yaml.Node, err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, e := range joined.Unwrap() {
			errs = append(errs, withLine(root, e))
		}
		return errors.Join(errs...)
	}
	line := 0
	for at, rest := root, err.Error(); at != nil && at.Kind == yaml.MappingNode; {
		key, after, ok := strings.Cut(rest, ":")
		if !ok {
			break
		}
		i := slices.IndexFunc(at.Content, func(n *yaml.Node) bool { return n.Value == key })
		if i < 0 || i%2 != 0 {
			break
		}
		line = at.Content[i].Line
		at, rest = at.Content[i+1], strings.TrimPrefix(after, " ")
	}
	if line == 0 {
		return err
	}
	return fmt.Errorf("line %d: %w", line, err)
}
