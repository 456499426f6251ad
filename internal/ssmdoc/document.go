// Package ssmdoc implements session documents (schema 1.0) and command documents (schema 2.2). It
// checks a document when it is saved, checks a request's parameters when a session is started or a
// command sent, and builds the content for the node's agent.
package ssmdoc

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"sekisho"
	"sekisho/internal/nearest"
	"sekisho/internal/safetext"
)

// Default is the document of a StartSession request that names none. It also contains an account's
// Session Manager preferences.
const Default = "SSM-SessionManagerRunShell"

// ReverseForwarding is the document with which a node listens for a client.
const ReverseForwarding = "Sekisho-StartReversePortForwardingSession"

// Session types of schema 1.0.
const (
	StandardStream         = "Standard_Stream"
	InteractiveCommands    = "InteractiveCommands"
	NonInteractiveCommands = "NonInteractiveCommands"
	Port                   = "Port"
)

// SchemaVersion is the schema version of session documents.
const SchemaVersion = "1.0"

// MaxSize is the maximum size of a document in bytes, as in AWS.
const MaxSize = 64 << 10

// Errors that callers distinguish. Any other error of this package means that a document's content
// is invalid.
var (
	// ErrSchemaVersion means that a document has another schema version.
	ErrSchemaVersion = errors.New("schema version")
	// ErrParameters means that a request's parameters do not match a document.
	ErrParameters = errors.New("parameters")
)

// Document is a document that has passed every check.
type Document struct {
	Type          string // TypeSession, TypeCommand or TypeAutoApproval
	SchemaVersion string
	Description   string
	SessionType   string // of a session
	// Parameters are in the order of the text.
	Parameters []*Parameter
	Steps      []*Step // of a command

	inputs     *inputs // nil if the document has none
	properties any
}

// namePattern matches document names. Names in requests can also be ARNs.
var namePattern = regexp.MustCompile(`^[a-zA-Z0-9_\-.]{3,128}$`)

// ValidName reports whether name is a valid document name.
func ValidName(name string) bool { return namePattern.MatchString(name) }

// reservedPrefixes are the prefixes of built-in documents' names.
var reservedPrefixes = []string{"aws-", "amazon", "amzn", "sekisho-"}

// Reserved reports whether name is reserved for built-in documents.
func Reserved(name string) bool {
	lower := strings.ToLower(name)
	for _, p := range reservedPrefixes {
		if strings.HasPrefix(lower, p) {
			return true
		}
	}
	return false
}

// Parse parses and checks a document of type Session in JSON. The error lists the problems and
// their places.
func Parse(text []byte) (*Document, error) {
	var c checker
	return c.parse(text, c.document)
}

// parse parses and checks a document that read understands.
func (c *checker) parse(text []byte, read func(root *object) *Document) (*Document, error) {
	if len(text) > MaxSize {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "The document has %d bytes; the limit is %d.", len(text), MaxSize)
	}
	root, err := decode(text)
	if err != nil {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "The document is not valid JSON: %v.", err)
	}
	d := read(root)
	if err := c.err(); err != nil {
		return nil, err
	}
	return d, nil
}

// sessionTypes are the session types in the order of error messages.
var sessionTypes = []string{StandardStream, InteractiveCommands, NonInteractiveCommands, Port}

func (c *checker) document(root *object) *Document {
	d := &Document{Type: TypeSession}
	d.SchemaVersion, _ = c.text("schemaVersion", root, "schemaVersion")
	if d.SchemaVersion != SchemaVersion && len(c.problems) == 0 {
		c.cause = ErrSchemaVersion
		c.failf(
			"schemaVersion",
			"is %q: documents of type Session must have schema version %q",
			safetext.Clip(d.SchemaVersion, maxQuoted),
			SchemaVersion,
		)
		return d // the rest would only cause misleading errors
	}
	c.known("", root, "schemaVersion", "description", "sessionType", "parameters", "inputs", "properties")
	d.Description, _ = c.text("description", root, "description")
	d.SessionType, _ = c.text("sessionType", root, "sessionType")
	c.oneOf("sessionType", d.SessionType, sessionTypes...)
	d.Parameters = c.parameters(root)
	if v, ok := root.get("inputs"); ok && v != nil {
		d.inputs = c.inputs(v)
	}
	d.properties, _ = root.get("properties")
	if len(c.problems) > 0 {
		return d
	}
	c.references(d)
	c.properties(d, d.properties, c.isTemplate)
	return d
}

// Platforms returns the operating systems of the document, with the names in DescribeDocument.
func (d *Document) Platforms() []string {
	if d.Type == TypeCommand {
		return d.commandPlatforms()
	}
	all := platforms
	o, ok := d.properties.(*object)
	if d.SessionType != InteractiveCommands && d.SessionType != NonInteractiveCommands || !ok {
		return all
	}
	var some []string
	for _, p := range all {
		if _, ok := o.get(strings.ToLower(p)); ok {
			some = append(some, p)
		}
	}
	return some
}

// Parameter returns the parameter called name, or nil.
func (d *Document) Parameter(name string) *Parameter {
	for _, p := range d.Parameters {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// maxProblems bounds the problems of a document that one error lists.
const maxProblems = 8

// checker collects the problems of a document.
type checker struct {
	command     bool // the document is of type Command
	problems    []string
	more        int
	cause       error
	patternSize int // of all patterns so far
}

func (c *checker) failf(where, format string, args ...any) {
	if len(c.problems) == maxProblems {
		c.more++
		return
	}
	if where == "" {
		where = "the document"
	}
	c.problems = append(c.problems, where+" "+fmt.Sprintf(format, args...))
}

func (c *checker) err() error {
	if len(c.problems) == 0 {
		return nil
	}
	text := strings.Join(c.problems, "; ")
	if c.more > 0 {
		text += fmt.Sprintf("; and %d more", c.more)
	}
	e := sekisho.Errorf(sekisho.CodeInvalid, "The document is not valid: %s.", text)
	e.Err = c.cause
	return e
}

// known refuses names in o that are not in names, and suggests the closest one.
func (c *checker) known(where string, o *object, names ...string) {
	for _, k := range o.keys {
		if !contains(names, k) {
			c.failf(where, "has the unknown member %q%s", safetext.Clip(k, maxQuoted), meant(k, names))
		}
	}
}

// text returns the string called name; where is its place, for errors.
func (c *checker) text(where string, o *object, name string) (string, bool) {
	v, ok := o.get(name)
	if !ok || v == nil {
		return "", false
	}
	s, ok := v.(string)
	if !ok {
		c.failf(where, "must be a string")
	}
	return s, ok
}

func (c *checker) oneOf(where, value string, allowed ...string) {
	if !contains(allowed, value) {
		c.failf(
			where,
			"is %q: it must be one of %s%s",
			safetext.Clip(value, maxQuoted),
			strings.Join(allowed, ", "),
			meant(value, allowed),
		)
	}
}

func contains(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}

// maxQuoted bounds text that an error quotes, in bytes.
const maxQuoted = 60

// meant returns " (did you mean …?)" if one of names is close to s, otherwise "".
func meant(s string, names []string) string {
	best := nearest.Name(s, names)
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}
