package ssm

import (
	"context"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/authz"
	"sekisho/internal/awsproto"
)

type updateManagedInstanceRoleRequest struct {
	InstanceID string `json:"InstanceId"`
	IamRole    string
}

// updateManagedInstanceRole gives a node another role. Its agent fetches the
// new credentials at once.
func (d *door) updateManagedInstanceRole(ctx context.Context, c *api.Call, in *updateManagedInstanceRoleRequest) (*struct{}, error) {
	var v awsproto.Constraints
	v.Require("iamRole", in.IamRole != "")
	v.Length("iamRole", in.IamRole, 0, 64)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if !knownNode(in.InstanceID) {
		return nil, awsproto.SenderError("InvalidInstanceId", "%q is not the ID of a managed node.", in.InstanceID)
	}
	var keys []authz.Key
	n, err := d.Fleet.Node(ctx, sekisho.NodeID(in.InstanceID))
	if err == nil {
		keys = authz.ResourceTags("ssm", n.Tags)
	} else if !sekisho.IsNotFound(err) {
		return nil, err
	}
	if err := c.Authorize(ctx, "ssm:UpdateManagedInstanceRole", d.nodeARN(in.InstanceID), keys...); err != nil {
		return nil, err
	}
	if n == nil {
		return nil, awsproto.SenderError("InvalidInstanceId", "%s is not registered.", in.InstanceID)
	}
	role, err := d.Roles.ActivationRole(ctx, in.IamRole)
	if err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "iam:PassRole", role, authz.One("iam:PassedToService", "ssm.amazonaws.com")); err != nil {
		return nil, err
	}
	return &struct{}{}, d.Fleet.SetRole(ctx, n.ID, in.IamRole)
}
