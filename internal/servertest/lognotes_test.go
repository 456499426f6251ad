package servertest_test

import (
	"net/http"
	"strings"
	"testing"

	"sekisho/internal/iam/identity"
	"sekisho/internal/servertest"
)

// TestWhyNotesRolesThatDestroyLogs: "why" notes each action of a node role
// beyond writing logs, and that writing logs allows overwriting them. It notes
// nothing for users.
func TestWhyNotesRolesThatDestroyLogs(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	makeBucket(t, s, "session-logs")
	if a := s.JSON(s.Admin, "logs", "CreateLogGroup", fields{"logGroupName": "sessions"}); a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	const role = "AmazonEC2RunCommandRoleForManagedInstances"
	arn := "arn:aws:iam::" + servertest.Account + ":role/service-role/" + role
	notes := func(principal string) []string {
		t.Helper()
		var out struct{ Notes []string }
		a := s.JSON(s.Admin, "sekisho", "ExplainAccess", fields{
			"PrincipalArn": principal, "Action": "s3:PutObject", "ResourceArn": "arn:aws:s3:::session-logs/a/x.log",
		})
		if a.Status != http.StatusOK {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		a.Decode(t, &out)
		return out.Notes
	}
	allow := func(policy string) {
		t.Helper()
		must(t, s.Directory.Holders.PutInline(t.Context(), identity.KindRole, role, "logs", policy))
	}
	allow(servertest.Allow("*", "*"))
	if got := notes(arn); len(got) != 0 {
		t.Errorf("without a place for logs: %q", got)
	}
	if a := s.JSON(s.Admin, "ssm", "CreateDocument", fields{"Name": preferencesName, "DocumentType": "Session",
		"Content": `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"s3BucketName":"session-logs",` +
			`"s3KeyPrefix":"a","cloudWatchLogGroupName":"sessions"}}`}); a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if got := notes(arn); len(got) != 9 {
		t.Errorf("with all actions allowed: %d notes, want 9: %q", len(got), got)
	}
	allow(
		servertest.Allow(
			"*",
			"s3:PutObject",
			"s3:GetEncryptionConfiguration",
			"logs:CreateLogStream",
			"logs:PutLogEvents",
		),
	)
	if got := notes(arn); len(got) != 1 || !strings.Contains(got[0], "s3:PutObject") {
		t.Errorf("writing alone, which allows overwriting: %q", got)
	}
	allow(servertest.Allow("arn:aws:s3:::session-logs/*", "s3:PutObject", "s3:DeleteObjectVersion"))
	if got := notes(arn); len(got) != 2 || !strings.Contains(got[1], "s3:DeleteObjectVersion") {
		t.Errorf("deleting versions: %q", got)
	}
	allow(servertest.Allow("arn:aws:s3:::another/*", "s3:*"))
	if got := notes(arn); len(got) != 0 {
		t.Errorf("another bucket: %q", got)
	}
	if got := notes("arn:aws:iam::" + servertest.Account + ":user/admin"); len(got) != 0 {
		t.Errorf("a user: %q", got)
	}
}
