package sekishoapi

import (
	"context"
	"net/url"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/grant"
	"sekisho/internal/wire/awsproto"
)

func (d *door) grantOperations() map[string]api.Operation {
	return map[string]api.Operation{
		"BuildPolicy": api.Read(d.buildPolicy,
			api.NoPolicy("it writes a policy from the request alone and stores nothing")),
		"GrantAccess": api.Write(d.grantAccess),
	}
}

// buildPolicyRequest says who may reach what, when and from where: see
// [grant.Grant].
type buildPolicyRequest struct {
	Targets             []string
	Documents           []string
	Weekdays            []string
	From, To, Zone      string
	NotBefore, NotAfter awsproto.Epoch
	SourceIPs           []string `json:"SourceIps"`
	MFA                 bool
	During, Except      []string
}

func (d *door) policyOf(in *buildPolicyRequest) (string, error) {
	g := grant.Grant{
		Region: d.Region, Account: d.Account, Targets: in.Targets, Documents: in.Documents,
		Weekdays: in.Weekdays, From: in.From, To: in.To, Zone: in.Zone,
		NotBefore: in.NotBefore.Time, NotAfter: in.NotAfter.Time,
		SourceIPs: in.SourceIPs, MFA: in.MFA, During: in.During, Except: in.Except,
	}
	text, err := g.Policy()
	if err != nil {
		return "", root.Errorf(root.CodeInvalid, "Invalid grant: %s.", err)
	}
	return text, nil
}

type buildPolicyAnswer struct{ PolicyDocument string }

func (d *door) buildPolicy(_ context.Context, _ *api.Call, in *buildPolicyRequest) (*buildPolicyAnswer, error) {
	text, err := d.policyOf(in)
	return &buildPolicyAnswer{text}, err
}

type grantAccessRequest struct {
	// One of the three names who gets the policy.
	UserName, GroupName, RoleName string
	PolicyName                    string
	buildPolicyRequest
}

type grantAccessAnswer struct {
	PolicyName     string
	PolicyDocument string
}

// grantAccess attaches the policy as an inline policy. It calls IAM as the
// caller, so that it adds nothing to what the caller may do.
func (d *door) grantAccess(ctx context.Context, c *api.Call, in *grantAccessRequest) (*grantAccessAnswer, error) {
	var operation, member, name string
	for _, holder := range []struct{ operation, member, name string }{
		{"PutUserPolicy", "UserName", in.UserName}, {"PutGroupPolicy", "GroupName", in.GroupName}, {"PutRolePolicy", "RoleName", in.RoleName},
	} {
		if holder.name == "" {
			continue
		}
		if name != "" {
			return nil, root.Errorf(root.CodeInvalid, "Name one user, one group or one role.")
		}
		operation, member, name = holder.operation, holder.member, holder.name
	}
	if name == "" || in.PolicyName == "" {
		return nil, root.Errorf(root.CodeInvalid, "Name a user, a group or a role, and the policy.")
	}
	text, err := d.policyOf(&in.buildPolicyRequest)
	if err != nil {
		return nil, err
	}
	form := url.Values{member: {name}, "PolicyName": {in.PolicyName}, "PolicyDocument": {text}}
	if err := c.Do(ctx, "iam", operation, form, nil); err != nil {
		return nil, err
	}
	c.Allow()
	return &grantAccessAnswer{in.PolicyName, text}, nil
}
