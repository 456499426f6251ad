package servertest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sekisho/internal/iam/identity"
	"sekisho/internal/servertest"
	"sekisho/internal/wire/sigv4"
)

type fields map[string]any

// kmsBench is a server with a KMS key.
type kmsBench struct {
	*servertest.Server
	t          *testing.T
	keyID, arn string
}

func newKMS(t *testing.T, request fields) *kmsBench {
	t.Helper()
	b := &kmsBench{Server: servertest.Start(t), t: t}
	var out struct {
		KeyMetadata struct {
			KeyID string `json:"KeyId"`
			Arn   string
		}
	}
	b.want(b.Admin, "CreateKey", request, "").Decode(t, &out)
	b.keyID, b.arn = out.KeyMetadata.KeyID, out.KeyMetadata.Arn
	return b
}

// want calls an operation and expects this error, or none.
func (b *kmsBench) want(c sigv4.Credentials, operation string, in fields, code string) servertest.Answer {
	b.t.Helper()
	a := b.JSON(c, "kms", operation, in)
	if a.Code() != code {
		b.t.Fatalf("%s %v: %d %s; want %q", operation, in, a.Status, a.Body, code)
	}
	return a
}

func keyPolicy(principal, action, condition string) string {
	if condition != "" {
		condition = `,"Condition":` + condition
	}
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
		{"Sid":"admin","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%[1]s:user/admin"},"Action":"kms:*","Resource":"*"},
		{"Effect":"Allow","Principal":{"AWS":%[2]q},"Action":%[3]q,"Resource":"*"%[4]s}]}`, servertest.Account, principal,
		action, condition)
}

func TestKMSPolicies(t *testing.T) {
	t.Parallel()
	b := newKMS(t, fields{"Tags": []fields{{"TagKey": "Team", "TagValue": "ops"}}})
	encrypt := fields{"KeyId": b.keyID, "Plaintext": "eA=="}
	user := func(name string) string { return "arn:aws:iam::" + servertest.Account + ":user/" + name }

	// The default policy delegates to the account's policies.
	nobody := b.User("nobody", "")
	allowed := b.User("allowed", servertest.Allow(b.arn, "kms:Encrypt", "kms:Decrypt"))
	elsewhere := b.User("elsewhere", servertest.Allow("arn:aws:kms:*:*:key/other", "kms:*"))
	tagged := b.User(
		"tagged",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Encrypt","Resource":"*",`+
			`"Condition":{"StringEquals":{"aws:ResourceTag/Team":"ops"}}}]}`,
	)
	b.want(allowed, "Encrypt", encrypt, "")
	b.want(tagged, "Encrypt", encrypt, "")
	b.want(nobody, "Encrypt", encrypt, "AccessDeniedException")
	b.want(elsewhere, "Encrypt", encrypt, "AccessDeniedException")
	// A user without access does not learn which keys exist.
	b.want(nobody, "Encrypt", fields{"KeyId": "alias/none", "Plaintext": "eA=="}, "AccessDeniedException")
	b.want(b.Admin, "Encrypt", fields{"KeyId": "alias/none", "Plaintext": "eA=="}, "NotFoundException")

	// A key policy that names a user needs no other policy. If it does not
	// name the account, no other policy can allow access.
	put := func(document, code string) servertest.Answer {
		t.Helper()
		return b.want(
			b.Admin,
			"PutKeyPolicy",
			fields{"KeyId": b.keyID, "PolicyName": "default", "Policy": document},
			code,
		)
	}
	put(keyPolicy(user("nobody"), "kms:Encrypt", ""), "")
	b.want(nobody, "Encrypt", encrypt, "")
	refusal := b.want(allowed, "Encrypt", encrypt, "AccessDeniedException")
	if !strings.Contains(refusal.Body, "because no resource-based policy allows the kms:Encrypt action") {
		t.Errorf("%s", refusal.Body)
	}
	b.want(nobody, "DescribeKey", fields{"KeyId": b.keyID}, "AccessDeniedException")

	// An explicit deny in the user's own policy still counts.
	if err := b.Directory.Holders.PutInline(t.Context(), identity.KindUser, "nobody", "no",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"kms:*","Resource":"*"}]}`); err != nil {
		t.Fatal(err)
	}
	b.want(nobody, "Encrypt", encrypt, "AccessDeniedException")

	// Reusing the name that a policy means does not give access to the key.
	carol := b.User("carol", "")
	put(keyPolicy(user("carol"), "kms:Encrypt", ""), "")
	b.want(carol, "Encrypt", encrypt, "")
	if err := b.Directory.Users.Update(t.Context(), "carol", "", "caroline"); err != nil {
		t.Fatal(err)
	}
	b.want(carol, "Encrypt", encrypt, "")
	b.want(b.User("carol", ""), "Encrypt", encrypt, "AccessDeniedException")

	put(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:Encrypt",`+
			`"Resource":"*"}]}`,
		"MalformedPolicyDocumentException",
	)
	put(keyPolicy(user("nobody-at-all"), "kms:*", ""), "MalformedPolicyDocumentException")
	put(`{`, "MalformedPolicyDocumentException")
	put(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}`,
		"MalformedPolicyDocumentException",
	)
	b.want(b.Admin, "PutKeyPolicy", fields{
		"KeyId": b.keyID, "BypassPolicyLockoutSafetyCheck": true,
		"Policy": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},` +
			`"Action":"kms:Encrypt","Resource":"*"}]}`,
	}, "")
	b.want(b.Admin, "GetKeyPolicy", fields{"KeyId": b.keyID}, "AccessDeniedException")
}

func TestKMSConditions(t *testing.T) {
	t.Parallel()
	b := newKMS(t, fields{})
	b.want(b.Admin, "CreateAlias", fields{"AliasName": "alias/sessions", "TargetKeyId": b.keyID}, "")
	conditions := map[string]struct {
		condition string
		in        fields
		code      string
	}{
		"context": {
			`{"StringEquals":{"kms:EncryptionContext:aws:ssm:TargetId":"mi-1"}}`,
			fields{"EncryptionContext": fields{"aws:ssm:TargetId": "mi-1"}},
			"",
		},
		"other-context": {
			`{"StringEquals":{"kms:EncryptionContext:aws:ssm:TargetId":"mi-1"}}`,
			fields{"EncryptionContext": fields{"aws:ssm:TargetId": "mi-2"}},
			"AccessDeniedException",
		},
		"no-context": {
			`{"StringEquals":{"kms:EncryptionContext:aws:ssm:TargetId":"mi-1"}}`,
			fields{},
			"AccessDeniedException",
		},
		"context-keys": {
			`{"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["a"]}}`,
			fields{"EncryptionContext": fields{"a": "1", "b": "2"}},
			"AccessDeniedException",
		},
		"via-service": {
			`{"StringEquals":{"kms:ViaService":"s3.eu-central-1.amazonaws.com"}}`,
			fields{},
			"AccessDeniedException",
		},
		"alias": {
			`{"StringEquals":{"kms:RequestAlias":"alias/sessions"}}`,
			fields{"KeyId": "alias/sessions"},
			"",
		},
		"no-alias": {
			`{"StringEquals":{"kms:RequestAlias":"alias/sessions"}}`,
			fields{},
			"AccessDeniedException",
		},
		"resource-aliases": {`{"ForAnyValue:StringEquals":{"kms:ResourceAliases":"alias/sessions"}}`, fields{}, ""},
		"two-pairs-but-case": {
			`{"Bool":{"aws:SecureTransport":"true"}}`,
			fields{"EncryptionContext": fields{"a": "1", "A": "2"}},
			"ValidationException",
		},
		"algorithm":            {`{"StringEquals":{"kms:EncryptionAlgorithm":"SYMMETRIC_DEFAULT"}}`, fields{}, ""},
		"unknown-key-in-allow": {`{"StringEquals":{"kms:NoSuchKey":"x"}}`, fields{}, "AccessDeniedException"},
	}
	for name, c := range conditions {
		who := b.User(
			name,
			fmt.Sprintf(
				`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Encrypt","Resource":"*","Condition":%s}]}`,
				c.condition,
			),
		)
		in := fields{"KeyId": b.keyID, "Plaintext": "eA=="}
		for k, v := range c.in {
			in[k] = v
		}
		if a := b.JSON(who, "kms", "Encrypt", in); a.Code() != c.code {
			t.Errorf("%s: %d %s; want %q", name, a.Status, a.Body, c.code)
		}
	}
}

func TestKMSOperations(t *testing.T) {
	t.Parallel()
	b := newKMS(t, fields{"Description": "first"})
	other := newKeyOf(b)
	admin := b.Admin
	b.want(admin, "CreateAlias", fields{"AliasName": "alias/a", "TargetKeyId": b.keyID}, "")
	b.want(admin, "CreateAlias", fields{"AliasName": "alias/a", "TargetKeyId": b.keyID}, "AlreadyExistsException")
	b.want(admin, "CreateAlias", fields{"AliasName": "alias/aws/a", "TargetKeyId": b.keyID}, "NotAuthorizedException")
	b.want(admin, "CreateAlias", fields{"AliasName": "a", "TargetKeyId": b.keyID}, "ValidationException")
	b.want(admin, "CreateAlias", fields{"AliasName": "alias/b c", "TargetKeyId": b.keyID}, "InvalidAliasNameException")
	b.want(admin, "CreateAlias", fields{"AliasName": "alias/b", "TargetKeyId": "alias/a"}, "ValidationException")

	var made struct{ CiphertextBlob, Plaintext, KeyID string }
	context := fields{"aws:ssm:SessionId": "s", "aws:ssm:TargetId": "t"}
	b.want(admin, "GenerateDataKey", fields{"KeyId": "alias/a", "NumberOfBytes": 64, "EncryptionContext": context}, "").
		Decode(t, &made)
	var opened struct{ Plaintext, KeyID string }
	b.want(admin, "Decrypt", fields{"CiphertextBlob": made.CiphertextBlob, "EncryptionContext": context}, "").
		Decode(t, &opened)
	if opened.Plaintext == "" || opened.Plaintext != made.Plaintext {
		t.Errorf("%q became %q", made.Plaintext, opened.Plaintext)
	}
	b.want(admin, "Decrypt", fields{"CiphertextBlob": made.CiphertextBlob}, "InvalidCiphertextException")
	b.want(
		admin,
		"Decrypt",
		fields{"CiphertextBlob": "AAAA", "EncryptionContext": context},
		"InvalidCiphertextException",
	)
	b.want(
		admin,
		"Decrypt",
		fields{"CiphertextBlob": made.CiphertextBlob, "EncryptionContext": context, "KeyId": other},
		"IncorrectKeyException",
	)
	b.want(
		admin,
		"Decrypt",
		fields{
			"CiphertextBlob":      made.CiphertextBlob,
			"EncryptionContext":   context,
			"EncryptionAlgorithm": "RSAES_OAEP_SHA_1",
		},
		"InvalidKeyUsageException",
	)
	b.want(admin, "GenerateDataKey", fields{"KeyId": "alias/a"}, "ValidationException")
	b.want(
		admin,
		"GenerateDataKey",
		fields{"KeyId": "alias/a", "NumberOfBytes": 16, "KeySpec": "AES_128"},
		"ValidationException",
	)
	b.want(
		admin,
		"GenerateDataKey",
		fields{"KeyId": "arn:aws:kms:eu-west-9:" + servertest.Account + ":key/" + b.keyID, "NumberOfBytes": 1},
		"InvalidArnException",
	)
	b.want(
		admin,
		"GenerateDataKey",
		fields{"KeyId": "alias/a", "NumberOfBytes": 1, "DryRun": true},
		"DryRunOperationException",
	)
	if a := b.want(admin, "GenerateDataKeyWithoutPlaintext", fields{"KeyId": "alias/a", "KeySpec": "AES_256"},
		""); strings.Contains(
		a.Body,
		"Plaintext",
	) {
		t.Errorf("%s", a.Body)
	}
	b.want(
		admin,
		"CreateKey",
		fields{"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"},
		"UnsupportedOperationException",
	)
	b.want(admin, "ImportKeyMaterial", fields{"KeyId": b.keyID}, "NotImplemented")

	// ReEncrypt needs permission on both keys, and reports whether they are
	// the same.
	re := fields{"CiphertextBlob": made.CiphertextBlob, "SourceEncryptionContext": context, "DestinationKeyId": other}
	b.want(admin, "ReEncrypt", re, "").Decode(t, &made)
	b.want(admin, "Decrypt", fields{"CiphertextBlob": made.CiphertextBlob, "KeyId": other}, "").Decode(t, &opened)
	half := b.User("half", servertest.Allow(b.arn, "kms:ReEncryptFrom", "kms:ReEncryptTo"))
	b.want(half, "ReEncrypt", re, "AccessDeniedException")
	same := b.User("same", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"},
		{"Effect":"Deny","Action":"kms:ReEncrypt*","Resource":"*","Condition":{"Bool":{"kms:ReEncryptOnSameKey":"false"}}}]}`)
	b.want(same, "ReEncrypt", re, "AccessDeniedException")
	b.want(same, "ReEncrypt", fields{"CiphertextBlob": made.CiphertextBlob, "DestinationKeyId": other}, "")

	// Changing an alias needs permission on the alias and on both keys.
	few := b.User("few", servertest.Allow("arn:aws:kms:*:*:alias/*", "kms:UpdateAlias", "kms:DeleteAlias"))
	b.want(few, "UpdateAlias", fields{"AliasName": "alias/a", "TargetKeyId": other}, "AccessDeniedException")
	b.want(few, "DeleteAlias", fields{"AliasName": "alias/a"}, "AccessDeniedException")
	b.want(admin, "UpdateAlias", fields{"AliasName": "alias/a", "TargetKeyId": other}, "")
	if a := b.want(admin, "DescribeKey", fields{"KeyId": "alias/a"}, ""); !strings.Contains(a.Body, other) {
		t.Errorf("%s", a.Body)
	}

	b.want(admin, "DisableKey", fields{"KeyId": "alias/a"}, "InvalidArnException")
	b.want(admin, "DisableKey", fields{"KeyId": other}, "")
	b.want(admin, "Encrypt", fields{"KeyId": "alias/a", "Plaintext": "eA=="}, "DisabledException")
	b.want(admin, "ScheduleKeyDeletion", fields{"KeyId": other, "PendingWindowInDays": 3}, "ValidationException")
	b.want(admin, "ScheduleKeyDeletion", fields{"KeyId": other, "PendingWindowInDays": 7}, "")
	b.want(admin, "Decrypt", fields{"CiphertextBlob": made.CiphertextBlob}, "KMSInvalidStateException")

	var page struct {
		Keys       []struct{ KeyArn string }
		Truncated  bool
		NextMarker string
	}
	seen := map[string]bool{}
	for {
		b.want(admin, "ListKeys", fields{"Limit": 1, "Marker": page.NextMarker}, "").Decode(t, &page)
		for _, k := range page.Keys {
			seen[k.KeyArn] = true
		}
		if !page.Truncated {
			break
		}
	}
	if len(seen) != 2 {
		t.Errorf("listed %v", seen)
	}
	b.want(admin, "ListKeys", fields{"Marker": "?"}, "InvalidMarkerException")

	// The trail has neither plaintext nor ciphertext.
	b.want(
		admin,
		"Encrypt",
		fields{"KeyId": b.keyID, "Plaintext": "c2VjcmV0", "EncryptionContext": fields{"project": "x"}},
		"",
	)
	text, err := json.Marshal(b.Events("Encrypt")[0])
	if err != nil || strings.Contains(string(text), "c2VjcmV0") || !strings.Contains(string(text), "project") {
		t.Errorf("%s, %v", text, err)
	}
}

func newKeyOf(b *kmsBench) string {
	b.t.Helper()
	var out struct {
		KeyMetadata struct {
			KeyID string `json:"KeyId"`
		}
	}
	b.want(b.Admin, "CreateKey", fields{}, "").Decode(b.t, &out)
	return out.KeyMetadata.KeyID
}

func TestKMSGrants(t *testing.T) {
	t.Parallel()
	b := newKMS(t, fields{})
	arn := func(name string) string { return "arn:aws:iam::" + servertest.Account + ":user/" + name }
	grantee, retirer, other := b.User("grantee", ""), b.User("retirer", ""), b.User("other", "")
	type grant struct {
		GrantToken string
		GrantID    string `json:"GrantId"`
	}
	create := func(in fields, code string) (g grant) {
		t.Helper()
		all := fields{
			"KeyId":            b.keyID,
			"GranteePrincipal": arn("grantee"),
			"Operations":       []string{"Encrypt", "DescribeKey"},
		}
		for k, v := range in {
			all[k] = v
		}
		if a := b.want(b.Admin, "CreateGrant", all, code); code == "" {
			a.Decode(t, &g)
		}
		return g
	}
	encrypt := func(context fields) fields {
		return fields{"KeyId": b.keyID, "Plaintext": "eA==", "EncryptionContext": context}
	}
	const denied = "AccessDeniedException"

	b.want(grantee, "Encrypt", encrypt(nil), denied)
	plain := create(fields{"Name": "n"}, "")
	if again := create(fields{"Name": "n"}, ""); again.GrantID != plain.GrantID {
		t.Errorf("the same named grant was made twice: %+v, %+v", plain, again)
	}
	b.want(grantee, "Encrypt", encrypt(nil), "")
	b.want(grantee, "DescribeKey", fields{"KeyId": b.keyID}, "")
	b.want(grantee, "GenerateDataKey", fields{"KeyId": b.keyID, "KeySpec": "AES_256"}, denied)
	b.want(other, "Encrypt", encrypt(nil), denied)
	// A grant does not allow its own retirement unless it says so.
	b.want(grantee, "RetireGrant", fields{"GrantToken": plain.GrantToken}, denied)
	b.want(other, "RevokeGrant", fields{"KeyId": b.keyID, "GrantId": plain.GrantID}, denied)
	b.want(b.Admin, "RevokeGrant", fields{"KeyId": b.keyID, "GrantId": plain.GrantID}, "")
	b.want(grantee, "Encrypt", encrypt(nil), denied)
	b.want(b.Admin, "RevokeGrant", fields{"KeyId": b.keyID, "GrantId": plain.GrantID}, "NotFoundException")

	// Constraints on the encryption context, with a value that looks like a
	// variable.
	pairs := fields{"app": "${aws:username}"}
	more := fields{"app": "${aws:username}", "b": "c"}
	for kind, allowed := range map[string]bool{"EncryptionContextEquals": false, "EncryptionContextSubset": true} {
		g := create(fields{"Constraints": fields{kind: pairs}}, "")
		b.want(grantee, "Encrypt", encrypt(nil), denied)
		b.want(grantee, "Encrypt", encrypt(fields{"app": "grantee"}), denied)
		b.want(grantee, "Encrypt", encrypt(pairs), "")
		b.want(grantee, "Encrypt", encrypt(more), map[bool]string{true: "", false: denied}[allowed])
		b.want(grantee, "DescribeKey", fields{"KeyId": b.keyID}, "")
		b.want(b.Admin, "RevokeGrant", fields{"KeyId": b.keyID, "GrantId": g.GrantID}, "")
	}

	// The retiring principal can retire its grant and no other one.
	mine, another := create(fields{"RetiringPrincipal": arn("retirer")}, ""), create(nil, "")
	var listed struct {
		Grants []struct {
			GrantID string `json:"GrantId"`
		}
	}
	b.want(b.Admin, "ListRetirableGrants", fields{"RetiringPrincipal": arn("retirer")}, "").Decode(t, &listed)
	if len(listed.Grants) != 1 || listed.Grants[0].GrantID != mine.GrantID {
		t.Errorf("retirable: %+v", listed)
	}
	b.want(b.Admin, "ListGrants", fields{"KeyId": b.keyID}, "").Decode(t, &listed)
	if len(listed.Grants) != 2 {
		t.Errorf("listed: %+v", listed)
	}
	b.want(retirer, "RetireGrant", fields{"KeyId": b.keyID, "GrantId": another.GrantID}, denied)
	b.want(retirer, "RetireGrant", fields{"GrantToken": mine.GrantToken}, "")
	own := create(fields{"Operations": []string{"RetireGrant"}}, "")
	b.want(grantee, "RetireGrant", fields{"KeyId": b.keyID, "GrantId": own.GrantID}, "")

	// An explicit deny counts, and another user of the same name has no grant.
	if err := b.Directory.Holders.PutInline(t.Context(), identity.KindUser, "grantee", "no",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"kms:Encrypt","Resource":"*"}]}`); err != nil {
		t.Fatal(err)
	}
	b.want(grantee, "Encrypt", encrypt(nil), denied)
	b.want(grantee, "DescribeKey", fields{"KeyId": b.keyID}, "")
	if err := b.Directory.Users.Update(t.Context(), "grantee", "", "renamed"); err != nil {
		t.Fatal(err)
	}
	b.want(grantee, "DescribeKey", fields{"KeyId": b.keyID}, "")
	b.want(b.User("grantee", ""), "DescribeKey", fields{"KeyId": b.keyID}, denied)

	create(fields{"Operations": []string{"Sign"}}, "ValidationException")
	create(fields{"Operations": []string{}}, "ValidationException")
	create(fields{"GranteePrincipal": arn("nobody-at-all")}, "InvalidArnException")
	create(fields{"GranteePrincipal": "arn:aws:iam::" + servertest.Account + ":root"}, "InvalidArnException")
	create(fields{"GranteePrincipal": "*"}, "InvalidArnException")
	create(fields{"KeyId": "alias/x"}, "InvalidArnException")
	b.want(b.Admin, "RetireGrant", fields{"GrantToken": "x"}, "InvalidGrantTokenException")
}
