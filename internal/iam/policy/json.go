package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Unmarshalling into Go values keeps only the last of duplicate keys, which could hide a Deny, and
// loses the positions that explanations need. So a document is read token by token.

const (
	maxDocument = 131072 // AWS's limit for a policyDocument parameter
	maxDepth    = 16
)

type jsonKind uint8

const (
	jsonNull jsonKind = iota
	jsonBool
	jsonNumber
	jsonString
	jsonArray
	jsonObject
)

// jsonNode is one value. For strings text is the decoded value; for numbers
// and booleans it is the source text.
type jsonNode struct {
	kind    jsonKind
	text    string
	members []jsonMember
	elems   []*jsonNode
	start   int // offset of the first byte
	end     int // offset after the last byte
}

type jsonMember struct {
	name  string
	value *jsonNode
}

// scalarText returns the text of a string, number or boolean.
func (n *jsonNode) scalarText() (string, bool) {
	switch n.kind {
	case jsonString, jsonNumber, jsonBool:
		return n.text, true
	case jsonNull, jsonArray, jsonObject:
	}
	return "", false
}

// jsonReader builds the tree of a document with valid JSON syntax.
type jsonReader struct {
	src string
	dec *json.Decoder
}

func readJSON(src []byte) (*jsonNode, error) {
	if !utf8.Valid(src) {
		return nil, errors.New("the document is not UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(src, &whole); err != nil {
		offset := len(src)
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			offset = max(0, int(syntax.Offset)-1)
		}
		return nil, errorAt(string(src), offset, "%s", err)
	}
	r := &jsonReader{src: string(src), dec: json.NewDecoder(bytes.NewReader(src))}
	r.dec.UseNumber()
	return r.value(0)
}

func errorAt(src string, offset int, format string, args ...any) error {
	p := positionOf(src, offset)
	return fmt.Errorf("line %d column %d: %s", p.Line, p.Column, fmt.Sprintf(format, args...))
}

// next returns the next token and the offset of its first byte.
func (r *jsonReader) next() (token json.Token, start int, err error) {
	start = int(r.dec.InputOffset())
	for start < len(r.src) && strings.IndexByte(" \t\r\n,:", r.src[start]) >= 0 {
		start++
	}
	token, err = r.dec.Token()
	if err != nil {
		return nil, start, errorAt(r.src, start, "%s", err)
	}
	// The decoder replaces a lone surrogate with U+FFFD.
	if s, ok := token.(string); ok && strings.ContainsRune(s, utf8.RuneError) &&
		strings.Contains(strings.ToLower(r.src[start:r.dec.InputOffset()]), `\ud`) {
		return nil, start, errorAt(r.src, start, "lone surrogate in a string")
	}
	return token, start, nil
}

func (r *jsonReader) value(depth int) (*jsonNode, error) {
	token, start, err := r.next()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, errorAt(r.src, start, "nested more than %d levels deep", maxDepth)
	}
	n := &jsonNode{start: start}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			n.kind = jsonObject
			err = r.object(n, depth)
		} else {
			n.kind = jsonArray
			err = r.array(n, depth)
		}
	case string:
		n.kind, n.text = jsonString, t
	case json.Number:
		n.kind, n.text = jsonNumber, t.String()
	case bool:
		n.kind, n.text = jsonBool, strconv.FormatBool(t)
	}
	n.end = int(r.dec.InputOffset())
	return n, err
}

func (r *jsonReader) object(n *jsonNode, depth int) error {
	seen := map[string]bool{}
	for r.dec.More() {
		token, start, err := r.next()
		if err != nil {
			return err
		}
		name, _ := token.(string) // the decoder accepts only strings here
		if seen[name] {
			return errorAt(r.src, start, "%q occurs twice in one object", name)
		}
		seen[name] = true
		v, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		n.members = append(n.members, jsonMember{name, v})
	}
	_, _, err := r.next()
	return err
}

func (r *jsonReader) array(n *jsonNode, depth int) error {
	for r.dec.More() {
		v, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		n.elems = append(n.elems, v)
	}
	_, _, err := r.next()
	return err
}

// Position is a place in a document's text. Both numbers count from one;
// Column counts characters.
type Position struct {
	Line   int
	Column int
}

func positionOf(src string, offset int) Position {
	at := locator{src: src, pos: Position{Line: 1, Column: 1}}
	return at.position(offset)
}

// locator turns ascending offsets into positions in one pass over a text.
type locator struct {
	src    string
	offset int
	pos    Position
}

func (l *locator) position(offset int) Position {
	offset = max(l.offset, min(offset, len(l.src)))
	for _, c := range l.src[l.offset:offset] {
		if c == '\n' {
			l.pos.Line++
			l.pos.Column = 1
		} else {
			l.pos.Column++
		}
	}
	l.offset = offset
	return l.pos
}
