// Package kms is the KMS door: keys, aliases and the operations that encrypt
// with them, over [sekisho/internal/storage/kmskey].
//
// The key's policy, the key's grants and the caller's policies together decide every operation on a
// key. The key's policy or a grant must allow it. If the key's policy allows only the account, as
// the default policy does, the caller's own policies must allow it too.
package kms

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/policy"
	"sekisho/internal/storage/kmskey"
	"sekisho/internal/wire/awsproto"
)

// Policies are the policies of principals and of resources.
type Policies interface {
	// SetUnderResource joins the policies of p with a resource's policy, which must also allow the
	// action.
	SetUnderResource(ctx context.Context, p *sekisho.Principal, resource *policy.Document) (*policy.Set, error)
	// ResourcePolicy checks a resource's policy and returns the IDs of the principals
	// that it names.
	ResourcePolicy(ctx context.Context, document string) (names map[string]string, err error)
	// ResourcePolicyToday returns the policy with the current names of these principals.
	ResourcePolicyToday(ctx context.Context, document string, names map[string]string) (string, error)
}

// Config is the configuration of the door.
type Config struct {
	Keys     *kmskey.Keys
	Policies Policies
	Account  string
}

type door struct{ Config }

// New returns the door.
func New(cfg Config) *api.Door {
	d := &door{cfg}
	return &api.Door{
		Service: "kms", Protocol: awsproto.JSON,
		Errors: map[sekisho.Code]string{sekisho.CodeNotFound: "NotFoundException"},
		Fault:  named,
		Operations: map[string]api.Operation{
			"CreateKey":            api.Write(d.createKey),
			"DescribeKey":          api.Read(d.describeKey),
			"ListKeys":             api.Read(d.listKeys),
			"UpdateKeyDescription": api.Write(d.updateKeyDescription),
			"EnableKey":            api.Write(d.enableKey),
			"DisableKey":           api.Write(d.disableKey),
			"ScheduleKeyDeletion":  api.Write(d.scheduleKeyDeletion),
			"CancelKeyDeletion":    api.Write(d.cancelKeyDeletion),

			"EnableKeyRotation":    api.Write(d.enableKeyRotation),
			"DisableKeyRotation":   api.Write(d.disableKeyRotation),
			"GetKeyRotationStatus": api.Read(d.getKeyRotationStatus),

			"CreateAlias": api.Write(d.createAlias),
			"UpdateAlias": api.Write(d.updateAlias),
			"DeleteAlias": api.Write(d.deleteAlias),
			"ListAliases": api.Read(d.listAliases),

			"PutKeyPolicy":    api.Write(d.putKeyPolicy),
			"GetKeyPolicy":    api.Read(d.getKeyPolicy),
			"ListKeyPolicies": api.Read(d.listKeyPolicies),

			"TagResource":      api.Write(d.tagResource),
			"UntagResource":    api.Write(d.untagResource),
			"ListResourceTags": api.Read(d.listResourceTags),

			"CreateGrant":         api.Write(d.createGrant),
			"ListGrants":          api.Read(d.listGrants),
			"ListRetirableGrants": api.Read(d.listRetirableGrants),
			"RetireGrant":         api.Write(d.retireGrant),
			"RevokeGrant":         api.Write(d.revokeGrant),

			// As in CloudTrail, these are read-only: they change nothing.
			"GenerateDataKey":                 api.Read(d.generateDataKey),
			"GenerateDataKeyWithoutPlaintext": api.Read(d.generateDataKeyWithoutPlaintext),
			"GenerateRandom":                  api.Read(d.generateRandom),
			"Encrypt":                         api.Read(d.encrypt),
			"Decrypt":                         api.Read(d.decrypt),
			"ReEncrypt":                       api.Read(d.reEncrypt),
		},
	}
}

// named gives errors KMS's codes.
func named(err error) error {
	for _, f := range []struct {
		fault error
		name  string
	}{
		{kmskey.ErrCiphertext, "InvalidCiphertextException"},
		{kmskey.ErrDisabled, "DisabledException"},
		{kmskey.ErrState, "KMSInvalidStateException"},
		{kmskey.ErrWrongKey, "IncorrectKeyException"},
		{kmskey.ErrARN, "InvalidArnException"},
	} {
		if errors.Is(err, f.fault) {
			return awsproto.SenderError(f.name, "%s", err)
		}
	}
	return err
}

// action returns the policy action of the call.
func action(c *api.Call) string { return "kms:" + c.Operation }

// keyed joins a principal's policies with a key's.
type keyed struct {
	of  Policies
	key *policy.Document
}

func (k keyed) Policies(ctx context.Context, p *sekisho.Principal) (*policy.Set, error) {
	return k.of.SetUnderResource(ctx, p, k.key)
}

// authorizer returns an authorizer that evaluates a key's policy and grants.
func (d *door) authorizer(ctx context.Context, p kmskey.Policy, grants []kmskey.Grant) (*authz.Authorizer, error) {
	text, err := d.Policies.ResourcePolicyToday(ctx, p.Document, p.Names)
	if err != nil {
		return nil, err
	}
	if text, err = d.withGrants(ctx, text, grants); err != nil {
		return nil, err
	}
	doc, err := policy.Parse([]byte(text))
	if err != nil {
		doc = policy.Unusable("key policy", err)
	}
	return authz.New(keyed{d.Policies, doc.WithSource("the key policy", policy.SourceResource)}), nil
}

// decide returns the decision on an action on a key.
func (d *door) decide(ctx context.Context, c *api.Call, action string, k *kmskey.Key,
	keys ...authz.Key) (authz.Verdict, error) {
	a, err := d.authorizer(ctx, k.Policy, k.Grants)
	if err != nil {
		return authz.Verdict{}, err
	}
	aliases, err := d.Keys.AliasesOf(ctx, k.ID)
	if err != nil {
		return authz.Verdict{}, err
	}
	keys = append(keys, keySpec(d.Account)...)
	keys = append(keys, authz.ResourceTags("", k.Tags)...)
	keys = append(keys, authz.Many("kms:ResourceAliases", aliases))
	return c.DecideBy(ctx, a, action, d.Keys.ARN(k.ID), keys...)
}

// keySpec returns the condition keys that all keys have.
func keySpec(account string) []authz.Key {
	return []authz.Key{
		authz.One("kms:CallerAccount", account), authz.One("kms:KeySpec", symmetric),
		authz.One("kms:KeyUsage", encryptDecrypt),
		authz.One("kms:KeyOrigin", originKMS), authz.One("kms:MultiRegion", "false"),
	}
}

// All keys are of this kind.
const (
	symmetric      = "SYMMETRIC_DEFAULT"
	encryptDecrypt = "ENCRYPT_DECRYPT"
	originKMS      = "AWS_KMS"
)

// authorize authorizes an action on a key.
func (d *door) authorize(ctx context.Context, c *api.Call, action string, k *kmskey.Key, keys ...authz.Key) error {
	v, err := d.decide(ctx, c, action, k, keys...)
	if err != nil {
		return err
	}
	if !v.Allowed {
		return api.Denied(ctx, v)
	}
	c.Allow()
	return nil
}

// find returns the key that a request names, after authorizing the operation on it. A caller
// without permission does not learn which keys exist.
func (d *door) find(ctx context.Context, c *api.Call, keyID string, keys ...authz.Key) (*kmskey.Key, error) {
	return d.findFor(ctx, c, action(c), keyID, keys...)
}

func (d *door) findFor(ctx context.Context, c *api.Call, action, keyID string, keys ...authz.Key) (*kmskey.Key, error) {
	var v awsproto.Constraints
	v.Require("keyId", keyID != "")
	v.Length("keyId", keyID, 0, 2048)
	if err := v.Err(); err != nil {
		return nil, err
	}
	to, err := d.Keys.Resolve(ctx, keyID)
	at := "*"
	var k *kmskey.Key
	if err == nil {
		at = to.ARN
		k, err = d.Keys.Key(ctx, to.KeyID)
	}
	if sekisho.IsNotFound(err) {
		if denied := c.Authorize(ctx, action, at, keys...); denied != nil {
			return nil, denied
		}
	}
	if err != nil {
		return nil, err
	}
	if to.Alias != "" {
		keys = append(keys, authz.One("kms:RequestAlias", to.Alias))
	}
	return k, d.authorize(ctx, c, action, k, keys...)
}

// byID is find for operations that do not accept aliases.
func (d *door) byID(ctx context.Context, c *api.Call, keyID string, keys ...authz.Key) (*kmskey.Key, error) {
	if strings.HasPrefix(keyID, "alias/") || strings.Contains(keyID, ":alias/") {
		return nil, awsproto.SenderError("InvalidArnException", "%s requires the ID or the ARN of a key, not an alias.",
			c.Operation)
	}
	return d.find(ctx, c, keyID, keys...)
}

// tag is a tag in requests and answers.
type tag struct{ TagKey, TagValue string }

const maxTags = 50

func tagSet(tags []tag) (map[string]string, error) {
	set := make(map[string]string, len(tags))
	folded := map[string]bool{}
	for _, t := range tags {
		if err := checkTagKey(t.TagKey); err != nil {
			return nil, err
		}
		if len([]rune(t.TagValue)) > 256 {
			return nil, awsproto.SenderError(
				"TagException",
				"The value of the tag %q has more than 256 characters.",
				t.TagKey,
			)
		}
		if fold := strings.ToLower(t.TagKey); folded[fold] {
			return nil, awsproto.SenderError("TagException", "Duplicate tag keys: %q.", t.TagKey)
		} else {
			folded[fold] = true
		}
		set[t.TagKey] = t.TagValue
	}
	return set, nil
}

func checkTagKey(key string) error {
	if n := len([]rune(key)); n < 1 || n > 128 {
		return awsproto.SenderError("TagException", "A tag key must have 1 to 128 characters.")
	}
	if strings.HasPrefix(strings.ToLower(key), "aws:") {
		return awsproto.SenderError("TagException", "Tag keys that begin with aws: are reserved.")
	}
	return nil
}

func tagList(set map[string]string) []tag {
	tags := make([]tag, 0, len(set))
	for _, k := range slices.Sorted(maps.Keys(set)) {
		tags = append(tags, tag{k, set[k]})
	}
	return tags
}

// paging are the members of every listing's request.
type paging struct {
	Limit  *int64
	Marker string
}

// more are the members of every listing's answer.
type more struct {
	NextMarker string `json:"NextMarker,omitempty"`
	Truncated  bool
}

// page returns one page of a listing that is sorted by place.
func page[T any](all []T, place func(T) string, in paging, most, usual int64) ([]T, more, error) {
	limit := usual
	if in.Limit != nil {
		var v awsproto.Constraints
		limit = *in.Limit
		v.Range("limit", limit, 1, most)
		if err := v.Err(); err != nil {
			return nil, more{}, err
		}
	}
	if in.Marker != "" {
		after, err := base64.RawURLEncoding.DecodeString(in.Marker)
		if err != nil || len(in.Marker) > 1024 {
			return nil, more{}, awsproto.SenderError("InvalidMarkerException",
				"This operation did not return the marker. Repeat the request without it.")
		}
		i := slices.IndexFunc(all, func(v T) bool { return place(v) > string(after) })
		if i < 0 {
			i = len(all)
		}
		all = all[i:]
	}
	if int64(len(all)) <= limit {
		return all, more{}, nil
	}
	all = all[:limit]
	return all, more{base64.RawURLEncoding.EncodeToString([]byte(place(all[limit-1]))), true}, nil
}

// dryRun returns the answer to an authorized request with the DryRun option.
func dryRun(asked bool) error {
	if !asked {
		return nil
	}
	return &awsproto.Error{Code: "DryRunOperationException",
		Message: "The request would have succeeded, but the DryRun option is set.", Status: http.StatusPreconditionFailed,
		Sender: true}
}

// unsupported refuses features of other kinds of keys.
func unsupported(format string, args ...any) error {
	return awsproto.SenderError("UnsupportedOperationException", format, args...)
}
