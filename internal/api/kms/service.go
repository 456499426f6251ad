package kms

import (
	"context"

	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
)

// Service uses keys on behalf of the callers of another service. Whether they
// may is decided by their policies and the key's, where kms:ViaService says
// through which service they came.
type Service struct {
	d    *door
	keys []authz.Key
}

// Via returns the keys as a service, such as s3, uses them.
func Via(cfg Config, service, region string) *Service {
	return &Service{&door{cfg}, []authz.Key{
		authz.One("kms:ViaService", service+"."+region+".amazonaws.com"), authz.One("aws:ViaAWSService", "true"),
	}}
}

// DataKey makes a data key of n bytes for the caller of c.
func (s *Service) DataKey(ctx context.Context, c *api.Call, keyID string, n int, context map[string]string) (plain, sealed []byte, keyARN string, err error) {
	keys, err := contextKeys(context, s.keys...)
	if err != nil {
		return nil, nil, "", err
	}
	k, err := s.d.findFor(ctx, c, "kms:GenerateDataKey", keyID, keys...)
	if err != nil {
		return nil, nil, "", named(err)
	}
	plain, sealed, err = s.d.Keys.DataKey(ctx, k.ID, n, context)
	return plain, sealed, s.d.Keys.ARN(k.ID), named(err)
}

// Decrypt opens a ciphertext for the caller of c.
func (s *Service) Decrypt(ctx context.Context, c *api.Call, blob []byte, context map[string]string) ([]byte, error) {
	keys, err := contextKeys(context, append(s.keys, authz.One("kms:EncryptionAlgorithm", symmetric))...)
	if err != nil {
		return nil, err
	}
	if _, _, err := s.d.maker(ctx, c, "kms:Decrypt", "", blob, keys); err != nil {
		return nil, named(err)
	}
	plain, err := s.d.Keys.Decrypt(ctx, "", blob, context)
	return plain, named(err)
}
