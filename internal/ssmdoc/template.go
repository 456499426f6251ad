package ssmdoc

import (
	"strings"
)

// isTemplate reports whether s has a parameter reference, so that it can be checked only when a
// session starts.
func (c *checker) isTemplate(s string) bool { return HasReference(s) }

// references checks every {{ name }} of a document.
func (c *checker) references(d *Document) {
	walk("properties", d.properties, func(where, text string) {
		c.referencesOf(d, where, text, where == "properties.linux.commands" || where == "properties.macos.commands")
	})
	if d.inputs != nil {
		c.referencesIn(d, "inputs", d.inputs.tree)
	}
}

// referencesIn checks every {{ name }} in inputs, of the document or of a
// command's step.
func (c *checker) referencesIn(d *Document, where string, inputs *object) {
	walk(where, inputs, func(where, text string) { c.referencesOf(d, where, text, false) })
}

// referencesOf checks every {{ name }} of one text. If it is quotable, it can contain values quoted
// for a shell.
func (c *checker) referencesOf(d *Document, where, text string, quotable bool) {
	if StoreReference(text) != "" {
		c.failf(where, "names a parameter of Parameter Store, which Sekisho does not have")
	}
	for _, at := range reference.FindAllStringSubmatchIndex(text, -1) {
		name := text[at[2]:at[3]]
		p := d.Parameter(name)
		switch {
		case p == nil:
			var names []string
			for _, p := range d.Parameters {
				names = append(names, p.Name)
			}
			c.failf(where, "has {{ %s }}, but the document has no such parameter%s", name, meant(name, names))
		case p.quote && !quotable:
			c.failf(
				where,
				"has {{ %s }}, a parameter quoted for a shell; such values can be used only in linux.commands and macos.commands",
				name,
			)
		case p.quote:
			if why := cannotQuote(text[:at[0]], text); why != "" {
				c.failf(where, "has {{ %s }}, a parameter quoted for a shell, %s", name, why)
			}
		case shellText(where) && !alone(text, at):
			p.within = true
		}
	}
}

// shellText reports whether a shell interprets the text at where.
func shellText(where string) bool {
	return strings.HasPrefix(where, "properties.") && strings.HasSuffix(where, ".commands") ||
		strings.HasPrefix(where, "inputs.shellProfile.") || strings.Contains(where, ".inputs.runCommand")
}

// alone reports whether the reference is the whole text: then the value is a whole command, and the
// document's users can run anything.
func alone(text string, at []int) bool {
	return strings.TrimSpace(text[:at[0]]) == "" && strings.TrimSpace(text[at[1]:]) == ""
}

// cannotQuote returns why a single-quoted value after the text before would not be one word, or
// part of one, of the command whole. It supports only the simple parts of the shell's grammar, and
// refuses the rest.
func cannotQuote(before, whole string) string {
	for _, odd := range []string{"`", "<<", "$'", "((", "eval"} {
		if strings.Contains(whole, odd) {
			return "in a command with " + odd + ", where quotes have another meaning"
		}
	}
	var quote rune
	escaped := false
	last := ' '
	for _, r := range before {
		switch {
		case escaped:
			escaped = false
		case quote == '\'':
			if r == '\'' {
				quote = 0
			}
		case r == '\\':
			escaped = true
		case quote == '"':
			if r == '"' {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		case r == '#' && strings.ContainsRune(" \t\n;&|(", last):
			return "after a # that may begin a comment"
		}
		last = r
	}
	switch {
	case escaped:
		return "after a backslash"
	case quote != 0:
		return "between quotes: omit them, because the value is quoted automatically"
	case !strings.ContainsRune(" \t\n=/:,@.-_+%", last) && !alphanumeric(last):
		return "behind " + string(last) + ", where a quoted word can have another meaning"
	}
	return ""
}

func alphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}
