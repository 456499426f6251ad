// Package document reads session documents (schema 1.0): which kind of
// session a client asks for, with which inputs and parameters.
package document

import (
	"encoding/json"
	"fmt"
	"regexp"

	"sekisho"
)

// Default is the document of a StartSession that names none. It is also where
// an account keeps its Session Manager preferences.
const Default = "SSM-SessionManagerRunShell"

// The session types of schema 1.0.
const (
	StandardStream         = "Standard_Stream"
	InteractiveCommands    = "InteractiveCommands"
	NonInteractiveCommands = "NonInteractiveCommands"
	Port                   = "Port"
)

// Document is a session document. Its JSON is what agents are sent.
type Document struct {
	SchemaVersion string                     `json:"schemaVersion"`
	Description   string                     `json:"description,omitempty"`
	SessionType   string                     `json:"sessionType"`
	Inputs        map[string]any             `json:"inputs"`
	Parameters    map[string]json.RawMessage `json:"parameters"`
	Properties    json.RawMessage            `json:"properties,omitempty"`
}

// namePattern is that of DocumentName in the SSM model.
var namePattern = regexp.MustCompile(`^[a-zA-Z0-9_\-.:/]{3,128}$`)

// Builtin returns the document that exists without anyone having made it.
func Builtin(name string) (*Document, error) {
	if !namePattern.MatchString(name) {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "The document name must match %s.", namePattern)
	}
	if name != Default {
		return nil, sekisho.Errorf(sekisho.CodeNotFound, "Document with name %s does not exist.", name)
	}
	return &Document{
		SchemaVersion: "1.0",
		Description:   "A shell on the node.",
		SessionType:   StandardStream,
		// AWS's agent reads these without asking whether they are there.
		Inputs: map[string]any{
			"s3BucketName": "", "s3KeyPrefix": "", "s3EncryptionEnabled": false,
			"cloudWatchLogGroupName": "", "cloudWatchEncryptionEnabled": false, "cloudWatchStreamingEnabled": false,
			"kmsKeyId": "", "runAsEnabled": false, "runAsDefaultUser": "",
			"shellProfile": map[string]string{"windows": "", "linux": ""},
		},
		Parameters: map[string]json.RawMessage{},
	}, nil
}

// Bind checks the parameters of a StartSession against the document's and
// returns them as agents take them.
func (d *Document) Bind(params map[string][]string) (map[string]any, error) {
	for name := range params {
		if _, ok := d.Parameters[name]; !ok {
			return nil, sekisho.Errorf(sekisho.CodeInvalid, "The document has no parameter %q.", name)
		}
	}
	return map[string]any{}, nil
}

// Content is the document as an agent is sent it.
func (d *Document) Content() (json.RawMessage, error) {
	b, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	return b, nil
}
