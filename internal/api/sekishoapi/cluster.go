package sekishoapi

import (
	"context"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/cluster"
	"sekisho/internal/wire/awsproto"
)

func (d *door) clusterOperations() map[string]api.Operation {
	return map[string]api.Operation{"ListClusterMembers": api.Read(d.listClusterMembers)}
}

// Values of ClusterMember.Status.
const (
	memberRunning = "Running"
	memberStopped = "Stopped" // its lease has ended
)

// ClusterMember is a server process of a cluster.
type ClusterMember struct {
	Name        string
	Status      string
	Coordinator bool
	Version     string
	Address     string // of the member port
	Epoch       int64  // counts the processes that have run as this member
	StartedAt   awsproto.Epoch
	// RenewedSecondsAgo is how long ago the member has shown that it reaches the database.
	RenewedSecondsAgo float64
	// ClockOffsetSeconds is how far the member's clock is ahead of the database's.
	ClockOffsetSeconds float64
	Nodes              int64 // whose control channel the member has
	Sessions           int64 // active ones that the member relays and records
}

// ClusterMembers returns members as the API shows them.
func ClusterMembers(all []*cluster.Member) []ClusterMember {
	out := make([]ClusterMember, 0, len(all))
	for _, m := range all {
		x := ClusterMember{
			Name: m.Name, Status: memberStopped, Coordinator: m.Coordinator, Version: m.Version, Address: m.Address,
			Epoch: m.Epoch, StartedAt: awsproto.NewEpoch(m.StartedAt), RenewedSecondsAgo: m.Lag.Seconds(),
			ClockOffsetSeconds: m.Skew.Seconds(), Nodes: m.Nodes, Sessions: m.Sessions,
		}
		if m.Live {
			x.Status = memberRunning
		}
		out = append(out, x)
	}
	return out
}

type clusterMembersAnswer struct{ Members []ClusterMember }

// listClusterMembers returns the members of the cluster.
func (d *door) listClusterMembers(ctx context.Context, c *api.Call, _ *struct{}) (*clusterMembersAnswer, error) {
	if err := c.Authorize(ctx, "sekisho:ListClusterMembers", "*"); err != nil {
		return nil, err
	}
	if d.Members == nil {
		return nil, root.Errorf(root.CodeNotFound, "This server is not a member of a cluster.")
	}
	all, err := d.Members(ctx)
	if err != nil {
		return nil, err
	}
	return &clusterMembersAnswer{ClusterMembers(all)}, nil
}
