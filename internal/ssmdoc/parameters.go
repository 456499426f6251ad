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

// Types of parameters.
const (
	TypeString     = "String"
	TypeStringList = "StringList"

	// Only for commands.

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
	// Default is the default in DescribeDocument, as JSON for a StringList.
	Default string
	// HasDefault is false for required parameters.
	HasDefault bool

	defaults       []string
	pattern        *regexp.Regexp
	patternText    string
	allowed        []string
	chars, items   bounds
	displayType    string
	quote          bool // quote the value for a POSIX shell
	lines          bool // values can have line breaks
	within         bool // used in a shell command together with other text
	allowedPresent bool
}

// bounds is a range of counts; a negative maximum means none.
type bounds struct {
	least, most     int
	hasMin, hasMost bool
}

// Limits of parameters. AWS's documents are far below them.
const (
	maxParameters = 100
	maxItems      = 1000
	maxValue      = 32 << 10
	maxValues     = 64 << 10 // of one request, in total
)

var parameterName = regexp.MustCompile(`^[a-zA-Z0-9]{1,100}$`)

// IsParameterName reports whether agents accept name as the name of a parameter; they drop others.
func IsParameterName(name string) bool { return parameterName.MatchString(name) }

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
		if !IsParameterName(name) {
			c.failf(where, "has a name that agents do not accept: use only letters and digits")
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
	// Steps of a command run scripts, which have several lines.
	p.lines = c.command && (p.Type != TypeString || p.displayType == "textarea")
	if !p.isList() && (p.items.hasMin || p.items.hasMost) {
		c.failf(where, "has minItems or maxItems, which are only for parameters of type StringList or MapList")
	}
	if v, ok := o.get("sekisho"); ok && c.command {
		c.failf(where+".sekisho", "is only for documents of type Session")
	} else if ok {
		p.quote = c.quoting(where+".sekisho", v)
		if p.quote && p.Type == TypeStringList {
			c.failf(where+".sekisho.quote", "is only for parameters of type String")
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

// texts parses a list of strings; a single string counts as a list of one.
func (c *checker) texts(where string, v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	list, ok := v.([]any)
	if !ok {
		c.failf(where, "must be a list of strings")
		return nil
	}
	texts := make([]string, 0, len(list))
	for i, e := range list {
		s, ok := e.(string)
		if !ok {
			c.failf(fmt.Sprintf("%s[%d]", where, i), "must be a string")
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

// count parses a count, which can be a number or a string.
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
		c.failf(where+"."+name, "must be a non-negative integer")
		return 0, false
	}
	return n, true
}

func (c *checker) defaultOf(where string, p *Parameter, v any) {
	switch p.Type {
	case TypeString:
		s, ok := v.(string)
		if !ok {
			c.failf(where, "must be a string, like the parameter's type")
			return
		}
		p.defaults, p.Default = []string{s}, s
	case TypeStringList:
		p.defaults = c.texts(where, v)
		b, err := json.Marshal(p.defaults)
		if err != nil {
			c.failf(where, "must be a list of strings")
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
		c.failf(where, "is not a valid value of the parameter: it %v", err)
	}
}

// defaultText returns the text of a default that is not a string. Documents can also write numbers
// and booleans as strings.
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

// allowedValues parses a list of values. Numbers and booleans need not be strings.
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

// check returns an error for invalid values, worded to follow the parameter's name.
func (p *Parameter) check(values []string) error {
	if !p.isList() && len(values) != 1 {
		return fmt.Errorf("requires one value, not %d", len(values))
	}
	if len(values) > maxItems {
		return fmt.Errorf("can have at most %d values", maxItems)
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

// value parses the strings of a request and returns the parameter's value for agents. Its error is
// worded to follow the parameter's name.
func (p *Parameter) value(texts []string) (any, error) {
	switch p.Type {
	case TypeStringList:
		return append([]string{}, texts...), nil
	case TypeMapList:
		return mapList(texts)
	case TypeStringMap:
		o, err := stringMap(texts[0])
		if err != nil {
			return nil, fmt.Errorf("requires a JSON object: %w", err)
		}
		return o, nil
	case TypeInteger:
		n, err := strconv.ParseInt(texts[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("requires an integer, not %q", safetext.Clip(texts[0], maxQuoted))
		}
		return json.Number(strconv.FormatInt(n, 10)), nil
	case TypeBoolean:
		switch strings.ToLower(texts[0]) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, fmt.Errorf("requires true or false, not %q", safetext.Clip(texts[0], maxQuoted))
	}
	return texts[0], nil
}

// mapList parses the values of a MapList: JSON objects, or one JSON list of them.
func mapList(texts []string) ([]any, error) {
	list := []any{}
	for _, text := range texts {
		v, err := decodeAny([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("requires JSON objects: %w", err)
		}
		entries, isList := v.([]any)
		if !isList {
			entries = []any{v}
		} else if len(texts) > 1 {
			return nil, errors.New("requires JSON objects, or one JSON list of them")
		}
		for _, e := range entries {
			if _, ok := e.(*object); !ok {
				return nil, errors.New("requires JSON objects, or one JSON list of them")
			}
			list = append(list, e)
		}
	}
	if len(list) > maxItems {
		return nil, fmt.Errorf("can have at most %d values", maxItems)
	}
	return list, nil
}

func (p *Parameter) checkValue(v string) error {
	switch {
	case len(v) > maxValue:
		return fmt.Errorf("has a value of %d bytes; the limit is %d", len(v), maxValue)
	case !utf8.ValidString(v):
		return fmt.Errorf("has a value that is not UTF-8")
	case strings.ContainsRune(v, 0):
		return fmt.Errorf("has a value with a NUL character")
	case p.allowedPresent && !contains(p.allowed, v):
		return fmt.Errorf("must be one of %s", safetext.Clip(strings.Join(p.allowed, ", "), 300))
	case p.pattern != nil && !p.pattern.MatchString(v):
		return fmt.Errorf("must match the pattern %s", safetext.Clip(p.patternText, 300))
	// A pattern or a list of values defines what is allowed. Otherwise a value must stay on its
	// line in the document.
	case p.pattern == nil && !p.allowedPresent && (!p.lines || p.within) && strings.ContainsFunc(v, breaksLine):
		return fmt.Errorf(
			"has a value with a line break or another control character, but no allowedPattern that permits it",
		)
	case p.pattern == nil && !p.allowedPresent && p.within && !p.quote && strings.ContainsAny(v, shellMeans):
		return fmt.Errorf(
			"has a value with %q, which is special in the shell, but no allowedPattern that permits it",
			v[strings.IndexAny(v, shellMeans)],
		)
	}
	return p.chars.check(utf8.RuneCountInString(v), "characters")
}

// shellMeans are the special characters of the shells: separators, redirections, expansions and
// quotes.
const shellMeans = ";&|<>()$`\\\"'*?[]#"

// breaksLine reports whether r is a line break or a control character.
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

// values are a request's parameters, with defaults for omitted ones, as [Parameter.value] returns
// them.
type values map[string]any

// into returns tree with the values substituted.
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
		return nil, parametersError("The parameters have %d bytes in total; the limit is %d.", size, maxValues)
	}
	bound := values{}
	for _, p := range d.Parameters {
		list, ok := given[p.Name]
		if !ok {
			if !p.HasDefault {
				return nil, parametersError("The document requires the parameter %q%s.", p.Name, about(p.Description))
			}
			list = p.defaults // chosen by the document's author
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
