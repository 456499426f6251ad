package e2e_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sekisho/e2e/harness"
)

// TestBrowser runs the console's tests (browser/*.test.mjs) in headless
// Chromium against its own server.
func TestBrowser(t *testing.T) {
	t.Parallel()
	tests, err := filepath.Glob("browser/*.test.mjs")
	if err != nil || len(tests) == 0 {
		t.Fatalf("no tests in browser (%v)", err)
	}
	inBrowser(t, ownServer(t), tests...)
}

// TestBrowserAccount tests first-run setup of an account, and its passkeys.
func TestBrowserAccount(t *testing.T) {
	t.Parallel()
	s := startServer(t, shared.Programs, t.TempDir(), "--nodes", "0", "--first-run")
	inBrowser(t, s, "browser/account.mjs")
}

// TestBrowserQuickSetup tests the Quick Setup page.
func TestBrowserQuickSetup(t *testing.T) {
	t.Parallel()
	inBrowser(t, ownServer(t), "browser/quick-setup.mjs")
}

// TestBrowserEncrypted tests a session that only the page and the node can
// read.
func TestBrowserEncrypted(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	r := harness.Do(t, s.Shell(t.Context(), nil, `set -eu
		key=$(aws kms create-key --query KeyMetadata.Arn --output text)
		aws iam put-role-policy --role-name AmazonEC2RunCommandRoleForManagedInstances --policy-name kms \
			--policy-document '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Decrypt","Resource":"'$key'"}]}'
		aws ssm create-document --name SSM-SessionManagerRunShell --document-type Session \
			--content '{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"kmsKeyId":"'$key'"}}'`))
	if r.Code != 0 {
		t.Fatalf("exit %d: %s", r.Code, r.Stderr)
	}
	inBrowser(t, s, "browser/encrypted.mjs")
}

// TestBrowserTerminal is what a terminal does beside typing.
func TestBrowserTerminal(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	setUp(t, s, `aws iam create-user --user-name viewer &&
		aws iam create-login-profile --user-name viewer --password Correct-Horse-1`)
	inBrowser(t, s, "browser/terminal.mjs")
}

// TestBrowserTrouble is a console whose network, server or sign-in goes away.
func TestBrowserTrouble(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	setUp(t, s, `aws iam create-user --user-name other &&
		aws iam create-login-profile --user-name other --password Correct-Horse-1`)
	// This agent outlives the server.
	agent := s.StartAgent(t, "outlives", -1)
	control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := errors.Join(s.Kill(), s.Run()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	t.Cleanup(control.Close)
	env := []string{"SEKISHO_TEST_RESTART=" + control.URL, "SEKISHO_TARGET=" + agent.NodeID}
	runBrowser(t, s, env, "browser/trouble.mjs")
}

// inBrowser runs browser tests with node.
func inBrowser(t *testing.T, s *harness.Server, tests ...string) {
	t.Helper()
	runBrowser(t, s, nil, tests...)
}

// runBrowser is inBrowser with more variables in the environment.
func runBrowser(t *testing.T, s *harness.Server, more []string, tests ...string) {
	t.Helper()
	shots := os.Getenv("SCREENSHOT_DIR")
	if shots == "" {
		shots = t.TempDir()
	}
	cmd := exec.CommandContext(t.Context(), "node", append([]string{"--test", "--test-reporter=spec"}, tests...)...)
	cmd.Env = append(os.Environ(), "SCREENSHOT_DIR="+shots, "SEKISHO_BIN="+shared.Bin)
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			cmd.Env = append(cmd.Env, "CHROMIUM="+path)
			break
		}
	}
	for name, value := range env(t, s) {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Env = append(cmd.Env, more...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("node --test: %v", err)
	}
}

// TestBrowserPassword tests a password that must be changed.
func TestBrowserPassword(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	r := harness.Do(t, s.Shell(t.Context(), nil, `aws iam create-user --user-name newcomer &&
		aws iam create-login-profile --user-name newcomer --password Correct-Horse-1 --password-reset-required &&
		aws iam attach-user-policy --user-name newcomer --policy-arn arn:aws:iam::aws:policy/IAMUserChangePassword &&
		aws iam attach-user-policy --user-name newcomer --policy-arn arn:aws:iam::aws:policy/AmazonSSMReadOnlyAccess`))
	if r.Code != 0 {
		t.Fatalf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	inBrowser(t, s, "browser/password.mjs")
}

// setUp runs commands of the aws CLI as the administrator.
func setUp(t *testing.T, s *harness.Server, script string) {
	t.Helper()
	if r := harness.Do(t, s.Shell(t.Context(), nil, script)); r.Code != 0 {
		t.Fatalf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// TestBrowserPreferences tests the page of the session preferences.
func TestBrowserPreferences(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	setUp(t, s, `aws iam create-user --user-name looker &&
		aws iam create-login-profile --user-name looker --password Correct-Horse-1 &&
		aws iam attach-user-policy --user-name looker --policy-arn arn:aws:iam::aws:policy/AmazonSSMReadOnlyAccess`)
	inBrowser(t, s, "browser/preferences.mjs")
}

// TestBrowserStarts tests the pages before, around and after a session.
func TestBrowserStarts(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	day := func(n int) string { return time.Now().AddDate(0, 0, n).UTC().Format(time.RFC3339) }
	look := `{"Effect":"Allow","Action":["ssm:DescribeSessions","ssm:DescribeInstanceProperties",` +
		`"ec2:describeInstances","ssm:GetConnectionStatus"],"Resource":"*"}`
	setUp(t, s, `set -e
		aws s3api create-bucket --bucket session-logs
		aws s3api put-bucket-versioning --bucket session-logs --versioning-configuration Status=Enabled
		aws logs create-log-group --log-group-name /sessions
		aws ssm create-document --document-type Session --name SSM-SessionManagerRunShell --content '{"schemaVersion":"1.0","sessionType":"Standard_Stream",
			"inputs":{"s3BucketName":"session-logs","s3KeyPrefix":"nodes","s3EncryptionEnabled":true,"cloudWatchLogGroupName":"/sessions","cloudWatchStreamingEnabled":true,
			"sekisho":{"reasonRequired":true}}}'
		for name in watcher tomorrow; do
			aws iam create-user --user-name $name
			aws iam create-login-profile --user-name $name --password Correct-Horse-1
			aws iam put-user-policy --user-name $name --policy-name look --policy-document '{"Version":"2012-10-17","Statement":`+look+`}'
		done
		aws iam put-user-policy --user-name tomorrow --policy-name start --policy-document '{"Version":"2012-10-17","Statement":{"Effect":"Allow",
			"Action":"ssm:StartSession","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"`+day(1)+
		`"},"DateLessThan":{"aws:CurrentTime":"`+day(2)+`"}}}}'`)
	inBrowser(t, s, "browser/starts.mjs")
}

// TestBrowserJoin tests watching and joining a session: the button, and the participants that the owner sees.
func TestBrowserJoin(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	setUp(t, s, `set -e
		for name in bob carol; do
			aws iam create-user --user-name $name
			aws iam create-login-profile --user-name $name --password Correct-Horse-1
			aws iam attach-user-policy --user-name $name --policy-arn arn:aws:iam::aws:policy/ReadOnlyAccess
		done
		aws iam put-user-policy --user-name bob --policy-name join --policy-document '{"Version":"2012-10-17","Statement":
			{"Effect":"Allow","Action":["sekisho:JoinSession","sekisho:SendSessionInput"],"Resource":"*"}}'`)
	inBrowser(t, s, "browser/join.mjs")
}

// TestBrowserPages checks every page for accessibility and errors, and
// captures it with PICTURES and SCREENSHOT_DIR (make screenshots).
func TestBrowserPages(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	setUp(t, s, `set -e
		aws iam create-group --group-name operators
		aws s3api create-bucket --bucket picture-logs
		aws logs create-log-group --log-group-name /pictures
		aws ssm send-command --document-name AWS-RunShellScript --instance-ids $SEKISHO_TARGET --parameters commands=uptime`)
	inBrowser(t, s, "browser/pages.mjs")
}

// TestBrowserMatrix opens each page as an administrator, an auditor, somebody on call, a user who can
// start a session on one node, and a user without permissions.
func TestBrowserMatrix(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	setUp(t, s, `set -e
		for name in auditor oncall minimal nobody; do
			aws iam create-user --user-name $name
			aws iam create-login-profile --user-name $name --password Correct-Horse-1
		done
		policy() { aws iam put-user-policy --user-name $1 --policy-name own --policy-document '{"Version":"2012-10-17","Statement":'"$2"'}'; }
		policy auditor '{"Effect":"Allow","Resource":"*","Action":["ssm:Describe*","ssm:Get*","ssm:List*","ec2:Describe*","iam:Get*","iam:List*",
			"iam:SimulatePrincipalPolicy","cloudtrail:LookupEvents","sekisho:Get*","sekisho:List*","sekisho:Verify*","s3:List*","s3:GetBucket*",
			"logs:Describe*","kms:List*","kms:Describe*"]}'
		policy oncall '[{"Effect":"Allow","Resource":"*","Action":["ssm:DescribeInstance*","ssm:DescribeSessions","ssm:StartSession","ssm:GetConnectionStatus",
			"sekisho:ListAccessRequests","ssm:StartAccessRequest","sekisho:GetSessionRecording"]},
			{"Effect":"Allow","Action":["ssm:TerminateSession","ssm:ResumeSession"],"Resource":"arn:aws:ssm:*:*:session/${aws:username}-*"}]'
		policy minimal '[{"Effect":"Allow","Action":"ssm:StartSession","Resource":["arn:aws:ssm:*:*:managed-instance/'$SEKISHO_TARGET'","arn:aws:ssm:*:*:document/SSM-SessionManagerRunShell"]},
			{"Effect":"Allow","Action":["ssm:TerminateSession","ssm:ResumeSession"],"Resource":"arn:aws:ssm:*:*:session/minimal-*"}]'
		aws iam create-group --group-name operators
		aws s3api create-bucket --bucket picture-logs
		aws logs create-log-group --log-group-name /pictures`)
	inBrowser(t, s, "browser/matrix.mjs")
}

// TestBrowserPolicies tests the policy editor, and pages for users with some permissions.
func TestBrowserPolicies(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	setUp(t, s, `set -e
		aws s3api create-bucket --bucket session-logs
		aws ssm create-document --document-type Session --name SSM-SessionManagerRunShell \
			--content '{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"s3BucketName":"session-logs"}}'
		aws iam create-user --user-name reader
		aws iam create-login-profile --user-name reader --password Correct-Horse-1
		aws iam put-user-policy --user-name reader --policy-name read --policy-document '{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Action":["iam:ListUsers","iam:ListGroups"],"Resource":"*"},
			{"Effect":"Allow","Action":"iam:CreateGroup","Resource":"arn:aws:iam::*:group/team-*"}]}'`)
	inBrowser(t, s, "browser/policies.mjs")
}

// TestBrowserRoles tests the console for users with few permissions.
func TestBrowserRoles(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	setUp(t, s, `set -e
		for name in minimal nobody; do
			aws iam create-user --user-name $name
			aws iam create-login-profile --user-name $name --password Correct-Horse-1
		done
		aws iam put-user-policy --user-name minimal --policy-name start --policy-document '{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Action":"ssm:StartSession","Resource":["arn:aws:ssm:*:*:managed-instance/'$SEKISHO_TARGET'","arn:aws:ssm:*:*:document/SSM-SessionManagerRunShell"]},
			{"Effect":"Allow","Action":["ssm:TerminateSession","ssm:ResumeSession"],"Resource":"arn:aws:ssm:*:*:session/minimal-*"}]}'`)
	inBrowser(t, s, "browser/roles.mjs")
}

// TestBrowserAccess tests who can reach which node, and when: grants, requests for access,
// requesting a second factor when it is needed, and reach.
func TestBrowserAccess(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	setUp(t, s, `set -e
		for name in ann bob carol stella; do
			aws iam create-user --user-name $name
			aws iam create-login-profile --user-name $name --password Correct-Horse-1
		done
		policy() { aws iam put-user-policy --user-name $1 --policy-name $2 --policy-document '{"Version":"2012-10-17","Statement":'"$3"'}'; }
		policy ann requests '{"Effect":"Allow","Action":["ssm:StartAccessRequest","ssm:GetAccessToken","ssm:ResumeSession",
			"sekisho:ListAccessRequests","sekisho:ApproveAccessRequest"],"Resource":"*"}'
		policy bob approves '{"Effect":"Allow","Action":["sekisho:ListAccessRequests","sekisho:ApproveAccessRequest",
			"sekisho:RejectAccessRequest","sekisho:RevokeAccessRequest"],"Resource":"*"}'
		policy stella factor '[{"Effect":"Allow","Action":["iam:CreateVirtualMFADevice","iam:EnableMFADevice","iam:ListMFADevices"],"Resource":"*"},
			{"Effect":"Allow","Action":["ssm:StartSession","ssm:ResumeSession"],"Resource":"*","Condition":{"NumericLessThan":{"aws:MultiFactorAuthAge":"900"}}}]'
		sekisho calendars put on-call --zone UTC --on 2026-01-01/2036-01-01
		sekisho calendars put holidays --zone UTC --on 2026-01-01
		sekisho access rules put prod --all-nodes --approvals 1 --duration 1h`)
	inBrowser(t, s, "browser/access.mjs")
}
