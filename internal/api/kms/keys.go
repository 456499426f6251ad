package kms

import (
	"context"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/storage/kmskey"
	"sekisho/internal/wire/awsproto"
)

type createKeyRequest struct {
	BypassPolicyLockoutSafetyCheck bool
	CustomerMasterKeySpec          string
	CustomKeyStoreID               string `json:"CustomKeyStoreId"`
	Description                    string
	KeySpec                        string
	KeyUsage                       string
	MultiRegion                    bool
	Origin                         string
	Policy                         string
	Tags                           []tag
	XksKeyID                       string `json:"XksKeyId"`
}

// keyMetadata describes a key as KMS does.
type keyMetadata struct {
	AWSAccountID          string         `json:"AWSAccountId"`
	KeyID                 string         `json:"KeyId"`
	Arn                   string         `json:"Arn"`
	CreationDate          awsproto.Epoch `json:"CreationDate"`
	Enabled               bool
	Description           string
	KeyUsage              string
	KeyState              string
	DeletionDate          awsproto.Epoch `json:"DeletionDate,omitzero"`
	Origin                string
	KeyManager            string
	CustomerMasterKeySpec string
	KeySpec               string
	EncryptionAlgorithms  []string
	MultiRegion           bool
}

func (d *door) metadata(k *kmskey.Key) keyMetadata {
	return keyMetadata{
		AWSAccountID: d.Account, KeyID: k.ID, Arn: d.Keys.ARN(k.ID), CreationDate: awsproto.NewEpoch(k.CreatedAt),
		Enabled: k.State == kmskey.Enabled, Description: k.Description, KeyUsage: encryptDecrypt, KeyState: string(k.State),
		DeletionDate: awsproto.NewEpoch(k.DeletionAt), Origin: originKMS, KeyManager: "CUSTOMER",
		CustomerMasterKeySpec: symmetric, KeySpec: symmetric, EncryptionAlgorithms: []string{symmetric},
	}
}

type keyAnswer struct{ KeyMetadata keyMetadata }

// defaultPolicy returns the key policy that leaves every decision to the policies of the account's
// users and roles.
func defaultPolicy(account string) string {
	return `{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:aws:iam::` + account + `:root"
    },
    "Action" : "kms:*",
    "Resource" : "*"
  } ]
}`
}

func (in *createKeyRequest) check() error {
	for _, spec := range []string{in.KeySpec, in.CustomerMasterKeySpec} {
		if spec != "" && spec != symmetric {
			return unsupported("The key spec %[2]s is not supported: use %[1]s.", symmetric, spec)
		}
	}
	switch {
	case in.KeyUsage != "" && in.KeyUsage != encryptDecrypt:
		return unsupported("The key usage %[2]s is not supported: use %[1]s.", encryptDecrypt, in.KeyUsage)
	case in.Origin != "" && in.Origin != originKMS || in.CustomKeyStoreID != "" || in.XksKeyID != "":
		return unsupported(
			"Imported key material and custom key stores are not supported: Origin must be %s.",
			originKMS,
		)
	case in.MultiRegion:
		return unsupported("Multi-Region keys are not supported: Sekisho has one region.")
	case len(in.Tags) > maxTags:
		return awsproto.SenderError("LimitExceededException", "A key can have at most %d tags.", maxTags)
	}
	return nil
}

func (d *door) createKey(ctx context.Context, c *api.Call, in *createKeyRequest) (*keyAnswer, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	tags, err := tagSet(in.Tags)
	if err != nil {
		return nil, err
	}
	keys := append(keySpec(d.Account), authz.RequestTags(tags)...)
	keys = append(keys, bypass(in.BypassPolicyLockoutSafetyCheck))
	if err := c.Authorize(ctx, "kms:CreateKey", "*", keys...); err != nil {
		return nil, err
	}
	if len(tags) > 0 {
		if err := c.Authorize(ctx, "kms:TagResource", "*", keys...); err != nil {
			return nil, err
		}
	}
	document := in.Policy
	if document == "" {
		document = defaultPolicy(d.Account)
	}
	k, err := d.Keys.Create(ctx, kmskey.NewKey{
		Description: in.Description, Tags: tags,
		Policy: func(arn string) (kmskey.Policy, error) {
			return d.checkPolicy(ctx, c, arn, document, in.BypassPolicyLockoutSafetyCheck)
		},
	})
	if err != nil {
		return nil, err
	}
	c.Annotate(map[string]any{"keyId": k.ID, "arn": d.Keys.ARN(k.ID)})
	return &keyAnswer{d.metadata(k)}, nil
}

type keyRequest struct {
	KeyID string `json:"KeyId"`
}

func (d *door) describeKey(ctx context.Context, c *api.Call, in *keyRequest) (*keyAnswer, error) {
	k, err := d.find(ctx, c, in.KeyID)
	if err != nil {
		return nil, err
	}
	return &keyAnswer{d.metadata(k)}, nil
}

type listedKey struct {
	KeyID  string `json:"KeyId"`
	KeyArn string
}

type listKeysAnswer struct {
	Keys []listedKey
	more
}

func (d *door) listKeys(ctx context.Context, c *api.Call, in *paging) (*listKeysAnswer, error) {
	if err := c.Authorize(ctx, "kms:ListKeys", "*"); err != nil {
		return nil, err
	}
	all, err := d.Keys.List(ctx)
	if err != nil {
		return nil, err
	}
	all, rest, err := page(all, func(k *kmskey.Key) string { return k.ID }, *in, 1000, 100)
	if err != nil {
		return nil, err
	}
	out := &listKeysAnswer{Keys: []listedKey{}, more: rest}
	for _, k := range all {
		out.Keys = append(out.Keys, listedKey{k.ID, d.Keys.ARN(k.ID)})
	}
	return out, nil
}

type descriptionRequest struct {
	KeyID       string `json:"KeyId"`
	Description string
}

func (d *door) updateKeyDescription(ctx context.Context, c *api.Call, in *descriptionRequest) (*struct{}, error) {
	k, err := d.byID(ctx, c, in.KeyID)
	if err != nil {
		return nil, err
	}
	return &struct{}{}, d.Keys.Describe(ctx, k.ID, in.Description)
}

func (d *door) enableKey(ctx context.Context, c *api.Call, in *keyRequest) (*struct{}, error) {
	k, err := d.byID(ctx, c, in.KeyID)
	if err != nil {
		return nil, err
	}
	return &struct{}{}, d.Keys.Enable(ctx, k.ID, true)
}

func (d *door) disableKey(ctx context.Context, c *api.Call, in *keyRequest) (*struct{}, error) {
	k, err := d.byID(ctx, c, in.KeyID)
	if err != nil {
		return nil, err
	}
	return &struct{}{}, d.Keys.Enable(ctx, k.ID, false)
}

type scheduleRequest struct {
	KeyID               string `json:"KeyId"`
	PendingWindowInDays *int64
}

type scheduleAnswer struct {
	KeyID               string `json:"KeyId"`
	DeletionDate        awsproto.Epoch
	KeyState            string
	PendingWindowInDays int64
}

const day = 24 * time.Hour

func (d *door) scheduleKeyDeletion(ctx context.Context, c *api.Call, in *scheduleRequest) (*scheduleAnswer, error) {
	days := int64(30)
	if in.PendingWindowInDays != nil {
		days = *in.PendingWindowInDays
		var v awsproto.Constraints
		v.Range("pendingWindowInDays", days, 7, 30)
		if err := v.Err(); err != nil {
			return nil, err
		}
	}
	k, err := d.byID(ctx, c, in.KeyID, authz.One("kms:ScheduleKeyDeletionPendingWindowInDays", decimal(days)))
	if err != nil {
		return nil, err
	}
	at, err := d.Keys.ScheduleDeletion(ctx, k.ID, time.Duration(days)*day)
	if err != nil {
		return nil, err
	}
	return &scheduleAnswer{d.Keys.ARN(k.ID), awsproto.NewEpoch(at), string(kmskey.PendingDeletion), days}, nil
}

type keyIDAnswer struct {
	KeyID string `json:"KeyId"`
}

func (d *door) cancelKeyDeletion(ctx context.Context, c *api.Call, in *keyRequest) (*keyIDAnswer, error) {
	k, err := d.byID(ctx, c, in.KeyID)
	if err != nil {
		return nil, err
	}
	return &keyIDAnswer{d.Keys.ARN(k.ID)}, d.Keys.CancelDeletion(ctx, k.ID)
}

type rotationRequest struct {
	KeyID                string `json:"KeyId"`
	RotationPeriodInDays *int64
}

func (d *door) enableKeyRotation(ctx context.Context, c *api.Call, in *rotationRequest) (*struct{}, error) {
	var keys []authz.Key
	every := time.Duration(0)
	if in.RotationPeriodInDays != nil {
		var v awsproto.Constraints
		v.Range("rotationPeriodInDays", *in.RotationPeriodInDays, 90, 2560)
		if err := v.Err(); err != nil {
			return nil, err
		}
		every = time.Duration(*in.RotationPeriodInDays) * day
		keys = append(keys, authz.One("kms:RotationPeriodInDays", decimal(*in.RotationPeriodInDays)))
	}
	k, err := d.byID(ctx, c, in.KeyID, keys...)
	if err != nil {
		return nil, err
	}
	return &struct{}{}, d.Keys.SetRotation(ctx, k.ID, true, every)
}

func (d *door) disableKeyRotation(ctx context.Context, c *api.Call, in *keyRequest) (*struct{}, error) {
	k, err := d.byID(ctx, c, in.KeyID)
	if err != nil {
		return nil, err
	}
	return &struct{}{}, d.Keys.SetRotation(ctx, k.ID, false, 0)
}

type rotationAnswer struct {
	KeyID                string `json:"KeyId"`
	KeyRotationEnabled   bool
	NextRotationDate     awsproto.Epoch `json:"NextRotationDate,omitzero"`
	RotationPeriodInDays int64          `json:"RotationPeriodInDays,omitempty"`
}

func (d *door) getKeyRotationStatus(ctx context.Context, c *api.Call, in *keyRequest) (*rotationAnswer, error) {
	k, err := d.byID(ctx, c, in.KeyID)
	if err != nil {
		return nil, err
	}
	out := &rotationAnswer{KeyID: d.Keys.ARN(k.ID), KeyRotationEnabled: k.Rotates && k.State != kmskey.PendingDeletion}
	if out.KeyRotationEnabled {
		out.NextRotationDate = awsproto.NewEpoch(k.NextRotation())
		out.RotationPeriodInDays = int64(k.RotateEvery / day)
	}
	return out, nil
}

type tagRequest struct {
	KeyID string `json:"KeyId"`
	Tags  []tag
}

func (d *door) tagResource(ctx context.Context, c *api.Call, in *tagRequest) (*struct{}, error) {
	tags, err := tagSet(in.Tags)
	if err != nil {
		return nil, err
	}
	k, err := d.byID(ctx, c, in.KeyID, authz.RequestTags(tags)...)
	if err != nil {
		return nil, err
	}
	return &struct{}{}, d.Keys.Retag(ctx, k.ID, func(set map[string]string) error {
		for key, value := range tags {
			for have := range set {
				if have != key && equalFold(have, key) {
					return awsproto.SenderError("TagException",
						"The key already has a tag %q: tag keys cannot differ only in letter case.", have)
				}
			}
			set[key] = value
		}
		if len(set) > maxTags {
			return sekisho.Errorf(sekisho.CodeLimit, "A key can have at most %d tags.", maxTags)
		}
		return nil
	})
}

type untagRequest struct {
	KeyID   string `json:"KeyId"`
	TagKeys []string
}

func (d *door) untagResource(ctx context.Context, c *api.Call, in *untagRequest) (*struct{}, error) {
	k, err := d.byID(ctx, c, in.KeyID, authz.Many("aws:TagKeys", in.TagKeys))
	if err != nil {
		return nil, err
	}
	return &struct{}{}, d.Keys.Retag(ctx, k.ID, func(set map[string]string) error {
		for _, key := range in.TagKeys {
			delete(set, key)
		}
		return nil
	})
}

type listTagsRequest struct {
	KeyID string `json:"KeyId"`
	paging
}

type listTagsAnswer struct {
	Tags []tag
	more
}

func (d *door) listResourceTags(ctx context.Context, c *api.Call, in *listTagsRequest) (*listTagsAnswer, error) {
	k, err := d.byID(ctx, c, in.KeyID)
	if err != nil {
		return nil, err
	}
	tags, rest, err := page(tagList(k.Tags), func(t tag) string { return t.TagKey }, in.paging, 50, 50)
	if err != nil {
		return nil, err
	}
	return &listTagsAnswer{tags, rest}, nil
}
