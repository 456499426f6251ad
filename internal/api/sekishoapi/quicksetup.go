package sekishoapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"reflect"
	"slices"
	"strings"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
)

// Roles that Quick Setup creates.
const (
	instanceRole   = "AmazonSSMRoleForInstancesQuickSetup"
	automationRole = "AmazonSSMRoleForAutomationAssumeQuickSetup"
)

// Trust and policies of the roles.
const (
	instanceTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",` +
		`"Principal":{"Service":["ec2.amazonaws.com","ssm.amazonaws.com"]},"Action":"sts:AssumeRole"}]}`
	automateTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",` +
		`"Principal":{"Service":"ssm.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	corePolicy    = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
	attachPolicy  = "AttachInstanceRole"
	attachAllowed = `{"Version":"2012-10-17","Statement":[` +
		`{"Effect":"Allow","Action":["ssm:DescribeInstanceInformation","ssm:UpdateManagedInstanceRole","iam:GetRole",` +
		`"iam:GetInstanceProfile",` +
		`"ec2:DescribeInstances","ec2:DescribeIamInstanceProfileAssociations","ec2:AssociateIamInstanceProfile"],` +
		`"Resource":"*"},` +
		`{"Effect":"Allow","Action":"iam:PassRole","Resource":"arn:aws:iam::*:role/` + instanceRole + `"}]}`
)

// Outcomes of a step of Quick Setup.
const (
	stepPresent = "Present" // exists, and did before
	stepMissing = "Missing" // missing; applying would create it
	stepMade    = "Made"    // created by this call
	stepDiffers = "Differs" // exists, but differs from what Quick Setup creates; left unchanged
	stepUnknown = "Unknown" // the caller is not allowed to see it
	stepFailed  = "Failed"  // refused or failed
	stepSkipped = "Skipped" // not tried because an earlier step failed
)

// Bounds of a request.
const (
	maxChosen    = 1000
	maxChosenTag = 50
)

// Quick Setup is composed of other operations, each of which is authorized by itself: see
// [api.Call.Do].
const eachAsks = "each operation that it calls is authorized by itself"

func (d *door) quickSetupOperations() map[string]api.Operation {
	return map[string]api.Operation{
		"DescribeQuickSetup":   api.Read(d.describeQuickSetup, api.NoPolicy(eachAsks)),
		"ApplyQuickSetup":      api.Write(d.applyQuickSetup, api.NoPolicy(eachAsks)),
		"CreateInstallCommand": api.Write(d.createInstallCommand),
	}
}

type chosenTag struct{ Key, Value string }

type quickSetupRequest struct {
	InstanceIDs []string    `json:"InstanceIds"`
	Tags        []chosenTag // every node with one of these tags
}

type quickSetupStep struct {
	Kind     string // Role, Trust, ManagedPolicy, InlinePolicy, InstanceProfile, ProfileRole or NodeRole
	Resource string // the role's or profile's name, or the node's ID
	Detail   string `json:",omitempty"` // the policy's name, or what differs
	Outcome  string
	Text     string // what was done, or would be done
	// Of a failed step.
	ErrorCode    string `json:",omitempty"`
	ErrorMessage string `json:",omitempty"`
}

type quickSetupAnswer struct {
	Steps   []quickSetupStep
	Changes int  // number of steps that changed something
	Ready   bool // everything exists
	// Agents are the agents that machines can download.
	Agents []offeredAgent `json:",omitempty"`
}

func (in *quickSetupRequest) check() error {
	var v awsproto.Constraints
	v.Count("instanceIds", len(in.InstanceIDs), 0, maxChosen)
	v.Count("tags", len(in.Tags), 0, maxChosenTag)
	for _, t := range in.Tags {
		v.Require("tags.member.key", t.Key != "")
		v.Length("tags.member.key", t.Key, 0, 128)
		v.Length("tags.member.value", t.Value, 0, 256)
	}
	if err := v.Err(); err != nil {
		return err
	}
	for _, node := range in.InstanceIDs {
		if !id.ValidNode(node) {
			return root.Errorf(root.CodeInvalid, "%.64q is not the ID of a node.", node)
		}
	}
	return nil
}

// describeQuickSetup returns the state of each step of Quick Setup, and changes nothing.
func (d *door) describeQuickSetup(ctx context.Context, c *api.Call, in *quickSetupRequest) (*quickSetupAnswer, error) {
	out, err := quickSetup(ctx, c, in, false)
	if err != nil || d.Installer == nil {
		return out, err
	}
	out.Agents, err = d.offered(ctx)
	return out, err
}

// applyQuickSetup executes the missing steps. It does not change existing resources,
// including other policies and another trust policy.
func (d *door) applyQuickSetup(ctx context.Context, c *api.Call, in *quickSetupRequest) (*quickSetupAnswer, error) {
	return quickSetup(ctx, c, in, true)
}

// quickSetup runs or describes the steps. If no step succeeded, it returns the first error.
// Otherwise the answer lists the outcome of each step.
func quickSetup(ctx context.Context, c *api.Call, in *quickSetupRequest, apply bool) (*quickSetupAnswer, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	q := &quick{c: c, apply: apply, steps: []quickSetupStep{}}
	// Nothing is created for a node that is not there.
	found := q.find(ctx, in)
	if apply && len(found.missed) > 0 {
		return nil, found.missed[0].err
	}
	q.role(ctx, instanceRole, instanceTrust, "Permissions of managed nodes.")
	q.attached(ctx, instanceRole, corePolicy)
	q.profile(ctx, instanceRole)
	q.role(ctx, automationRole, automateTrust, "Permission to assign the role of Quick Setup.")
	q.inline(ctx, automationRole, attachPolicy, attachAllowed)
	q.nodes(ctx, found)
	if q.first != nil && !q.useful {
		return nil, q.first
	}
	out := &quickSetupAnswer{Steps: q.steps, Ready: true}
	for _, s := range q.steps {
		if s.Outcome == stepMade {
			out.Changes++
		}
		out.Ready = out.Ready && (s.Outcome == stepMade || s.Outcome == stepPresent || s.Outcome == stepDiffers)
	}
	if apply {
		c.Annotate(map[string]any{"changes": out.Changes})
	}
	return out, nil
}

// quick executes the steps.
type quick struct {
	c     *api.Call
	apply bool // create what is missing, instead of only describing it
	steps []quickSetupStep
	first error // the first error
	// stopped means that a change failed, so that later ones are skipped.
	stopped bool
	// useful means that a step changed or found something.
	useful bool
}

// does executes one step: look reports whether the step's result exists already and, if that
// differs, how; change creates it.
func (q *quick) does(s quickSetupStep, look func() (there bool, differs string, err error), change func() error) {
	if q.stopped {
		s.Outcome = stepSkipped
		q.steps = append(q.steps, s)
		return
	}
	there, differs, err := look()
	switch {
	case err != nil && !q.apply:
		s.Outcome = stepUnknown
	case err != nil:
	case differs != "":
		s.Outcome, s.Detail = stepDiffers, differs
	case there:
		s.Outcome = stepPresent
	case !q.apply:
		s.Outcome = stepMissing
	default:
		if err = change(); err == nil {
			s.Outcome = stepMade
		}
	}
	q.useful = q.useful || s.Outcome == stepMade || err == nil && !q.apply
	if err != nil {
		if q.first == nil {
			q.first = err
		}
		if q.apply {
			s.Outcome, q.stopped = stepFailed, true
		}
		s.ErrorCode, s.ErrorMessage = q.c.DescribeError(err)
	}
	q.steps = append(q.steps, s)
}

func (q *quick) iam(ctx context.Context, operation string, out any, params ...string) error {
	form := url.Values{}
	for i := 0; i+1 < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	return q.c.Do(ctx, "iam", operation, form, out)
}

// found turns a not-found error into false.
func found(err error) (bool, error) {
	e, ok := errors.AsType[*awsproto.Error](err)
	if root.IsNotFound(err) || ok && e.Code == "NoSuchEntity" {
		return false, nil
	}
	return err == nil, err
}

func (q *quick) role(ctx context.Context, name, trust, description string) {
	var out struct {
		Trust string `xml:"GetRoleResult>Role>AssumeRolePolicyDocument"`
	}
	made := false
	var unseen error
	q.does(quickSetupStep{Kind: "Role", Resource: name, Text: "created the role " + name},
		func() (bool, string, error) {
			var there bool
			there, unseen = found(q.iam(ctx, "GetRole", &out, "RoleName", name))
			return there, "", unseen
		},
		func() error {
			made = true
			return q.iam(
				ctx,
				"CreateRole",
				nil,
				"RoleName",
				name,
				"AssumeRolePolicyDocument",
				trust,
				"Description",
				description,
			)
		})
	q.does(
		quickSetupStep{
			Kind:     "Trust",
			Resource: name,
			Text:     "let " + strings.Join(trusted(trust), " and ") + " assume " + name,
		},
		func() (bool, string, error) {
			have, err := url.QueryUnescape(out.Trust)
			if err = errors.Join(unseen, err); err != nil || have == "" {
				return false, "", err
			}
			if sameJSON(have, trust) {
				return true, "", nil
			}
			return true, "Its trust policy differs from Quick Setup's and was not changed.", nil
		},
		func() error {
			if !made { // created with the role
				return root.Errorf(root.CodeNotFound, "The role %s has no trust policy.", name)
			}
			return nil
		},
	)
}

// trusted returns the services that a trust policy of Quick Setup names.
func trusted(trust string) []string {
	if trust == instanceTrust {
		return []string{"ec2.amazonaws.com", "ssm.amazonaws.com"}
	}
	return []string{"ssm.amazonaws.com"}
}

func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}

func (q *quick) attached(ctx context.Context, role, policy string) {
	name := policy[strings.LastIndexByte(policy, '/')+1:]
	q.does(
		quickSetupStep{Kind: "ManagedPolicy", Resource: role, Detail: name, Text: "attached " + name + " to " + role},
		func() (bool, string, error) {
			var out struct {
				ARNs []string `xml:"ListAttachedRolePoliciesResult>AttachedPolicies>member>PolicyArn"`
			}
			_, err := found(q.iam(ctx, "ListAttachedRolePolicies", &out, "RoleName", role, "MaxItems", "1000"))
			return slices.Contains(out.ARNs, policy), "", err
		},
		func() error { return q.iam(ctx, "AttachRolePolicy", nil, "RoleName", role, "PolicyArn", policy) },
	)
}

func (q *quick) inline(ctx context.Context, role, name, document string) {
	q.does(
		quickSetupStep{
			Kind:     "InlinePolicy",
			Resource: role,
			Detail:   name,
			Text:     "gave " + role + " the policy " + name,
		},
		func() (bool, string, error) {
			there, err := found(q.iam(ctx, "GetRolePolicy", nil, "RoleName", role, "PolicyName", name))
			return there, "", err
		},
		func() error {
			return q.iam(ctx, "PutRolePolicy", nil, "RoleName", role, "PolicyName", name, "PolicyDocument", document)
		},
	)
}

func (q *quick) profile(ctx context.Context, name string) {
	var out struct {
		Roles []string `xml:"GetInstanceProfileResult>InstanceProfile>Roles>member>RoleName"`
	}
	var unseen error
	q.does(quickSetupStep{Kind: "InstanceProfile", Resource: name, Text: "created the instance profile " + name},
		func() (bool, string, error) {
			var there bool
			there, unseen = found(q.iam(ctx, "GetInstanceProfile", &out, "InstanceProfileName", name))
			return there, "", unseen
		},
		func() error { return q.iam(ctx, "CreateInstanceProfile", nil, "InstanceProfileName", name) })
	q.does(
		quickSetupStep{
			Kind:     "ProfileRole",
			Resource: name,
			Detail:   name,
			Text:     "added the role " + name + " to the instance profile",
		},
		func() (bool, string, error) {
			if unseen != nil {
				return false, "", unseen
			}
			if len(out.Roles) > 0 && !slices.Contains(out.Roles, name) {
				return true, "The instance profile holds the role " + out.Roles[0] + ", and keeps it.", nil
			}
			return len(out.Roles) > 0, "", nil
		},
		func() error {
			return q.iam(ctx, "AddRoleToInstanceProfile", nil, "InstanceProfileName", name, "RoleName", name)
		},
	)
}

// listedNode is a node in a listing.
type listedNode struct {
	InstanceID string `json:"InstanceId"`
	IamRole    string
}

type listFilter struct {
	Key    string
	Values []string
}

// selection is what Quick Setup found of the selected nodes.
type selection struct {
	ids  []string          // in order, each once
	role map[string]string // of each
	// missed are selectors without nodes, each with its error.
	missed []missedSelector
}

type missedSelector struct {
	resource, text string
	err            error
}

// find looks up the selected nodes.
func (q *quick) find(ctx context.Context, in *quickSetupRequest) selection {
	found := selection{role: map[string]string{}}
	var filters []listFilter
	for ids := range slices.Chunk(in.InstanceIDs, 50) {
		filters = append(filters, listFilter{"InstanceIds", ids})
	}
	for _, t := range in.Tags {
		filters = append(filters, listFilter{"tag:" + t.Key, []string{t.Value}})
	}
	for _, f := range filters {
		selects := strings.TrimPrefix(f.Key, "tag:") + "=" + f.Values[0]
		if f.Key == "InstanceIds" {
			selects = "chosen nodes"
		}
		list, err := q.list(ctx, f)
		for _, n := range list {
			if _, again := found.role[n.InstanceID]; !again {
				found.ids = append(found.ids, n.InstanceID)
			}
			found.role[n.InstanceID] = n.IamRole
		}
		if err == nil && f.Key != "InstanceIds" && len(list) == 0 {
			err = root.Errorf(root.CodeNotFound, "No node has the tag %s.", selects)
		}
		if err != nil {
			found.missed = append(found.missed, missedSelector{selects, "looked for nodes", err})
		}
	}
	if len(found.missed) > 0 && len(found.ids) == 0 && len(in.Tags) == 0 {
		return found // the listing itself failed
	}
	for _, node := range in.InstanceIDs {
		if _, known := found.role[node]; !known {
			found.missed = append(found.missed, missedSelector{node, "gave " + node + " the role " + instanceRole,
				awsproto.SenderError("InvalidInstanceId", "%s is not registered.", node)})
		}
	}
	return found
}

// nodes gives the role to the selected nodes that have another role.
func (q *quick) nodes(ctx context.Context, found selection) {
	for _, m := range found.missed {
		q.does(quickSetupStep{Kind: "NodeRole", Resource: m.resource, Text: m.text},
			func() (bool, string, error) { return false, "", m.err }, nil)
	}
	for _, node := range found.ids {
		role := found.role[node]
		q.does(
			quickSetupStep{
				Kind:     "NodeRole",
				Resource: node,
				Detail:   role,
				Text:     "gave " + node + " the role " + instanceRole,
			},
			func() (bool, string, error) { return role == instanceRole, "", nil },
			func() error { return q.give(ctx, node) },
		)
	}
}

func (q *quick) list(ctx context.Context, f listFilter) ([]listedNode, error) {
	in := struct {
		Filters   []listFilter
		NextToken string `json:",omitempty"`
	}{Filters: []listFilter{f}}
	var all []listedNode
	for {
		var out struct {
			InstanceInformationList []listedNode
			NextToken               string
		}
		if err := q.c.Do(ctx, "ssm", "DescribeInstanceInformation", in, &out); err != nil {
			return nil, err
		}
		all = append(all, out.InstanceInformationList...)
		if out.NextToken == "" {
			return all, nil
		}
		in.NextToken = out.NextToken
	}
}

// give gives a node the role as AWS does: an instance through its profile, any other node by name.
func (q *quick) give(ctx context.Context, node string) error {
	if !strings.HasPrefix(node, "i-") {
		return q.c.Do(ctx, "ssm", "UpdateManagedInstanceRole", struct {
			InstanceID string `json:"InstanceId"`
			IamRole    string
		}{node, instanceRole}, nil)
	}
	var out struct {
		Associations []string `xml:"iamInstanceProfileAssociationSet>item>associationId"`
	}
	err := q.c.Do(
		ctx,
		"ec2",
		"DescribeIamInstanceProfileAssociations",
		url.Values{"Filter.1.Name": {"instance-id"}, "Filter.1.Value.1": {node}},
		&out,
	)
	if err != nil {
		return err
	}
	form := url.Values{"IamInstanceProfile.Name": {instanceRole}}
	if len(out.Associations) > 0 {
		form.Set("AssociationId", out.Associations[0])
		return q.c.Do(ctx, "ec2", "ReplaceIamInstanceProfileAssociation", form, nil)
	}
	form.Set("InstanceId", node)
	return q.c.Do(ctx, "ec2", "AssociateIamInstanceProfile", form, nil)
}
