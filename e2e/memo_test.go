package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sekisho/e2e/harness"
)

// account is a server with the account and region that the memo's policies
// name, and with its own clock for them.
type account struct {
	*harness.Server
	t     *testing.T
	clock string // file
	stub  string // folder with a plugin that does nothing
}

func memoAccount(t *testing.T) *account {
	t.Helper()
	dir := t.TempDir()
	a := &account{t: t, clock: filepath.Join(dir, "clock"), stub: filepath.Join(dir, "stub")}
	a.at("2020-04-15T02:00:00Z")
	if err := os.Mkdir(a.stub, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a.stub, "session-manager-plugin"), []byte("#!/bin/sh\nexit 0\n"),
		0o755); err != nil {
		t.Fatal(err)
	}
	a.Server = startServer(
		t,
		shared.Programs,
		dir,
		"--nodes",
		"0",
		"--region",
		"ap-northeast-1",
		"--account-id",
		"999999999999",
		"--policy-clock",
		a.clock,
	)
	return a
}

// at sets the clock that policies use.
func (a *account) at(when string) {
	a.t.Helper()
	next := a.clock + ".next"
	if err := os.WriteFile(next, []byte(when+"\n"), 0o644); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(next, a.clock); err != nil {
		a.t.Fatal(err)
	}
}

// as runs a script with a user's keys (the administrator's when keys is empty). Sessions
// are only started, not used.
func (a *account) as(keys, script string, args ...string) harness.Result {
	a.t.Helper()
	return harness.Do(a.t, a.Shell(a.t.Context(), []string{a.stub}, keys+script, args...))
}

// run is as for scripts that must succeed; it returns the output.
func (a *account) run(keys, script string, args ...string) string {
	a.t.Helper()
	r := a.as(keys, script, args...)
	if r.Code != 0 {
		a.t.Fatalf("%s %q: exit %d: %s", script, args, r.Code, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// denied is as for scripts that policy must deny.
func (a *account) denied(what, keys, script string, args ...string) {
	a.t.Helper()
	r := a.as(keys, script, args...)
	if r.Code == 0 || !strings.Contains(r.Stderr, "(AccessDenied") {
		a.t.Errorf("%s: %s %q: exit %d: %s%s", what, script, args, r.Code, r.Stdout, r.Stderr)
	}
}

// user creates a user with policies of testdata/memo, and returns the first
// lines of a script that acts as that user.
func (a *account) user(name string, policies ...string) string {
	a.t.Helper()
	a.run("", `aws iam create-user --user-name "$1"`, name)
	for _, p := range policies {
		a.attach(name, p)
	}
	out := a.run("", `aws iam create-access-key --user-name "$1" --output json`, name)
	var made struct {
		AccessKey struct{ AccessKeyID, SecretAccessKey string }
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.AccessKey.SecretAccessKey == "" {
		a.t.Fatalf("create-access-key: %v: %s", err, out)
	}
	return fmt.Sprintf(
		"export AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s; ",
		made.AccessKey.AccessKeyID,
		made.AccessKey.SecretAccessKey,
	)
}

// attach creates a managed policy from a file of testdata/memo and attaches
// it.
func (a *account) attach(user, name string) {
	a.t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", "memo", name+".json"))
	if err != nil {
		a.t.Fatal(err)
	}
	a.attachFile(user, name, path)
}

func (a *account) attachFile(user, name, path string) {
	a.t.Helper()
	arn := a.run(
		"",
		`aws iam create-policy --policy-name "$1" --policy-document "file://$2" --query Policy.Arn --output text`,
		user+"-"+name,
		path,
	)
	a.run("", `aws iam attach-user-policy --user-name "$1" --policy-arn "$2"`, user, arn)
}

const (
	startOn   = `aws ssm start-session --target "$1"`
	terminate = `aws ssm terminate-session --session-id "$1"`
)

// TestMemo: the operator's memo with its own policies, as printed there,
// attached and tested with the aws CLI.
func TestMemo(t *testing.T) {
	t.Parallel()
	a := memoAccount(t)
	const instance = "i-01234567890abcdef"
	node := a.StartAgent(t, "MyEC2Instance", -1, "Key=sekisho:InstanceId,Value="+instance)
	if node.NodeID != instance {
		t.Fatalf("the instance registered as %s", node.NodeID)
	}
	other := a.StartAgent(t, "another", -1)

	// The instance role: its policy is used unchanged.
	role := "AmazonEC2RunCommandRoleForManagedInstances"
	path, err := filepath.Abs("testdata/memo/instance-role.json")
	if err != nil {
		t.Fatal(err)
	}
	a.run(
		"",
		`aws iam put-role-policy --role-name "$1" --policy-name prompt-and-logs --policy-document "file://$2"`,
		role,
		path,
	)
	kept := a.run(
		"",
		`aws iam get-role-policy --role-name "$1" --policy-name prompt-and-logs --query PolicyDocument --output json`,
		role,
	)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := canonical(t, kept), canonical(t, string(text)); got != want {
		t.Errorf("the role's policy came back as %s", got)
	}

	// The minimal policy: it allows the list of nodes, and nothing else.
	looker := a.user("looker", "console")
	for script, want := range map[string]string{
		`aws ssm describe-instance-properties --query 'InstanceProperties[].InstanceId' --output text`: instance,
		// Granted as ec2:describeInstances: action names are case-insensitive.
		`aws ec2 describe-instances --query 'Reservations[].Instances[].InstanceId' --output text`: instance,
		`aws ssm get-connection-status --target i-01234567890abcdef --query Status --output text`:  "connected",
		`aws ssm describe-sessions --state Active --output json`:                                   "Sessions",
	} {
		if got := a.run(looker, script); !strings.Contains(got, want) {
			t.Errorf("%s: %s", script, got)
		}
	}
	a.denied("the minimal policy", looker, startOn, instance)
	a.denied("the minimal policy", looker, `aws iam list-users`)

	// The time window, at both ends, which are outside.
	alice := a.user("alice", "console", "time-window")
	for _, c := range []struct {
		when string
		want bool
	}{
		{"2020-04-14T23:59:59Z", false},
		{"2020-04-15T00:00:00Z", false},
		{"2020-04-15T00:00:01Z", true},
		{"2020-04-15T12:59:59+09:00", true},
		{"2020-04-15T13:00:00+09:00", false},
		{"2020-04-15T04:00:01Z", false},
		{"2021-04-15T02:00:00Z", false},
	} {
		a.at(c.when)
		if c.want {
			a.run(alice, startOn, instance)
		} else {
			a.denied("at "+c.when, alice, startOn, instance)
		}
	}
	a.at("2020-04-15T02:00:00Z")
	a.denied("another instance", alice, startOn, other.NodeID)
	a.denied("an instance that is not there", alice, startOn, "i-0fedcba0987654321")
	a.denied("a document", alice, startOn+` --document-name AWS-StartSSHSession`, instance)

	// A shell within the window, with the plugin.
	term := harness.OpenTerminal(t, 24, 80, a.Shell(t.Context(), nil, alice+startOn, instance))
	own := term.Expect(awhile, `Starting session with SessionId: (\S+)`)[1]
	term.Expect(soon, harness.Prompt)
	term.Send("echo in''side\r")
	term.Expect(soon, `(?m)^inside$`)
	if !strings.HasPrefix(own, "alice-") {
		t.Errorf("the session is called %s", own)
	}

	// Users can end their own sessions and not those of others. The window
	// does not affect that.
	bob := a.user("bob", "console", "time-window")
	theirs := harness.OpenTerminal(t, 24, 80, a.Shell(t.Context(), nil, bob+startOn, instance))
	foreign := theirs.Expect(awhile, `Starting session with SessionId: (\S+)`)[1]
	theirs.Expect(soon, harness.Prompt)
	a.denied("another's session", alice, terminate, foreign)
	a.at("2022-01-01T00:00:00Z")
	if got := a.run(alice, terminate+` --query SessionId --output text`, own); got != own {
		t.Errorf("ended %s", got)
	}
	term.Wait(awhile)
	theirs.Send("echo st''ill\r")
	theirs.Expect(soon, `(?m)^still$`)
}

// canonical is JSON without its layout.
func canonical(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestFiveProbes: user X, from address Y, to machine Z, between T1 and T2.
// Each part fails alone, and sekisho why says which failed.
func TestFiveProbes(t *testing.T) {
	t.Parallel()
	a := memoAccount(t)
	z, another := a.StartAgent(t, "z", -1), a.StartAgent(t, "another", -1)
	path := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(path,
		[]byte(`{"Version":"2012-10-17","Statement":[{"Sid":"OnCall","Effect":"Allow","Action":"ssm:StartSession",
		"Resource":"arn:aws:ssm:ap-northeast-1:999999999999:managed-instance/`+z.NodeID+`",
		"Condition":{"IpAddress":{"aws:SourceIp":"127.0.0.2/32"},
			"DateGreaterThan":{"aws:CurrentTime":"2020-04-15T00:00:00Z"},"DateLessThan":{"aws:CurrentTime":"2020-04-15T04:00:00Z"}}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	x, other := a.user("x"), a.user("other")
	a.attachFile("x", "on-call", path)

	e := env(t, a.Server)
	upstream := strings.TrimPrefix(e["AWS_ENDPOINT_URL"], "https://")
	y, elsewhere := forwarder(t, "127.0.0.2", upstream), forwarder(t, "127.0.0.3", upstream)
	via := func(address string) string { return "export AWS_ENDPOINT_URL=https://" + address + "; " }
	const inside = "2020-04-15T02:00:00Z"
	for name, c := range map[string]struct {
		user, keys, via, ip, node, when, because string
	}{
		"all conditions met": {"x", x, y, "127.0.0.2", z.NodeID, inside, ""},
		"another user": {"other", other, y, "127.0.0.2", z.NodeID, inside,
			"no identity-based policy allows the action"},
		"another address": {"x", x, elsewhere, "127.0.0.3", z.NodeID, inside,
			"aws:SourceIp: is 127.0.0.3, must be 127.0.0.2/32"},
		"another machine": {"x", x, y, "127.0.0.2", another.NodeID, inside, "the resource: the statement covers"},
		"before T1": {"x", x, y, "127.0.0.2", z.NodeID, "2020-04-15T00:00:00Z",
			"aws:CurrentTime: window opens 2020-04-15T00:00:00Z"},
		"after T2": {"x", x, y, "127.0.0.2", z.NodeID, "2020-04-15T04:00:00Z",
			"aws:CurrentTime: window closed 2020-04-15T04:00:00Z"},
	} {
		a.at(c.when)
		why := a.as(
			"",
			`sekisho why --user "$1" --source-ip "$2" --target "$3" --at "$4"`,
			c.user,
			c.ip,
			c.node,
			c.when,
		)
		if c.because == "" {
			a.run(c.keys+via(c.via), startOn, c.node)
			if why.Code != 0 || !strings.HasPrefix(why.Stdout, "yes: ") {
				t.Errorf("%s: why ended with %d: %s%s", name, why.Code, why.Stdout, why.Stderr)
			}
			continue
		}
		a.denied(name, c.keys+via(c.via), startOn, c.node)
		if why.Code != 3 || !strings.HasPrefix(why.Stdout, "no: ") || !strings.Contains(why.Stdout, c.because) {
			t.Errorf("%s: why ended with %d: %s%s; want %q", name, why.Code, why.Stdout, why.Stderr, c.because)
		}
		trail := a.run(
			"",
			`aws cloudtrail lookup-events --lookup-attributes AttributeKey=EventName,AttributeValue=StartSession --query `+
				`'Events[].CloudTrailEvent' --output json`,
		)
		var events []string
		if err := json.Unmarshal([]byte(trail), &events); err != nil {
			t.Fatal(err)
		}
		// The cases run in any order, and events have the time of the policy
		// clock.
		if !slices.ContainsFunc(events, func(event string) bool {
			return strings.Contains(event, c.because) && strings.Contains(event, `"eventTime":"`+c.when+`"`) &&
				strings.Contains(event, `"sourceIPAddress":"`+c.ip+`"`) && strings.Contains(event, `:user/`+c.user+`"`)
		}) {
			t.Errorf("%s: the trail says %s", name, trail)
		}
	}
	spans := a.as(
		"",
		`sekisho why --user x --source-ip 127.0.0.2 --target "$1" --at 2020-04-15T02:00:00Z --from 2020-04-14T00:00:00Z `+
			`--to 2020-04-16T00:00:00Z`,
		z.NodeID,
	)
	if !strings.Contains(spans.Stdout, "2020-04-15T00:00:01Z  2020-04-15T04:00:00Z") {
		t.Errorf("sekisho why for two days: %s%s", spans.Stdout, spans.Stderr)
	}
	simulated := a.run(
		"",
		`aws iam simulate-principal-policy --policy-source-arn arn:aws:iam::999999999999:user/x --action-names `+
			`ssm:StartSession \
		--resource-arns "arn:aws:ssm:ap-northeast-1:999999999999:managed-instance/$1" \
		--context-entries ContextKeyName=aws:SourceIp,ContextKeyValues=127.0.0.2,ContextKeyType=ip ContextKeyName=aws:CurrentTime,ContextKeyValues=2020-04-15T02:00:00Z,ContextKeyType=date \
		--query 'EvaluationResults[0].EvalDecision' --output text`,
		z.NodeID,
	)
	if simulated != "allowed" {
		t.Errorf("the simulator says %s", simulated)
	}
}

// forwarder forwards connections to upstream, from another loopback address.
func forwarder(t *testing.T, from, upstream string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
				out, err := dialer.DialContext(t.Context(), "tcp", upstream)
				if err != nil {
					return
				}
				defer out.Close()
				go io.Copy(out, in) // either end closing ends both
				io.Copy(in, out)    // either end closing ends both
			}()
		}
	}()
	return l.Addr().String()
}

// TestRevokedKeyEndsTheSession: disabling a user's key ends their shell within
// seconds, with the reason.
func TestRevokedKeyEndsTheSession(t *testing.T) {
	t.Parallel()
	a := memoAccount(t)
	node := a.StartAgent(t, "node", -1)
	path := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(path,
		[]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:*","Resource":"*"}]}`),
		0o600); err != nil {
		t.Fatal(err)
	}
	alice := a.user("alice")
	a.attachFile("alice", "all", path)
	term := harness.OpenTerminal(t, 24, 80, a.Shell(t.Context(), nil, alice+startOn, node.NodeID))
	id := term.Expect(awhile, `Starting session with SessionId: (\S+)`)[1]
	term.Expect(soon, harness.Prompt)
	a.run(
		"",
		`aws iam update-access-key --user-name alice --access-key-id "$(aws iam list-access-keys --user-name alice `+
			`--query 'AccessKeyMetadata[0].AccessKeyId' --output text)" --status Inactive`,
	)
	term.Expect(awhile, `access was revoked`)
	term.Wait(awhile)
	details := a.run(
		"",
		`aws ssm describe-sessions --state History --filters "key=SessionId,value=$1" --query 'Sessions[0].Details' `+
			`--output text`,
		id,
	)
	if details != "access was revoked" {
		t.Errorf("the session ended because %q", details)
	}
	if r := a.as(alice, `aws ssm describe-sessions --state Active`); r.Code == 0 ||
		!strings.Contains(r.Stderr, "UnrecognizedClientException") {
		t.Errorf("the disabled key: exit %d: %s", r.Code, r.Stderr)
	}
}
