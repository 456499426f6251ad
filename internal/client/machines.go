package client

import "context"

// SeenMachine is a machine that is not managed, but was heard of.
type SeenMachine struct {
	Kind, Reason string
	SourceIP     string `json:"SourceIp"`
	InstanceID   string `json:"InstanceId"`
	FirstSeenAt  Time
	LastSeenAt   Time
	Count        int
}

// FormerNode is a node that was deregistered.
type FormerNode struct {
	InstanceID         string `json:"InstanceId"`
	Name, ComputerName string
	SourceIP           string `json:"SourceIp"`
	DeregisteredAt     Time
}

// SeenMachines lists the machines that are not managed: those that were
// refused, and those that were deregistered.
func (c *Client) SeenMachines(ctx context.Context) ([]SeenMachine, []FormerNode, error) {
	var out struct {
		Machines     []SeenMachine
		Deregistered []FormerNode
	}
	err := c.call(ctx, "sekisho", "Sekisho.ListSeenMachines", struct{}{}, &out)
	return out.Machines, out.Deregistered, err
}

// ApproveIdentity makes the machine that shows a changed fingerprint the node.
func (c *Client) ApproveIdentity(ctx context.Context, node, fingerprint string) error {
	in := struct {
		InstanceID  string `json:"InstanceId"`
		Fingerprint string
	}{node, fingerprint}
	return c.call(ctx, "sekisho", "Sekisho.ApproveNodeIdentity", in, &struct{}{})
}
