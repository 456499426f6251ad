package client

import (
	"context"
	"fmt"
	"strings"

	"sekisho"
)

// Roles that Quick Setup creates.
const (
	InstanceRole   = "AmazonSSMRoleForInstancesQuickSetup"
	AutomationRole = "AmazonSSMRoleForAutomationAssumeQuickSetup"
)

// QuickSetupInput selects the nodes that get the role.
type QuickSetupInput struct {
	Nodes []string // each an ID, a unique name or a unique tag:KEY=VALUE
	Tags  []Tag    // all nodes that have one of these
}

// Tag is a tag.
type Tag struct{ Key, Value string }

// QuickSetupStep is one step of Quick Setup and its outcome.
type QuickSetupStep struct {
	Kind, Resource, Detail  string
	Outcome                 string // Made, Present, Differs, Failed or Skipped
	Text                    string // what was done
	ErrorCode, ErrorMessage string
}

// QuickSetup has the server create the roles of Quick Setup with their policies,
// trust and instance profile, and give the instance role to nodes. It does not
// change what exists. The steps are returned even if one of them failed.
func (c *Client) QuickSetup(ctx context.Context, in QuickSetupInput) ([]QuickSetupStep, error) {
	request := struct {
		InstanceIDs []string `json:"InstanceIds,omitempty"`
		Tags        []Tag    `json:",omitempty"`
	}{Tags: in.Tags}
	for _, target := range in.Nodes {
		nodeID, err := c.Resolve(ctx, target)
		if err != nil {
			return nil, err
		}
		request.InstanceIDs = append(request.InstanceIDs, nodeID)
	}
	var out struct{ Steps []QuickSetupStep }
	if err := c.call(ctx, "sekisho", "Sekisho.ApplyQuickSetup", request, &out); err != nil {
		return nil, err
	}
	for _, s := range out.Steps {
		if s.Outcome == "Failed" {
			what := strings.Join(strings.Fields(s.Kind+" "+s.Resource+" "+s.Detail), " ")
			return out.Steps, fmt.Errorf(
				"%s: %w",
				Printable(what),
				&APIError{Operation: "ApplyQuickSetup", Code: s.ErrorCode, Message: s.ErrorMessage},
			)
		}
	}
	return out.Steps, nil
}

// InstallInput describes the machines that are to become nodes.
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
	Host                string  `json:",omitempty"` // host[:port] of the server, as the machines reach it
}

// InstallCommand turns a machine into a node. Command and UserData contain the activation's
// code.
type InstallCommand struct {
	ActivationID      string `json:"ActivationId"`
	ExpirationDate    Time
	RegistrationLimit int
	Command           string
	UserData          string
	UninstallCommand  string
	// Warnings are reasons why the command may not work.
	Warnings []string `json:",omitempty"`
}

// CreateInstallCommand creates an activation and the command that registers a machine with it.
func (c *Client) CreateInstallCommand(ctx context.Context, in InstallInput) (InstallCommand, error) {
	var out InstallCommand
	if err := c.call(ctx, "sekisho", "Sekisho.CreateInstallCommand", in, &out); err != nil {
		return out, err
	}
	if out.Command == "" || out.UserData == "" {
		return out, sekisho.Errorf(sekisho.CodeInvalid, "The server's response contains no command.")
	}
	return out, nil
}
