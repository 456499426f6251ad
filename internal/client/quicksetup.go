package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"sekisho"
)

// The roles that Quick Setup makes.
const (
	InstanceRole   = "AmazonSSMRoleForInstancesQuickSetup"
	AutomationRole = "AmazonSSMRoleForAutomationAssumeQuickSetup"
)

// What the roles are for and may do.
const (
	instanceTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":["ec2.amazonaws.com","ssm.amazonaws.com"]},"Action":"sts:AssumeRole"}]}`
	automateTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ssm.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	coreResource  = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
	attachPolicy  = "AttachInstanceRole"
	attachAllowed = `{"Version":"2012-10-17","Statement":[` +
		`{"Effect":"Allow","Action":["ssm:DescribeInstanceInformation","ssm:UpdateManagedInstanceRole","iam:GetRole","iam:GetInstanceProfile","ec2:DescribeInstances","ec2:DescribeIamInstanceProfileAssociations","ec2:AssociateIamInstanceProfile"],"Resource":"*"},` +
		`{"Effect":"Allow","Action":"iam:PassRole","Resource":"arn:aws:iam::*:role/` + InstanceRole + `"}]}`
)

// QuickSetupInput says which nodes get the role.
type QuickSetupInput struct {
	Nodes []string     // by ID, name or tag:KEY=VALUE that selects one
	Tags  []NodeFilter // all that one of these selects
}

// QuickSetup makes the roles of Quick Setup with their policies, their trust
// and the instance profile, and gives the instance role to nodes. What is
// there already stays as it is, other policies and another trust included. Each
// change is told, and their number returned.
func (c *Client) QuickSetup(ctx context.Context, in QuickSetupInput, tell func(what string)) (changes int, err error) {
	q := quick{c: c, tell: tell}
	err = errors.Join(
		q.role(ctx, InstanceRole, instanceTrust, "Lets machines be managed nodes."),
		q.attached(ctx, InstanceRole, coreResource),
		q.profile(ctx, InstanceRole),
		q.role(ctx, AutomationRole, automateTrust, "Gives machines the role of Quick Setup."),
		q.inline(ctx, AutomationRole, attachPolicy, attachAllowed),
	)
	if err == nil {
		err = q.nodes(ctx, in)
	}
	return q.changes, err
}

type quick struct {
	c       *Client
	tell    func(string)
	changes int
	failed  bool
}

func (q *quick) changed(format string, args ...any) {
	q.changes++
	q.tell(fmt.Sprintf(format, args...))
}

// does runs one step; after one that failed the others are left out.
func (q *quick) does(step func() error) error {
	if q.failed {
		return nil
	}
	err := step()
	q.failed = err != nil
	return err
}

func isCode(err error, code string) bool {
	e, ok := errors.AsType[*APIError](err)
	return ok && e.Code == code
}

func (q *quick) role(ctx context.Context, name, trust, description string) error {
	return q.does(func() error {
		err := q.c.iam(ctx, "GetRole", map[string]string{"RoleName": name}, nil)
		if !isCode(err, "NoSuchEntity") {
			return err
		}
		if err := q.c.iam(ctx, "CreateRole", map[string]string{"RoleName": name, "AssumeRolePolicyDocument": trust, "Description": description}, nil); err != nil {
			return err
		}
		q.changed("made the role %s", name)
		return nil
	})
}

func (q *quick) attached(ctx context.Context, role, policy string) error {
	return q.does(func() error {
		var out struct {
			ARNs []string `xml:"ListAttachedRolePoliciesResult>AttachedPolicies>member>PolicyArn"`
		}
		if err := q.c.iam(ctx, "ListAttachedRolePolicies", map[string]string{"RoleName": role, "MaxItems": "1000"}, &out); err != nil {
			return err
		}
		if slices.Contains(out.ARNs, policy) {
			return nil
		}
		if err := q.c.iam(ctx, "AttachRolePolicy", map[string]string{"RoleName": role, "PolicyArn": policy}, nil); err != nil {
			return err
		}
		q.changed("attached %s to %s", policy[strings.LastIndexByte(policy, '/')+1:], role)
		return nil
	})
}

func (q *quick) inline(ctx context.Context, role, name, document string) error {
	return q.does(func() error {
		err := q.c.iam(ctx, "GetRolePolicy", map[string]string{"RoleName": role, "PolicyName": name}, nil)
		if !isCode(err, "NoSuchEntity") {
			return err
		}
		if err := q.c.iam(ctx, "PutRolePolicy", map[string]string{"RoleName": role, "PolicyName": name, "PolicyDocument": document}, nil); err != nil {
			return err
		}
		q.changed("gave %s the policy %s", role, name)
		return nil
	})
}

func (q *quick) profile(ctx context.Context, name string) error {
	return q.does(func() error {
		var out struct {
			Roles []string `xml:"GetInstanceProfileResult>InstanceProfile>Roles>member>RoleName"`
		}
		err := q.c.iam(ctx, "GetInstanceProfile", map[string]string{"InstanceProfileName": name}, &out)
		if isCode(err, "NoSuchEntity") {
			err = q.c.iam(ctx, "CreateInstanceProfile", map[string]string{"InstanceProfileName": name}, nil)
			if err == nil {
				q.changed("made the instance profile %s", name)
			}
		}
		if err != nil || len(out.Roles) > 0 {
			return err
		}
		if err := q.c.iam(ctx, "AddRoleToInstanceProfile", map[string]string{"InstanceProfileName": name, "RoleName": name}, nil); err != nil {
			return err
		}
		q.changed("put the role %s into the instance profile", name)
		return nil
	})
}

// nodes gives the role to the nodes that have another.
func (q *quick) nodes(ctx context.Context, in QuickSetupInput) error {
	chosen := map[string]Node{}
	for _, target := range in.Nodes {
		id, err := q.c.Resolve(ctx, target)
		if err != nil {
			return err
		}
		in.Tags = append(in.Tags, NodeFilter{Key: "InstanceIds", Values: []string{id}})
	}
	for _, f := range in.Tags {
		list, err := q.c.Nodes(ctx, f)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return sekisho.Errorf(sekisho.CodeNotFound, "No node has %s %s.", f.Key, strings.Join(f.Values, ", "))
		}
		for _, n := range list {
			chosen[n.InstanceID] = n
		}
	}
	for id, n := range chosen {
		if n.IamRole == InstanceRole {
			continue
		}
		request := struct {
			InstanceID string `json:"InstanceId"`
			IamRole    string
		}{id, InstanceRole}
		if err := q.c.ssm(ctx, "UpdateManagedInstanceRole", request, &struct{}{}); err != nil {
			return err
		}
		q.changed("gave %s the role %s", id, InstanceRole)
	}
	return nil
}

// ActivationInput says which machines an activation lets in.
type ActivationInput struct {
	IamRole             string
	DefaultInstanceName string `json:",omitempty"`
	RegistrationLimit   int
	Tags                []Tag `json:",omitempty"`
}

// Tag is a tag.
type Tag struct{ Key, Value string }

// Activation is a permission to register machines. Its code is a secret.
type Activation struct {
	ActivationID   string `json:"ActivationId"`
	ActivationCode string
}

// CreateActivation makes a permission to register machines.
func (c *Client) CreateActivation(ctx context.Context, in ActivationInput) (Activation, error) {
	var out Activation
	err := c.ssm(ctx, "CreateActivation", in, &out)
	return out, err
}

// Installation is what a machine needs to install the agent.
type Installation struct {
	Endpoint string
	CA       string // PEM; empty when machines trust the server anyway
}

// Installation asks the server what machines need to trust it by.
func (c *Client) Installation(ctx context.Context) (Installation, error) {
	in := Installation{Endpoint: strings.TrimSuffix(c.cfg.Endpoint, "/")}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, in.Endpoint+"/install/ca.pem", nil)
	if err != nil {
		return in, err
	}
	answer, status, err := c.fetch(req)
	switch {
	case err != nil:
		return in, fmt.Errorf("ask for the server's CA: %w", err)
	case status == http.StatusOK:
		in.CA = string(answer)
	case status != http.StatusNotFound:
		return in, fmt.Errorf("ask for the server's CA: the server answered %d", status)
	}
	return in, nil
}
