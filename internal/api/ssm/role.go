package ssm

import (
	"context"
	"strings"

	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/wire/awsproto"
)

type updateManagedInstanceRoleRequest struct {
	InstanceID string `json:"InstanceId"`
	IamRole    string
}

// roleName refuses an ARN where the name of a role is expected.
func roleName(field, role string) error {
	if !strings.HasPrefix(role, "arn:") {
		return nil
	}
	_, name, _ := strings.Cut(role, ":role/")
	return awsproto.SenderError(
		"ValidationException",
		"%s must be the role's name (or path/name), not its ARN: %.64s",
		field,
		name,
	)
}

// updateManagedInstanceRole gives a node another role. Its agent fetches the new credentials
// immediately.
func (d nodeDoor) updateManagedInstanceRole(
	ctx context.Context,
	c *api.Call,
	in *updateManagedInstanceRoleRequest,
) (*struct{}, error) {
	var v awsproto.Constraints
	v.Require("iamRole", in.IamRole != "")
	v.Length("iamRole", in.IamRole, 0, 64)
	if err := roleName("IamRole", in.IamRole); err != nil {
		return nil, err
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	n, err := d.authorizeNode(ctx, c, "ssm:UpdateManagedInstanceRole", in.InstanceID)
	if err != nil {
		return nil, err
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
