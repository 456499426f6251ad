package awsmodel

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Check compares the response of a successful call with the model and returns
// the differences.
func (m *Model) Check(operation string, header http.Header, body []byte) []string {
	op := m.Operations[operation]
	if op == nil {
		return []string{"the model has no operation " + operation}
	}
	m.noteChecked(operation)
	c := &check{m: m}
	switch m.Metadata.Protocol {
	case "json":
		c.jsonBody(op, body)
	case "query":
		c.queryBody(operation, op, body)
	case "ec2":
		c.ec2Body(operation, op, body)
	case "rest-xml":
		c.restBody(op, header, body)
	default:
		c.fail("", "protocol %s is not supported", m.Metadata.Protocol)
	}
	return c.problems
}

type check struct {
	m        *Model
	problems []string
}

func (c *check) fail(path, format string, args ...any) {
	c.problems = append(c.problems, strings.TrimPrefix(path+": "+fmt.Sprintf(format, args...), ": "))
}

// shape returns the shape of a reference; a structure without members for
// none.
func (c *check) shape(r *ref) *shape {
	if r == nil {
		return &shape{Type: "structure"}
	}
	return c.m.Shapes[r.Shape]
}

func (c *check) jsonBody(op *operation, body []byte) {
	if len(bytes.TrimSpace(body)) == 0 && op.Output == nil {
		return
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		c.fail("", "not JSON: %v", err)
		return
	}
	c.json("", c.shape(op.Output), v)
}

func (c *check) json(path string, s *shape, v any) {
	mismatch := func() { c.fail(path, "%T is not a %s", v, s.Type) }
	switch s.Type {
	case "structure":
		object, ok := v.(map[string]any)
		if !ok {
			mismatch()
			return
		}
		names := map[string]*ref{}
		for name, r := range s.Members {
			if r.LocationName != "" {
				name = r.LocationName
			}
			names[name] = r
		}
		for _, name := range slices.Sorted(maps.Keys(object)) {
			switch r := names[name]; {
			case r == nil:
				c.fail(path, "unknown member %s", name)
			case object[name] == nil:
				c.fail(path+"."+name, "null")
			default:
				c.json(path+"."+name, c.shape(r), object[name])
			}
		}
		for _, name := range s.Required {
			if r := s.Members[name]; r != nil && r.LocationName != "" {
				name = r.LocationName
			}
			if _, ok := object[name]; !ok {
				c.fail(path, "required member %s is missing", name)
			}
		}
	case "list":
		list, ok := v.([]any)
		if !ok {
			mismatch()
		}
		for i, e := range list {
			c.json(fmt.Sprintf("%s[%d]", path, i), c.shape(s.Member), e)
		}
	case "map":
		object, ok := v.(map[string]any)
		if !ok {
			mismatch()
		}
		for _, key := range slices.Sorted(maps.Keys(object)) {
			c.text(path+" key", c.shape(s.Key), key)
			c.json(path+"."+key, c.shape(s.Value), object[key])
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			mismatch()
		}
	case "integer", "long", "float", "double", "timestamp":
		n, ok := v.(json.Number)
		if !ok {
			mismatch()
		} else if _, err := n.Int64(); err != nil && (s.Type == "integer" || s.Type == "long") {
			c.fail(path, "%s is not an %s", n, s.Type)
		}
	default:
		text, ok := v.(string)
		if !ok {
			mismatch()
			return
		}
		c.text(path, s, text)
	}
}

// text checks a value that is encoded as text.
func (c *check) text(path string, s *shape, text string) {
	var err error
	switch s.Type {
	case "string":
		if len(s.Enum) > 0 && !slices.Contains(s.Enum, text) {
			c.fail(path, "%q is not in the enumeration %v", text, s.Enum)
		}
	case "integer", "long":
		_, err = strconv.ParseInt(text, 10, 64)
	case "float", "double":
		_, err = strconv.ParseFloat(text, 64)
	case "boolean":
		if text != "true" && text != "false" {
			c.fail(path, "%q is not a boolean", text)
		}
	case "blob":
		_, err = base64.StdEncoding.DecodeString(text)
	case "timestamp":
		if _, err = time.Parse(time.RFC3339, text); err != nil {
			_, err = http.ParseTime(text)
		}
	default:
		c.fail(path, "text is not a %s", s.Type)
	}
	if err != nil {
		c.fail(path, "%q is not a %s", text, s.Type)
	}
}

// element is an XML element.
type element struct {
	name     string
	attrs    map[string]string
	children []*element
	text     string
}

func parse(body []byte) (*element, error) {
	dec := xml.NewDecoder(bytes.NewReader(body))
	root := &element{}
	stack := []*element{root}
	for {
		token, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		top := stack[len(stack)-1]
		switch x := token.(type) {
		case xml.StartElement:
			e := &element{name: x.Name.Local, attrs: map[string]string{}}
			for _, a := range x.Attr {
				name := a.Name.Local
				if a.Name.Space != "" {
					name = a.Name.Space + ":" + name
				}
				if !strings.HasPrefix(name, "xmlns") {
					e.attrs[name] = a.Value
				}
			}
			top.children = append(top.children, e)
			stack = append(stack, e)
		case xml.EndElement:
			if len(stack) == 1 || top.name != x.Name.Local {
				return nil, fmt.Errorf("element %s ends where %s should", x.Name.Local, top.name)
			}
			stack = stack[:len(stack)-1]
		case xml.CharData:
			top.text += string(x)
		}
	}
	if len(stack) != 1 || len(root.children) != 1 {
		return nil, fmt.Errorf("not one element")
	}
	return root.children[0], nil
}

// take removes and returns the first child with a name.
func (e *element) take(name string) *element {
	i := slices.IndexFunc(e.children, func(x *element) bool { return x.name == name })
	if i < 0 {
		return nil
	}
	child := e.children[i]
	e.children = slices.Delete(e.children, i, i+1)
	return child
}

func (c *check) queryBody(name string, op *operation, body []byte) {
	root, err := parse(body)
	if err != nil {
		c.fail("", "not XML: %v", err)
		return
	}
	if root.name != name+"Response" {
		c.fail("", "the root element is %s", root.name)
	}
	if meta := root.take("ResponseMetadata"); meta == nil || meta.take("RequestId") == nil {
		c.fail("", "ResponseMetadata with a RequestId is missing")
	}
	result := root
	if op.Output != nil && op.Output.Wrapper != "" {
		if result = root.take(op.Output.Wrapper); result == nil {
			if len(c.shape(op.Output).Members) > 0 {
				c.fail("", "%s is missing", op.Output.Wrapper)
			}
			result = &element{}
		}
		for _, e := range root.children {
			c.fail("", "unknown element %s beside the result", e.name)
		}
	}
	c.xml("", c.shape(op.Output), result)
}

func (c *check) ec2Body(name string, op *operation, body []byte) {
	root, err := parse(body)
	if err != nil {
		c.fail("", "not XML: %v", err)
		return
	}
	if root.name != name+"Response" {
		c.fail("", "the root element is %s", root.name)
	}
	if root.take("requestId") == nil {
		c.fail("", "requestId is missing")
	}
	if op.Output == nil {
		root.take("return")
	}
	c.xml("", c.shape(op.Output), root)
}

func (c *check) restBody(op *operation, header http.Header, body []byte) {
	s := c.shape(op.Output)
	for name, r := range s.Members {
		if r.Location != "header" {
			continue
		}
		if v := header.Get(r.LocationName); v != "" && c.shape(r).Type != "string" {
			c.text("header "+r.LocationName, c.shape(r), v)
		} else if v != "" {
			c.text("header "+r.LocationName, c.shape(r), v)
		} else if slices.Contains(s.Required, name) {
			c.fail("", "required header %s is missing", r.LocationName)
		}
	}
	if s.Payload != "" {
		r := s.Members[s.Payload]
		if p := c.shape(r); p.Type == "structure" {
			c.root(p, r.LocationName, body)
		}
		return
	}
	if !slices.ContainsFunc(slices.Collect(maps.Values(s.Members)), func(r *ref) bool { return r.Location == "" }) {
		if len(bytes.TrimSpace(body)) > 0 {
			c.fail("", "a body of %d bytes for an answer that has none", len(body))
		}
		return
	}
	c.root(s, "", body)
}

// root checks a body that is a structure.
func (c *check) root(s *shape, name string, body []byte) {
	root, err := parse(body)
	if err != nil {
		c.fail("", "not XML: %v", err)
		return
	}
	if name == "" {
		name = s.LocationName
	}
	if name != "" && root.name != name {
		c.fail("", "the root element is %s, not %s", root.name, name)
	}
	c.xml("", s, root)
}

func (c *check) xml(path string, s *shape, e *element) {
	switch s.Type {
	case "structure":
		c.structure(path, s, e)
	case "list":
		member := s.Member.LocationName
		if member == "" {
			member = "member"
		}
		for i, child := range e.children {
			if child.name != member {
				c.fail(path, "element %s in a list of %s", child.name, member)
				continue
			}
			c.xml(fmt.Sprintf("%s[%d]", path, i), c.shape(s.Member), child)
		}
	case "map":
		for _, child := range e.children {
			c.entry(path, s, child)
		}
	default:
		if len(e.children) > 0 {
			c.fail(path, "element %s in a %s", e.children[0].name, s.Type)
			return
		}
		c.text(path, s, e.text)
	}
}

func (c *check) entry(path string, s *shape, e *element) {
	name := func(r *ref, otherwise string) string {
		if r.LocationName != "" {
			return r.LocationName
		}
		return otherwise
	}
	key, value := e.take(name(s.Key, "key")), e.take(name(s.Value, "value"))
	if key == nil || value == nil || len(e.children) > 0 {
		c.fail(path, "an entry of a map is not a key and a value")
		return
	}
	c.xml(path+" key", c.shape(s.Key), key)
	c.xml(path+"."+key.text, c.shape(s.Value), value)
}

func (c *check) structure(path string, s *shape, e *element) {
	seen := map[string]int{}
	for name, r := range s.Members {
		at := r.LocationName
		if at == "" {
			at = name
		}
		if r.Location != "" && r.Location != "uri" && r.Location != "querystring" {
			continue // of rest-xml: in a header
		}
		if r.XMLAttribute {
			if v, ok := e.attrs[at]; ok {
				c.text(path+"@"+at, c.shape(r), v)
			}
			continue
		}
		member := c.shape(r)
		if flat := r.Flattened || member.Flattened; flat && (member.Type == "list" || member.Type == "map") {
			if member.Type == "list" && member.Member.LocationName != "" && r.LocationName == "" {
				at = member.Member.LocationName
			}
			for child := e.take(at); child != nil; child = e.take(at) {
				seen[name]++
				if member.Type == "map" {
					c.entry(path+"."+at, member, child)
				} else {
					c.xml(path+"."+at, c.shape(member.Member), child)
				}
			}
			if member.Type == "list" {
				seen[name]++ // an empty one is omitted
			}
			continue
		}
		if child := e.take(at); child != nil {
			seen[name]++
			c.xml(path+"."+at, member, child)
		}
		if e.take(at) != nil {
			c.fail(path, "two elements %s", at)
		}
	}
	for _, child := range e.children {
		c.fail(path, "unknown element %s", child.name)
	}
	for _, name := range s.Required {
		if r := s.Members[name]; seen[name] == 0 && r.Location == "" && !r.XMLAttribute {
			c.fail(path, "required member %s is missing", name)
		}
	}
}
