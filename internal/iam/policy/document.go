package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Document is a compiled policy document. It is immutable.
type Document struct {
	id         string
	sourceType string
	statements []*statement
	keys       []string // condition keys as first written, sorted
	broken     error
}

// Source types of documents, as in the policy simulator.
const (
	SourceUser        = "user"
	SourceGroup       = "group"
	SourceRole        = "role"
	SourceAWSManaged  = "aws-managed"
	SourceUserManaged = "user-managed"
	SourceResource    = "resource"
	SourceNone        = "none"
)

// WithSource returns d under the name and type that explanations show: the
// policy's name, and where it is attached (one of the Source constants).
func (d *Document) WithSource(id, sourceType string) *Document {
	c := *d
	c.id, c.sourceType = id, sourceType
	return &c
}

// Unusable returns a placeholder for a stored document that could not be loaded. It might contain a
// Deny, so every set with it denies everything.
func Unusable(id string, err error) *Document {
	if err == nil {
		err = errors.New("the document could not be loaded")
	}
	return &Document{id: id, sourceType: SourceNone, broken: err}
}

// Err returns why the document is unusable; nil for a parsed one.
func (d *Document) Err() error {
	if d == nil {
		return errors.New("no document")
	}
	return d.broken
}

// ContextKeys returns the condition keys that conditions and variables of the document mention,
// in their first spelling, sorted, without duplicates.
func (d *Document) ContextKeys() []string { return slices.Clone(d.keys) }

// Principals returns the entries of all Principal and NotPrincipal elements,
// in order.
func (d *Document) Principals() []PrincipalRef {
	var refs []PrincipalRef
	for _, s := range d.statements {
		for i := range s.who.entries {
			refs = append(refs, s.who.entries[i].ref)
		}
	}
	return refs
}

// statement is a compiled statement.
type statement struct {
	index      int
	sid        string
	deny       bool
	notAction  bool
	actions    []actionPattern
	notRes     bool
	hasRes     bool
	resources  []pattern
	who        principals
	conditions []*condition
	start, end Position
}

// rawStatement is a syntactically valid statement before compilation.
type rawStatement struct {
	node              *jsonNode
	sid               string
	effect            string
	action, notAction []string
	hasAction, hasNot bool
	res, notRes       []string
	hasRes, hasNotRes bool
	principal         []PrincipalRef
	hasPrincipal      bool
	hasNotPrincipal   bool
	conditions        []rawCondition
}

type rawCondition struct {
	opName string
	op     fullOperator
	key    string
	values []string
}

type rawDocument struct {
	src        string
	version    string // "" = absent
	statements []rawStatement
}

const (
	version2008 = "2008-10-17"
	version2012 = "2012-10-17"
)

// readDocument parses a document and checks everything that AWS calls syntax.
//
// strict requires operators in their canonical spelling, as AWS does when a policy is saved; in a
// stored document they can be in any case.
func readDocument(src []byte, strict bool) (*rawDocument, error) {
	if len(src) > 2*maxDocument {
		return nil, fmt.Errorf("the document is longer than %d characters", maxDocument)
	}
	root, err := readJSON(src)
	if err != nil {
		return nil, err
	}
	if root.kind != jsonObject {
		return nil, fmt.Errorf("a policy document must be an object")
	}
	doc := &rawDocument{src: string(src)}
	var list *jsonNode
	for _, m := range root.members {
		switch m.name {
		case "Version":
			if m.value.kind != jsonString || m.value.text != version2008 && m.value.text != version2012 {
				return nil, fmt.Errorf("Version must be %q or %q", version2012, version2008)
			}
			doc.version = m.value.text
		case "Id":
			if m.value.kind != jsonString {
				return nil, fmt.Errorf("Id is not a string")
			}
		case "Statement":
			list = m.value
		default:
			return nil, fmt.Errorf("unknown element %q", m.name)
		}
	}
	var nodes []*jsonNode
	switch {
	case list == nil:
		return nil, fmt.Errorf("Statement is missing")
	case list.kind == jsonObject:
		nodes = []*jsonNode{list}
	case list.kind == jsonArray:
		nodes = list.elems
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("Statement is not an object or a list of objects, or is empty")
	}
	for i, n := range nodes {
		s, err := readStatement(n, strict)
		if err != nil {
			return nil, fmt.Errorf("statement %d: %w", i+1, err)
		}
		doc.statements = append(doc.statements, s)
	}
	return doc, nil
}

func readStatement(n *jsonNode, strict bool) (rawStatement, error) {
	s := rawStatement{node: n}
	if n.kind != jsonObject {
		return s, fmt.Errorf("not an object")
	}
	var err error
	for _, m := range n.members {
		v := m.value
		switch m.name {
		case "Sid":
			if v.kind != jsonString {
				return s, fmt.Errorf("Sid is not a string")
			}
			s.sid = v.text
		case "Effect":
			if v.kind != jsonString || !strings.EqualFold(v.text, "Allow") && !strings.EqualFold(v.text, "Deny") {
				return s, fmt.Errorf("Effect must be Allow or Deny")
			}
			s.effect = v.text
		case "Action":
			s.hasAction = true
			s.action, err = readStrings(v)
		case "NotAction":
			s.hasNot = true
			s.notAction, err = readStrings(v)
		case "Resource":
			s.hasRes = true
			s.res, err = readStrings(v)
		case "NotResource":
			s.hasNotRes = true
			s.notRes, err = readStrings(v)
		case "Principal":
			s.hasPrincipal = true
			s.principal, err = readPrincipal(v)
		case "NotPrincipal":
			s.hasNotPrincipal = true
			s.principal, err = readPrincipal(v)
		case "Condition":
			s.conditions, err = readConditions(v, strict)
		default:
			err = fmt.Errorf("unknown element")
		}
		if err != nil {
			return s, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	switch {
	case s.effect == "":
		return s, fmt.Errorf("Effect is missing")
	case s.hasAction && s.hasNot:
		return s, fmt.Errorf("Action together with NotAction")
	case s.hasRes && s.hasNotRes:
		return s, fmt.Errorf("Resource together with NotResource")
	case s.hasPrincipal && s.hasNotPrincipal:
		return s, fmt.Errorf("Principal together with NotPrincipal")
	}
	return s, nil
}

func readStrings(n *jsonNode) ([]string, error) {
	if n.kind == jsonString {
		return []string{n.text}, nil
	}
	if n.kind != jsonArray {
		return nil, fmt.Errorf("not a string or a list of strings")
	}
	var list []string
	for _, e := range n.elems {
		if e.kind != jsonString {
			return nil, fmt.Errorf("not a string or a list of strings")
		}
		list = append(list, e.text)
	}
	return list, nil
}

func readConditions(n *jsonNode, strict bool) ([]rawCondition, error) {
	if n.kind != jsonObject {
		return nil, fmt.Errorf("not an object")
	}
	var list []rawCondition
	for _, m := range n.members {
		if m.value.kind != jsonObject {
			return nil, fmt.Errorf("%s is not an object", m.name)
		}
		// AWS accepts an unknown operator that compares nothing.
		op, ok := parseOperator(m.name, strict)
		if !ok && len(m.value.members) > 0 {
			return nil, fmt.Errorf("unknown operator %q", m.name)
		}
		for _, k := range m.value.members {
			c := rawCondition{opName: m.name, op: op, key: k.name}
			values := k.value.elems
			if k.value.kind != jsonArray {
				values = []*jsonNode{k.value}
			}
			for _, v := range values {
				text, ok := v.scalarText()
				if !ok {
					return nil, fmt.Errorf("%s %s: a value must be a string, a number or a boolean", m.name, k.name)
				}
				c.values = append(c.values, text)
			}
			list = append(list, c)
		}
	}
	return list, nil
}

// Parse compiles a stored document. It accepts both versions of the language. It refuses unknown
// elements and operators, duplicate keys in one object, and values of the wrong type.
func Parse(src []byte) (*Document, error) {
	raw, err := readDocument(src, false)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	d := &Document{sourceType: SourceNone}
	vars := raw.version == version2012
	keys := map[string]string{}
	at := locator{src: raw.src, pos: Position{Line: 1, Column: 1}}
	for i := range raw.statements {
		s, err := compileStatement(raw, i, vars, &at)
		if err != nil {
			return nil, fmt.Errorf("policy: statement %d: %w", i+1, err)
		}
		d.statements = append(d.statements, s)
		s.collectKeys(keys)
	}
	d.keys = sortedKeys(keys)
	return d, nil
}

func compileStatement(raw *rawDocument, i int, vars bool, at *locator) (*statement, error) {
	r := &raw.statements[i]
	if r.effect != "Allow" && r.effect != "Deny" {
		return nil, fmt.Errorf("Effect must be Allow or Deny, in this spelling")
	}
	s := &statement{
		index:     i,
		sid:       r.sid,
		deny:      r.effect == "Deny",
		notAction: r.hasNot,
		notRes:    r.hasNotRes,
		hasRes:    r.hasRes || r.hasNotRes,
		start:     at.position(r.node.start),
		end:       at.position(r.node.end),
	}
	// A malformed pattern should match much in a Deny and little in an Allow; in NotAction and
	// NotResource, it is the reverse.
	wide := s.deny != s.notAction
	for _, a := range append(slices.Clip(r.action), r.notAction...) {
		s.actions = append(s.actions, compileAction(a, wide))
	}
	wide = s.deny != s.notRes
	for _, res := range append(slices.Clip(r.res), r.notRes...) {
		s.resources = append(s.resources, compileResource(res, wide, vars))
	}
	s.who = principals{present: r.hasPrincipal || r.hasNotPrincipal, not: r.hasNotPrincipal}
	for _, ref := range r.principal {
		s.who.entries = append(s.who.entries, compilePrincipal(ref))
	}
	for _, c := range r.conditions {
		compiled, err := c.compile(vars, s.deny)
		if err != nil {
			return nil, err
		}
		s.conditions = append(s.conditions, compiled)
	}
	return s, nil
}

func (c *rawCondition) compile(vars, deny bool) (*condition, error) {
	recurs, err := c.recurrence()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", c.opName, c.key, err)
	}
	if recurs == nil {
		out := compileCondition(c.opName, c.op, c.key, c.values, vars)
		out.deny, out.aspect = deny, aspectOf(out)
		return out, nil
	}
	out := compileCondition(c.opName, c.op, c.key, c.values, false)
	out.recurs, out.deny, out.instants = recurs, deny, recurs.bounds(c.values)
	out.aspect = aspectOf(out)
	out.precompute()
	return out, nil
}

// compileResource compiles a member of Resource or NotResource. An ARN pattern with too few
// segments and a star in the middle is ambiguous; unless wide, the reading that matches less
// applies.
func compileResource(src string, wide, vars bool) pattern {
	p := compilePattern(src, modeResource, vars)
	if !wide && strings.HasPrefix(src, "arn:") && strings.Contains(src, "*") {
		if missing := 5 - strings.Count(src, ":"); missing > 0 {
			p = compilePattern(src+strings.Repeat(":*", missing), modeResource, vars)
			p.src = src
		}
	}
	return p
}

func (st *statement) collectKeys(keys map[string]string) {
	add := func(key, raw string) {
		if _, ok := keys[key]; !ok {
			keys[key] = raw
		}
	}
	patterns := func(ps []pattern) {
		for i := range ps {
			for _, t := range ps[i].toks {
				if t.kind == tokVar {
					add(t.key, t.rawKey)
				}
			}
		}
	}
	patterns(st.resources)
	for _, c := range st.conditions {
		add(c.key, c.rawKey)
		patterns(c.patterns)
	}
}

func sortedKeys(keys map[string]string) []string {
	var list []string
	for _, raw := range keys {
		list = append(list, raw)
	}
	slices.SortFunc(list, func(a, b string) int {
		return strings.Compare(strings.ToLower(a), strings.ToLower(b))
	})
	return list
}
