package sekishoapi

import (
	"context"
	"strings"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/node/fleet"
	"sekisho/internal/wire/awsproto"
	"sekisho/internal/wire/id"
)

type seenMachine struct {
	Kind        string
	Reason      string
	SourceIP    string         `json:"SourceIp,omitempty"`
	InstanceID  string         `json:"InstanceId,omitempty"`
	FirstSeenAt awsproto.Epoch // of a repeated sighting
	LastSeenAt  awsproto.Epoch
	Count       int
}

type formerNode struct {
	InstanceID     string `json:"InstanceId"`
	NodeName       string `json:",omitempty"` // the display name
	Name           string `json:",omitempty"` // in the activation
	ComputerName   string `json:",omitempty"`
	SourceIP       string `json:"SourceIp,omitempty"`
	DeregisteredAt awsproto.Epoch
	LastPingAt     awsproto.Epoch `json:",omitzero"`
}

type seenAnswer struct {
	Machines     []seenMachine // seen but not managed
	Deregistered []formerNode
}

// listSeenMachines lists machines that contacted the server but are not managed: machines whose
// registration or calls were refused, and deregistered nodes.
func (d *door) listSeenMachines(ctx context.Context, c *api.Call, _ *struct{}) (*seenAnswer, error) {
	if err := c.Authorize(ctx, "sekisho:ListSeenMachines", "*"); err != nil {
		return nil, err
	}
	seen, err := d.Fleet.Strays(ctx)
	if err != nil {
		return nil, err
	}
	gone, err := d.Fleet.Deregistered(ctx)
	if err != nil {
		return nil, err
	}
	rule, err := d.Names.Naming(ctx)
	if err != nil {
		return nil, err
	}
	out := &seenAnswer{Machines: []seenMachine{}, Deregistered: []formerNode{}}
	for _, s := range seen {
		out.Machines = append(out.Machines, seenMachine{
			Kind: string(s.Kind), Reason: s.Detail, SourceIP: s.SourceIP, InstanceID: string(s.Node),
			FirstSeenAt: awsproto.NewEpoch(s.FirstAt), LastSeenAt: awsproto.NewEpoch(s.LastAt), Count: s.Count,
		})
	}
	for _, n := range gone {
		out.Deregistered = append(out.Deregistered, formerNode{
			InstanceID: string(n.ID), NodeName: rule.Display(n), Name: n.Name, ComputerName: n.ComputerName,
			SourceIP:       n.LastSourceIP,
			DeregisteredAt: awsproto.NewEpoch(n.DeregisteredAt), LastPingAt: awsproto.NewEpoch(n.LastPingAt),
		})
	}
	return out, nil
}

type approveRequest struct {
	InstanceID  string `json:"InstanceId"`
	Fingerprint string
}

// approveNodeIdentity accepts the machine with a changed fingerprint as the node.
func (d *door) approveNodeIdentity(ctx context.Context, c *api.Call, in *approveRequest) (*struct{}, error) {
	var v awsproto.Constraints
	v.Require("fingerprint", in.Fingerprint != "")
	v.Length("fingerprint", in.Fingerprint, 0, 128)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if !id.ValidNode(in.InstanceID) {
		return nil, root.Errorf(root.CodeInvalid, "%q is not the ID of a managed node.", in.InstanceID)
	}
	var keys []authz.Key
	n, err := d.Fleet.Node(ctx, root.NodeID(in.InstanceID))
	if err == nil {
		keys = authz.ResourceTags("ssm", n.Tags)
	} else if !root.IsNotFound(err) {
		return nil, err
	}
	if err := c.Authorize(ctx, "sekisho:ApproveNodeIdentity", d.nodeARN(in.InstanceID), keys...); err != nil {
		return nil, err
	}
	if n == nil {
		return nil, root.Errorf(root.CodeNotFound, "%s is not registered.", in.InstanceID)
	}
	return &struct{}{}, d.Fleet.ApproveIdentity(ctx, n.ID, in.Fingerprint)
}

// nodeARN returns the ARN of a node in policies.
func (d *door) nodeARN(node string) string {
	if strings.HasPrefix(node, "i-") {
		return "arn:aws:ec2:" + d.Region + ":" + d.Account + ":instance/" + node
	}
	return "arn:aws:ssm:" + d.Region + ":" + d.Account + ":managed-instance/" + node
}

// Machines is the part of the fleet that this door needs.
type Machines interface {
	Node(ctx context.Context, node root.NodeID) (*root.Node, error)
	Nodes(ctx context.Context) ([]*root.Node, error)
	Strays(ctx context.Context) ([]*fleet.Sighting, error)
	Deregistered(ctx context.Context) ([]*root.Node, error)
	ApproveIdentity(ctx context.Context, node root.NodeID, fingerprint string) error
}
