package sekishoapi

import (
	"context"
	"net/url"
	"time"

	root "sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/grant"
	"sekisho/internal/safetext"
	"sekisho/internal/wire/awsproto"
)

func (d *door) grantOperations() map[string]api.Operation {
	return map[string]api.Operation{
		"BuildPolicy": api.Read(d.buildPolicy,
			api.NoPolicy("it builds a policy from the request alone and stores nothing")),
		"GrantAccess": api.Write(d.grantAccess),
	}
}

// buildPolicyRequest describes the grant: see [grant.Grant].
type buildPolicyRequest struct {
	Targets             []string
	Documents           []string
	Weekdays            []string
	From, To, Zone      string
	FirstDay, LastDay   string
	NotBefore, NotAfter awsproto.Epoch
	SourceIPs           []string `json:"SourceIps"`
	MFA                 bool
	MFAWithinSeconds    int64
	During, Except      []string
}

func (d *door) policyOf(in *buildPolicyRequest) (string, error) {
	g := grant.Grant{
		Region: d.Region, Account: d.Account, Targets: in.Targets, Documents: in.Documents,
		Weekdays: in.Weekdays, From: in.From, To: in.To, Zone: in.Zone,
		NotBefore: in.NotBefore.Time, NotAfter: in.NotAfter.Time,
		FirstDay: in.FirstDay, LastDay: in.LastDay,
		MFAWithin: time.Duration(max(min(in.MFAWithinSeconds, 1<<31), -1)) * time.Second,
		SourceIPs: in.SourceIPs, MFA: in.MFA, During: in.During, Except: in.Except,
	}
	text, err := g.Policy()
	if err != nil {
		return "", root.Errorf(root.CodeInvalid, "Invalid grant: %s", safetext.Sentence(err.Error()))
	}
	return text, nil
}

type buildPolicyAnswer struct{ PolicyDocument string }

func (d *door) buildPolicy(_ context.Context, _ *api.Call, in *buildPolicyRequest) (*buildPolicyAnswer, error) {
	text, err := d.policyOf(in)
	return &buildPolicyAnswer{text}, err
}

type grantAccessRequest struct {
	// Exactly one of the three is the policy's new owner.
	UserName, GroupName, RoleName string
	PolicyName                    string
	buildPolicyRequest
}

type grantAccessAnswer struct {
	PolicyName     string
	PolicyDocument string
}

// grantAccess attaches the policy as an inline policy. It calls IAM as the caller, so it adds
// nothing to the caller's permissions.
func (d *door) grantAccess(ctx context.Context, c *api.Call, in *grantAccessRequest) (*grantAccessAnswer, error) {
	var operation, member, name string
	for _, holder := range []struct{ operation, member, name string }{
		{"PutUserPolicy", "UserName", in.UserName}, {"PutGroupPolicy", "GroupName", in.GroupName},
		{"PutRolePolicy", "RoleName", in.RoleName},
	} {
		if holder.name == "" {
			continue
		}
		if name != "" {
			return nil, root.Errorf(root.CodeInvalid, "Set exactly one of UserName, GroupName and RoleName.")
		}
		operation, member, name = holder.operation, holder.member, holder.name
	}
	if name == "" || in.PolicyName == "" {
		return nil, root.Errorf(root.CodeInvalid, "UserName, GroupName or RoleName, and PolicyName, are required.")
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
