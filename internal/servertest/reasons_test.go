package servertest_test

import (
	"net/http"
	"testing"

	"sekisho/internal/servertest"
)

// TestRefusalReasons checks the reasons from which the console derives
// remedies for preferences that name a destination that cannot store session
// logs.
func TestRefusalReasons(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	if a := s.JSON(s.Admin, "logs", "CreateLogGroup",
		map[string]string{"logGroupName": "/plain"}); a.Status != http.StatusOK {
		t.Fatal(a.Body)
	}
	for want, inputs := range map[string]string{
		"BucketMissing":        `"s3BucketName":"no-such-bucket"`,
		"LogGroupMissing":      `"cloudWatchLogGroupName":"/missing"`,
		"LogGroupNotEncrypted": `"cloudWatchLogGroupName":"/plain","cloudWatchEncryptionEnabled":true`,
	} {
		a := s.JSON(s.Admin, "ssm", "CreateDocument", map[string]any{
			"Name": "SSM-SessionManagerRunShell", "DocumentType": "Session",
			"Content": `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{` + inputs + `}}`,
		})
		var refusal struct{ Reason string }
		a.Decode(t, &refusal)
		if a.Code() != "InvalidDocumentContent" || refusal.Reason != want {
			t.Errorf("%s: code %s, reason %s, want %s", inputs, a.Code(), refusal.Reason, want)
		}
	}
}
