package e2e_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/e2e/harness"
)

// totp returns the code that an authenticator with a seed shows at a time.
func totp(t *testing.T, seed string, at time.Time) string {
	t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).
		DecodeString(strings.TrimRight(strings.TrimSpace(seed), "="))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, key)
	_, _ = mac.Write(binary.BigEndian.AppendUint64(nil, uint64(at.Unix()/30)))
	sum := mac.Sum(nil)
	from := sum[len(sum)-1] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[from:])&0x7fffffff%1_000_000)
}

// TestMemoWalk does everything in the operator's memo, in order, with a fresh
// data directory; docs/tutorial.md has the same steps. TestMemo tests the
// memo's policies at their limits.
func TestMemoWalk(t *testing.T) {
	t.Parallel()
	const instance, bucket = "i-01234567890abcdef", "session-logs-of-the-memo"
	n := newNetwork(t)
	dir := t.TempDir()
	programs := n.programs(dir)
	agentScript := fmt.Sprintf(
		"#!/bin/sh\n[ \"$1\" != run ] || set -- \"$@\" --imds 169.254.169.254:80 --imds-v1 --imds-add-address\nexec ip "+
			"netns exec %s '%s' \"$@\"\n",
		n.node,
		filepath.Join(shared.Bin, "sekisho-agent"),
	)
	if err := os.WriteFile(filepath.Join(dir, "sekisho-agent"), []byte(agentScript), 0o755); err != nil {
		t.Fatal(err)
	}
	a := &account{t: t, clock: filepath.Join(dir, "clock"), stub: filepath.Join(dir, "stub")}
	a.at("2020-04-15T02:00:00Z")
	if err := os.Mkdir(a.stub, 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	a.Server = startServer(t, programs, t.TempDir(), "--listen", serverIP+":0", "--nodes", "0",
		"--region", "ap-northeast-1", "--account-id", "999999999999", "--policy-clock", a.clock)

	// The administrator, with a second factor.
	serial := a.run(
		"",
		`aws iam create-virtual-mfa-device --virtual-mfa-device-name admin --bootstrap-method Base32StringSeed `+
			`--outfile "$1" --query VirtualMFADevice.SerialNumber --output text`,
		filepath.Join(dir, "seed"),
	)
	seed, err := os.ReadFile(filepath.Join(dir, "seed"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	a.run(
		"",
		`aws iam enable-mfa-device --user-name admin --serial-number "$1" --authentication-code1 "$2" `+
			`--authentication-code2 "$3"`,
		serial,
		totp(t, string(seed), now.Add(-30*time.Second)),
		totp(t, string(seed), now),
	)
	devices := `aws iam list-mfa-devices --user-name admin --query 'MFADevices[].SerialNumber' --output text`
	if got := a.run("", devices); got != serial {
		t.Errorf("the administrator's devices are %q", got)
	}

	// A user without permissions.
	alice := a.user("alice")
	a.denied("a user without policies", alice, `aws ssm describe-sessions --state Active`)

	// The machine, and its tag.
	node := a.StartAgent(t, "MyEC2Instance", -1, "Key=sekisho:InstanceId,Value="+instance)
	if node.NodeID != instance {
		t.Fatalf("the instance registered as %s", node.NodeID)
	}
	a.run("", `aws ec2 create-tags --resources "$1" --tags Key=Hostname,Value=MyEC2Instance`, instance)

	// Preferences cannot name a missing bucket.
	preferences := `{"schemaVersion":"1.0","description":"Preferences","sessionType":"Standard_Stream",` +
		`"inputs":{"s3BucketName":"` + bucket +
		`","s3KeyPrefix":"sessions","s3EncryptionEnabled":true,"cloudWatchLogGroupName":"",` +
		`"cloudWatchEncryptionEnabled":false,"cloudWatchStreamingEnabled":false}}`
	save := `aws ssm create-document --name SSM-SessionManagerRunShell --document-type Session --content "$1"`
	if r := a.as("", save, preferences); r.Code == 0 || !strings.Contains(r.Stderr, "does not exist") ||
		!strings.Contains(r.Stderr, "aws s3api create-bucket --bucket "+bucket) {
		t.Errorf("preferences with a bucket that is not there: exit %d: %s", r.Code, r.Stderr)
	}

	// The bucket for logs, versioned and encrypted.
	a.run("", `set -e
aws s3api create-bucket --bucket "$1" --create-bucket-configuration LocationConstraint=ap-northeast-1
aws s3api put-bucket-versioning --bucket "$1" --versioning-configuration Status=Enabled
aws s3api put-bucket-encryption --bucket "$1" --server-side-encryption-configuration '{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"AES256"}}]}'`, bucket)

	// Quick Setup, then the inline policy on the role that it created.
	const role = "AmazonSSMRoleForInstancesQuickSetup"
	if got := a.run("", `sekisho quick-setup --target "$1"`, instance); !strings.Contains(
		got,
		"gave "+instance+" the role "+role,
	) {
		t.Errorf("quick-setup: %s", got)
	}
	text, err := os.ReadFile("testdata/memo/instance-role.json")
	if err != nil {
		t.Fatal(err)
	}
	a.run("", `aws iam put-role-policy --role-name "$1" --policy-name prompt-and-logs --policy-document "$2"`,
		role, strings.ReplaceAll(string(text), "YOUR-BUCKET-NAME", bucket))
	a.run("", save, preferences)

	// The user's policies: enough for the list of nodes, and one machine
	// within the window.
	a.attach("alice", "console")
	a.attach("alice", "time-window")
	a.at("2020-04-15T05:00:00Z")
	a.denied("after the window", alice, startOn, instance)
	a.at("2020-04-15T02:00:00Z")

	// A session. The prompt names the machine by itself, and with the memo's
	// lines.
	open, err := os.MkdirTemp("", "sekisho-memo-") //nolint:usetesting // the session's user reads it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(open) })
	e := env(t, a.Server)
	authority, err := os.ReadFile(e["AWS_CA_BUNDLE"])
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"ca.pem": string(authority), "bashrc": memoBashrc,
		"config": fmt.Sprintf("[default]\nregion = ap-northeast-1\nca_bundle = %s/ca.pem\n", open),
	} {
		if err := os.WriteFile(filepath.Join(open, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	// Debian's aws does not support endpoint_url in its configuration.
	here := fmt.Sprintf(
		`export AWS_CONFIG_FILE=%s/config; aws() { command aws --endpoint-url %s "$@"; }; `,
		open,
		e["AWS_ENDPOINT_URL"],
	)
	term := harness.OpenTerminal(t, 24, 200, a.Shell(t.Context(), nil, alice+startOn, instance))
	id := term.Expect(awhile, `Starting session with SessionId: (alice-\S+)`)[1]
	term.Expect(soon, `\[\S+@MyEC2Instance ~\]\$ $`)
	term.Send(here + "PS1='plain> '\r")
	term.Expect(soon, `(?m)^plain> $`)
	term.Send(". " + open + "/bashrc\r")
	term.Expect(awhile, `(?m)^\[\S+@MyEC2Instance ~\]\$ $`)

	// Users can end their own sessions only.
	a.denied("another's session", alice, terminate, "bob-0123456789abcdefg")
	term.Send("echo do''ne; exit\r")
	term.Wait(awhile)

	// The log is in the bucket, and the history says so.
	key := "sessions/" + id + ".log"
	fetch := `aws s3 cp "s3://$1/$2" -`
	harness.Eventually(t, awhile, func() error {
		if r := a.as("", fetch, bucket, key); !strings.Contains(r.Stdout, "done") {
			return fmt.Errorf("the log: exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
		return nil
	})
	history := `aws ssm describe-sessions --state History --filters "key=SessionId,value=$1" --query ` +
		`'Sessions[0].[OutputUrl.S3OutputUrl,Details]' --output text`
	harness.Eventually(t, awhile, func() error {
		if got := a.run("", history, id); got != "s3://"+bucket+"/"+key+"\tNone" {
			return fmt.Errorf("the history says %q", got)
		}
		return nil
	})

	// The machine overwrites the log with its role's credentials while another
	// session runs: the old version stays.
	term = harness.OpenTerminal(t, 24, 200, a.Shell(t.Context(), nil, alice+startOn, instance))
	second := term.Expect(awhile, `Starting session with SessionId: (alice-\S+)`)[1]
	term.Expect(soon, `\$ $`)
	term.Send(here + "cd; : > empty.txt; aws s3 cp empty.txt s3://" + bucket + "/" + key + " && echo over''written\r")
	term.Expect(awhile, `(?m)^overwritten`)
	if got := a.run("", `aws s3api head-object --bucket "$1" --key "$2" --query ContentLength --output text`, bucket,
		key); got != "0" {
		t.Errorf("the log has %s bytes", got)
	}
	old := a.run(
		"",
		`V=$(aws s3api list-object-versions --bucket "$1" --prefix "$2" --query 'Versions[?!IsLatest].VersionId' `+
			`--output text)
aws s3api get-object --bucket "$1" --key "$2" --version-id "$V" "$3" >/dev/null; cat "$3"`,
		bucket,
		key,
		filepath.Join(dir, "old.log"),
	)
	if !strings.Contains(old, "done") {
		t.Errorf("the old version is %q", old)
	}

	// Without permission the upload fails, and the history says why.
	a.run("", `aws iam delete-role-policy --role-name "$1" --policy-name prompt-and-logs`, role)
	term.Send("exit\r")
	term.Wait(awhile)
	harness.Eventually(t, awhile, func() error {
		got := a.run("", history, second)
		if !strings.Contains(got, "log was not delivered") ||
			!strings.Contains(got, "not authorized to perform: s3:PutObject") {
			return fmt.Errorf("the history says %q", got)
		}
		return nil
	})
}
