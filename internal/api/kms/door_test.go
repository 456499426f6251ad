package kms_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"sekisho/internal/activity/audit/audittest"
	"sekisho/internal/api"
	"sekisho/internal/api/kms"
	"sekisho/internal/servertest/doortest"
	"sekisho/internal/storage/kmskey"
	"sekisho/internal/wire/sigv4"
)

const (
	account = doortest.Account
	region  = doortest.Region
)

type fields map[string]any

// rig is the door on a fresh account, with a clock that the test moves.
type rig struct {
	t     *testing.T
	srv   *api.Server
	keys  *kmskey.Keys
	trail *audittest.Trail
	admin sigv4.Credentials
	now   time.Time
}

func start(t *testing.T) *rig {
	t.Helper()
	b := doortest.NewBase(t, nil)
	r := &rig{t: t, trail: b.Trail, admin: b.Admin, now: time.Now()}
	r.keys = kmskey.New(kmskey.Config{Store: b.DB.Keys, Sealer: b.Ring, Region: region, Account: account,
		Now: func() time.Time { return r.now }})
	r.srv = b.API(kms.New(kms.Config{Keys: r.keys, Policies: b.Directory.Sets, Account: account}))
	return r
}

// call makes a signed call and returns the error code, "" for success.
func (r *rig) call(operation string, in fields, out any) string {
	r.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		r.t.Fatal(err)
	}
	return doortest.CallJSON(r.t, r.srv, r.admin, "kms", "TrentService."+operation, string(body), out)
}

func (r *rig) must(operation string, in fields, out any) {
	r.t.Helper()
	if code := r.call(operation, in, out); code != "" {
		r.t.Fatalf("%s %v: %s", operation, in, code)
	}
}

// key creates a key and returns its ID.
func (r *rig) key() string {
	r.t.Helper()
	var out struct {
		KeyMetadata struct {
			KeyID string `json:"KeyId"`
		}
	}
	r.must("CreateKey", fields{}, &out)
	return out.KeyMetadata.KeyID
}

func TestBadRequestsAreRefused(t *testing.T) {
	t.Parallel()
	r := start(t)
	id := r.key()
	r.must("CreateAlias", fields{"AliasName": "alias/a", "TargetKeyId": id}, nil)
	none := "00000000-0000-4000-8000-000000000000"
	long := strings.Repeat("x", 257)
	tags := func(tags ...fields) fields { return fields{"KeyId": id, "Tags": tags} }
	for name, c := range map[string]struct {
		operation string
		in        fields
		code      string
	}{
		"no key":        {"DescribeKey", fields{}, "ValidationException"},
		"missing key":   {"DescribeKey", fields{"KeyId": none}, "NotFoundException"},
		"missing alias": {"DescribeKey", fields{"KeyId": "alias/none"}, "NotFoundException"},
		"ARN of another region": {"DescribeKey",
			fields{"KeyId": "arn:aws:kms:eu-west-1:" + account + ":key/" + id}, "InvalidArnException"},
		"alias for an ID":  {"DisableKey", fields{"KeyId": "alias/a"}, "InvalidArnException"},
		"asymmetric key":   {"CreateKey", fields{"KeySpec": "RSA_2048"}, "UnsupportedOperationException"},
		"imported key":     {"CreateKey", fields{"Origin": "EXTERNAL"}, "UnsupportedOperationException"},
		"multi-Region key": {"CreateKey", fields{"MultiRegion": true}, "UnsupportedOperationException"},
		"key policy":       {"CreateKey", fields{"Policy": "{"}, "MalformedPolicyDocumentException"},
		"alias without prefix": {"CreateAlias", fields{"AliasName": "a", "TargetKeyId": id},
			"ValidationException"},
		"reserved alias": {"CreateAlias", fields{"AliasName": "alias/aws/x", "TargetKeyId": id},
			"NotAuthorizedException"},
		"invalid alias": {"CreateAlias", fields{"AliasName": "alias/a b", "TargetKeyId": id},
			"InvalidAliasNameException"},
		"alias twice": {"CreateAlias", fields{"AliasName": "alias/a", "TargetKeyId": id},
			"AlreadyExistsException"},
		"alias of an alias": {"CreateAlias", fields{"AliasName": "alias/b", "TargetKeyId": "alias/a"},
			"ValidationException"},
		"missing alias deleted": {"DeleteAlias", fields{"AliasName": "alias/none"}, "NotFoundException"},
		"short wait": {"ScheduleKeyDeletion", fields{"KeyId": id, "PendingWindowInDays": 6},
			"ValidationException"},
		"short rotation": {"EnableKeyRotation", fields{"KeyId": id, "RotationPeriodInDays": 89},
			"ValidationException"},
		"nothing to cancel":   {"CancelKeyDeletion", fields{"KeyId": id}, "KMSInvalidStateException"},
		"unknown policy name": {"GetKeyPolicy", fields{"KeyId": id, "PolicyName": "other"}, "NotFoundException"},
		"empty plaintext":     {"Encrypt", fields{"KeyId": id, "Plaintext": ""}, "ValidationException"},
		"unknown algorithm": {"Encrypt", fields{"KeyId": id, "Plaintext": "eA==",
			"EncryptionAlgorithm": "RSAES_OAEP_SHA_1"}, "InvalidKeyUsageException"},
		"invalid ciphertext": {"Decrypt", fields{"CiphertextBlob": "eA=="}, "InvalidCiphertextException"},
		"no size":            {"GenerateDataKey", fields{"KeyId": id}, "ValidationException"},
		"two sizes": {"GenerateDataKey", fields{"KeyId": id, "KeySpec": "AES_256",
			"NumberOfBytes": 1}, "ValidationException"},
		"recipient": {"GenerateRandom", fields{"NumberOfBytes": 1,
			"Recipient": fields{"KeyEncryptionAlgorithm": "x"}}, "UnsupportedOperationException"},
		"no tag key":     {"TagResource", tags(fields{"TagKey": "", "TagValue": "x"}), "TagException"},
		"reserved tag":   {"TagResource", tags(fields{"TagKey": "AWS:x", "TagValue": "x"}), "TagException"},
		"long tag value": {"TagResource", tags(fields{"TagKey": "x", "TagValue": long}), "TagException"},
		"tags that differ in letter case": {"TagResource", tags(fields{"TagKey": "x", "TagValue": "1"},
			fields{"TagKey": "X", "TagValue": "2"}), "TagException"},
		"page size":      {"ListKeys", fields{"Limit": 0}, "ValidationException"},
		"invalid marker": {"ListKeys", fields{"Marker": "!"}, "InvalidMarkerException"},
	} {
		if got := r.call(c.operation, c.in, nil); got != c.code {
			t.Errorf("%s: %q, want %q", name, got, c.code)
		}
		if e := r.trail.Last(); e.EventName != c.operation || e.ErrorCode != c.code {
			t.Errorf("%s: the trail has %s, %q", name, e.EventName, e.ErrorCode)
		}
	}
}

func TestListingsArePaged(t *testing.T) {
	t.Parallel()
	r := start(t)
	want := map[string]bool{}
	for range 5 {
		want[r.key()] = true
	}
	marker, pages := "", 0
	for {
		in := fields{"Limit": 2}
		if marker != "" {
			in["Marker"] = marker
		}
		var out struct {
			Keys []struct {
				KeyID string `json:"KeyId"`
			}
			NextMarker string
			Truncated  bool
		}
		r.must("ListKeys", in, &out)
		pages++
		for _, k := range out.Keys {
			if !want[k.KeyID] {
				t.Errorf("key %s is listed twice", k.KeyID)
			}
			delete(want, k.KeyID)
		}
		if out.Truncated != (out.NextMarker != "") {
			t.Errorf("truncated %v with the marker %q", out.Truncated, out.NextMarker)
		}
		if marker = out.NextMarker; marker == "" {
			break
		}
	}
	if pages != 3 || len(want) != 0 {
		t.Errorf("%d pages, %d keys are missing", pages, len(want))
	}

	id := r.key()
	for i := range 3 {
		r.must("CreateAlias", fields{"AliasName": fmt.Sprint("alias/", i), "TargetKeyId": id}, nil)
	}
	var aliases struct{ Aliases []struct{ AliasName string } }
	r.must("ListAliases", fields{"KeyId": id}, &aliases)
	if len(aliases.Aliases) != 3 {
		t.Errorf("%+v", aliases)
	}
}

func TestStatesOfAKey(t *testing.T) {
	t.Parallel()
	r := start(t)
	id := r.key()
	on := func(more fields) fields {
		in := fields{"KeyId": id}
		for k, v := range more {
			in[k] = v
		}
		return in
	}
	encrypt := on(fields{"Plaintext": "eA==", "EncryptionContext": fields{"a": "b"}})
	var sealed struct{ CiphertextBlob []byte }
	r.must("Encrypt", encrypt, &sealed)
	decrypt := fields{"CiphertextBlob": sealed.CiphertextBlob, "EncryptionContext": fields{"a": "b"}}
	r.must("DisableKey", on(nil), nil)
	for operation, in := range map[string]fields{"Encrypt": encrypt, "Decrypt": decrypt, "EnableKeyRotation": on(nil)} {
		if code := r.call(operation, in, nil); code != "DisabledException" {
			t.Errorf("%s with a disabled key: %q", operation, code)
		}
	}
	r.must("EnableKey", on(nil), nil)
	r.must("Decrypt", decrypt, nil)
	if code := r.call("Decrypt", fields{"CiphertextBlob": sealed.CiphertextBlob},
		nil); code != "InvalidCiphertextException" {
		t.Errorf("without the encryption context: %q", code)
	}
	if code := r.call("Decrypt", fields{"CiphertextBlob": sealed.CiphertextBlob, "KeyId": r.key()},
		nil); code != "IncorrectKeyException" {
		t.Errorf("with another key: %q", code)
	}

	// Rotation keeps old ciphertexts readable.
	r.must("EnableKeyRotation", on(fields{"RotationPeriodInDays": 90}), nil)
	r.now = r.now.Add(91 * 24 * time.Hour)
	r.must("Encrypt", encrypt, nil)
	r.must("Decrypt", decrypt, nil)

	r.must("ScheduleKeyDeletion", on(fields{"PendingWindowInDays": 7}), nil)
	for operation, in := range map[string]fields{"Encrypt": encrypt, "Decrypt": decrypt, "EnableKey": on(nil)} {
		if code := r.call(operation, in, nil); code != "KMSInvalidStateException" {
			t.Errorf("%s with a key that waits for its deletion: %q", operation, code)
		}
	}
	r.must("CancelKeyDeletion", on(nil), nil)
	r.must("EnableKey", on(nil), nil)
	r.must("Decrypt", decrypt, nil)
	r.must("ScheduleKeyDeletion", on(fields{"PendingWindowInDays": 7}), nil)
	r.now = r.now.Add(8 * 24 * time.Hour)
	if code := r.call("DescribeKey", on(nil), nil); code != "NotFoundException" {
		t.Errorf("after the deletion: %q", code)
	}
	if code := r.call("Decrypt", decrypt, nil); code != "AccessDeniedException" {
		t.Errorf("a ciphertext of a deleted key: %q", code)
	}
}
