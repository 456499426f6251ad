package client

import "context"

// SeenMachine is a machine that contacted the server but is not managed.
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

// SeenMachines lists unmanaged machines: refused ones and deregistered ones.
func (c *Client) SeenMachines(ctx context.Context) ([]SeenMachine, []FormerNode, error) {
	var out struct {
		Machines     []SeenMachine
		Deregistered []FormerNode
	}
	err := c.call(ctx, "sekisho", "Sekisho.ListSeenMachines", struct{}{}, &out)
	return out.Machines, out.Deregistered, err
}

// ApproveIdentity accepts the machine with a changed fingerprint as the node.
func (c *Client) ApproveIdentity(ctx context.Context, nodeID, fingerprint string) error {
	in := struct {
		InstanceID  string `json:"InstanceId"`
		Fingerprint string
	}{nodeID, fingerprint}
	return c.call(ctx, "sekisho", "Sekisho.ApproveNodeIdentity", in, &struct{}{})
}
