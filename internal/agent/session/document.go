package session

import (
	"encoding/json"
	"fmt"

	"sekisho"
)

// The session types of AWS's documents.
const (
	typeStandardStream         = "Standard_Stream"
	typeInteractiveCommands    = "InteractiveCommands"
	typeNonInteractiveCommands = "NonInteractiveCommands"
	typePort                   = "Port"
)

// document is what the agent reads of a session document. Like AWS's agent it
// ignores what it does not know: the server enforces the rest.
type document struct {
	SchemaVersion string `json:"schemaVersion"`
	SessionType   string `json:"sessionType"`
	Inputs        struct {
		RunAsEnabled     flag   `json:"runAsEnabled"`
		RunAsDefaultUser string `json:"runAsDefaultUser"`
	} `json:"inputs"`
}

// flag is a boolean that documents also write as a string.
type flag bool

var _ json.Unmarshaler = (*flag)(nil)

// UnmarshalJSON implements [json.Unmarshaler]. It refuses what is neither
// true nor false: a run-as that is on must not be taken for off.
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

func parseDocument(b []byte) (document, error) {
	var d document
	if err := json.Unmarshal(b, &d); err != nil {
		return d, sekisho.Errorf(sekisho.CodeInvalid, "The session document is not valid: %w.", err)
	}
	if d.SchemaVersion != "1.0" {
		return d, sekisho.Errorf(sekisho.CodeInvalid, "The session document has schemaVersion %.40q; this agent knows \"1.0\".", d.SchemaVersion)
	}
	switch d.SessionType {
	case typeStandardStream:
		return d, nil
	case typeInteractiveCommands, typeNonInteractiveCommands, typePort:
		return d, sekisho.Errorf(sekisho.CodeNotImplemented, "session type %s is not supported by this agent yet", d.SessionType)
	}
	return d, sekisho.Errorf(sekisho.CodeInvalid, "session type %.40q is not known to this agent", d.SessionType)
}

// runAs is the user the document and the start message ask for, or "".
func (d *document) runAs(user string) (string, error) {
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
