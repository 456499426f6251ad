package session

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sekisho"
	"sekisho/internal/ssmdoc"
)

// content is the part of a session document that the agent uses. Like AWS's agent, it ignores
// unknown members; the server enforces the rest.
type content struct {
	SessionType string          `json:"sessionType"`
	Inputs      inputs          `json:"inputs"`
	Properties  json.RawMessage `json:"properties"`
}

// header is the part that determines how to parse the rest.
type header struct {
	SchemaVersion string               `json:"schemaVersion"`
	SessionType   string               `json:"sessionType"`
	Parameters    map[string]parameter `json:"parameters"`
}

type inputs struct {
	S3BucketName                string `json:"s3BucketName"`
	S3KeyPrefix                 string `json:"s3KeyPrefix"`
	S3EncryptionEnabled         flag   `json:"s3EncryptionEnabled"`
	CloudWatchLogGroupName      string `json:"cloudWatchLogGroupName"`
	CloudWatchEncryptionEnabled flag   `json:"cloudWatchEncryptionEnabled"`
	CloudWatchStreamingEnabled  flag   `json:"cloudWatchStreamingEnabled"`

	KMSKeyID         string `json:"kmsKeyId"`
	RunAsEnabled     flag   `json:"runAsEnabled"`
	RunAsDefaultUser string `json:"runAsDefaultUser"`
	ShellProfile     struct {
		Linux string `json:"linux"`
	} `json:"shellProfile"`
	Sekisho struct {
		LoginShell *bool  `json:"loginShell"` // absent means true
		Prompt     string `json:"prompt"`
		Banner     string `json:"banner"`
	} `json:"sekisho"`
}

type parameter struct {
	Type           string   `json:"type"`
	Default        any      `json:"default"`
	AllowedPattern string   `json:"allowedPattern"`
	AllowedValues  []string `json:"allowedValues"`
}

// commands are the properties of sessions that run a command.
type commands struct {
	Linux *struct {
		Commands              string `json:"commands"`
		RunAsElevated         flag   `json:"runAsElevated"`
		SeparateOutputStream  flag   `json:"separateOutputStream"`
		StdOutSeparatorPrefix string `json:"stdOutSeparatorPrefix"`
		StdErrSeparatorPrefix string `json:"stdErrSeparatorPrefix"`
	} `json:"linux"`
}

// portProperties are those of Port sessions.
type portProperties struct {
	PortNumber looseText `json:"portNumber"`
	Host       looseText `json:"host"`
	Type       looseText `json:"type"`
	Socket     string    `json:"socket"`
}

// flag is a boolean that can also be a string.
type flag bool

var _ json.Unmarshaler = (*flag)(nil)

// UnmarshalJSON implements [json.Unmarshaler]. It refuses any other value, because an enabled
// run-as must not be mistaken for a disabled one.
func (f *flag) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case `true`, `"true"`, `"True"`:
		*f = true
	case `false`, `"false"`, `"False"`, `""`, `null`:
		*f = false
	default:
		return fmt.Errorf("%.40q is not a boolean", b)
	}
	return nil
}

// looseText is a string that in some requests is a number or a list of one.
type looseText string

var _ json.Unmarshaler = (*looseText)(nil)

// UnmarshalJSON implements [json.Unmarshaler].
func (t *looseText) UnmarshalJSON(b []byte) error {
	var s string
	var n json.Number
	var list []string
	switch {
	case json.Unmarshal(b, &s) == nil:
		*t = looseText(s)
	case json.Unmarshal(b, &n) == nil:
		*t = looseText(n)
	case json.Unmarshal(b, &list) == nil && len(list) == 1:
		*t = looseText(list[0])
	default:
		return fmt.Errorf("%.40q is not a string", b)
	}
	return nil
}

// properties decodes the document's properties into v. Without properties, v stays unchanged.
func (d *content) properties(v any) error {
	if len(d.Properties) == 0 {
		return nil
	}
	if err := json.Unmarshal(d.Properties, v); err != nil {
		return sekisho.Errorf(sekisho.CodeInvalid, "The session document's properties are not valid: %w.", err)
	}
	return nil
}

// parseDocument parses a document and substitutes the values of its parameters.
func parseDocument(b []byte, given map[string]any) (content, error) {
	var d content
	invalid := func(err error) (content, error) {
		return d, sekisho.Errorf(sekisho.CodeInvalid, "The session document is not valid: %w.", err)
	}
	var head header
	if err := json.Unmarshal(b, &head); err != nil {
		return invalid(err)
	}
	if head.SchemaVersion != ssmdoc.SchemaVersion {
		return d, sekisho.Errorf(
			sekisho.CodeInvalid,
			"The session document has schemaVersion %.40q; this agent supports %q.",
			head.SchemaVersion,
			ssmdoc.SchemaVersion,
		)
	}
	switch head.SessionType {
	case ssmdoc.StandardStream, ssmdoc.InteractiveCommands, ssmdoc.NonInteractiveCommands, ssmdoc.Port:
	default:
		return d, sekisho.Errorf(sekisho.CodeInvalid, "unknown session type %.40q", head.SessionType)
	}
	values, err := bind(head.Parameters, given)
	if err != nil {
		return d, err
	}
	var tree map[string]json.RawMessage
	if err := json.Unmarshal(b, &tree); err != nil {
		return invalid(err)
	}
	for _, part := range []string{"inputs", "properties"} {
		if raw, ok := tree[part]; ok {
			if tree[part], err = values.fill(raw); err != nil {
				return invalid(err)
			}
		}
	}
	delete(tree, "parameters") // already parsed
	filled, err := json.Marshal(tree)
	if err == nil {
		err = json.Unmarshal(filled, &d)
	}
	if err != nil {
		return invalid(err)
	}
	return d, nil
}

// values are the parameters' by name.
type values map[string]any

// bind determines the value of every parameter and checks that the document allows it, even though
// the server has checked it before.
func bind(declared map[string]parameter, given map[string]any) (values, error) {
	out := make(values, len(declared))
	for name, p := range declared {
		if !ssmdoc.IsParameterName(name) {
			continue // AWS's agent drops such names
		}
		value, ok := given[name]
		if !ok {
			value = p.Default
		}
		if value == nil {
			return nil, sekisho.Errorf(
				sekisho.CodeInvalid,
				"The parameter %q of the session document has no value.",
				name,
			)
		}
		// A string can also be a list of one.
		if list, ok := value.([]any); ok && len(list) == 1 && p.Type == ssmdoc.TypeString {
			value = list[0]
		}
		if err := p.check(value); err != nil {
			return nil, sekisho.Errorf(sekisho.CodeInvalid, "The parameter %q of the session document: %w.", name, err)
		}
		out[name] = value
	}
	return out, nil
}

func (p *parameter) check(value any) error {
	var pattern *regexp.Regexp
	if p.AllowedPattern != "" {
		var err error
		if pattern, err = regexp.Compile(p.AllowedPattern); err != nil {
			return fmt.Errorf("its allowedPattern is invalid: %w", err)
		}
	}
	texts := []any{value}
	if list, ok := value.([]any); ok {
		texts = list
	}
	for _, v := range texts {
		s, ok := ssmdoc.PlainText(v)
		if !ok {
			return fmt.Errorf("%.60q is neither a string nor a list of strings", fmt.Sprint(v))
		}
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("%.60q contains a NUL", s)
		}
		if pattern != nil && !pattern.MatchString(s) {
			return fmt.Errorf("%.60q does not match %.200s", s, p.AllowedPattern)
		}
		if len(p.AllowedValues) > 0 && !slices.Contains(p.AllowedValues, s) {
			return fmt.Errorf("%.60q is not one of the allowed values", s)
		}
	}
	return nil
}

// fill substitutes the values in every string of a JSON value.
func (v values) fill(raw json.RawMessage) (json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return nil, err
	}
	filled, err := (&ssmdoc.Substitution{Values: v}).Tree(tree)
	if err != nil {
		return nil, err
	}
	return json.Marshal(filled)
}

// runAs returns the OS user that the document and the start message specify, or "".
func (d *content) runAs(user string) (string, error) {
	if !d.Inputs.RunAsEnabled {
		return "", nil
	}
	if user == "" {
		user = d.Inputs.RunAsDefaultUser
	}
	if user == "" {
		return "", sekisho.Errorf(sekisho.CodeInvalid, "Run as is enabled, but no OS user is named for this session.").
			WithHint("Tag the IAM principal with SSMSessionRunAs, or set the default user in the session preferences.")
	}
	return user, nil
}
