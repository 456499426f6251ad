package ssmdoc

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"sekisho"
)

// The types of parameters.
const (
	TypeString     = "String"
	TypeStringList = "StringList"
	// TypeStringMap is for commands: a JSON object.
	TypeStringMap = "StringMap"
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
		where := "parameters." + clip(name)
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
	c.known(where, o, "type", "description", "default", "allowedPattern", "allowedValues", "minChars", "maxChars", "minItems", "maxItems", "displayType", "sekisho")
	p := &Parameter{Name: name}
	p.Type, _ = c.text(where+".type", o, "type")
	types := []string{TypeString, TypeStringList}
	if c.command {
		types = append(types, TypeStringMap)
	}
	c.oneOf(where+".type", p.Type, types...)
	p.Description, _ = c.text(where+".description", o, "description")
	if p.displayType, _ = c.text(where+".displayType", o, "displayType"); p.displayType != "" {
		c.oneOf(where+".displayType", p.displayType, "textfield", "textarea")
	}
	if p.patternText, _ = c.text(where+".allowedPattern", o, "allowedPattern"); p.patternText != "" {
		re, err := fullMatch(p.patternText)
		if err != nil {
			c.failf(where+".allowedPattern", "cannot be used: %v (patterns have the syntax of RE2: no look-around, no back-references)", err)
		}
		p.pattern = re
	}
	if v, ok := o.get("allowedValues"); ok && v != nil {
		p.allowed, p.allowedPresent = c.texts(where+".allowedValues", v), true
		if len(p.allowed) == 0 {
			c.failf(where+".allowedValues", "must name at least one value")
		}
	}
	p.chars = c.bounds(where, o, "minChars", "maxChars")
	p.items = c.bounds(where, o, "minItems", "maxItems")
	// Scripts have lines, and steps of a command run scripts.
	p.lines = c.command && (p.Type != TypeString || p.displayType == "textarea")
	if p.Type != TypeStringList && (p.items.hasMin || p.items.hasMost) {
		c.failf(where, "has minItems or maxItems, which are for parameters of type StringList")
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

// fullMatch compiles pattern so that it must match a value from end to end,
// whatever anchors and flags it has itself.
func fullMatch(pattern string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
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
	case TypeStringMap:
		o, ok := v.(*object)
		if !ok {
			c.failf(where, "must be an object, as the parameter's type is StringMap")
			return
		}
		b, err := json.Marshal(o)
		if err != nil {
			c.failf(where, "must be an object")
			return
		}
		p.Default, p.defaults = string(b), []string{string(b)}
	}
	p.HasDefault = true
	if err := p.check(p.defaults); err != nil {
		c.failf(where, "is not a value that the parameter takes: it %v", err)
	}
}

// check reports what is wrong with a parameter's values, worded to follow the
// parameter's name.
func (p *Parameter) check(values []string) error {
	if p.Type != TypeStringList && len(values) != 1 {
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
		if p.Type == TypeStringMap {
			if _, err := stringMap(v); err != nil {
				return fmt.Errorf("takes a JSON object: %w", err)
			}
		}
	}
	return nil
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
		return fmt.Errorf("must be one of %s", clipTo(strings.Join(p.allowed, ", "), 300))
	case p.pattern != nil && !p.pattern.MatchString(v):
		return fmt.Errorf("must match the pattern %s", clipTo(p.patternText, 300))
	// Whoever writes a pattern or lists values says what may pass. Otherwise a
	// value stays on the line where the document put it.
	case p.pattern == nil && !p.allowedPresent && (!p.lines || p.within) && strings.ContainsFunc(v, breaksLine):
		return fmt.Errorf("has a value with a line break or another control character, and no allowedPattern that says it may")
	case p.pattern == nil && !p.allowedPresent && p.within && !p.quote && strings.ContainsAny(v, shellMeans):
		return fmt.Errorf("has a value with %q, which would be more than a word to the shell, and no allowedPattern that says it may", v[strings.IndexAny(v, shellMeans)])
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

func clipTo(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func parametersError(format string, args ...any) error {
	e := sekisho.Errorf(sekisho.CodeInvalid, format, args...)
	e.Err = ErrParameters
	return e
}

// values are a request's parameters with the defaults of those it left out:
// a string for each String, a []string for each StringList, an *object for
// each StringMap.
type values map[string]any

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
				return nil, parametersError("The document has no parameters; the request gives %q.", clip(name))
			}
			return nil, parametersError("The document has no parameter %q%s; it has %s.", clip(name), meant(name, names), strings.Join(names, ", "))
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
		switch p.Type {
		case TypeString:
			bound[p.Name] = list[0]
		case TypeStringMap:
			o, err := stringMap(list[0])
			if err != nil {
				return nil, parametersError("The parameter %q takes a JSON object: %v.", p.Name, err)
			}
			bound[p.Name] = o
		default:
			bound[p.Name] = append([]string{}, list...)
		}
	}
	return bound, nil
}

func about(description string) string {
	if description == "" {
		return ""
	}
	return " (" + clipTo(strings.TrimSuffix(description, "."), 100) + ")"
}
