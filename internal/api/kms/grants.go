package kms

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/safetext"
	"sekisho/internal/storage/kmskey"
	"sekisho/internal/wire/awsproto"
)

// Operations that a grant can allow. Constraints on the encryption context apply only to the first
// list: the other operations have no encryption context.
var (
	cryptographic = []string{
		"Decrypt",
		"Encrypt",
		"GenerateDataKey",
		"GenerateDataKeyWithoutPlaintext",
		"ReEncryptFrom",
		"ReEncryptTo",
	}
	grantable = append([]string{"DescribeKey", retireGrant}, cryptographic...)
)

const retireGrant = "RetireGrant"

// grantID is the condition key with which a grant's statements allow only its own retirement.
const grantID = "kms:GrantId"

type grantConstraints struct {
	EncryptionContextEquals map[string]string `json:"EncryptionContextEquals,omitempty"`
	EncryptionContextSubset map[string]string `json:"EncryptionContextSubset,omitempty"`
}

type createGrantRequest struct {
	Constraints       *grantConstraints
	DryRun            bool
	GrantTokens       []string
	GranteePrincipal  string
	KeyID             string `json:"KeyId"`
	Name              string
	Operations        []string
	RetiringPrincipal string
}

type createGrantAnswer struct {
	GrantToken string
	GrantID    string `json:"GrantId"`
}

func (in *createGrantRequest) check(account string) error {
	var v awsproto.Constraints
	v.Require("granteePrincipal", in.GranteePrincipal != "")
	v.Require("operations", len(in.Operations) > 0)
	v.Length("name", in.Name, 0, 256)
	if err := v.Err(); err != nil {
		return err
	}
	for _, op := range in.Operations {
		if !slices.Contains(grantable, op) {
			return awsproto.SenderError(
				"ValidationException",
				"A grant on a symmetric key cannot allow %q: it can allow %s.",
				clipped(op),
				strings.Join(grantable, ", "),
			)
		}
	}
	for _, arn := range []string{in.GranteePrincipal, in.RetiringPrincipal} {
		rest, ok := strings.CutPrefix(arn, "arn:aws:iam::"+account+":")
		if arn != "" && (!ok || !strings.HasPrefix(rest, "user/") && !strings.HasPrefix(rest, "role/")) {
			return awsproto.SenderError("InvalidArnException", "%q is not the ARN of a user or role of this account.",
				clipped(arn))
		}
	}
	if c := in.Constraints; c != nil {
		for _, pairs := range []map[string]string{c.EncryptionContextEquals, c.EncryptionContextSubset} {
			if err := kmskey.CheckContext(pairs); err != nil {
				return err
			}
		}
	}
	return nil
}

// clipped bounds what an error quotes.
func clipped(s string) string { return safetext.Line(s, 200) }

// statement is a statement of a key policy.
type statement struct {
	Sid       string
	Effect    string
	Principal map[string]string
	Action    []string
	Resource  string
	Condition map[string]map[string][]string `json:",omitempty"`
}

// literal escapes a condition's value, in which "$" begins a variable.
func literal(s string) []string { return []string{strings.ReplaceAll(s, "$", "${$}")} }

// grantPolicy returns a grant as statements of a key policy.
func grantPolicy(g kmskey.Grant) (string, error) {
	contexts := map[string]map[string][]string{}
	equals := map[string][]string{}
	for _, pairs := range []map[string]string{g.ContextSubset, g.ContextEquals} {
		for k, v := range pairs {
			equals["kms:EncryptionContext:"+k] = literal(v)
		}
	}
	if len(equals) > 0 {
		contexts["StringEquals"] = equals
	}
	if len(g.ContextEquals) > 0 {
		var names []string
		for _, k := range slices.Sorted(maps.Keys(g.ContextEquals)) {
			names = append(names, literal(k)...)
		}
		contexts["ForAllValues:StringEquals"] = map[string][]string{"kms:EncryptionContextKeys": names}
	}
	var all []statement
	allow := func(principal string, condition map[string]map[string][]string, operations ...string) {
		if principal == "" || len(operations) == 0 {
			return
		}
		for i, op := range operations {
			operations[i] = "kms:" + op
		}
		all = append(all, statement{
			Sid: fmt.Sprintf("grant%d", len(all)), Effect: "Allow", Principal: map[string]string{"AWS": principal},
			Action: operations, Resource: "*", Condition: condition,
		})
	}
	itself := map[string]map[string][]string{"StringEquals": {grantID: {g.ID}}}
	var plain []string
	retires := false
	var crypto []string
	for _, op := range g.Operations {
		switch {
		case slices.Contains(cryptographic, op):
			crypto = append(crypto, op)
		case op == retireGrant:
			retires = true
		default:
			plain = append(plain, op)
		}
	}
	allow(g.Grantee, contexts, crypto...)
	allow(g.Grantee, nil, plain...)
	if retires {
		allow(g.Grantee, itself, retireGrant)
	}
	allow(g.Retiring, itself, retireGrant)
	b, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": all})
	return string(b), err
}

// withGrants adds the statements of grants to a key policy.
func (d *door) withGrants(ctx context.Context, document string, grants []kmskey.Grant) (string, error) {
	if len(grants) == 0 {
		return document, nil
	}
	statements := func(text string) (all []json.RawMessage, err error) {
		var doc struct{ Statement json.RawMessage }
		if err := json.Unmarshal([]byte(text), &doc); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(doc.Statement, &all); err != nil {
			all = []json.RawMessage{doc.Statement} // a single statement need not be in a list
		}
		return all, nil
	}
	all, err := statements(document)
	if err != nil {
		return document, nil //nolint:nilerr // the caller finds out that the policy is unusable, and denies
	}
	for _, g := range grants {
		text, err := d.Policies.ResourcePolicyToday(ctx, g.Policy.Document, g.Policy.Names)
		if err != nil {
			return "", err
		}
		more, err := statements(text)
		if err != nil {
			return "", fmt.Errorf("stored grant %s: %w", g.ID, err)
		}
		all = append(all, more...)
	}
	var whole map[string]json.RawMessage
	if err := json.Unmarshal([]byte(document), &whole); err != nil {
		return "", err
	}
	if whole["Statement"], err = json.Marshal(all); err != nil {
		return "", err
	}
	b, err := json.Marshal(whole)
	return string(b), err
}

// grantToken returns the token that identifies a grant and its key.
func grantToken(keyID, grantID string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(keyID + ":" + grantID))
}

func readGrantToken(token string) (keyID, grantID string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	keyID, grantID, ok := strings.Cut(string(b), ":")
	if err != nil || !ok || len(token) > 1024 {
		return "", "", awsproto.SenderError("InvalidGrantTokenException",
			"CreateGrant did not return this grant token.")
	}
	return keyID, grantID, nil
}

func (d *door) createGrant(ctx context.Context, c *api.Call, in *createGrantRequest) (*createGrantAnswer, error) {
	if err := in.check(d.Account); err != nil {
		return nil, err
	}
	keys := []authz.Key{
		authz.Many("kms:GrantOperations", in.Operations), authz.One("kms:GranteePrincipal", in.GranteePrincipal),
		authz.One("kms:GrantIsForAWSResource", "false"),
	}
	if in.RetiringPrincipal != "" {
		keys = append(keys, authz.One("kms:RetiringPrincipal", in.RetiringPrincipal))
	}
	g := kmskey.Grant{
		Name: in.Name, Grantee: in.GranteePrincipal, Retiring: in.RetiringPrincipal, Operations: slices.Sorted(
			slices.Values(in.Operations)), IssuedBy: c.Principal.ARN,
	}
	g.Operations = slices.Compact(g.Operations)
	if in.Constraints != nil {
		g.ContextEquals, g.ContextSubset = in.Constraints.EncryptionContextEquals, in.Constraints.EncryptionContextSubset
		for name, pairs := range map[string]map[string]string{"EncryptionContextEquals": g.ContextEquals,
			"EncryptionContextSubset": g.ContextSubset} {
			if len(pairs) > 0 {
				keys = append(keys, authz.One("kms:GrantConstraintType", name))
			}
		}
	}
	k, err := d.byID(ctx, c, in.KeyID, keys...)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	granted, err := d.Keys.AddGrant(ctx, k.ID, g, func(g kmskey.Grant) (kmskey.Policy, error) {
		document, err := grantPolicy(g)
		if err != nil {
			return kmskey.Policy{}, err
		}
		names, err := d.Policies.ResourcePolicy(ctx, document)
		if err != nil {
			return kmskey.Policy{}, awsproto.SenderError("InvalidArnException", "%s", err)
		}
		return kmskey.Policy{Document: document, Names: names}, nil
	})
	if err != nil {
		return nil, err
	}
	c.Annotate(map[string]any{"keyId": d.Keys.ARN(k.ID), "grantId": granted})
	return &createGrantAnswer{grantToken(k.ID, granted), granted}, nil
}

type listGrantsRequest struct {
	GrantID          string `json:"GrantId"`
	GranteePrincipal string
	KeyID            string `json:"KeyId"`
	paging
}

type listedGrant struct {
	KeyID             string `json:"KeyId"`
	GrantID           string `json:"GrantId"`
	Name              string `json:"Name,omitempty"`
	CreationDate      awsproto.Epoch
	GranteePrincipal  string
	RetiringPrincipal string `json:"RetiringPrincipal,omitempty"`
	IssuingAccount    string
	Operations        []string
	Constraints       *grantConstraints `json:"Constraints,omitempty"`
}

type listGrantsAnswer struct {
	Grants []listedGrant
	more
}

func (d *door) listed(k *kmskey.Key, g kmskey.Grant) listedGrant {
	out := listedGrant{
		KeyID: d.Keys.ARN(k.ID), GrantID: g.ID, Name: g.Name, CreationDate: awsproto.NewEpoch(g.CreatedAt),
		GranteePrincipal:  g.Grantee,
		RetiringPrincipal: g.Retiring, IssuingAccount: "arn:aws:iam::" + d.Account + ":root", Operations: g.Operations,
	}
	if len(g.ContextEquals)+len(g.ContextSubset) > 0 {
		out.Constraints = &grantConstraints{g.ContextEquals, g.ContextSubset}
	}
	return out
}

// grantPage returns one page of grants, sorted by ID.
func grantPage(all []listedGrant, in paging) (*listGrantsAnswer, error) {
	slices.SortFunc(all, func(a, b listedGrant) int { return strings.Compare(a.GrantID, b.GrantID) })
	page, rest, err := page(all, func(g listedGrant) string { return g.GrantID }, in, 100, 50)
	if err != nil {
		return nil, err
	}
	return &listGrantsAnswer{append([]listedGrant{}, page...), rest}, nil
}

func (d *door) listGrants(ctx context.Context, c *api.Call, in *listGrantsRequest) (*listGrantsAnswer, error) {
	k, err := d.byID(ctx, c, in.KeyID, authz.One("kms:GrantIsForAWSResource", "false"))
	if err != nil {
		return nil, err
	}
	var all []listedGrant
	for _, g := range k.Grants {
		if (in.GrantID == "" || g.ID == in.GrantID) && (in.GranteePrincipal == "" || g.Grantee == in.GranteePrincipal) {
			all = append(all, d.listed(k, g))
		}
	}
	return grantPage(all, in.paging)
}

type listRetirableRequest struct {
	RetiringPrincipal string
	paging
}

func (d *door) listRetirableGrants(ctx context.Context, c *api.Call, in *listRetirableRequest) (*listGrantsAnswer,
	error) {
	if err := c.Authorize(ctx, "kms:ListRetirableGrants", "*"); err != nil {
		return nil, err
	}
	var v awsproto.Constraints
	v.Require("retiringPrincipal", in.RetiringPrincipal != "")
	if err := v.Err(); err != nil {
		return nil, err
	}
	keys, err := d.Keys.List(ctx)
	if err != nil {
		return nil, err
	}
	var all []listedGrant
	for _, k := range keys {
		for _, g := range k.Grants {
			if g.Retiring == in.RetiringPrincipal {
				all = append(all, d.listed(k, g))
			}
		}
	}
	return grantPage(all, in.paging)
}

type grantRequest struct {
	DryRun     bool
	GrantID    string `json:"GrantId"`
	GrantToken string
	KeyID      string `json:"KeyId"`
}

func (d *door) retireGrant(ctx context.Context, c *api.Call, in *grantRequest) (*struct{}, error) {
	if in.GrantToken != "" {
		if in.KeyID != "" || in.GrantID != "" {
			return nil, awsproto.SenderError(
				"ValidationException",
				"Specify a grant by its token, or by its key and its ID.",
			)
		}
		var err error
		if in.KeyID, in.GrantID, err = readGrantToken(in.GrantToken); err != nil {
			return nil, err
		}
	}
	return d.removeGrant(ctx, c, in)
}

func (d *door) revokeGrant(ctx context.Context, c *api.Call, in *grantRequest) (*struct{}, error) {
	return d.removeGrant(ctx, c, in)
}

func (d *door) removeGrant(ctx context.Context, c *api.Call, in *grantRequest) (*struct{}, error) {
	var v awsproto.Constraints
	v.Length("grantId", in.GrantID, 1, 128)
	if err := v.Err(); err != nil {
		return nil, err
	}
	k, err := d.byID(ctx, c, in.KeyID, authz.One("kms:GrantIsForAWSResource", "false"), authz.One(grantID, in.GrantID))
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(k.Grants, func(g kmskey.Grant) bool { return g.ID == in.GrantID }) {
		return nil, sekisho.Errorf(
			sekisho.CodeNotFound,
			"Grant %s does not exist on the key %s.",
			clipped(in.GrantID),
			k.ID,
		)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	return &struct{}{}, d.Keys.RemoveGrant(ctx, k.ID, in.GrantID)
}
