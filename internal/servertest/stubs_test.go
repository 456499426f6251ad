package servertest_test

import (
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"

	"sekisho/internal/servertest"
	"sekisho/internal/wire/sigv4"
)

// AWS's agent requests much that Sekisho does not store. It gets the responses
// of an empty account, after which it neither hibernates nor retries.
func TestOtherCallsOfAgents(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n, other := s.Node(), s.Node()
	const message = "0123456789abcdef"
	many := make([]struct{}, 10001)
	for _, tc := range []struct {
		service, operation string
		in                 fields
		code, body         string
	}{
		{"ssm", "ListInstanceAssociations", fields{"InstanceId": n.ID, "MaxResults": 20}, "", `{"Associations":[]}`},
		{"ssm", "ListInstanceAssociations", fields{"InstanceId": other.ID}, "AccessDeniedException", ""},
		{"ssm", "ListInstanceAssociations", fields{"InstanceId": "*"}, "InvalidInstanceId", ""},
		{"ssm", "ListAssociations", fields{"AssociationFilterList": []any{fields{"key": "InstanceId", "value": n.ID}}}, "",
			`{"Associations":[]}`},
		{"ssm", "DescribeAssociation", fields{"AssociationId": "x"}, "AssociationDoesNotExist", ""},
		{"ssm", "UpdateInstanceAssociationStatus", fields{"InstanceId": n.ID}, "AssociationDoesNotExist", ""},
		{"ssm", "UpdateInstanceAssociationStatus", fields{"InstanceId": other.ID}, "AccessDeniedException", ""},
		{"ssm", "PutComplianceItems",
			fields{"ResourceId": n.ID, "ResourceType": "ManagedInstance", "ComplianceType": "Association",
				"Items": []any{fields{"Severity": "LOW"}}}, "", "{}"},
		{"ssm", "PutComplianceItems",
			fields{"ResourceId": n.ID, "ResourceType": "ManagedInstance", "ComplianceType": "Association", "Items": many},
			"ValidationException", ""},
		{"ssm", "PutComplianceItems",
			fields{"ResourceId": other.ID, "ResourceType": "ManagedInstance", "ComplianceType": "Association"},
			"AccessDeniedException", ""},
		{"ssm", "GetManifest", fields{"PackageName": "p", "PackageVersion": "1"}, "ResourceNotFoundException", ""},
		{"ssm", "GetParameters", fields{"Names": []string{"a", "/b/c"}}, "",
			`{"Parameters":[],"InvalidParameters":["a","/b/c"]}`},
		{"ssm", "GetParameters", fields{"Names": []string{}}, "ValidationException", ""},
		{"ssm", "GetParameters", fields{"Names": []string{"a*"}}, "ValidationException", ""},
		{"ssm", "GetParameters", fields{"Names": strings.Split("abcdefghijk", "")}, "ValidationException", ""},
		{"ec2messages", "GetMessages", fields{"Destination": other.ID, "MessagesRequestId": message}, "AccessDeniedException",
			""},
		{"ec2messages", "GetMessages", fields{"Destination": n.ID, "MessagesRequestId": "short"}, "ValidationException", ""},
		{"ec2messages", "AcknowledgeMessage", fields{"MessageId": message}, "", "{}"},
		{"ec2messages", "DeleteMessage", fields{"MessageId": message}, "", "{}"},
		{"ec2messages", "FailMessage", fields{"MessageId": message, "FailureType": "InternalHandlerException"}, "", "{}"},
		{"ec2messages", "FailMessage", fields{"MessageId": "short"}, "ValidationException", ""},
		{"ec2messages", "SendReply", fields{"MessageId": message, "ReplyId": message, "Payload": "{}"}, "", "{}"},
	} {
		a := s.JSON(n.Credentials, tc.service, tc.operation, tc.in)
		if a.Code() != tc.code || tc.body != "" && strings.TrimSpace(a.Body) != tc.body {
			t.Errorf("%s %.100v: %d %.300s; want %q %s", tc.operation, tc.in, a.Status, a.Body, tc.code, tc.body)
		}
	}
	if a := s.JSON(s.Admin, "ec2messages", "AcknowledgeMessage",
		fields{"MessageId": message}); a.Code() != "AccessDeniedException" {
		t.Errorf("an administrator, who is no node: %d %s", a.Status, a.Body)
	}
	if a := s.JSON(s.Admin, "ssm", "ListInstanceAssociations",
		fields{"InstanceId": n.ID}); a.Code() != "AccessDeniedException" {
		t.Errorf("an administrator, who is no node: %d %s", a.Status, a.Body)
	}
}

// Only the holder of a node's key can replace it, and the old key is useless
// afterwards.
func TestNodeKeysAreReplaced(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	for who, c := range map[string]sigv4.Credentials{"the node's role": n.Credentials, "an administrator": s.Admin} {
		a := s.JSON(
			c,
			"ssm",
			"UpdateManagedInstancePublicKey",
			fields{"NewPublicKey": "AAAA", "NewPublicKeyType": "Rsa"},
		)
		if a.Code() != "UnrecognizedClientException" {
			t.Errorf("%s: %d %s", who, a.Status, a.Body)
		}
	}
	if a := n.ReplaceKey(weak); a.Code() != "ValidationException" {
		t.Errorf("a weak key: %d %s", a.Status, a.Body)
	}
	stale := *n
	if a := n.ReplaceKey(key); a.Code() != "" {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	n.Renew()
	if a := stale.RoleToken(n.Fingerprint); a.Code() == "" {
		t.Errorf("the old key still works: %d %s", a.Status, a.Body)
	}
	if a := stale.ReplaceKey(key); a.Code() == "" {
		t.Errorf("the old key replaces the new: %d %s", a.Status, a.Body)
	}
}
