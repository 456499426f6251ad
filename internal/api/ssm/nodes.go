package ssm

import (
	"context"
	"errors"
	"slices"
	"strings"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/node/fleet"
	"sekisho/internal/node/inventory"
	"sekisho/internal/wire/awsproto"
)

type nodeFilter struct {
	key      string
	values   []string
	operator string
}

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
	Notes            []note `json:"Notes,omitempty"`
	Tags             []tag  `json:"Tags,omitempty"`
}

// note is something that was seen of a node.
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

// The resource types of nodes.
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

// attribute returns the value that a filter key compares, and whether the key
// exists. A node without a tag has no value, which is not the same as an empty
// one: selectNodes checks that first.
func (d *door) attribute(n *sekisho.Node, key string) (string, bool) {
	switch key {
	case "InstanceIds", "InstanceId":
		return string(n.ID), true
	case "AgentVersion":
		return n.AgentVersion, true
	case "PingStatus":
		return string(d.Fleet.PingStatus(n)), true
	case "PlatformTypes", "PlatformType":
		return n.PlatformType, true
	case "PlatformName":
		return n.PlatformName, true
	case "PlatformVersion":
		return n.PlatformVersion, true
	case "ActivationIds", "ActivationId":
		return n.ActivationID, true
	case "IamRole":
		return n.IAMRole, true
	case "ResourceType":
		return resourceType(n), true
	case "AssociationStatus":
		return "", true // there are no associations
	case "ComputerName":
		return n.ComputerName, true
	case "IPAddress":
		return n.IPAddress, true
	}
	if k, ok := strings.CutPrefix(key, "tag:"); ok && k != "" {
		return n.Tags[k], true
	}
	return "", false
}

func (f *nodeFilter) matches(got string) bool {
	for _, want := range f.values {
		var hit bool
		switch f.operator {
		case "BeginWith":
			hit = strings.HasPrefix(got, want)
		case "LessThan":
			hit = inventory.Compare(got, want) < 0
		case "GreaterThan":
			hit = inventory.Compare(got, want) > 0
		default: // Equal, NotEqual
			hit = got == want
		}
		if hit {
			return f.operator != "NotEqual"
		}
	}
	return f.operator == "NotEqual"
}

// selectNodes returns the nodes that pass every filter, by ID.
func (d *door) selectNodes(ctx context.Context, filters []nodeFilter) ([]*sekisho.Node, error) {
	var v awsproto.Constraints
	v.Count("filters", len(filters), 0, maxFilters)
	if err := v.Err(); err != nil {
		return nil, err
	}
	for _, f := range filters {
		if _, ok := d.attribute(&sekisho.Node{}, f.key); !ok {
			return nil, awsproto.SenderError("InvalidFilterKey", "The specified filter key %q is not valid.", f.key)
		}
		if len(f.values) == 0 || len(f.values) > 100 {
			return nil, awsproto.SenderError("InvalidInstanceInformationFilterValue", "The filter %s needs 1 to 100 values.", f.key)
		}
	}
	nodes, err := d.Fleet.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(nodes, func(n *sekisho.Node) bool {
		for _, f := range filters {
			got, _ := d.attribute(n, f.key)
			if key, isTag := strings.CutPrefix(f.key, "tag:"); isTag {
				if _, ok := n.Tags[key]; !ok {
					if f.operator != "NotEqual" {
						return true
					}
					continue
				}
			}
			if !f.matches(got) {
				return true
			}
		}
		return false
	}), nil
}

func (d *door) describeNode(n *sekisho.Node, standing fleet.Standing) instanceInformation {
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
		InstanceID: string(n.ID), PingStatus: string(d.Fleet.PingStatus(n)), LastPingDateTime: awsproto.NewEpoch(n.LastPingAt),
		AgentVersion: n.AgentVersion, IsLatestVersion: true, PlatformType: n.PlatformType, PlatformName: n.PlatformName,
		PlatformVersion: n.PlatformVersion, ActivationID: n.ActivationID, IamRole: n.IAMRole,
		RegistrationDate: awsproto.NewEpoch(n.RegisteredAt), ResourceType: resourceType(n), Name: n.Name,
		IPAddress: n.IPAddress, ComputerName: n.ComputerName, SourceID: string(n.ID), SourceType: "AWS::SSM::ManagedInstance",
		ConnectionStatus: status, NotConnectedFor: standing.Why, State: string(standing.State), Notes: notes, SourceIP: n.LastSourceIP, Tags: tagList(n.Tags),
	}
}

func (d *door) describeInstanceInformation(ctx context.Context, c *api.Call, in *describeInstanceInformationRequest) (*describeInstanceInformationAnswer, error) {
	var v awsproto.Constraints
	limit := 0
	if in.MaxResults != nil {
		v.Range("maxResults", *in.MaxResults, 5, 50)
		limit = int(*in.MaxResults)
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "ssm:DescribeInstanceInformation", "*"); err != nil {
		return nil, err
	}
	var filters []nodeFilter
	for _, f := range in.Filters {
		filters = append(filters, nodeFilter{key: f.Key, values: f.Values})
	}
	for _, f := range in.InstanceInformationFilterList {
		filters = append(filters, nodeFilter{key: f.Key, values: f.ValueSet})
	}
	nodes, err := d.selectNodes(ctx, filters)
	if err != nil {
		return nil, err
	}
	nodes, next, err := page(nodes, placeOfNode, in.NextToken, limit, 50)
	if err != nil {
		return nil, err
	}
	standing, err := d.Fleet.Standings(ctx)
	if err != nil {
		return nil, err
	}
	out := &describeInstanceInformationAnswer{InstanceInformationList: []instanceInformation{}, NextToken: next}
	for _, n := range nodes {
		out.InstanceInformationList = append(out.InstanceInformationList, d.describeNode(n, standing(n)))
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
	InstanceState string `json:"InstanceState"`
	InstanceRole  string `json:"InstanceRole,omitempty"`
}

type describeInstancePropertiesAnswer struct {
	InstanceProperties []instanceProperty
	NextToken          string `json:"NextToken,omitempty"`
}

func (d *door) describeInstanceProperties(ctx context.Context, c *api.Call, in *describeInstancePropertiesRequest) (*describeInstancePropertiesAnswer, error) {
	var v awsproto.Constraints
	limit := 0
	if in.MaxResults != nil {
		v.Range("maxResults", *in.MaxResults, 5, 1000)
		limit = int(*in.MaxResults)
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "ssm:DescribeInstanceProperties", "*"); err != nil {
		return nil, err
	}
	var filters []nodeFilter
	for _, f := range in.InstancePropertyFilterList {
		filters = append(filters, nodeFilter{key: f.Key, values: f.ValueSet})
	}
	for _, f := range in.FiltersWithOperator {
		if f.Operator == "" {
			f.Operator = "Equal"
		}
		v.Enum("filtersWithOperator.member.operator", f.Operator, "Equal", "NotEqual", "BeginWith", "LessThan", "GreaterThan")
		filters = append(filters, nodeFilter{key: f.Key, values: f.Values, operator: f.Operator})
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	nodes, err := d.selectNodes(ctx, filters)
	if err != nil {
		return nil, err
	}
	nodes, next, err := page(nodes, placeOfNode, in.NextToken, limit, 1000)
	if err != nil {
		return nil, err
	}
	standing, err := d.Fleet.Standings(ctx)
	if err != nil {
		return nil, err
	}
	out := &describeInstancePropertiesAnswer{InstanceProperties: []instanceProperty{}, NextToken: next}
	for _, n := range nodes {
		out.InstanceProperties = append(out.InstanceProperties, instanceProperty{d.describeNode(n, standing(n)), "running", n.IAMRole})
	}
	return out, nil
}

type instanceRequest struct {
	InstanceID string `json:"InstanceId"`
}

func (d *door) deregisterManagedInstance(ctx context.Context, c *api.Call, in *instanceRequest) (*struct{}, error) {
	n, err := d.authorizeNode(ctx, c, "ssm:DeregisterManagedInstance", in.InstanceID)
	if err != nil {
		return nil, err
	}
	if err := d.Fleet.Deregister(ctx, n.ID); err != nil {
		return nil, err
	}
	const why = "The node was deregistered."
	d.Channels.Drop(n.ID, why)
	return &struct{}{}, errors.Join(d.Broker.EndNode(ctx, n.ID, why), d.Commands.EndNode(ctx, n.ID, why), d.Inventory.Forget(ctx, n.ID))
}
