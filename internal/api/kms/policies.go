package kms

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
	"sekisho/internal/storage/kmskey"
	"sekisho/internal/wire/awsproto"
)

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func equalFold(a, b string) bool {
	return strings.ToLower(a) == strings.ToLower(b) //nolint:staticcheck // compared like condition keys
}

// maxPolicy is AWS's quota for a key policy.
const maxPolicy = 32 << 10

// onlyPolicy is the name of every key policy.
const onlyPolicy = "default"

func bypass(asked bool) authz.Key {
	return authz.One("kms:BypassPolicyLockoutSafetyCheck", strconv.FormatBool(asked))
}

// checkPolicy refuses an invalid key policy and, unless the caller insists, one that
// would keep the caller from changing it again.
func (d *door) checkPolicy(ctx context.Context, c *api.Call, arn, document string, insists bool) (kmskey.Policy,
	error) {
	if len(document) > maxPolicy {
		return kmskey.Policy{}, sekisho.Errorf(sekisho.CodeLimit, "A key policy can have at most %d bytes.", maxPolicy)
	}
	names, err := d.Policies.ResourcePolicy(ctx, document)
	if err != nil {
		if _, ok := errors.AsType[*policy.ValidationError](err); ok ||
			sekisho.CodeOf(err) == sekisho.CodeMalformedPolicy {
			err = awsproto.SenderError("MalformedPolicyDocumentException", "%s", err)
		}
		return kmskey.Policy{}, err
	}
	p := kmskey.Policy{Document: document, Names: names}
	if insists {
		return p, nil
	}
	a, err := d.authorizer(ctx, p, nil)
	if err != nil {
		return kmskey.Policy{}, err
	}
	facts := c.Facts()
	v, err := a.Decide(ctx, &facts, "kms:PutKeyPolicy", arn, append(keySpec(d.Account), bypass(false))...)
	if err != nil {
		return kmskey.Policy{}, err
	}
	if !v.Allowed {
		return kmskey.Policy{}, awsproto.SenderError("MalformedPolicyDocumentException",
			"The new key policy will not allow you to update the key policy in the future.")
	}
	return p, nil
}

type putPolicyRequest struct {
	BypassPolicyLockoutSafetyCheck bool
	KeyID                          string `json:"KeyId"`
	Policy                         string
	PolicyName                     string
}

func checkPolicyName(name string) error {
	if name != "" && name != onlyPolicy {
		return awsproto.SenderError("NotFoundException", "No such policy exists: a key has one policy, called %s.",
			onlyPolicy)
	}
	return nil
}

func (d *door) putKeyPolicy(ctx context.Context, c *api.Call, in *putPolicyRequest) (*struct{}, error) {
	if err := checkPolicyName(in.PolicyName); err != nil {
		return nil, err
	}
	k, err := d.byID(ctx, c, in.KeyID, bypass(in.BypassPolicyLockoutSafetyCheck))
	if err != nil {
		return nil, err
	}
	p, err := d.checkPolicy(ctx, c, d.Keys.ARN(k.ID), in.Policy, in.BypassPolicyLockoutSafetyCheck)
	if err != nil {
		return nil, err
	}
	return &struct{}{}, d.Keys.SetPolicy(ctx, k.ID, p)
}

type policyRequest struct {
	KeyID      string `json:"KeyId"`
	PolicyName string
}

type policyAnswer struct{ Policy, PolicyName string }

func (d *door) getKeyPolicy(ctx context.Context, c *api.Call, in *policyRequest) (*policyAnswer, error) {
	if err := checkPolicyName(in.PolicyName); err != nil {
		return nil, err
	}
	k, err := d.byID(ctx, c, in.KeyID)
	if err != nil {
		return nil, err
	}
	text, err := d.Policies.ResourcePolicyToday(ctx, k.Policy.Document, k.Policy.Names)
	if err != nil {
		return nil, err
	}
	return &policyAnswer{text, onlyPolicy}, nil
}

type listPoliciesRequest struct {
	KeyID string `json:"KeyId"`
	paging
}

type listPoliciesAnswer struct {
	PolicyNames []string
	more
}

func (d *door) listKeyPolicies(ctx context.Context, c *api.Call, in *listPoliciesRequest) (*listPoliciesAnswer, error) {
	if _, err := d.byID(ctx, c, in.KeyID); err != nil {
		return nil, err
	}
	return &listPoliciesAnswer{PolicyNames: []string{onlyPolicy}}, nil
}
