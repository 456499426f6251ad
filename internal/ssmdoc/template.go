package ssmdoc

import (
	"strings"
)

// isTemplate reports whether s has a value put into it, so that it can be
// checked only when a session starts.
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

// referencesOf checks every {{ name }} of one text. Values quoted for a shell
// may stand in it if it is quotable.
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
				"has {{ %s }}, a parameter quoted for a shell; such values go into linux.commands and macos.commands only",
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

// shellText reports whether a shell reads what stands there.
func shellText(where string) bool {
	return strings.HasPrefix(where, "properties.") && strings.HasSuffix(where, ".commands") ||
		strings.HasPrefix(where, "inputs.shellProfile.") || strings.Contains(where, ".inputs.runCommand")
}

// alone reports whether the reference is all of text: then the document wants
// a whole command, and whoever may use it may run anything.
func alone(text string, at []int) bool {
	return strings.TrimSpace(text[:at[0]]) == "" && strings.TrimSpace(text[at[1]:]) == ""
}

// cannotQuote says why a value in single quotes, put behind before, would not
// be one word, or part of one, of the command whole. It knows only the plain
// parts of the shell's grammar, and refuses the others.
func cannotQuote(before, whole string) string {
	for _, odd := range []string{"`", "<<", "$'", "((", "eval"} {
		if strings.Contains(whole, odd) {
			return "in a command with " + odd + ", where quotes do not mean what they say"
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
			return "behind a # that may begin a comment"
		}
		last = r
	}
	switch {
	case escaped:
		return "behind a backslash"
	case quote != 0:
		return "between quotes: leave them out, as the value gets its own"
	case !strings.ContainsRune(" \t\n=/:,@.-_+%", last) && !alphanumeric(last):
		return "behind " + string(last) + ", where a word in quotes may mean something else"
	}
	return ""
}

func alphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}
