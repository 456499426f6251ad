package ssm

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/node/inventory"
	"sekisho/internal/wire/awsproto"
)

type nodeListFilter struct {
	Key    string
	Values []string
	Type   string
}

type listNodesRequest struct {
	SyncName   string
	Filters    []nodeListFilter
	NextToken  string
	MaxResults *int64
}

type nodeOwner struct {
	AccountID string `json:"AccountId"`
}

type nodeFacts struct {
	AgentType       string `json:",omitempty"`
	AgentVersion    string `json:",omitempty"`
	ComputerName    string `json:",omitempty"`
	InstanceStatus  string
	IPAddress       string `json:"IpAddress,omitempty"`
	ManagedStatus   string
	PlatformType    string `json:",omitempty"`
	PlatformName    string `json:",omitempty"`
	PlatformVersion string `json:",omitempty"`
	ResourceType    string
}

type listedNode struct {
	CaptureTime awsproto.Epoch
	ID          string `json:"Id"`
	Owner       nodeOwner
	Region      string
	NodeType    struct{ Instance nodeFacts }
}

type listNodesAnswer struct {
	Nodes     []listedNode
	NextToken string `json:",omitempty"`
}

var nodeFilterValue = regexp.MustCompile(`^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$`)

// nodeAttributes are the attributes that nodes are listed and counted by.
func (d *door) nodeAttributes(n *sekisho.Node) map[string]string {
	return map[string]string{
		"AgentType": n.AgentName, "AgentVersion": n.AgentVersion, "ComputerName": n.ComputerName, "InstanceId": string(n.ID),
		"InstanceStatus": d.instanceStatus(n), "IpAddress": n.IPAddress, "ManagedStatus": "Managed", "PlatformName": n.PlatformName,
		"PlatformType": n.PlatformType, "PlatformVersion": n.PlatformVersion, "ResourceType": resourceType(n), "Region": d.Region,
		"AccountId": d.Account, "OrganizationalUnitId": "", "OrganizationalUnitPath": "",
	}
}

// listedNodes returns the nodes that a request to list or count them means,
// once the caller may.
func (d *door) listedNodes(ctx context.Context, c *api.Call, in *listNodesRequest, v *awsproto.Constraints) ([]*sekisho.Node, error) {
	v.Count("filters", len(in.Filters), 0, 5)
	v.Length("syncName", in.SyncName, 0, 64)
	known := d.nodeAttributes(&sekisho.Node{})
	filters := make([]nodeFilter, 0, len(in.Filters))
	for _, f := range in.Filters {
		if f.Type == "" {
			f.Type = "Equal"
		}
		v.Count("filters.member.values", len(f.Values), 1, 5)
		v.Enum("filters.member.type", f.Type, "Equal", "NotEqual", "BeginWith")
		for _, value := range f.Values {
			v.Length("filters.member.values.member", value, 0, 512)
			v.Pattern("filters.member.values.member", value, nodeFilterValue)
		}
		if err := v.Err(); err != nil {
			return nil, err
		}
		if _, ok := known[f.Key]; !ok {
			return nil, awsproto.SenderError("InvalidFilter", "The filter key %.64q is not valid.", f.Key)
		}
		// All is every value of ManagedStatus.
		if f.Key != "ManagedStatus" || !slices.Contains(f.Values, "All") {
			filters = append(filters, nodeFilter{f.Key, f.Values, f.Type})
		}
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "ssm:"+c.Operation, "*"); err != nil {
		return nil, err
	}
	if in.SyncName != "" {
		return nil, awsproto.SenderError("ResourceDataSyncNotFoundException", "There is no resource data sync %s: Sekisho has one account and one region.", in.SyncName)
	}
	nodes, err := d.Fleet.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(nodes, func(n *sekisho.Node) bool {
		got := d.nodeAttributes(n)
		return slices.ContainsFunc(filters, func(f nodeFilter) bool { return !f.matches(got[f.key]) })
	}), nil
}

func (d *door) listNodes(ctx context.Context, c *api.Call, in *listNodesRequest) (*listNodesAnswer, error) {
	var v awsproto.Constraints
	limit := pageSize(&v, in.MaxResults, 50)
	nodes, err := d.listedNodes(ctx, c, in, &v)
	if err != nil {
		return nil, err
	}
	nodes, next, err := page(nodes, placeOfNode, in.NextToken, limit, 50)
	if err != nil {
		return nil, err
	}
	out := &listNodesAnswer{Nodes: []listedNode{}, NextToken: next}
	for _, n := range nodes {
		l := listedNode{CaptureTime: awsproto.NewEpoch(n.LastPingAt), ID: string(n.ID), Owner: nodeOwner{d.Account}, Region: d.Region}
		l.NodeType.Instance = nodeFacts{
			AgentType: n.AgentName, AgentVersion: n.AgentVersion, ComputerName: n.ComputerName, InstanceStatus: d.instanceStatus(n),
			IPAddress: n.IPAddress, ManagedStatus: "Managed", PlatformType: n.PlatformType, PlatformName: n.PlatformName,
			PlatformVersion: n.PlatformVersion, ResourceType: resourceType(n),
		}
		out.Nodes = append(out.Nodes, l)
	}
	return out, nil
}

type nodeAggregator struct {
	AggregatorType string
	TypeName       string
	AttributeName  string
	Aggregators    []nodeAggregator
}

type listNodesSummaryRequest struct {
	listNodesRequest
	Aggregators []nodeAggregator
}

type listNodesSummaryAnswer struct {
	Summary   []inventory.Entry
	NextToken string `json:",omitempty"`
}

// maxAggregation is how many attributes one line counts by.
const maxAggregation = 2

// aggregations returns the attributes that each aggregator counts by: its own,
// with those of the aggregators within it.
func aggregations(v *awsproto.Constraints, in []nodeAggregator, outer []string) ([][]string, error) {
	v.Count("aggregators", len(in), 1, 2)
	var all [][]string
	for _, a := range in {
		v.Enum("aggregators.member.aggregatorType", a.AggregatorType, "Count")
		v.Enum("aggregators.member.typeName", a.TypeName, "Instance")
		v.Enum("aggregators.member.attributeName", a.AttributeName, "AgentVersion", "PlatformName", "PlatformType", "PlatformVersion", "Region", "ResourceType")
		by := append(slices.Clone(outer), a.AttributeName)
		switch {
		case len(by) > maxAggregation:
			return nil, awsproto.SenderError("InvalidAggregatorException", "Aggregators can be nested once.")
		case slices.Contains(outer, a.AttributeName):
			return nil, awsproto.SenderError("InvalidAggregatorException", "The attribute %s is there twice.", a.AttributeName)
		case len(a.Aggregators) == 0:
			all = append(all, by)
			continue
		}
		inner, err := aggregations(v, a.Aggregators, by)
		if err != nil {
			return nil, err
		}
		all = append(all, inner...)
	}
	return all, v.Err()
}

func (d *door) listNodesSummary(ctx context.Context, c *api.Call, in *listNodesSummaryRequest) (*listNodesSummaryAnswer, error) {
	var v awsproto.Constraints
	limit := pageSize(&v, in.MaxResults, 50)
	v.Require("aggregators", in.Aggregators != nil)
	if err := v.Err(); err != nil {
		return nil, err
	}
	by, err := aggregations(&v, in.Aggregators, nil)
	if err != nil {
		return nil, err
	}
	nodes, err := d.listedNodes(ctx, c, &in.listNodesRequest, &v)
	if err != nil {
		return nil, err
	}
	entries := make([]inventory.Entry, 0, len(nodes))
	for _, n := range nodes {
		entries = append(entries, d.nodeAttributes(n))
	}
	type placed struct {
		place string
		line  inventory.Entry
	}
	var all []placed
	for _, attributes := range by {
		for _, line := range inventory.Tally(entries, attributes...) {
			all = append(all, placed{fmt.Sprintf("%06d", len(all)), line})
		}
	}
	all, next, err := page(all, func(p placed) string { return p.place }, in.NextToken, limit, 50)
	if err != nil {
		return nil, err
	}
	out := &listNodesSummaryAnswer{Summary: []inventory.Entry{}, NextToken: next}
	for _, p := range all {
		out.Summary = append(out.Summary, p.line)
	}
	return out, nil
}
