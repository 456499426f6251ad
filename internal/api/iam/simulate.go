package iam

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sekisho/internal/api"
	"sekisho/internal/iam/policy"
	"sekisho/internal/wire/awsproto"
)

func (d simulatorDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"SimulateCustomPolicy":             api.Read(d.simulateCustomPolicy),
		"SimulatePrincipalPolicy":          api.Read(d.simulatePrincipalPolicy),
		"GetContextKeysForCustomPolicy":    api.Read(d.getContextKeysForCustomPolicy),
		"GetContextKeysForPrincipalPolicy": api.Read(d.getContextKeysForPrincipalPolicy),
	}
}

// Bounds of one simulation.
const (
	maxSimulated        = 1000 // decisions in one call
	maxSimulatedEntries = 500
)

type contextEntry struct {
	ContextKeyName   string
	ContextKeyValues []string
	ContextKeyType   string
}

type simulation struct {
	ActionNames                        []string
	ResourceArns                       []string
	ResourcePolicy                     string
	ResourceOwner                      string
	CallerArn                          string
	ContextEntries                     []contextEntry
	PermissionsBoundaryPolicyInputList []string
	PolicyInputList                    []string
	PolicySourceArn                    string
	paging
}

type position struct{ Line, Column int }

type matchedStatement struct {
	SourcePolicyID   string `xml:"SourcePolicyId"`
	SourcePolicyType string
	StartPosition    position
	EndPosition      position
}

type boundaryDetail struct{ AllowedByPermissionsBoundary bool }

type resourceResult struct {
	EvalResourceName                  string
	EvalResourceDecision              string
	MatchedStatements                 list[matchedStatement]
	MissingContextValues              list[string]
	PermissionsBoundaryDecisionDetail *boundaryDetail `xml:",omitempty"`
	SekishoReason                     string          // not in AWS: the explanation in one sentence
	SekishoFailed                     []policy.Aspect // not in AWS: for a denial, the aspects that caused it
}

type evaluation struct {
	EvalActionName                    string
	EvalResourceName                  string
	EvalDecision                      string
	MatchedStatements                 list[matchedStatement]
	MissingContextValues              list[string]
	PermissionsBoundaryDecisionDetail *boundaryDetail       `xml:",omitempty"`
	ResourceSpecificResults           *list[resourceResult] `xml:",omitempty"`
	SekishoReason                     string
}

type simulationAnswer struct {
	EvaluationResults list[evaluation]
	more
}

func (d simulatorDoor) simulateCustomPolicy(
	ctx context.Context, c *api.Call, in *simulation,
) (*simulationAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	calendars, err := d.Calendars.ForPolicies(ctx)
	if err != nil {
		return nil, err
	}
	ps := policy.Policies{Calendars: calendars}
	if err := in.add(&ps); err != nil {
		return nil, err
	}
	return in.run(ps, policy.Principal{Account: c.Account, Type: policy.TypeUser, ARN: in.CallerArn})
}

func (d simulatorDoor) simulatePrincipalPolicy(
	ctx context.Context, c *api.Call, in *simulation,
) (*simulationAnswer, error) {
	if err := require("policySourceArn", in.PolicySourceArn); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, action(c), in.PolicySourceArn); err != nil {
		return nil, err
	}
	ps, who, err := d.Sets.PoliciesOf(ctx, in.PolicySourceArn)
	if err != nil {
		return nil, err
	}
	if err := in.add(&ps); err != nil {
		return nil, err
	}
	if in.CallerArn != "" {
		who.ARN = in.CallerArn
	}
	return in.run(ps, who)
}

// input parses a document of a simulation request.
func input(text, listName string, i int, sourceType string) (*policy.Document, error) {
	id := fmt.Sprintf("%s.%d", listName, i+1)
	doc, err := policy.Parse([]byte(text))
	if err != nil {
		return nil, awsproto.SenderError("InvalidInput", "%s: %s", id, err)
	}
	return doc.WithSource(id, sourceType), nil
}

// add joins the documents of the request.
func (in *simulation) add(ps *policy.Policies) error {
	for i, text := range in.PolicyInputList {
		doc, err := input(text, "PolicyInputList", i, policy.SourceNone)
		if err != nil {
			return err
		}
		ps.Identity = append(ps.Identity, doc)
	}
	if len(in.PermissionsBoundaryPolicyInputList) > 1 {
		return awsproto.SenderError("InvalidInput", "PermissionsBoundaryPolicyInputList can have only one policy.")
	}
	for i, text := range in.PermissionsBoundaryPolicyInputList {
		doc, err := input(text, "PermissionsBoundaryPolicyInputList", i, policy.SourceNone)
		if err != nil {
			return err
		}
		ps.Boundary = doc
	}
	if in.ResourcePolicy != "" {
		doc, err := policy.Parse([]byte(in.ResourcePolicy))
		if err != nil {
			return awsproto.SenderError("InvalidInput", "ResourcePolicy: %s", err)
		}
		ps.Resource = doc.WithSource("ResourcePolicy", policy.SourceResource)
	}
	return nil
}

func (in *simulation) keys() (*policy.Context, error) {
	v := awsproto.Constraints{Code: "ValidationError"}
	v.Count("contextEntries", len(in.ContextEntries), 0, maxSimulatedEntries)
	keys := policy.NewContext()
	for _, e := range in.ContextEntries {
		v.Length("contextEntries.member.contextKeyName", e.ContextKeyName, 5, 256)
		v.Enum(
			"contextEntries.member.contextKeyType",
			e.ContextKeyType,
			"string",
			"stringList",
			"numeric",
			"numericList",
			"boolean",
			"booleanList",
			"ip",
			"ipList",
			"binary",
			"binaryList",
			"date",
			"dateList",
		)
		switch {
		case strings.HasSuffix(e.ContextKeyType, "List"):
			keys.Set(e.ContextKeyName, policy.Multi(e.ContextKeyValues...))
		case len(e.ContextKeyValues) == 1:
			keys.Set(e.ContextKeyName, policy.Single(e.ContextKeyValues[0]))
		default:
			return nil, awsproto.SenderError(
				"InvalidInput",
				"The context key %s has the type %s, which requires exactly one value.",
				clip(e.ContextKeyName),
				clip(e.ContextKeyType),
			)
		}
	}
	return keys, v.Err()
}

// run returns results in the form that AWS has used since 2026: for each action
// the most restrictive result over all resources, and below it one result for
// each resource.
func (in *simulation) run(ps policy.Policies, who policy.Principal) (*simulationAnswer, error) {
	if len(in.ActionNames) == 0 {
		return nil, require("actionNames", "")
	}
	resources := in.ResourceArns
	if len(resources) == 0 {
		resources = []string{"*"}
	}
	if len(in.ActionNames)*len(resources) > maxSimulated {
		return nil, awsproto.SenderError("InvalidInput", "A simulation can have at most %d decisions.", maxSimulated)
	}
	for _, a := range in.ActionNames {
		if strings.ContainsAny(a, "*?") || strings.Count(a, ":") != 1 {
			return nil, awsproto.SenderError("InvalidInput", "Invalid Action: %s", clip(a))
		}
	}
	keys, err := in.keys()
	if err != nil {
		return nil, err
	}
	set := policy.Compile(ps)
	// Every action of a call is answered at once: there is never a next page.
	out := &simulationAnswer{}
	for _, a := range in.ActionNames {
		out.EvaluationResults.Member = append(out.EvaluationResults.Member, in.evaluate(set, a, resources, keys, who))
	}
	return out, nil
}

// severity orders decisions.
var severity = map[policy.Effect]int{policy.Allowed: 0, policy.ImplicitDeny: 1, policy.ExplicitDeny: 2}

func (in *simulation) evaluate(
	set *policy.Set,
	action string,
	resources []string,
	keys *policy.Context,
	who policy.Principal,
) evaluation {
	out := evaluation{EvalActionName: action, EvalResourceName: "*"}
	worst := -1
	var missing []string
	results := list[resourceResult]{}
	for _, r := range resources {
		e := set.Explain(
			&policy.Request{
				Action:          action,
				Resource:        r,
				Context:         keys,
				Principal:       who,
				ResourceAccount: accountOf(in.ResourceOwner),
			},
		)
		res := resourceResult{
			EvalResourceName: r, EvalResourceDecision: decision(e.Effect),
			MatchedStatements: statements(e.Matched), MissingContextValues: list[string]{e.Missing},
			SekishoReason: e.Sentence, SekishoFailed: e.Failed,
		}
		if e.AllowedByBoundary != nil {
			res.PermissionsBoundaryDecisionDetail = &boundaryDetail{*e.AllowedByBoundary}
		}
		for _, k := range e.Missing {
			if !slices.ContainsFunc(missing, func(have string) bool { return strings.EqualFold(have, k) }) {
				missing = append(missing, k)
			}
		}
		if s := severity[e.Effect]; s > worst {
			worst = s
			out.SekishoReason = e.Sentence
			out.EvalDecision, out.MatchedStatements, out.PermissionsBoundaryDecisionDetail = res.EvalResourceDecision,
				res.MatchedStatements, res.PermissionsBoundaryDecisionDetail
		}
		results.Member = append(results.Member, res)
	}
	slices.Sort(missing)
	out.MissingContextValues.Member = missing
	if len(in.ResourceArns) > 0 && !slices.Equal(in.ResourceArns, []string{"*"}) {
		out.ResourceSpecificResults = &results
		if len(resources) == 1 {
			out.EvalResourceName = resources[0]
		}
	}
	return out
}

// accountOf returns the account ID of a ResourceOwner, which is an account's ARN or ID.
func accountOf(owner string) string {
	if parts := strings.Split(owner, ":"); len(parts) == 6 {
		return parts[4]
	}
	return owner
}

func decision(e policy.Effect) string {
	switch e {
	case policy.Allowed:
		return "allowed"
	case policy.ExplicitDeny:
		return "explicitDeny"
	case policy.ImplicitDeny:
	}
	return "implicitDeny"
}

func statements(refs []policy.StatementRef) list[matchedStatement] {
	return listed(refs, func(r policy.StatementRef) matchedStatement {
		return matchedStatement{
			r.SourcePolicyID, r.SourcePolicyType,
			position{r.Start.Line, r.Start.Column}, position{r.End.Line, r.End.Column},
		}
	})
}

type contextKeysAnswer struct{ ContextKeyNames list[string] }

func (d simulatorDoor) getContextKeysForCustomPolicy(
	ctx context.Context,
	c *api.Call,
	in *simulation,
) (*contextKeysAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	var ps policy.Policies
	if err := in.add(&ps); err != nil {
		return nil, err
	}
	return keysOf(ps), nil
}

func (d simulatorDoor) getContextKeysForPrincipalPolicy(
	ctx context.Context,
	c *api.Call,
	in *simulation,
) (*contextKeysAnswer, error) {
	if err := c.Authorize(ctx, action(c), in.PolicySourceArn); err != nil {
		return nil, err
	}
	ps, _, err := d.Sets.PoliciesOf(ctx, in.PolicySourceArn)
	if err != nil {
		return nil, err
	}
	if err := in.add(&ps); err != nil {
		return nil, err
	}
	return keysOf(ps), nil
}

func keysOf(ps policy.Policies) *contextKeysAnswer {
	out := &contextKeysAnswer{}
	for _, doc := range append(slices.Clone(ps.Identity), ps.Boundary, ps.Resource) {
		if doc == nil {
			continue
		}
		for _, k := range doc.ContextKeys() {
			if !slices.ContainsFunc(
				out.ContextKeyNames.Member,
				func(have string) bool { return strings.EqualFold(have, k) },
			) {
				out.ContextKeyNames.Member = append(out.ContextKeyNames.Member, k)
			}
		}
	}
	slices.Sort(out.ContextKeyNames.Member)
	return out
}
