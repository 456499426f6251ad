// Package autoapproval evaluates AWS's auto-approval policies for just-in-time
// access: documents of the type AutoApprovalPolicy, in the language Cedar.
package autoapproval

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"sekisho"
	"sekisho/internal/safetext"
)

// maxSize and maxDepth limit a policy. The parser recurses into each nested expression.
const (
	maxSize  = 64 << 10
	maxDepth = 200
)

// The types of the entities that AWS's policies refer to, and the one action.
const (
	typeUser     = "AWS::IdentityStore::User"
	typeGroup    = "AWS::IdentityStore::Group"
	typeInstance = "AWS::EC2::Instance"
	typeManaged  = "AWS::SSM::ManagedInstance"
	typeAction   = "AWS::SSM::Action"
	action       = "getTokenForInstanceAccess"
)

// Requester is the person who requests access.
type Requester struct {
	ID     string            // unique ID of the user or role session
	Tags   map[string]string // become attributes, such as costCenter
	Groups []string          // names and unique IDs
}

// Policy is a parsed policy. It is immutable.
type Policy struct{ set *cedar.PolicySet }

// Parse reads a policy.
func Parse(text string) (*Policy, error) {
	switch {
	case len(text) > maxSize:
		return nil, fmt.Errorf("the policy has %d bytes; it must have at most %d", len(text), maxSize)
	case depth(text) > maxDepth:
		return nil, fmt.Errorf("the policy nests more than %d expressions", maxDepth)
	}
	set, err := cedar.NewPolicySetFromBytes("", []byte(text))
	if err != nil {
		return nil, fmt.Errorf("the policy is not valid Cedar: %s", safetext.Line(err.Error(), 300))
	}
	if len(maps.Collect(set.All())) == 0 {
		return nil, errors.New("the policy has no statement: write permit(principal, action, resource) when { … }")
	}
	return &Policy{set}, nil
}

// depth returns an upper bound on the nesting depth of expressions.
func depth(text string) int {
	deepest, now, prefixes := 0, 0, 0
	for _, r := range text {
		switch r {
		case '(', '[', '{':
			now++
		case ')', ']', '}':
			now--
		case '!', '-':
			prefixes++
		default:
			prefixes = 0
		}
		deepest = max(deepest, now+prefixes)
	}
	return max(deepest, strings.Count(text, "if ")) // the branches of a conditional nest
}

// Approves reports whether a requester's access to nodes is approved without a human decision. If
// any statement cannot be evaluated, the answer is false, because the statement could be a forbid.
func (p *Policy) Approves(who Requester, nodes []*sekisho.Node) bool {
	principal := types.NewEntityUID(typeUser, types.String(who.ID))
	attributes := types.RecordMap{}
	for k, v := range who.Tags {
		attributes[types.String(k)] = types.String(v)
	}
	groups := make([]types.EntityUID, 0, len(who.Groups))
	for _, g := range who.Groups {
		groups = append(groups, types.NewEntityUID(typeGroup, types.String(g)))
	}
	for _, n := range nodes {
		kind := types.EntityType(typeManaged)
		if strings.HasPrefix(string(n.ID), "i-") {
			kind = typeInstance
		}
		resource := types.NewEntityUID(kind, types.String(n.ID))
		tags := types.RecordMap{}
		for k, v := range n.Tags {
			tags[types.String(k)] = types.String(v)
		}
		decision, diagnostic := cedar.Authorize(p.set, types.EntityMap{
			principal: {
				UID: principal, Parents: types.NewEntityUIDSet(groups...), Attributes: types.NewRecord(attributes),
			},
			resource: {UID: resource, Tags: types.NewRecord(tags)},
		}, cedar.Request{
			Principal: principal,
			Action:    types.NewEntityUID(typeAction, action),
			Resource:  resource,
			Context:   types.NewRecord(nil),
		})
		if decision != cedar.Allow || len(diagnostic.Errors) > 0 {
			return false
		}
	}
	return len(nodes) > 0
}
