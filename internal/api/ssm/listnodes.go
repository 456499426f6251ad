package ssm

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"

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

// nodeAttributes are the attributes by which nodes are listed and counted.
var nodeAttributes = []string{
	"AccountId", "AgentType", "AgentVersion", "ComputerName", "InstanceId", "InstanceStatus", "IpAddress", "ManagedStatus",
	"OrganizationalUnitId", "OrganizationalUnitPath", "PlatformName", "PlatformType", "PlatformVersion", "Region",
	"ResourceType",
}

// nodeAttribute returns one of nodeAttributes of a node.
func (d nodeDoor) nodeAttribute(n *sekisho.Node, name string) string {
	switch name {
	case "AccountId":
		return d.Account
	case "AgentType":
		return n.AgentName
	case "AgentVersion":
		return n.AgentVersion
	case "ComputerName":
		return n.ComputerName
	case "InstanceId":
		return string(n.ID)
	case "InstanceStatus":
		return d.instanceStatus(n)
	case "IpAddress":
		return n.IPAddress
	case "ManagedStatus":
		return "Managed"
	case "PlatformName":
		return n.PlatformName
	case "PlatformType":
		return n.PlatformType
	case "PlatformVersion":
		return n.PlatformVersion
	case "Region":
		return d.Region
	case "ResourceType":
		return resourceType(n)
	}
	return "" // there are no organizational units
}

// listedNodes returns a function that reports whether a request to list or
// count nodes selects a node. The caller is authorized.
func (d nodeDoor) listedNodes(
	ctx context.Context, c *api.Call, in *listNodesRequest, v *awsproto.Constraints,
) (func(n *sekisho.Node) bool, error) {
	v.Count("filters", len(in.Filters), 0, 5)
	v.Length("syncName", in.SyncName, 0, 64)
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
		if !slices.Contains(nodeAttributes, f.Key) {
			return nil, awsproto.SenderError("InvalidFilter", "The filter key %.64q is not valid.", f.Key)
		}
		// All stands for every value of ManagedStatus.
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
		return nil, awsproto.SenderError("ResourceDataSyncNotFoundException",
			"There is no resource data sync %s: Sekisho has one account and one region.", in.SyncName)
	}
	return func(n *sekisho.Node) bool {
		for i := range filters {
			f := &filters[i]
			if f.hits(d.nodeAttribute(n, f.key)) == (f.operator == operatorNotEqual) {
				return false
			}
		}
		return true
	}, nil
}

func (d nodeDoor) listNodes(ctx context.Context, c *api.Call, in *listNodesRequest) (*listNodesAnswer, error) {
	var v awsproto.Constraints
	limit := cmp.Or(pageSize(&v, in.MaxResults, defaultNodes), defaultNodes)
	match, err := d.listedNodes(ctx, c, in, &v)
	if err != nil {
		return nil, err
	}
	nodes, next, err := d.nodePage(ctx, in.NextToken, limit, match)
	if err != nil {
		return nil, err
	}
	out := &listNodesAnswer{Nodes: []listedNode{}, NextToken: next}
	for _, n := range nodes {
		l := listedNode{
			CaptureTime: awsproto.NewEpoch(
				n.LastPingAt,
			), ID: string(n.ID), Owner: nodeOwner{d.Account}, Region: d.Region,
		}
		l.NodeType.Instance = nodeFacts{
			AgentType: n.AgentName, AgentVersion: n.AgentVersion, ComputerName: n.ComputerName,
			InstanceStatus: d.instanceStatus(n),
			IPAddress:      n.IPAddress, ManagedStatus: "Managed", PlatformType: n.PlatformType, PlatformName: n.PlatformName,
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

// maxAggregation bounds the attributes of one count.
const maxAggregation = 2

// aggregations returns the attributes that each aggregator counts by: its own,
// with those of the aggregators within it.
func aggregations(v *awsproto.Constraints, in []nodeAggregator, outer []string) ([][]string, error) {
	v.Count("aggregators", len(in), 1, 2)
	var all [][]string
	for _, a := range in {
		v.Enum("aggregators.member.aggregatorType", a.AggregatorType, "Count")
		v.Enum("aggregators.member.typeName", a.TypeName, "Instance")
		v.Enum(
			"aggregators.member.attributeName",
			a.AttributeName,
			"AgentVersion",
			"PlatformName",
			"PlatformType",
			"PlatformVersion",
			"Region",
			"ResourceType",
		)
		by := append(slices.Clone(outer), a.AttributeName)
		switch {
		case len(by) > maxAggregation:
			return nil, awsproto.SenderError("InvalidAggregatorException", "Aggregators can be nested once.")
		case slices.Contains(outer, a.AttributeName):
			return nil, awsproto.SenderError(
				"InvalidAggregatorException",
				"The attribute %s is given twice.",
				a.AttributeName,
			)
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

// countNodes counts nodes by the values of one or two attributes, the most
// frequent first.
func (d nodeDoor) countNodes(nodes []*sekisho.Node, attributes []string) []inventory.Entry {
	counts := map[[maxAggregation]string]int{}
	for _, n := range nodes {
		var key [maxAggregation]string
		for i, a := range attributes {
			key[i] = d.nodeAttribute(n, a)
		}
		counts[key]++
	}
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b [maxAggregation]string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), slices.Compare(a[:], b[:]))
	})
	lines := make([]inventory.Entry, len(keys))
	for i, key := range keys {
		lines[i] = inventory.Entry{"Count": strconv.Itoa(counts[key])}
		for j, a := range attributes {
			lines[i][a] = key[j]
		}
	}
	return lines
}

func (d nodeDoor) listNodesSummary(
	ctx context.Context,
	c *api.Call,
	in *listNodesSummaryRequest,
) (*listNodesSummaryAnswer, error) {
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
	match, err := d.listedNodes(ctx, c, &in.listNodesRequest, &v)
	if err != nil {
		return nil, err
	}
	nodes, _, err := d.Fleet.Page(ctx, "", math.MaxInt, match)
	if err != nil {
		return nil, err
	}
	type placed struct {
		place string
		line  inventory.Entry
	}
	var all []placed
	for _, attributes := range by {
		for _, line := range d.countNodes(nodes, attributes) {
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
