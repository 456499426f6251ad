package kms

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/storage/kmskey"
	"sekisho/internal/wire/awsproto"
)

// contextKeys returns the condition keys of an encryption context.
func contextKeys(context map[string]string, more ...authz.Key) ([]authz.Key, error) {
	keys := slices.Clone(more)
	if err := kmskey.CheckContext(context); err != nil {
		return nil, err
	}
	for k, v := range context {
		keys = append(keys, authz.One("kms:EncryptionContext:"+k, v))
	}
	return append(keys, authz.Many("kms:EncryptionContextKeys", slices.Sorted(maps.Keys(context)))), nil
}

// algorithm refuses the algorithms of asymmetric keys.
func algorithm(name string) error {
	if name == "" || name == symmetric {
		return nil
	}
	return awsproto.SenderError("InvalidKeyUsageException", "The only algorithm of symmetric keys is %s.", symmetric)
}

func onlyPlain(recipient json.RawMessage) error {
	if len(recipient) == 0 || string(recipient) == "null" {
		return nil
	}
	return unsupported("Recipients (Nitro enclaves) are not supported.")
}

type dataKeyRequest struct {
	DryRun            bool
	EncryptionContext map[string]string
	GrantTokens       []string
	KeyID             string `json:"KeyId"`
	KeySpec           string
	NumberOfBytes     *int64
	Recipient         json.RawMessage
}

type dataKeyAnswer struct {
	CiphertextBlob []byte
	Plaintext      []byte `json:"Plaintext,omitempty"`
	KeyID          string `json:"KeyId"`
}

func (in *dataKeyRequest) bytes() (int, error) {
	if (in.KeySpec == "") == (in.NumberOfBytes == nil) {
		return 0, awsproto.SenderError("ValidationException", "Please specify either number of bytes or key spec.")
	}
	var v awsproto.Constraints
	if in.NumberOfBytes != nil {
		v.Range("numberOfBytes", *in.NumberOfBytes, 1, 1024)
		return int(*in.NumberOfBytes), v.Err()
	}
	v.Enum("keySpec", in.KeySpec, "AES_256", "AES_128")
	if in.KeySpec == "AES_128" {
		return 16, v.Err()
	}
	return 32, v.Err()
}

func (d *door) generateDataKey(ctx context.Context, c *api.Call, in *dataKeyRequest) (*dataKeyAnswer, error) {
	n, err := in.bytes()
	if err != nil {
		return nil, err
	}
	if err := onlyPlain(in.Recipient); err != nil {
		return nil, err
	}
	keys, err := contextKeys(in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	k, err := d.find(ctx, c, in.KeyID, keys...)
	if err != nil {
		return nil, err
	}
	plain, sealed, err := d.Keys.DataKey(ctx, k.ID, n, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	return &dataKeyAnswer{sealed, plain, d.Keys.ARN(k.ID)}, dryRun(in.DryRun)
}

func (d *door) generateDataKeyWithoutPlaintext(ctx context.Context, c *api.Call, in *dataKeyRequest) (*dataKeyAnswer,
	error) {
	out, err := d.generateDataKey(ctx, c, in)
	if err != nil {
		return nil, err
	}
	out.Plaintext = nil
	return out, nil
}

type randomRequest struct {
	CustomKeyStoreID string `json:"CustomKeyStoreId"`
	NumberOfBytes    *int64
	Recipient        json.RawMessage
}

type randomAnswer struct{ Plaintext []byte }

func (d *door) generateRandom(ctx context.Context, c *api.Call, in *randomRequest) (*randomAnswer, error) {
	var v awsproto.Constraints
	v.Require("numberOfBytes", in.NumberOfBytes != nil)
	if in.NumberOfBytes != nil {
		v.Range("numberOfBytes", *in.NumberOfBytes, 1, 1024)
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	if in.CustomKeyStoreID != "" {
		return nil, unsupported("Custom key stores are not supported.")
	}
	if err := onlyPlain(in.Recipient); err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, "kms:GenerateRandom", "*"); err != nil {
		return nil, err
	}
	out := make([]byte, *in.NumberOfBytes)
	rand.Read(out) // never fails: see crypto/rand
	return &randomAnswer{out}, nil
}

type encryptRequest struct {
	DryRun              bool
	EncryptionAlgorithm string
	EncryptionContext   map[string]string
	GrantTokens         []string
	KeyID               string `json:"KeyId"`
	Plaintext           []byte
}

type encryptAnswer struct {
	CiphertextBlob      []byte
	EncryptionAlgorithm string
	KeyID               string `json:"KeyId"`
}

func (d *door) encrypt(ctx context.Context, c *api.Call, in *encryptRequest) (*encryptAnswer, error) {
	if err := algorithm(in.EncryptionAlgorithm); err != nil {
		return nil, err
	}
	keys, err := contextKeys(in.EncryptionContext, authz.One("kms:EncryptionAlgorithm", symmetric))
	if err != nil {
		return nil, err
	}
	k, err := d.find(ctx, c, in.KeyID, keys...)
	if err != nil {
		return nil, err
	}
	blob, err := d.Keys.Encrypt(ctx, k.ID, in.Plaintext, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	return &encryptAnswer{blob, symmetric, d.Keys.ARN(k.ID)}, dryRun(in.DryRun)
}

type decryptRequest struct {
	CiphertextBlob      []byte
	DryRun              bool
	EncryptionAlgorithm string
	EncryptionContext   map[string]string
	GrantTokens         []string
	KeyID               string `json:"KeyId"`
	Recipient           json.RawMessage
}

type decryptAnswer struct {
	EncryptionAlgorithm string
	KeyID               string `json:"KeyId"`
	Plaintext           []byte
}

// maker authorizes action on the key of a ciphertext and returns that key. demanded is the ID of
// the key that the request names, or "".
func (d *door) maker(ctx context.Context, c *api.Call, action, named string, blob []byte,
	keys []authz.Key) (k *kmskey.Key, demanded string, err error) {
	made, err := kmskey.MadeBy(blob)
	if err != nil {
		return nil, "", err
	}
	if named != "" {
		// The call is authorized on the named key first. Only then is that compared with the key of
		// the ciphertext.
		if k, err = d.findFor(ctx, c, action, named, keys...); err != nil {
			return nil, "", err
		}
		return k, k.ID, nil
	}
	k, err = d.Keys.Key(ctx, made)
	if sekisho.IsNotFound(err) {
		return nil, "", sekisho.Errorf(sekisho.CodeDenied,
			"The ciphertext refers to a key that does not exist, or that you are not allowed to access.")
	}
	if err != nil {
		return nil, "", err
	}
	return k, "", d.authorize(ctx, c, action, k, keys...)
}

func (d *door) decrypt(ctx context.Context, c *api.Call, in *decryptRequest) (*decryptAnswer, error) {
	if err := algorithm(in.EncryptionAlgorithm); err != nil {
		return nil, err
	}
	if err := onlyPlain(in.Recipient); err != nil {
		return nil, err
	}
	keys, err := contextKeys(in.EncryptionContext, authz.One("kms:EncryptionAlgorithm", symmetric))
	if err != nil {
		return nil, err
	}
	k, demanded, err := d.maker(ctx, c, action(c), in.KeyID, in.CiphertextBlob, keys)
	if err != nil {
		return nil, err
	}
	plain, err := d.Keys.Decrypt(ctx, demanded, in.CiphertextBlob, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	return &decryptAnswer{symmetric, d.Keys.ARN(k.ID), plain}, dryRun(in.DryRun)
}

type reEncryptRequest struct {
	CiphertextBlob                 []byte
	DestinationEncryptionAlgorithm string
	DestinationEncryptionContext   map[string]string
	DestinationKeyID               string `json:"DestinationKeyId"`
	DryRun                         bool
	GrantTokens                    []string
	SourceEncryptionAlgorithm      string
	SourceEncryptionContext        map[string]string
	SourceKeyID                    string `json:"SourceKeyId"`
}

type reEncryptAnswer struct {
	CiphertextBlob                 []byte
	DestinationEncryptionAlgorithm string
	KeyID                          string `json:"KeyId"`
	SourceEncryptionAlgorithm      string
	SourceKeyID                    string `json:"SourceKeyId"`
}

func (d *door) reEncrypt(ctx context.Context, c *api.Call, in *reEncryptRequest) (*reEncryptAnswer, error) {
	for _, name := range []string{in.SourceEncryptionAlgorithm, in.DestinationEncryptionAlgorithm} {
		if err := algorithm(name); err != nil {
			return nil, err
		}
	}
	made, err := kmskey.MadeBy(in.CiphertextBlob)
	if err != nil {
		return nil, err
	}
	// A missing key is reported by findFor below.
	leads, err := d.Keys.Resolve(ctx, in.DestinationKeyID)
	if err != nil && !sekisho.IsNotFound(err) {
		return nil, err
	}
	keys := []authz.Key{
		authz.One("kms:EncryptionAlgorithm", symmetric),
		authz.One("kms:ReEncryptOnSameKey", strconv.FormatBool(leads.KeyID == made)),
	}
	from, err := contextKeys(in.SourceEncryptionContext, keys...)
	if err != nil {
		return nil, err
	}
	to, err := contextKeys(in.DestinationEncryptionContext, keys...)
	if err != nil {
		return nil, err
	}
	source, demanded, err := d.maker(ctx, c, "kms:ReEncryptFrom", in.SourceKeyID, in.CiphertextBlob, from)
	if err != nil {
		return nil, err
	}
	destination, err := d.findFor(ctx, c, "kms:ReEncryptTo", in.DestinationKeyID, to...)
	if err != nil {
		return nil, err
	}
	plain, err := d.Keys.Decrypt(ctx, demanded, in.CiphertextBlob, in.SourceEncryptionContext)
	if err != nil {
		return nil, err
	}
	blob, err := d.Keys.Encrypt(ctx, destination.ID, plain, in.DestinationEncryptionContext)
	if err != nil {
		return nil, err
	}
	return &reEncryptAnswer{blob, symmetric, d.Keys.ARN(destination.ID), symmetric, d.Keys.ARN(source.ID)},
		dryRun(in.DryRun)
}
