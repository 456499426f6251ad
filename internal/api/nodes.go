package api

import (
	"context"
	"errors"

	"sekisho"
	"sekisho/internal/node/fleet"
	"sekisho/internal/wire/sigv4"
)

// NodeWatch observes the calls of managed nodes, so that a node whose calls are refused is reported
// as refused, not only as disconnected.
type NodeWatch interface {
	// Called is called for a request with node's credentials.
	Called(ctx context.Context, node sekisho.NodeID, sourceIP string)
	// Refused is called for a refused call that claims to be from node.
	Refused(ctx context.Context, node sekisho.NodeID, sourceIP string, kind fleet.SightingKind, why string)
}

// ErrNodeProgram is the error of calls that only a node's agent can make, when
// they are signed with the credentials that the agent gives to programs on its
// node.
var ErrNodeProgram error = sekisho.Errorf(sekisho.CodeDenied,
	"These credentials were issued for programs on the node and cannot be used as its agent.").
	WithHint("The agent's own credentials require the node's key.")

// nodeRefused reports to the NodeWatch that a call in node's name was refused with err, and returns
// err.
func (s *Server) nodeRefused(ctx context.Context, c *Call, node sekisho.NodeID, err error) error {
	if s.cfg.Nodes == nil || err == nil || internal(err) {
		return err
	}
	kind, why := fleet.SeenBadCredentials, err.Error()
	if e, ok := errors.AsType[*sigv4.Error](err); ok {
		why = e.Message
		if e.Code == sigv4.CodeExpired {
			kind = fleet.SeenClockSkew
		}
	}
	s.cfg.Nodes.Refused(ctx, node, c.SourceIP.String(), kind, why)
	return err
}

// nodeCalled reports a request with node's credentials to the NodeWatch.
func (s *Server) nodeCalled(ctx context.Context, c *Call, node sekisho.NodeID) {
	// A node that has moved opens a new channel while its old one still exists; control.Channels
	// handles that case.
	if s.cfg.Nodes != nil && c.Operation != "CreateControlChannel" && c.Operation != "OpenControlChannel" {
		s.cfg.Nodes.Called(ctx, node, c.SourceIP.String())
	}
}
