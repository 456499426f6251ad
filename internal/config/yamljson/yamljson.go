// Package yamljson converts YAML to JSON and back, keeping the order of members. It accepts only
// YAML that JSON can express: no anchors, aliases, merge keys, custom tags or multiple documents.
package yamljson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Texts has the two conversions as methods, for callers that need an interface.
type Texts struct{}

// YAMLToJSON returns a YAML text as JSON.
func (Texts) YAMLToJSON(text []byte) ([]byte, error) { return ToJSON(text) }

// JSONToYAML returns a JSON text as YAML.
func (Texts) JSONToYAML(text []byte) ([]byte, error) { return FromJSON(text) }

// Bounds of a text.
const (
	maxSize  = 1 << 20
	maxDepth = 32
)

// ToJSON returns a YAML text as JSON.
func ToJSON(text []byte) (out []byte, err error) {
	root, err := parse(text)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := write(&b, root, 0); err != nil {
		return nil, err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, b.Bytes(), "", "  "); err != nil {
		return nil, err
	}
	return indented.Bytes(), nil
}

func parse(text []byte) (*yaml.Node, error) {
	if len(text) > maxSize {
		return nil, fmt.Errorf("it has %d bytes, more than the allowed %d", len(text), maxSize)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it is empty")
		}
		return nil, clean(err)
	}
	var second yaml.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, clean(err)
		}
		return nil, errors.New("it has more than one document")
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, errors.New("it is empty")
	}
	return doc.Content[0], nil
}

func clean(err error) error { return errors.New(strings.TrimPrefix(err.Error(), "yaml: ")) }

func at(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("line %d: %s", n.Line, fmt.Sprintf(format, args...))
}

func write(b *bytes.Buffer, n *yaml.Node, depth int) error {
	if depth > maxDepth {
		return at(n, "it is nested deeper than %d levels", maxDepth)
	}
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		return at(n, "anchors and aliases are not supported")
	}
	switch n.Kind {
	case yaml.MappingNode:
		if n.ShortTag() != "!!map" {
			return at(n, "the tag %s is not supported", n.Tag)
		}
		return writeMap(b, n, depth)
	case yaml.SequenceNode:
		if n.ShortTag() != "!!seq" {
			return at(n, "the tag %s is not supported", n.Tag)
		}
		b.WriteByte('[')
		for i, e := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := write(b, e, depth+1); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	case yaml.ScalarNode:
		return writeScalar(b, n)
	}
	return at(n, "this is not supported")
}

func writeMap(b *bytes.Buffer, n *yaml.Node, depth int) error {
	b.WriteByte('{')
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.ShortTag() == "!!merge" || k.Anchor != "" {
			return at(k, "a name must be a string")
		}
		if seen[k.Value] {
			return at(k, "the name %q appears twice", k.Value)
		}
		seen[k.Value] = true
		if i > 0 {
			b.WriteByte(',')
		}
		if err := writeJSON(b, k.Value); err != nil {
			return err
		}
		b.WriteByte(':')
		if err := write(b, v, depth+1); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func writeScalar(b *bytes.Buffer, n *yaml.Node) error {
	switch n.ShortTag() {
	case "!!null":
		return writeJSON(b, nil)
	case "!!bool":
		var v bool
		if err := n.Decode(&v); err != nil {
			return clean(err)
		}
		return writeJSON(b, v)
	case "!!int", "!!float":
		// 1.0 stays 1.0, because schema versions are often written without quotes.
		if json.Valid([]byte(n.Value)) {
			b.WriteString(n.Value)
			return nil
		}
		return writeJSON(b, n.Value)
	case "!!str", "!!timestamp":
		return writeJSON(b, n.Value)
	}
	return at(n, "the tag %s is not supported", n.Tag)
}

func writeJSON(b *bytes.Buffer, v any) error {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the newline that Encode adds
	return nil
}

// FromJSON returns a JSON text as YAML.
func FromJSON(text []byte) ([]byte, error) {
	if !json.Valid(text) {
		return nil, errors.New("it is not JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	root, err := node(dec, 0)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(root), enc.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func node(dec *json.Decoder, depth int) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d levels", maxDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{}
	switch tok {
	case json.Delim('{'), json.Delim('['):
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		if tok == json.Delim('[') {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		}
		for dec.More() {
			e, err := node(dec, depth+1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, e)
		}
		_, err := dec.Token()
		return n, err
	}
	if num, ok := tok.(json.Number); ok {
		n.Kind, n.Value = yaml.ScalarNode, num.String()
		n.Tag = "!!int"
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
		return n, nil
	}
	return n, n.Encode(tok)
}
