package iam

import (
	"context"
	"net/http"
	"slices"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
	"sekisho/internal/wire/awsproto"
)

func (d credentialDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"CreateAccessKey":      api.Write(d.createAccessKey),
		"ListAccessKeys":       api.Read(d.listAccessKeys),
		"UpdateAccessKey":      api.Write(d.updateAccessKey),
		"DeleteAccessKey":      api.Write(d.deleteAccessKey),
		"GetAccessKeyLastUsed": api.Read(d.getAccessKeyLastUsed),
		"CreateLoginProfile":   api.Write(d.createLoginProfile),
		"GetLoginProfile":      api.Read(d.getLoginProfile),
		"UpdateLoginProfile":   api.Write(d.updateLoginProfile),
		"DeleteLoginProfile":   api.Write(d.deleteLoginProfile),
		"ChangePassword":       api.Write(d.changePassword),

		"ListSSHPublicKeys":              api.Read(d.listSSHPublicKeys),
		"ListSigningCertificates":        api.Read(d.listSigningCertificates),
		"ListServiceSpecificCredentials": api.Read(d.listServiceSpecificCredentials),
	}
}

type accessKeyAnswer struct{ AccessKey accessKey }

func (d credentialDoor) createAccessKey(ctx context.Context, c *api.Call, in *userRequest) (*accessKeyAnswer, error) {
	u, err := d.owner(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	k, err := d.Keys.Create(ctx, u.Name)
	if err != nil {
		return nil, err
	}
	out := &accessKeyAnswer{keyShape(u.Name, &k.AccessKey)}
	out.AccessKey.SecretAccessKey = k.Secret
	c.Annotate(map[string]any{"accessKey": map[string]any{"userName": u.Name, "accessKeyId": k.ID, "status": "Active"}})
	return out, nil
}

type accessKeysAnswer struct {
	UserName          string
	AccessKeyMetadata list[accessKey]
	more
}

func (d credentialDoor) listAccessKeys(
	ctx context.Context, c *api.Call, in *userListRequest,
) (*accessKeysAnswer, error) {
	u, err := d.owner(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	keys := slices.SortedFunc(slices.Values(u.Keys), func(a, b identity.AccessKey) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	keys, next, err := page(keys, func(k identity.AccessKey) string { return k.ID }, in.paging)
	return &accessKeysAnswer{
		u.Name,
		listed(keys, func(k identity.AccessKey) accessKey { return keyShape(u.Name, &k) }),
		next,
	}, err
}

type accessKeyRequest struct {
	UserName    string
	AccessKeyID string `query:"AccessKeyId"`
	Status      string
}

func (d credentialDoor) updateAccessKey(ctx context.Context, c *api.Call, in *accessKeyRequest) (*struct{}, error) {
	v := awsproto.Constraints{Code: "ValidationError"}
	v.Enum("status", in.Status, "Active", "Inactive")
	if err := v.Err(); err != nil {
		return nil, err
	}
	u, err := d.owner(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	return nil, d.Keys.SetActive(ctx, u.Name, in.AccessKeyID, in.Status == "Active")
}

func (d credentialDoor) deleteAccessKey(ctx context.Context, c *api.Call, in *accessKeyRequest) (*struct{}, error) {
	u, err := d.owner(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	return nil, d.Keys.Delete(ctx, u.Name, in.AccessKeyID)
}

type lastUsedAnswer struct {
	UserName          string
	AccessKeyLastUsed struct {
		LastUsedDate *awsproto.Epoch `xml:",omitempty"`
		ServiceName  string
		Region       string
	}
}

func (d credentialDoor) getAccessKeyLastUsed(
	ctx context.Context, c *api.Call, in *accessKeyRequest,
) (*lastUsedAnswer, error) {
	u, err := d.Keys.Owner(ctx, in.AccessKeyID)
	if err != nil {
		// Only callers who can query any user learn whether a key exists.
		if refused := on(ctx, c, arn(c, identity.KindUser, "/", "*"), nil); refused != nil {
			return nil, refused
		}
		return nil, &awsproto.Error{
			Code:    "AccessDenied",
			Message: "The Access Key with id " + clip(in.AccessKeyID) + " cannot be found.",
			Status:  http.StatusForbidden,
			Sender:  true,
		}
	}
	if err := on(ctx, c, u.ARN, u.Tags); err != nil {
		return nil, err
	}
	uses, err := d.Uses.Last(ctx, in.AccessKeyID)
	if err != nil {
		return nil, err
	}
	out := &lastUsedAnswer{UserName: u.Name}
	out.AccessKeyLastUsed.ServiceName, out.AccessKeyLastUsed.Region = "N/A", "N/A"
	if use, ok := uses[in.AccessKeyID]; ok {
		out.AccessKeyLastUsed.LastUsedDate = date(use.At)
		out.AccessKeyLastUsed.ServiceName, out.AccessKeyLastUsed.Region = use.Service, use.Region
	}
	return out, nil
}

type loginRequest struct {
	UserName, Password    string
	PasswordResetRequired bool
}

type login struct {
	UserName              string
	CreateDate            *awsproto.Epoch
	PasswordResetRequired bool
}

type loginAnswer struct{ LoginProfile login }

func loginShape(user string, l *identity.LoginProfile) *loginAnswer {
	return &loginAnswer{login{user, date(l.Created), l.ResetRequired}}
}

func (d credentialDoor) createLoginProfile(ctx context.Context, c *api.Call, in *loginRequest) (*loginAnswer, error) {
	u, err := d.owner(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	l, err := d.Logins.Create(ctx, u.Name, in.Password, in.PasswordResetRequired)
	if err != nil {
		return nil, err
	}
	return loginShape(u.Name, l), nil
}

func (d credentialDoor) getLoginProfile(ctx context.Context, c *api.Call, in *userRequest) (*loginAnswer, error) {
	u, err := d.owner(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	l, err := d.Logins.Get(ctx, u.Name)
	if err != nil {
		return nil, err
	}
	return loginShape(u.Name, l), nil
}

type updateLoginRequest struct {
	UserName              string
	Password              *string
	PasswordResetRequired *bool
}

func (d credentialDoor) updateLoginProfile(
	ctx context.Context, c *api.Call, in *updateLoginRequest,
) (*struct{}, error) {
	if err := require("userName", in.UserName); err != nil {
		return nil, err
	}
	u, err := d.owner(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	return nil, d.Logins.Update(ctx, u.Name, in.Password, in.PasswordResetRequired)
}

func (d credentialDoor) deleteLoginProfile(ctx context.Context, c *api.Call, in *userRequest) (*struct{}, error) {
	u, err := d.owner(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	return nil, d.Logins.Delete(ctx, u.Name)
}

type changePasswordRequest struct{ OldPassword, NewPassword string }

func (d credentialDoor) changePassword(ctx context.Context, c *api.Call, in *changePasswordRequest) (*struct{}, error) {
	if c.Principal.Type != sekisho.PrincipalUser {
		return nil, sekisho.Errorf(sekisho.CodeDenied, "Only an IAM user can change its password.")
	}
	u, err := d.Users.Get(ctx, c.Principal.UserName)
	if err != nil {
		return nil, err
	}
	v, err := c.Decide(ctx, action(c), u.ARN, authz.ResourceTags("iam", u.Tags)...)
	if err != nil {
		return nil, err
	}
	if !v.Allowed {
		p, err := d.Settings.PasswordPolicy(ctx)
		if err != nil && !sekisho.IsNotFound(err) {
			return nil, err
		}
		if v.Explicit || p == nil || !p.UsersMayChange {
			return nil, api.Denied(ctx, v)
		}
	}
	c.Allow()
	return nil, d.Logins.ChangePassword(ctx, u.Name, in.OldPassword, in.NewPassword)
}

// SSH keys, signing certificates and service-specific credentials do not exist
// here. Tools that clean up users list them, so the lists are empty.

type sshKeysAnswer struct {
	SSHPublicKeys list[struct{}]
	more
}

func (d credentialDoor) listSSHPublicKeys(
	ctx context.Context, c *api.Call, in *userListRequest,
) (*sshKeysAnswer, error) {
	_, err := d.owner(ctx, c, in.UserName)
	return &sshKeysAnswer{}, err
}

type certificatesAnswer struct {
	Certificates list[struct{}]
	more
}

func (d credentialDoor) listSigningCertificates(
	ctx context.Context,
	c *api.Call,
	in *userListRequest,
) (*certificatesAnswer, error) {
	_, err := d.owner(ctx, c, in.UserName)
	return &certificatesAnswer{}, err
}

type serviceCredentialsAnswer struct {
	ServiceSpecificCredentials list[struct{}]
	more
}

func (d credentialDoor) listServiceSpecificCredentials(
	ctx context.Context,
	c *api.Call,
	in *userListRequest,
) (*serviceCredentialsAnswer, error) {
	_, err := d.owner(ctx, c, in.UserName)
	return &serviceCredentialsAnswer{}, err
}
