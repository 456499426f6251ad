package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"sekisho/e2e/harness"
)

// runScript runs a shell script that stops at its first failure, and fails the
// test then.
func runScript(t *testing.T, path []string, script string, args ...string) string {
	t.Helper()
	r := harness.Do(t, shared.Shell(t.Context(), path, "set -eu; "+script, args...))
	if r.Code != 0 {
		t.Fatalf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// bucketName returns a name that no other run of the test uses.
func bucketName(t *testing.T, what string) string {
	return what + "-" + strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' {
			return r
		}
		return '-'
	}, strings.ToLower(t.Name()[strings.LastIndexByte(t.Name(), '/')+1:]))
}

// TestBucketOfLogs does what an administrator does for a bucket of session logs: versions
// survive overwriting, and content is encrypted.
func TestBucketOfLogs(t *testing.T) {
	t.Parallel()
	eachCLI(t, func(t *testing.T, path []string) {
		out := runScript(t, path, `
B=$1; cd "$2"
aws s3api create-bucket --bucket "$B" >/dev/null
aws s3api put-bucket-versioning --bucket "$B" --versioning-configuration Status=Enabled
aws s3api put-bucket-encryption --bucket "$B" --server-side-encryption-configuration '{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"AES256"}}]}'
aws s3api get-bucket-encryption --bucket "$B" --query 'ServerSideEncryptionConfiguration.Rules[0].ApplyServerSideEncryptionByDefault.SSEAlgorithm' --output text
aws s3api get-bucket-versioning --bucket "$B" --query Status --output text
echo "what was done" > session.log; : > empty.txt
aws s3 cp --quiet session.log "s3://$B/logs/alice-0123.log"
aws s3 cp --quiet empty.txt "s3://$B/logs/alice-0123.log"
aws s3api head-object --bucket "$B" --key logs/alice-0123.log --query '[ContentLength,ServerSideEncryption]' --output text
V=$(aws s3api list-object-versions --bucket "$B" --prefix logs/ --query 'Versions[?!IsLatest].VersionId' --output text)
aws s3api get-object --bucket "$B" --key logs/alice-0123.log --version-id "$V" old.log >/dev/null
cat old.log
aws s3api delete-object --bucket "$B" --key logs/alice-0123.log --query DeleteMarker --output text
aws s3 ls "s3://$B/logs/" || echo "nothing listed"
`, bucketName(t, "logs"), t.TempDir())
		want := "AES256\nEnabled\n0\tAES256\nwhat was done\nTrue\nnothing listed\n"
		if out != want {
			t.Errorf("got %q, want %q", out, want)
		}
	})
}

// TestLargeObjects tests multipart uploads, ranged downloads and server-side
// copies.
func TestLargeObjects(t *testing.T) {
	t.Parallel()
	eachCLI(t, func(t *testing.T, path []string) {
		runScript(t, path, `
B=$1; cd "$2"
aws s3 mb "s3://$B" >/dev/null
head -c 20000003 /dev/urandom > big
aws s3 cp --quiet big "s3://$B/big"
aws s3 cp --quiet "s3://$B/big" "s3://$B/copy"
aws s3 cp --quiet "s3://$B/copy" back
cmp big back
aws s3api get-object --bucket "$B" --key big --range bytes=8388600-8388615 part >/dev/null
tail -c +8388601 big | head -c 16 | cmp - part
test "$(aws s3api list-multipart-uploads --bucket "$B" --query 'length(Uploads || `+"`[]`"+`)' --output text)" = 0
aws s3 rm --quiet --recursive "s3://$B"
aws s3 rb "s3://$B" >/dev/null
`, bucketName(t, "large"), t.TempDir())
	})
}

// TestPresigned gives a program without credentials access to an object.
func TestPresigned(t *testing.T) {
	t.Parallel()
	eachCLI(t, func(t *testing.T, path []string) {
		out := runScript(t, path, `
B=$1; cd "$2"
aws s3 mb "s3://$B" >/dev/null
echo "by URL" > f; aws s3 cp --quiet f "s3://$B/a b/f"
printf '[default]\ns3 =\n  signature_version = s3v4\n' > config
URL=$(AWS_CONFIG_FILE=$PWD/config aws s3 presign "s3://$B/a b/f")
curl -sS --cacert "$SSL_CERT_FILE" "$URL"
curl -sS --cacert "$SSL_CERT_FILE" -o /dev/null -w '%{http_code}\n' "$(echo "$URL" | sed 's/a%20b/other/')"
curl -sS --cacert "$SSL_CERT_FILE" -o /dev/null -w '%{http_code}\n' -X DELETE "$URL"
`, bucketName(t, "presigned"), t.TempDir())
		if out != "by URL\n403\n403\n" {
			t.Errorf("got %q", out)
		}
	})
}

// TestUploadsEndWithThePermission: a role without permission cannot upload.
func TestUploadsEndWithThePermission(t *testing.T) {
	t.Parallel()
	b := "perm-e2e"
	out := runScript(t, nil, fmt.Sprintf(`
cd "$1"; B=%s
aws s3 mb "s3://$B" >/dev/null
aws iam create-user --user-name uploader >/dev/null
aws iam put-user-policy --user-name uploader --policy-name p --policy-document '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::%s/logs/*"}]}'
K=$(aws iam create-access-key --user-name uploader --query 'AccessKey.[AccessKeyId,SecretAccessKey]' --output text)
echo x > f
as() { env AWS_ACCESS_KEY_ID="${K%%%%	*}" AWS_SECRET_ACCESS_KEY="${K#*	}" aws s3api put-object --bucket "$B" --key "$1" --body f --query ServerSideEncryption --output text 2>&1 | sed -n 's/.*(\(AccessDenied\)).*/\1/p; /^AES/p'; }
as logs/a.log
as a.log
aws iam delete-user-policy --user-name uploader --policy-name p
as logs/a.log
`, b, b), t.TempDir())
	if out != "AES256\nAccessDenied\nAccessDenied\n" {
		t.Errorf("got %q", out)
	}
}

// TestLogGroups writes events and searches for them.
func TestLogGroups(t *testing.T) {
	t.Parallel()
	eachCLI(t, func(t *testing.T, path []string) {
		out := runScript(t, path, `
G=/sessions/$1; NOW=$(date +%s)000
aws logs create-log-group --log-group-name "$G"
aws logs put-retention-policy --log-group-name "$G" --retention-in-days 30
aws logs describe-log-groups --log-group-name-prefix "$G" --query 'logGroups[].retentionInDays' --output text
aws logs create-log-stream --log-group-name "$G" --log-stream-name alice-0123
aws logs put-log-events --log-group-name "$G" --log-stream-name alice-0123 --sequence-token any \
  --log-events "timestamp=$NOW,message=one" "timestamp=$NOW,message=two" "timestamp=$NOW,message=three" >/dev/null
T=$(aws logs get-log-events --log-group-name "$G" --log-stream-name alice-0123 --start-from-head --limit 2 --query nextForwardToken --output text)
aws logs get-log-events --log-group-name "$G" --log-stream-name alice-0123 --next-token "$T" --query 'events[].message' --output text
aws logs filter-log-events --log-group-name "$G" --filter-pattern '?two ?three' --query 'events[].message' --output text
aws logs describe-log-streams --log-group-name "$G" --query 'logStreams[].logStreamName' --output text
`, bucketName(t, "g"))
		if out != "30\nthree\ntwo\tthree\nalice-0123\n" {
			t.Errorf("got %q", out)
		}
	})
}
