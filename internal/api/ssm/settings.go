package ssm

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/session/settings"
	"sekisho/internal/wire/awsproto"
)

func (d settingDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"GetServiceSetting":    api.Read(d.getServiceSetting),
		"UpdateServiceSetting": api.Write(d.updateServiceSetting),
		"ResetServiceSetting":  api.Write(d.resetServiceSetting),
	}
}

type settingRequest struct {
	SettingID    string `json:"SettingId"`
	SettingValue string
}

type serviceSetting struct {
	SettingID        string         `json:"SettingId"`
	SettingValue     string         `json:"SettingValue"`
	LastModifiedDate awsproto.Epoch `json:"LastModifiedDate,omitzero"`
	LastModifiedUser string         `json:"LastModifiedUser"`
	ARN              string         `json:"ARN"`
	Status           string         `json:"Status"`
}

type settingAnswer struct{ ServiceSetting serviceSetting }

var settingPattern = regexp.MustCompile(`^/[a-zA-Z0-9_./-]+$`)

// authorizeSetting authorizes a call on the setting that it names, by its ID or
// its ARN, and returns the ID.
func (d settingDoor) authorizeSetting(ctx context.Context, c *api.Call, in *settingRequest) (string, error) {
	id := strings.TrimPrefix(in.SettingID, d.settingARN(""))
	var v awsproto.Constraints
	v.Length("settingId", in.SettingID, 1, 1000)
	v.Pattern("settingId", id, settingPattern)
	if err := v.Err(); err != nil {
		return "", err
	}
	return id, c.Authorize(ctx, "ssm:"+c.Operation, d.settingARN(id))
}

func (d settingDoor) settingARN(id string) string {
	return "arn:aws:ssm:" + d.Region + ":" + d.Account + ":servicesetting" + id
}

func (d settingDoor) describeSetting(s *settings.Setting) *settingAnswer {
	out := serviceSetting{
		SettingID: s.ID, SettingValue: s.Value, LastModifiedDate: awsproto.NewEpoch(s.ModifiedAt),
		LastModifiedUser: s.ModifiedBy,
		ARN:              d.settingARN(s.ID), Status: "Customized",
	}
	if s.ModifiedAt.IsZero() {
		out.Status, out.LastModifiedUser = "Default", "System"
	}
	return &settingAnswer{out}
}

// settingError maps an error to the AWS error code of settings.
func settingError(err error) error {
	if sekisho.IsNotFound(err) {
		return awsproto.SenderError("ServiceSettingNotFound", "%s", err)
	}
	return err
}

func (d settingDoor) getServiceSetting(ctx context.Context, c *api.Call, in *settingRequest) (*settingAnswer, error) {
	id, err := d.authorizeSetting(ctx, c, in)
	if err != nil {
		return nil, err
	}
	s, err := d.Settings.Get(ctx, id)
	if err != nil {
		return nil, settingError(err)
	}
	return d.describeSetting(s), nil
}

func (d settingDoor) updateServiceSetting(ctx context.Context, c *api.Call, in *settingRequest) (*struct{}, error) {
	var v awsproto.Constraints
	v.Length("settingValue", in.SettingValue, 1, 4096)
	if err := v.Err(); err != nil {
		return nil, err
	}
	id, err := d.authorizeSetting(ctx, c, in)
	if err != nil {
		return nil, err
	}
	if id == settings.HostRole && in.SettingValue != settings.None {
		if err := roleName("SettingValue", in.SettingValue); err != nil {
			return nil, err
		}
		role, err := d.Roles.ActivationRole(ctx, in.SettingValue)
		if err != nil {
			return nil, err
		}
		if err := c.Authorize(ctx, "iam:PassRole", role, authz.One("iam:PassedToService", "ssm.amazonaws.com")); err != nil {
			return nil, err
		}
	}
	if err := d.Settings.Set(ctx, id, in.SettingValue, c.Principal.ARN); err != nil {
		return nil, settingError(err)
	}
	return &struct{}{}, d.settingChanged(ctx, id)
}

func (d settingDoor) resetServiceSetting(ctx context.Context, c *api.Call, in *settingRequest) (*settingAnswer, error) {
	id, err := d.authorizeSetting(ctx, c, in)
	if err != nil {
		return nil, err
	}
	s, err := d.Settings.Reset(ctx, id)
	if err != nil {
		return nil, settingError(err)
	}
	return d.describeSetting(s), d.settingChanged(ctx, id)
}

// settingChanged applies a changed setting to nodes.
func (d settingDoor) settingChanged(ctx context.Context, id string) error {
	if id != settings.HostRole {
		return nil
	}
	return d.Fleet.DefaultRoleChanged(ctx)
}

// roleOf returns the role whose credentials a node gets: its own, or the
// default role of instances without one.
func (d settingDoor) roleOf(ctx context.Context, n *sekisho.Node, sourceIP string) (string, error) {
	if n.IAMRole != "" || resourceType(n) != resourceInstance {
		return n.IAMRole, nil
	}
	s, err := d.Settings.Get(ctx, settings.HostRole)
	if err != nil {
		return "", err
	}
	if s.Value != settings.None {
		return s.Value, nil
	}
	const why = "Systems Manager's instance management role is not configured for account: "
	d.Fleet.NoRole(
		ctx,
		n.ID,
		sourceIP,
		"The node has no role, and there is no default role for instances (the setting "+
			settings.HostRole+" is "+settings.None+").",
	)
	return "", sekisho.Errorf(sekisho.CodeDenied, "%s%s", why, d.Account)
}

// mayShare refuses to share a document publicly if the account's setting forbids it.
func (d settingDoor) mayShare(ctx context.Context, accounts []string) error {
	if !slices.ContainsFunc(accounts, func(a string) bool { return strings.EqualFold(a, "all") }) {
		return nil
	}
	s, err := d.Settings.Get(ctx, settings.PublicSharing)
	if err != nil || s.Value == settings.Enable {
		return err
	}
	return awsproto.SenderError("InvalidPermissionType", "Documents cannot be shared publicly: the setting %s is %s.",
		settings.PublicSharing, s.Value)
}
