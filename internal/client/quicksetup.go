package client

import (
	"context"
	"fmt"
	"strings"

	"sekisho"
)

// The roles that Quick Setup makes.
const (
	InstanceRole   = "AmazonSSMRoleForInstancesQuickSetup"
	AutomationRole = "AmazonSSMRoleForAutomationAssumeQuickSetup"
)

// QuickSetupInput says which nodes get the role.
type QuickSetupInput struct {
	Nodes []string // by ID, name or tag:KEY=VALUE that selects one
	Tags  []Tag    // all that have one of these
}

// Tag is a tag.
type Tag struct{ Key, Value string }

// QuickSetupStep is one step of Quick Setup, and how it came out.
type QuickSetupStep struct {
	Kind, Resource, Detail  string
	Outcome                 string // Made, Present, Differs, Failed or Skipped
	Text                    string // what was done
	ErrorCode, ErrorMessage string
}

// QuickSetup has the server make the roles of Quick Setup with their policies,
// their trust and the instance profile, and give the instance role to nodes.
// What is there already stays as it is. The steps are returned also when one
// of them failed.
func (c *Client) QuickSetup(ctx context.Context, in QuickSetupInput) ([]QuickSetupStep, error) {
	request := struct {
		InstanceIDs []string `json:"InstanceIds,omitempty"`
		Tags        []Tag    `json:",omitempty"`
	}{Tags: in.Tags}
	for _, target := range in.Nodes {
		id, err := c.Resolve(ctx, target)
		if err != nil {
			return nil, err
		}
		request.InstanceIDs = append(request.InstanceIDs, id)
	}
	var out struct{ Steps []QuickSetupStep }
	if err := c.call(ctx, "sekisho", "Sekisho.ApplyQuickSetup", request, &out); err != nil {
		return nil, err
	}
	for _, s := range out.Steps {
		if s.Outcome == "Failed" {
			what := strings.Join(strings.Fields(s.Kind+" "+s.Resource+" "+s.Detail), " ")
			return out.Steps, fmt.Errorf("%s: %w", Printable(what), &APIError{Operation: "ApplyQuickSetup", Code: s.ErrorCode, Message: s.ErrorMessage})
		}
	}
	return out.Steps, nil
}

// InstallInput says which machines are to become nodes, and how.
type InstallInput struct {
	DefaultInstanceName string  `json:",omitempty"`
	RegistrationLimit   int     `json:",omitempty"`
	ExpirationDate      float64 `json:",omitempty"` // seconds since 1970
	Tags                []Tag   `json:",omitempty"`
	NodeIDType          string  `json:"NodeIdType,omitempty"`
	Agent               string  `json:",omitempty"`
	Architecture        string  `json:",omitempty"`
	PackageURL          string  `json:"PackageUrl,omitempty"`
	PackageSha256       string  `json:",omitempty"`
}

// InstallCommand is how a machine becomes a node. The command and the user
// data hold the activation's code.
type InstallCommand struct {
	ActivationID      string `json:"ActivationId"`
	ExpirationDate    Time
	RegistrationLimit int
	Command           string
	UserData          string
	UninstallCommand  string
}

// CreateInstallCommand makes an activation and the line that makes a machine a
// node with it.
func (c *Client) CreateInstallCommand(ctx context.Context, in InstallInput) (InstallCommand, error) {
	var out InstallCommand
	if err := c.call(ctx, "sekisho", "Sekisho.CreateInstallCommand", in, &out); err != nil {
		return out, err
	}
	if out.Command == "" || out.UserData == "" {
		return out, sekisho.Errorf(sekisho.CodeInvalid, "The server's answer has no command.")
	}
	return out, nil
}
