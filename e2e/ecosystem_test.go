package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/e2e/harness"
)

// TestS3Programs copies a folder with a large file into a bucket and back,
// with common S3 programs.
func TestS3Programs(t *testing.T) {
	t.Parallel()
	const files = `
cd "$2"
mkdir -p tree/a/b back
echo one >"tree/a/b/hello wörld.txt"
head -c 12000000 /dev/urandom >tree/big
`
	tests := map[string]string{
		"s3cmd": `
cat >s3cfg <<END
[default]
host_base = ${AWS_ENDPOINT_URL#https://}
host_bucket = ${AWS_ENDPOINT_URL#https://}
bucket_location = $AWS_REGION
access_key = $AWS_ACCESS_KEY_ID
secret_key = $AWS_SECRET_ACCESS_KEY
ca_certs_file = $AWS_CA_BUNDLE
END
s3() { s3cmd -q -c s3cfg "$@"; }
s3 mb "s3://$1"
s3 sync --multipart-chunk-size-mb=5 tree/ "s3://$1/tree/"
s3 cp "s3://$1/tree/a/b/hello wörld.txt" "s3://$1/copy"
s3 mv "s3://$1/copy" "s3://$1/tree/moved"
s3 sync "s3://$1/tree/" back/
s3 del --recursive --force "s3://$1/tree/"
s3 rb "s3://$1"
`,
		"rclone": `
export RCLONE_CONFIG=/dev/null RCLONE_CONFIG_SEKISHO_TYPE=s3 RCLONE_CONFIG_SEKISHO_PROVIDER=Other
export RCLONE_CONFIG_SEKISHO_ENV_AUTH=true RCLONE_CONFIG_SEKISHO_ENDPOINT="$AWS_ENDPOINT_URL"
export RCLONE_CONFIG_SEKISHO_REGION="$AWS_REGION" RCLONE_CA_CERT="$AWS_CA_BUNDLE"
unset AWS_CA_BUNDLE
rclone mkdir "sekisho:$1"
rclone sync --s3-upload-cutoff 5M --s3-chunk-size 5M tree "sekisho:$1/tree"
rclone check --download tree "sekisho:$1/tree" 2>/dev/null
rclone copyto "sekisho:$1/tree/a/b/hello wörld.txt" "sekisho:$1/copy"
rclone moveto "sekisho:$1/copy" "sekisho:$1/tree/moved"
rclone sync "sekisho:$1/tree" back
rclone purge "sekisho:$1"
`,
		"s3fs": `
aws s3api create-bucket --bucket "$1" >/dev/null
(umask 077; printf '%s:%s' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" >passwd)
mkdir mnt
CURL_CA_BUNDLE="$AWS_CA_BUNDLE" s3fs "$1" mnt -o url="$AWS_ENDPOINT_URL" -o endpoint="$AWS_REGION" \
  -o use_path_request_style -o passwd_file=passwd
trap 'umount mnt' EXIT
mkdir mnt/tree
cp -R tree/. mnt/tree/
cp "mnt/tree/a/b/hello wörld.txt" mnt/copy
mv mnt/copy mnt/tree/moved
cp -R mnt/tree/. back/
rm -r mnt/tree
`,
	}
	for program, script := range tests {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat("/dev/fuse"); program == "s3fs" && (err != nil || os.Getuid() != 0) {
				t.Skip("mounting a bucket needs root and /dev/fuse")
			}
			dir := t.TempDir()
			runScript(t, nil, files+script, bucketName(t, "programs"), dir)
			for name, same := range map[string]string{"big": "big", "a/b/hello wörld.txt": "a/b/hello wörld.txt",
				"moved": "a/b/hello wörld.txt"} {
				want, err := os.ReadFile(filepath.Join(dir, "tree", same))
				if err != nil {
					t.Fatal(err)
				}
				got, err := os.ReadFile(filepath.Join(dir, "back", name))
				if err != nil || string(got) != string(want) {
					t.Errorf("%s came back with %d bytes, want %d: %v", name, len(got), len(want), err)
				}
			}
		})
	}
}

// TestJavaScriptSDK starts a session and moves objects with the AWS SDK for
// JavaScript, including presigned URLs.
func TestJavaScriptSDK(t *testing.T) {
	t.Parallel()
	const script = `export NODE_EXTRA_CA_CERTS="$AWS_CA_BUNDLE"; exec node javascript/sdk.mjs "$1"`
	r := harness.Do(t, shared.Shell(t.Context(), nil, script, bucketName(t, "javascript")))
	if r.Code != 0 || !strings.Contains(r.Stdout, "all well") {
		t.Errorf("exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
}
