package ssmdoc

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"sekisho"
	"sekisho/internal/safetext"
)

// The types of parameters.
const (
	TypeString     = "String"
	TypeStringList = "StringList"

	// The others are for commands.

	TypeInteger   = "Integer"
	TypeBoolean   = "Boolean"
	TypeStringMap = "StringMap" // a JSON object
	TypeMapList   = "MapList"   // JSON objects, one per value or a list of them
)

// Parameter is one parameter of a document.
type Parameter struct {
	Name        string
	Type        string
	Description string
	// Default is the text DescribeDocument shows, a StringList's as JSON.
	Default string
	// HasDefault is false for parameters that a request must give.
	HasDefault bool

	defaults       []string
	pattern        *regexp.Regexp
	patternText    string
	allowed        []string
	chars, items   bounds
	displayType    string
	quote          bool // its value is quoted for a POSIX shell
	lines          bool // its values may have line breaks
	within         bool // it stands in a shell's command beside other text
	allowedPresent bool
}

// bounds is a range of counts; a negative maximum means none.
type bounds struct {
	least, most     int
	hasMin, hasMost bool
}

// Limits of parameters. AWS documents stay far below them.
const (
	maxParameters = 100
	maxItems      = 1000
	maxValue      = 32 << 10
	maxValues     = 64 << 10 // of one request, in all
)

// parameterName is what agents take; they drop other names.
var parameterName = regexp.MustCompile(`^[a-zA-Z0-9]{1,100}$`)

func (c *checker) parameters(root *object) []*Parameter {
	v, ok := root.get("parameters")
	if !ok || v == nil {
		return nil
	}
	o, ok := v.(*object)
	if !ok {
		c.failf("parameters", "must be an object")
		return nil
	}
	if len(o.keys) > maxParameters {
		c.failf("parameters", "has %d members; at most %d are allowed", len(o.keys), maxParameters)
		return nil
	}
	var all []*Parameter
	for _, name := range o.keys {
		where := "parameters." + safetext.Clip(name, maxQuoted)
		if !parameterName.MatchString(name) {
			c.failf(where, "has a name that agents do not take: use letters and digits only")
			continue
		}
		def, ok := o.values[name].(*object)
		if !ok {
			c.failf(where, "must be an object")
			continue
		}
		all = append(all, c.parameter(where, name, def))
	}
	return all
}

func (c *checker) parameter(where, name string, o *object) *Parameter {
	c.known(
		where,
		o,
		"type",
		"description",
		"default",
		"allowedPattern",
		"allowedValues",
		"minChars",
		"maxChars",
		"minItems",
		"maxItems",
		"displayType",
		"sekisho",
	)
	p := &Parameter{Name: name}
	p.Type, _ = c.text(where+".type", o, "type")
	types := []string{TypeString, TypeStringList}
	if c.command {
		types = append(types, TypeInteger, TypeBoolean, TypeStringMap, TypeMapList)
	}
	c.oneOf(where+".type", p.Type, types...)
	p.Description, _ = c.text(where+".description", o, "description")
	if p.displayType, _ = c.text(where+".displayType", o, "displayType"); p.displayType != "" {
		c.oneOf(where+".displayType", p.displayType, "textfield", "textarea")
	}
	if p.patternText, _ = c.text(where+".allowedPattern", o, "allowedPattern"); p.patternText != "" {
		p.pattern = c.pattern(where+".allowedPattern", p.patternText)
	}
	if v, ok := o.get("allowedValues"); ok && v != nil {
		p.allowed, p.allowedPresent = c.allowedValues(where+".allowedValues", p.Type, v), true
		if len(p.allowed) == 0 {
			c.failf(where+".allowedValues", "must name at least one value")
		}
	}
	p.chars = c.bounds(where, o, "minChars", "maxChars")
	p.items = c.bounds(where, o, "minItems", "maxItems")
	// Scripts have lines, and steps of a command run scripts.
	p.lines = c.command && (p.Type != TypeString || p.displayType == "textarea")
	if !p.isList() && (p.items.hasMin || p.items.hasMost) {
		c.failf(where, "has minItems or maxItems, which are for parameters of type StringList or MapList")
	}
	if v, ok := o.get("sekisho"); ok && c.command {
		c.failf(where+".sekisho", "is for documents of type Session")
	} else if ok {
		p.quote = c.quoting(where+".sekisho", v)
		if p.quote && p.Type == TypeStringList {
			c.failf(where+".sekisho.quote", "is for parameters of type String")
		}
	}
	if v, ok := o.get("default"); ok && v != nil && len(c.problems) == 0 {
		c.defaultOf(where+".default", p, v)
	}
	return p
}

func (c *checker) quoting(where string, v any) bool {
	o, ok := v.(*object)
	if !ok {
		c.failf(where, "must be an object")
		return false
	}
	c.known(where, o, "quote")
	how, _ := c.text(where+".quote", o, "quote")
	c.oneOf(where+".quote", how, "shell")
	return how == "shell"
}

// texts reads a list of texts; a single text stands for a list of one.
func (c *checker) texts(where string, v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	list, ok := v.([]any)
	if !ok {
		c.failf(where, "must be a list of texts")
		return nil
	}
	texts := make([]string, 0, len(list))
	for i, e := range list {
		s, ok := e.(string)
		if !ok {
			c.failf(fmt.Sprintf("%s[%d]", where, i), "must be a text")
			continue
		}
		texts = append(texts, s)
	}
	return texts
}

func (c *checker) bounds(where string, o *object, least, most string) bounds {
	var b bounds
	b.least, b.hasMin = c.count(where, o, least)
	b.most, b.hasMost = c.count(where, o, most)
	if b.hasMin && b.hasMost && b.least > b.most {
		c.failf(where, "has a %s larger than its %s", least, most)
	}
	return b
}

// count reads a number of things; documents also write it as a text.
func (c *checker) count(where string, o *object, name string) (int, bool) {
	v, ok := o.get(name)
	if !ok || v == nil {
		return 0, false
	}
	text, _ := v.(string)
	if n, ok := v.(json.Number); ok {
		text = n.String()
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		c.failf(where+"."+name, "must be a whole number, not negative")
		return 0, false
	}
	return n, true
}

func (c *checker) defaultOf(where string, p *Parameter, v any) {
	switch p.Type {
	case TypeString:
		s, ok := v.(string)
		if !ok {
			c.failf(where, "must be a text, as the parameter's type is String")
			return
		}
		p.defaults, p.Default = []string{s}, s
	case TypeStringList:
		p.defaults = c.texts(where, v)
		b, err := json.Marshal(p.defaults)
		if err != nil {
			c.failf(where, "must be a list of texts")
			return
		}
		p.Default = string(b)
	default:
		text, ok := defaultText(p.Type, v)
		if !ok {
			c.failf(where, "does not fit the parameter's type %s", p.Type)
			return
		}
		p.Default, p.defaults = text, []string{text}
	}
	p.HasDefault = true
	if err := p.check(p.defaults); err != nil {
		c.failf(where, "is not a value that the parameter takes: it %v", err)
	}
}

// defaultText returns the text of a default that is not a string. Documents
// also write numbers and truth values as strings.
func defaultText(kind string, v any) (string, bool) {
	var fits bool
	switch v.(type) {
	case *object:
		fits = kind == TypeStringMap
	case []any:
		fits = kind == TypeMapList
	case json.Number, string:
		fits = kind == TypeInteger || kind == TypeBoolean
	case bool:
		fits = kind == TypeBoolean
	}
	if text, ok := PlainText(v); ok || !fits {
		return text, fits
	}
	b, err := json.Marshal(v)
	return string(b), err == nil
}

// allowedValues reads a list of values. Those of numbers and truth values may
// be written as such.
func (c *checker) allowedValues(where, kind string, v any) []string {
	if list, ok := v.([]any); ok && (kind == TypeInteger || kind == TypeBoolean) {
		texts := make([]any, len(list))
		for i, e := range list {
			texts[i] = e
			if text, ok := PlainText(e); ok {
				texts[i] = text
			}
		}
		v = texts
	}
	return c.texts(where, v)
}

// check reports what is wrong with a parameter's values, worded to follow the
// parameter's name.
func (p *Parameter) check(values []string) error {
	if !p.isList() && len(values) != 1 {
		return fmt.Errorf("takes one value, not %d", len(values))
	}
	if len(values) > maxItems {
		return fmt.Errorf("takes at most %d values", maxItems)
	}
	if err := p.items.check(len(values), "values"); err != nil {
		return err
	}
	for _, v := range values {
		if err := p.checkValue(v); err != nil {
			return err
		}
	}
	_, err := p.value(values)
	return err
}

func (p *Parameter) isList() bool { return p.Type == TypeStringList || p.Type == TypeMapList }

// value returns the parameter's value as agents take it, read from the texts
// of a request. Its error is worded to follow the parameter's name.
func (p *Parameter) value(texts []string) (any, error) {
	switch p.Type {
	case TypeStringList:
		return append([]string{}, texts...), nil
	case TypeMapList:
		return mapList(texts)
	case TypeStringMap:
		o, err := stringMap(texts[0])
		if err != nil {
			return nil, fmt.Errorf("takes a JSON object: %w", err)
		}
		return o, nil
	case TypeInteger:
		n, err := strconv.ParseInt(texts[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("takes a whole number, not %q", safetext.Clip(texts[0], maxQuoted))
		}
		return json.Number(strconv.FormatInt(n, 10)), nil
	case TypeBoolean:
		switch strings.ToLower(texts[0]) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, fmt.Errorf("takes true or false, not %q", safetext.Clip(texts[0], maxQuoted))
	}
	return texts[0], nil
}

// mapList reads the values of a MapList: JSON objects, or one JSON list of
// them.
func mapList(texts []string) ([]any, error) {
	list := []any{}
	for _, text := range texts {
		v, err := decodeAny([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("takes JSON objects: %w", err)
		}
		entries, isList := v.([]any)
		if !isList {
			entries = []any{v}
		} else if len(texts) > 1 {
			return nil, errors.New("takes JSON objects, or one JSON list of them")
		}
		for _, e := range entries {
			if _, ok := e.(*object); !ok {
				return nil, errors.New("takes JSON objects, or one JSON list of them")
			}
			list = append(list, e)
		}
	}
	if len(list) > maxItems {
		return nil, fmt.Errorf("takes at most %d values", maxItems)
	}
	return list, nil
}

func (p *Parameter) checkValue(v string) error {
	switch {
	case len(v) > maxValue:
		return fmt.Errorf("has a value of %d bytes; the most is %d", len(v), maxValue)
	case !utf8.ValidString(v):
		return fmt.Errorf("has a value that is not UTF-8")
	case strings.ContainsRune(v, 0):
		return fmt.Errorf("has a value with a NUL character")
	case p.allowedPresent && !contains(p.allowed, v):
		return fmt.Errorf("must be one of %s", safetext.Clip(strings.Join(p.allowed, ", "), 300))
	case p.pattern != nil && !p.pattern.MatchString(v):
		return fmt.Errorf("must match the pattern %s", safetext.Clip(p.patternText, 300))
	// Whoever writes a pattern or lists values says what may pass. Otherwise a
	// value stays on the line where the document put it.
	case p.pattern == nil && !p.allowedPresent && (!p.lines || p.within) && strings.ContainsFunc(v, breaksLine):
		return fmt.Errorf(
			"has a value with a line break or another control character, and no allowedPattern that says it may",
		)
	case p.pattern == nil && !p.allowedPresent && p.within && !p.quote && strings.ContainsAny(v, shellMeans):
		return fmt.Errorf(
			"has a value with %q, which would be more than a word to the shell, and no allowedPattern that says it may",
			v[strings.IndexAny(v, shellMeans)],
		)
	}
	return p.chars.check(utf8.RuneCountInString(v), "characters")
}

// shellMeans is what ends, redirects, expands or quotes in one of the shells.
const shellMeans = ";&|<>()$`\\\"'*?[]#"

// breaksLine reports whether r ends a line or steers a terminal.
func breaksLine(r rune) bool {
	return r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029'
}

func (b bounds) check(n int, what string) error {
	if b.hasMin && n < b.least {
		return fmt.Errorf("must have at least %d %s", b.least, what)
	}
	if b.hasMost && n > b.most {
		return fmt.Errorf("must have at most %d %s", b.most, what)
	}
	return nil
}

func parametersError(format string, args ...any) error {
	e := sekisho.Errorf(sekisho.CodeInvalid, format, args...)
	e.Err = ErrParameters
	return e
}

// values are a request's parameters with the defaults of those it left out,
// as [Parameter.value] returns them.
type values map[string]any

// into returns tree with the values put in.
func (v values) into(tree any) (any, error) { return (&Substitution{Values: v}).Tree(tree) }

// intoObject is into for an object.
func (v values) intoObject(o *object) (*object, error) { return (&Substitution{Values: v}).object(o) }

// bind checks a request's parameters.
func (d *Document) bind(given map[string][]string) (values, error) {
	size := 0
	for name, list := range given {
		if d.Parameter(name) == nil {
			var names []string
			for _, p := range d.Parameters {
				names = append(names, p.Name)
			}
			if len(names) == 0 {
				return nil, parametersError(
					"The document has no parameters; the request gives %q.",
					safetext.Clip(name, maxQuoted),
				)
			}
			return nil, parametersError(
				"The document has no parameter %q%s; it has %s.",
				safetext.Clip(name, maxQuoted),
				meant(name, names),
				strings.Join(names, ", "),
			)
		}
		for _, v := range list {
			size += len(v)
		}
	}
	if size > maxValues {
		return nil, parametersError("The parameters have %d bytes in all; the most is %d.", size, maxValues)
	}
	bound := values{}
	for _, p := range d.Parameters {
		list, ok := given[p.Name]
		if !ok {
			if !p.HasDefault {
				return nil, parametersError("The document needs the parameter %q%s.", p.Name, about(p.Description))
			}
			list = p.defaults // which the author has chosen
		} else if err := p.check(list); err != nil {
			return nil, parametersError("The parameter %q %v.", p.Name, err)
		}
		value, err := p.value(list)
		if err != nil {
			return nil, parametersError("The parameter %q %v.", p.Name, err)
		}
		bound[p.Name] = value
	}
	return bound, nil
}

func about(description string) string {
	if description == "" {
		return ""
	}
	return " (" + safetext.Clip(strings.TrimSuffix(description, "."), 100) + ")"
}
