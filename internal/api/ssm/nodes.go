package ssm

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/node/fleet"
	"sekisho/internal/node/inventory"
	"sekisho/internal/wire/awsproto"
)

func (d nodeDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"DescribeInstanceInformation": api.Read(d.describeInstanceInformation),
		"DescribeInstanceProperties":  api.Read(d.describeInstanceProperties),
		"DeregisterManagedInstance":   api.Write(d.deregisterManagedInstance),
		"UpdateManagedInstanceRole":   api.Write(d.updateManagedInstanceRole),
		"ListNodes":                   api.Read(d.listNodes),
		"ListNodesSummary":            api.Read(d.listNodesSummary),
	}
}

type nodeFilter struct {
	key      string
	values   []string
	operator string
}

// Page sizes of nodes. AWS's DescribeInstanceInformation has at most 50 per page; here, clients can
// request up to the limit of DescribeInstanceProperties.
const (
	minNodes     = 5
	defaultNodes = 50
	maxNodes     = 1000
)

type describeInstanceInformationRequest struct {
	Filters []struct {
		Key    string
		Values []string
	}
	InstanceInformationFilterList []struct {
		Key      string   `json:"key"`
		ValueSet []string `json:"valueSet"`
	}
	MaxResults *int64
	NextToken  string
}

type instanceInformation struct {
	InstanceID       string         `json:"InstanceId"`
	PingStatus       string         `json:"PingStatus"`
	LastPingDateTime awsproto.Epoch `json:"LastPingDateTime,omitzero"`
	AgentVersion     string         `json:"AgentVersion,omitempty"`
	IsLatestVersion  bool           `json:"IsLatestVersion"`
	PlatformType     string         `json:"PlatformType,omitempty"`
	PlatformName     string         `json:"PlatformName,omitempty"`
	PlatformVersion  string         `json:"PlatformVersion,omitempty"`
	ActivationID     string         `json:"ActivationId,omitempty"`
	IamRole          string         `json:"IamRole,omitempty"`
	RegistrationDate awsproto.Epoch `json:"RegistrationDate,omitzero"`
	ResourceType     string         `json:"ResourceType"`
	Name             string         `json:"Name,omitempty"`
	IPAddress        string         `json:"IPAddress,omitempty"`
	ComputerName     string         `json:"ComputerName,omitempty"`
	SourceID         string         `json:"SourceId,omitempty"`
	SourceType       string         `json:"SourceType,omitempty"`

	// Beyond AWS's shape; clients that do not know these ignore them.
	ConnectionStatus string `json:"ConnectionStatus"`
	NotConnectedFor  string `json:"NotConnectedReason,omitempty"`
	SourceIP         string `json:"SourceIp,omitempty"`
	State            string `json:"State"`
	// NodeName is the one name to show. GivenNames are all names that administrators gave the node.
	NodeName   string   `json:"NodeName,omitempty"`
	GivenNames []string `json:"GivenNames,omitempty"`
	Notes      []note   `json:"Notes,omitempty"`
	Tags       []tag    `json:"Tags,omitempty"`
}

// note is an observation of the server about a node.
type note struct {
	Kind        string
	Text        string
	SourceIP    string `json:"SourceIp,omitempty"`
	OtherIP     string `json:"OtherIp,omitempty"`
	Fingerprint string `json:",omitempty"`
	FirstAt     awsproto.Epoch
	LastAt      awsproto.Epoch
	Count       int
}

type describeInstanceInformationAnswer struct {
	InstanceInformationList []instanceInformation
	NextToken               string `json:"NextToken,omitempty"`
}

// Values of ResourceType in the API.
const (
	resourceInstance = "EC2Instance"
	resourceManaged  = "ManagedInstance"
)

func resourceType(n *sekisho.Node) string {
	if strings.HasPrefix(string(n.ID), "i-") {
		return resourceInstance
	}
	return resourceManaged
}

// sourceType returns the type of resource that a node is.
func sourceType(n *sekisho.Node) string {
	if resourceType(n) == resourceInstance {
		return "AWS::EC2::Instance"
	}
	return "AWS::SSM::ManagedInstance"
}

// attribute returns the value that a filter key compares, whether the node has
// one, and whether the key exists.
func (d nodeDoor) attribute(n *sekisho.Node, key string) (value string, has, known bool) {
	switch key {
	case "InstanceIds", "InstanceId", "SourceIds":
		return string(n.ID), true, true
	case "AgentVersion":
		return n.AgentVersion, true, true
	case "PingStatus":
		return string(d.Fleet.PingStatus(n)), true, true
	case "PlatformTypes", "PlatformType":
		return n.PlatformType, true, true
	case "PlatformName":
		return n.PlatformName, true, true
	case "PlatformVersion":
		return n.PlatformVersion, true, true
	case "ActivationIds", "ActivationId":
		return n.ActivationID, true, true
	case "IamRole":
		return n.IAMRole, true, true
	case "ResourceType":
		return resourceType(n), true, true
	case "SourceTypes":
		return sourceType(n), true, true
	case "AssociationStatus":
		return "", false, true // there are no associations
	case "ComputerName":
		return n.ComputerName, true, true
	case "IPAddress":
		return n.IPAddress, true, true
	}
	if k, ok := strings.CutPrefix(key, "tag:"); ok && k != "" {
		v, has := n.Tags[k] // a missing tag is not an empty one
		return v, has, true
	}
	return "", false, false
}

// tagKey is the filter key that compares the keys of a node's tags.
const tagKey = "tag-key"

// passes reports whether a node passes a filter. A node without the value that
// the filter compares passes NotEqual only.
func (d nodeDoor) passes(n *sekisho.Node, f *nodeFilter) bool {
	hit := false
	if f.key == tagKey {
		for k := range n.Tags {
			hit = hit || f.hits(k)
		}
	} else {
		value, has, _ := d.attribute(n, f.key)
		hit = has && f.hits(value)
	}
	return hit != (f.operator == operatorNotEqual)
}

const operatorNotEqual = "NotEqual"

// hits compares one value. NotEqual is Equal here: the caller negates it.
func (f *nodeFilter) hits(value string) bool {
	for _, want := range f.values {
		var hit bool
		switch f.operator {
		case "BeginWith":
			hit = strings.HasPrefix(value, want)
		case "LessThan":
			hit = inventory.Compare(value, want) < 0
		case "GreaterThan":
			hit = inventory.Compare(value, want) > 0
		default:
			hit = value == want
		}
		if hit {
			return true
		}
	}
	return false
}

// maxFilterValues bounds the values of one filter.
const maxFilterValues = 100

// nodeMatcher returns a function that reports whether a node passes every
// filter. It refuses filters with unknown keys.
func (d nodeDoor) nodeMatcher(filters []nodeFilter) (func(n *sekisho.Node) bool, error) {
	var v awsproto.Constraints
	v.Count("filters", len(filters), 0, maxFilters)
	if err := v.Err(); err != nil {
		return nil, err
	}
	for _, f := range filters {
		if _, _, known := d.attribute(&sekisho.Node{}, f.key); !known && f.key != tagKey {
			return nil, awsproto.SenderError("InvalidFilterKey", "The specified filter key %q is not valid.", f.key)
		}
		if len(f.values) == 0 || len(f.values) > maxFilterValues {
			return nil, awsproto.SenderError("InvalidInstanceInformationFilterValue",
				"The filter %s has %d values; it must have 1 to %d.", f.key, len(f.values), maxFilterValues)
		}
	}
	return func(n *sekisho.Node) bool {
		for i := range filters {
			if !d.passes(n, &filters[i]) {
				return false
			}
		}
		return true
	}, nil
}

// nodePage returns one page of the nodes that match, and the token of the next
// page.
func (d nodeDoor) nodePage(
	ctx context.Context, token string, limit int, match func(n *sekisho.Node) bool,
) (nodes []*sekisho.Node, next string, err error) {
	after := ""
	if token != "" {
		if after, err = readToken(token); err != nil {
			return nil, "", err
		}
	}
	nodes, more, err := d.Fleet.Page(ctx, sekisho.NodeID(after), limit, match)
	if err != nil || !more {
		return nodes, "", err
	}
	return nodes, makeToken(string(nodes[len(nodes)-1].ID)), nil
}

// nodeQuery is what lists of nodes are asked for.
type nodeQuery struct {
	maxResults   *int64
	defaultLimit int
	token        string
	filters      []nodeFilter
}

// matching authorizes the call and returns one page of the nodes that it asks
// for, with the state of each.
func (d nodeDoor) matching(
	ctx context.Context, c *api.Call, q nodeQuery,
) (nodes []*sekisho.Node, standings []fleet.Standing, next string, err error) {
	var v awsproto.Constraints
	limit := q.defaultLimit
	if q.maxResults != nil {
		v.Range("maxResults", *q.maxResults, minNodes, maxNodes)
		limit = int(*q.maxResults)
	}
	if err := v.Err(); err != nil {
		return nil, nil, "", err
	}
	if err := c.Authorize(ctx, "ssm:"+c.Operation, "*"); err != nil {
		return nil, nil, "", err
	}
	for _, f := range q.filters {
		if f.operator != "" {
			v.Enum("filtersWithOperator.member.operator", f.operator,
				"Equal", "NotEqual", "BeginWith", "LessThan", "GreaterThan")
		}
	}
	if err := v.Err(); err != nil {
		return nil, nil, "", err
	}
	match, err := d.nodeMatcher(q.filters)
	if err != nil {
		return nil, nil, "", err
	}
	if nodes, next, err = d.nodePage(ctx, q.token, limit, match); err != nil {
		return nil, nil, "", err
	}
	standings, err = d.Fleet.Standings(ctx, nodes)
	return nodes, standings, next, err
}

func (d nodeDoor) describeNode(n *sekisho.Node, standing fleet.Standing, rule fleet.Naming) instanceInformation {
	status := "connected"
	if standing.State != fleet.StateConnected {
		status = "notconnected"
	}
	var notes []note
	for _, s := range standing.Notes {
		notes = append(notes, note{
			Kind: string(s.Kind), Text: s.Detail, SourceIP: s.SourceIP, OtherIP: s.Other, Fingerprint: s.Fingerprint,
			FirstAt: awsproto.NewEpoch(s.FirstAt), LastAt: awsproto.NewEpoch(s.LastAt), Count: s.Count,
		})
	}
	return instanceInformation{
		InstanceID: string(
			n.ID,
		), PingStatus: string(d.Fleet.PingStatus(n)), LastPingDateTime: awsproto.NewEpoch(n.LastPingAt),
		AgentVersion: n.AgentVersion, IsLatestVersion: true, PlatformType: n.PlatformType, PlatformName: n.PlatformName,
		PlatformVersion: n.PlatformVersion, ActivationID: n.ActivationID, IamRole: n.IAMRole,
		RegistrationDate: awsproto.NewEpoch(n.RegisteredAt), ResourceType: resourceType(n), Name: n.Name,
		IPAddress: n.IPAddress, ComputerName: n.ComputerName, SourceID: string(n.ID), SourceType: sourceType(n),
		ConnectionStatus: status, NotConnectedFor: standing.Why, State: string(standing.State), Notes: notes,
		NodeName: rule.Display(n), GivenNames: rule.Given(n),
		SourceIP: n.LastSourceIP, Tags: tagList(n.Tags),
	}
}

func (d nodeDoor) describeInstanceInformation(
	ctx context.Context,
	c *api.Call,
	in *describeInstanceInformationRequest,
) (*describeInstanceInformationAnswer, error) {
	var filters []nodeFilter
	for _, f := range in.Filters {
		filters = append(filters, nodeFilter{key: f.Key, values: f.Values})
	}
	for _, f := range in.InstanceInformationFilterList {
		filters = append(filters, nodeFilter{key: f.Key, values: f.ValueSet})
	}
	nodes, standings, next, err := d.matching(ctx, c, nodeQuery{in.MaxResults, defaultNodes, in.NextToken, filters})
	if err != nil {
		return nil, err
	}
	rule, err := d.Names.Naming(ctx)
	if err != nil {
		return nil, err
	}
	out := &describeInstanceInformationAnswer{InstanceInformationList: []instanceInformation{}, NextToken: next}
	for i, n := range nodes {
		out.InstanceInformationList = append(out.InstanceInformationList, d.describeNode(n, standings[i], rule))
	}
	return out, nil
}

type describeInstancePropertiesRequest struct {
	InstancePropertyFilterList []struct {
		Key      string   `json:"key"`
		ValueSet []string `json:"valueSet"`
	}
	FiltersWithOperator []struct {
		Key      string
		Values   []string
		Operator string
	}
	MaxResults *int64
	NextToken  string
}

type instanceProperty struct {
	instanceInformation
	InstanceState string
	InstanceRole  string         `json:",omitempty"`
	InstanceType  string         // not reported by agents
	KeyName       string         // there are no key pairs
	Architecture  string         `json:",omitempty"`
	LaunchTime    awsproto.Epoch // when the node registered
}

type describeInstancePropertiesAnswer struct {
	InstanceProperties []instanceProperty
	NextToken          string `json:"NextToken,omitempty"`
}

func (d nodeDoor) describeInstanceProperties(
	ctx context.Context,
	c *api.Call,
	in *describeInstancePropertiesRequest,
) (*describeInstancePropertiesAnswer, error) {
	var filters []nodeFilter
	for _, f := range in.InstancePropertyFilterList {
		filters = append(filters, nodeFilter{key: f.Key, values: f.ValueSet})
	}
	for _, f := range in.FiltersWithOperator {
		filters = append(filters, nodeFilter{key: f.Key, values: f.Values, operator: cmp.Or(f.Operator, "Equal")})
	}
	nodes, standings, next, err := d.matching(ctx, c, nodeQuery{in.MaxResults, maxNodes, in.NextToken, filters})
	if err != nil {
		return nil, err
	}
	rule, err := d.Names.Naming(ctx)
	if err != nil {
		return nil, err
	}
	out := &describeInstancePropertiesAnswer{InstanceProperties: []instanceProperty{}, NextToken: next}
	for i, n := range nodes {
		out.InstanceProperties = append(out.InstanceProperties, instanceProperty{
			instanceInformation: d.describeNode(n, standings[i], rule), InstanceState: "running", InstanceRole: n.IAMRole,
			Architecture: n.Architecture, LaunchTime: awsproto.NewEpoch(n.RegisteredAt),
		})
	}
	return out, nil
}

type instanceRequest struct {
	InstanceID string `json:"InstanceId"`
}

func (d nodeDoor) deregisterManagedInstance(ctx context.Context, c *api.Call, in *instanceRequest) (*struct{}, error) {
	n, err := d.authorizeNode(ctx, c, "ssm:DeregisterManagedInstance", in.InstanceID)
	if err != nil {
		return nil, err
	}
	if err := d.Fleet.Deregister(ctx, n.ID); err != nil {
		return nil, err
	}
	const why = "The node was deregistered."
	d.Channels.Drop(n.ID, why)
	return &struct{}{}, errors.Join(
		d.Broker.EndNode(ctx, n.ID, why),
		d.Commands.EndNode(ctx, n.ID, why),
		d.Inventory.Forget(ctx, n.ID),
	)
}

// authorizeNode authorizes action on a node and returns it.
func (d nodeDoor) authorizeNode(ctx context.Context, c *api.Call, action, node string) (*sekisho.Node, error) {
	if !knownNode(node) {
		return nil, awsproto.SenderError("InvalidInstanceId", "%q is not the ID of a managed node.", node)
	}
	var keys []authz.Key
	n, err := d.Fleet.Node(ctx, sekisho.NodeID(node))
	if err == nil {
		keys = authz.ResourceTags("ssm", n.Tags)
	} else if !sekisho.IsNotFound(err) {
		return nil, err
	}
	if err := c.Authorize(ctx, action, d.nodeARN(node), keys...); err != nil {
		return nil, err
	}
	if n == nil {
		return nil, awsproto.SenderError("InvalidInstanceId", "%s is not registered.", node)
	}
	return n, nil
}

// instanceStatus is AWS's word for how a node is.
func (d nodeDoor) instanceStatus(n *sekisho.Node) string {
	if d.Fleet.PingStatus(n) == sekisho.PingOnline {
		return "Active"
	}
	return "Inactive"
}

// asNode authorizes what an agent says of itself. Whatever a policy grants, a
// node speaks for itself alone.
func (d nodeDoor) asNode(ctx context.Context, c *api.Call, node string) error {
	if !knownNode(node) {
		return awsproto.SenderError("InvalidInstanceId", "%q is not the ID of a managed node.", node)
	}
	if err := c.Authorize(ctx, "ssm:"+c.Operation, d.nodeARN(node)); err != nil {
		return err
	}
	if c.Principal.Agent(sekisho.NodeID(node)) {
		return nil
	}
	if c.Principal.NodeProgram {
		return api.ErrNodeProgram
	}
	if c.Principal.Node != "" {
		d.Fleet.FalseClaim(ctx, c.Principal.Node, sekisho.NodeID(node), c.SourceIP.String())
	}
	return sekisho.Errorf(sekisho.CodeDenied, "%s may not speak for %s.", c.Principal.ARN, node)
}
