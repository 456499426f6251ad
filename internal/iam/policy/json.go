package policy

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// encoding/json keeps the last of two equal keys and hides positions, and both
// matter here: the first could hide a Deny, the second names the statement
// that decided. Hence this small reader of RFC 8259.

const (
	maxDocument = 131072 // AWS's bound for a policyDocument parameter
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

type jsonReader struct {
	src string
	pos int
}

func readJSON(src []byte) (*jsonNode, error) {
	if !utf8.Valid(src) {
		return nil, fmt.Errorf("the document is not UTF-8")
	}
	r := &jsonReader{src: string(src)}
	n, err := r.value(0)
	if err != nil {
		return nil, err
	}
	if r.space(); r.pos < len(r.src) {
		return nil, r.errorf("text after the end of the document")
	}
	return n, nil
}

func (r *jsonReader) errorf(format string, args ...any) error {
	p := positionOf(r.src, r.pos)
	return fmt.Errorf("line %d column %d: %s", p.Line, p.Column, fmt.Sprintf(format, args...))
}

func (r *jsonReader) space() {
	for r.pos < len(r.src) {
		switch r.src[r.pos] {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return
		}
	}
}

func (r *jsonReader) value(depth int) (*jsonNode, error) {
	r.space()
	if r.pos >= len(r.src) {
		return nil, r.errorf("the document ends early")
	}
	if depth > maxDepth {
		return nil, r.errorf("nested too deeply")
	}
	n := &jsonNode{start: r.pos}
	var err error
	switch c := r.src[r.pos]; {
	case c == '{':
		n.kind = jsonObject
		err = r.object(n, depth)
	case c == '[':
		n.kind = jsonArray
		err = r.array(n, depth)
	case c == '"':
		n.kind = jsonString
		n.text, err = r.str()
	case c == '-' || c >= '0' && c <= '9':
		n.kind = jsonNumber
		n.text, err = r.number()
	default:
		n.kind = jsonBool
		switch {
		case r.literal("true"):
			n.text = "true"
		case r.literal("false"):
			n.text = "false"
		case r.literal("null"):
			n.kind = jsonNull
		default:
			err = r.errorf("unexpected character")
		}
	}
	n.end = r.pos
	return n, err
}

func (r *jsonReader) literal(word string) bool {
	if len(r.src)-r.pos >= len(word) && r.src[r.pos:r.pos+len(word)] == word {
		r.pos += len(word)
		return true
	}
	return false
}

func (r *jsonReader) object(n *jsonNode, depth int) error {
	r.pos++
	seen := map[string]bool{}
	for first := true; ; first = false {
		r.space()
		if first && r.literal("}") {
			return nil
		}
		if r.pos >= len(r.src) || r.src[r.pos] != '"' {
			return r.errorf("expected a name in quotes")
		}
		name, err := r.str()
		if err != nil {
			return err
		}
		if seen[name] {
			return r.errorf("%q occurs twice in one object", name)
		}
		seen[name] = true
		if r.space(); !r.literal(":") {
			return r.errorf("expected a colon after %q", name)
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		n.members = append(n.members, jsonMember{name, v})
		r.space()
		if r.literal("}") {
			return nil
		}
		if !r.literal(",") {
			return r.errorf("expected a comma or a closing brace")
		}
	}
}

func (r *jsonReader) array(n *jsonNode, depth int) error {
	r.pos++
	for first := true; ; first = false {
		if r.space(); first && r.literal("]") {
			return nil
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		n.elems = append(n.elems, v)
		r.space()
		if r.literal("]") {
			return nil
		}
		if !r.literal(",") {
			return r.errorf("expected a comma or a closing bracket")
		}
	}
}

func (r *jsonReader) number() (string, error) {
	start := r.pos
	digits := func() bool {
		from := r.pos
		for r.pos < len(r.src) && r.src[r.pos] >= '0' && r.src[r.pos] <= '9' {
			r.pos++
		}
		return r.pos > from
	}
	r.literal("-")
	zero := r.pos < len(r.src) && r.src[r.pos] == '0'
	from := r.pos
	ok := digits() && (!zero || r.pos == from+1)
	if ok && r.literal(".") {
		ok = digits()
	}
	if ok && (r.literal("e") || r.literal("E")) {
		if !r.literal("+") {
			r.literal("-")
		}
		ok = digits()
	}
	if !ok {
		return "", r.errorf("malformed number")
	}
	return r.src[start:r.pos], nil
}

func (r *jsonReader) str() (string, error) {
	r.pos++
	start := r.pos
	for r.pos < len(r.src) {
		switch c := r.src[r.pos]; {
		case c == '"':
			s := r.src[start:r.pos]
			r.pos++
			return s, nil
		case c == '\\':
			return r.escaped(start)
		case c < 0x20:
			return "", r.errorf("control character in a string")
		default:
			r.pos++
		}
	}
	return "", r.errorf("the document ends inside a string")
}

func (r *jsonReader) escaped(start int) (string, error) {
	b := []byte(r.src[start:r.pos])
	for r.pos < len(r.src) {
		c := r.src[r.pos]
		r.pos++
		switch {
		case c == '"':
			return string(b), nil
		case c < 0x20:
			return "", r.errorf("control character in a string")
		case c != '\\':
			b = append(b, c)
			continue
		}
		if r.pos >= len(r.src) {
			break
		}
		c = r.src[r.pos]
		r.pos++
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			u, err := r.unicode()
			if err != nil {
				return "", err
			}
			b = utf8.AppendRune(b, u)
		default:
			return "", r.errorf("unknown escape")
		}
	}
	return "", r.errorf("the document ends inside a string")
}

func (r *jsonReader) unicode() (rune, error) {
	hi, err := r.hex4()
	if err != nil || hi < 0xD800 || hi > 0xDFFF {
		return hi, err
	}
	if hi > 0xDBFF || !r.literal(`\u`) {
		return 0, r.errorf("lone surrogate")
	}
	lo, err := r.hex4()
	if err != nil {
		return 0, err
	}
	if lo < 0xDC00 || lo > 0xDFFF {
		return 0, r.errorf("lone surrogate")
	}
	return 0x10000 + (hi-0xD800)<<10 + (lo - 0xDC00), nil
}

func (r *jsonReader) hex4() (rune, error) {
	if len(r.src)-r.pos < 4 {
		return 0, r.errorf("malformed escape")
	}
	u, err := strconv.ParseUint(r.src[r.pos:r.pos+4], 16, 16)
	if err != nil {
		return 0, r.errorf("malformed escape")
	}
	r.pos += 4
	return rune(u), nil
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
