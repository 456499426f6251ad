package fleet

import (
	"context"
	"strings"

	"sekisho"
	"sekisho/internal/safetext"
	"sekisho/internal/wire/id"
)

// checkNodeID checks the kind and the fixed ID of an activation. A fixed ID must be free, and can
// be used by only one machine.
func (f *Fleet) checkNodeID(ctx context.Context, in *NewActivation) error {
	switch in.NodeKind {
	case sekisho.NodeManaged, sekisho.NodeInstance:
	default:
		return sekisho.Errorf(sekisho.CodeInvalid, "unknown node kind %q: want %q or %q",
			in.NodeKind, "managed-instance", "instance")
	}
	if in.NodeID == "" {
		return nil
	}
	node := string(in.NodeID)
	switch {
	case !strings.HasPrefix(node, "i-") || !id.ValidNode(node):
		return sekisho.Errorf(sekisho.CodeInvalid, "%q is not an instance ID: want i- and 17 hexadecimal digits.",
			safetext.Line(node, 64))
	case in.RegistrationLimit != 1:
		return sekisho.Errorf(
			sekisho.CodeInvalid,
			"RegistrationLimit is %d; it must be 1 for an activation with a fixed node ID.",
			in.RegistrationLimit,
		)
	}
	in.NodeKind = sekisho.NodeInstance
	n, err := f.store.Node(ctx, in.NodeID)
	if err != nil && !sekisho.IsNotFound(err) {
		return err
	}
	if n != nil && n.DeregisteredAt.IsZero() {
		return sekisho.Errorf(sekisho.CodeConflict, "The node %s is already registered.", in.NodeID).
			WithHint("Deregister it first, or choose another ID.")
	}
	all, err := f.store.Activations(ctx, ActivationQuery{NodeIDs: []string{node}})
	if err != nil {
		return err
	}
	now := f.now()
	for _, a := range all {
		if now.Before(a.ExpiresAt) && a.RegistrationCount < a.RegistrationLimit {
			return sekisho.Errorf(sekisho.CodeConflict, "The activation %s already has the node ID %s.", a.ID, in.NodeID).
				WithHint("Use it, or delete it first.")
		}
	}
	return nil
}

// newNodeID returns the ID of a machine that registers with a.
func newNodeID(a *sekisho.Activation) sekisho.NodeID {
	switch {
	case a.NodeID != "":
		return a.NodeID
	case a.NodeKind == sekisho.NodeInstance:
		return id.Instance()
	}
	return id.Node()
}

// SetProfile gives a node the role of an instance profile. It replaces the
// association called instead, which is "" if there is none. If p is nil, the
// association ends and the node gets its previous role back. The agent switches
// roles without a restart.
func (f *Fleet) SetProfile(ctx context.Context, node sekisho.NodeID, p *sekisho.NodeProfile, instead string) error {
	changed := false
	err := f.update(ctx, node, func(n *sekisho.Node) error {
		held, before := "", n.IAMRole
		if n.Profile != nil {
			held = n.Profile.Association
			if n.IAMRole == n.Profile.Role { // SetRole has not changed it meanwhile
				before = n.Profile.RoleBefore
			}
		}
		var role string
		switch {
		case held != instead && instead == "":
			return sekisho.Errorf(sekisho.CodeConflict, "There is an existing association for instance %s", node)
		case held != instead:
			return sekisho.Errorf(sekisho.CodeConflict, "The association %s of instance %s has ended", instead, node)
		case p == nil:
			n.Profile, role = nil, before
		default:
			now := *p
			now.RoleBefore, role = before, p.Role
			n.Profile = &now
		}
		changed, n.IAMRole = n.IAMRole != role, role
		return nil
	})
	if err == nil && changed {
		f.role(node)
	}
	return err
}
