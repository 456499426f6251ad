package fleet

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/wire/id"
)

// State is the connection state of a node.
type State string

// Values of State.
const (
	StateConnected       State = "Connected"
	StateChannelDown     State = "ChannelDown" // its agent reports, but its message channel is closed
	StateNeverConnected  State = "NeverConnected"
	StateLost            State = "Lost"
	StateClockSkewed     State = "ClockSkewed"
	StateRefused         State = "CredentialsRefused"
	StateNoRole          State = "NoRole"
	StateIdentityChanged State = "IdentityChanged"
	StateDeregistered    State = "Deregistered"
)

// Standing is a node's state with explanations.
type Standing struct {
	State State
	Why   string      // why no session can be started on it; empty while it is connected
	Notes []*Sighting // newest first
}

// Standings returns the current standings of nodes, in their order.
func (f *Fleet) Standings(ctx context.Context, nodes []*sekisho.Node) ([]Standing, error) {
	ids := make([]sekisho.NodeID, len(nodes))
	for i, n := range nodes {
		ids[i] = n.ID
	}
	all, err := f.store.SightingsOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	byNode := map[sekisho.NodeID][]*Sighting{}
	for _, s := range all {
		byNode[s.Node] = append(byNode[s.Node], s)
	}
	standings := make([]Standing, len(nodes))
	for i, n := range nodes {
		standings[i] = f.standing(n, byNode[n.ID])
	}
	return standings, nil
}

// standing returns the standing of n, given its sightings.
func (f *Fleet) standing(n *sekisho.Node, seen []*Sighting) Standing {
	st := Standing{State: f.state(n), Why: f.WhyNot(n), Notes: seen}
	if st.State == StateConnected || st.State == StateDeregistered {
		return st
	}
	for _, s := range seen {
		state, ok := map[SightingKind]State{
			SeenClockSkew: StateClockSkewed, SeenBadCredentials: StateRefused, SeenNewFingerprint: StateIdentityChanged,
			SeenNoRole: StateNoRole,
		}[s.Kind]
		// A node that was heard from after the refusal has recovered.
		if !ok || !s.LastAt.After(n.LastPingAt) {
			continue
		}
		st.State = state
		st.Why = strings.TrimSpace(fmt.Sprintf("%s (last at %s from %s) %s",
			s.Detail, s.LastAt.UTC().Format(time.RFC3339), s.SourceIP, advice[state]))
		break
	}
	return st
}

// advice is what an administrator can do about a state.
var advice = map[State]string{
	StateClockSkewed:     "Set the machine's clock.",
	StateRefused:         "If this is the node, register it again. If not, find out who is impersonating it.",
	StateIdentityChanged: "Approve the change if you expected it, or register the machine again.",
	StateNoRole: "Give it a role (aws ec2 associate-iam-instance-profile, or aws ssm update-managed-instance-role), " +
		"or set a default role for instances.",
}

func (f *Fleet) state(n *sekisho.Node) State {
	switch {
	case !n.DeregisteredAt.IsZero():
		return StateDeregistered
	case f.links.Connected(n.ID):
		return StateConnected
	case n.ConnectedAt.IsZero() && n.DisconnectedAt.IsZero():
		return StateNeverConnected
	case n.LastPingAt.After(n.DisconnectedAt) && f.now().Sub(n.LastPingAt) <= lostAfter:
		return StateChannelDown
	}
	return StateLost
}

// IsConnected reports whether a session could be started on node now.
func (f *Fleet) IsConnected(node sekisho.NodeID) bool { return f.links.Connected(node) }

// PingStatus returns the status of n as DescribeInstanceInformation shows it.
// It agrees with the node's [State]: a lost node is never Online.
func (f *Fleet) PingStatus(n *sekisho.Node) sekisho.PingStatus {
	if n.LastPingAt.IsZero() && !f.links.Connected(n.ID) {
		return sekisho.PingInactive
	}
	switch f.state(n) {
	case StateConnected, StateChannelDown:
		return sekisho.PingOnline
	case StateNeverConnected:
		if f.HeardRecently(n) {
			return sekisho.PingOnline
		}
	}
	return sekisho.PingConnectionLost
}

// HeardRecently reports whether n is connected, or was heard from within the
// time between two reports.
func (f *Fleet) HeardRecently(n *sekisho.Node) bool {
	return f.links.Connected(n.ID) || !n.LastPingAt.IsZero() && f.now().Sub(n.LastPingAt) <= lostAfter
}

// WhyNotConnected explains in one or two sentences why target cannot be
// reached. It returns "" for a connected node.
func (f *Fleet) WhyNotConnected(ctx context.Context, target string) (string, error) {
	if !id.ValidNode(target) {
		return "It is not a node ID (mi- or i- and 17 hexadecimal digits).", nil
	}
	n, err := f.store.Node(ctx, sekisho.NodeID(target))
	if sekisho.IsNotFound(err) {
		return "No node with this ID has registered with this server. " +
			"Check the ID, or create an activation and register the machine.", nil
	}
	if err != nil {
		return "", err
	}
	seen, err := f.store.Sightings(ctx, n.ID)
	if err != nil {
		return "", err
	}
	return f.standing(n, seen).Why, nil
}

// WhyNot is [Fleet.WhyNotConnected] from the node's record alone.
func (f *Fleet) WhyNot(n *sekisho.Node) string {
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	reason := n.DisconnectReason
	if reason == "" {
		reason = "the channel was closed"
	}
	switch {
	case f.links.Connected(n.ID):
		return ""
	case !n.DeregisteredAt.IsZero():
		return fmt.Sprintf(
			"The node was deregistered at %s. Register the machine again to use it.",
			stamp(n.DeregisteredAt),
		)
	case n.ConnectedAt.IsZero() && n.DisconnectedAt.IsZero():
		return fmt.Sprintf("The node registered at %s from %s but its agent never opened its message channel. "+
			"Check on the machine that the agent is running (sekisho-agent doctor).", stamp(n.RegisteredAt), n.LastSourceIP)
	case n.LastPingAt.After(n.DisconnectedAt) && f.now().Sub(n.LastPingAt) <= lostAfter:
		return fmt.Sprintf("Its agent is up (last heard %s from %s) but its message channel has been down since %s: %s. "+
			"It reconnects by itself; if it does not, look for a proxy that blocks WebSockets.",
			stamp(n.LastPingAt), n.LastSourceIP, stamp(n.DisconnectedAt), reason)
	}
	return fmt.Sprintf("The node is registered but was last heard at %s from %s: %s. "+
		"Check that the machine and its agent are running, and that it can reach this server.",
		stamp(n.LastPingAt), n.LastSourceIP, reason)
}
