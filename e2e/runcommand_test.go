package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/e2e/harness"
)

// ask runs a script that must succeed, and returns its output.
func ask(t *testing.T, s *harness.Server, path []string, script string, args ...string) string {
	t.Helper()
	r := harness.Do(t, s.Shell(t.Context(), path, script, args...))
	if r.Code != 0 {
		t.Fatalf("%s %q: exit %d: %s", script, args, r.Code, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// outcome is the response of GetCommandInvocation.
type outcome struct {
	Status, StatusDetails, StandardOutputContent, StandardErrorContent, StandardOutputURL, PluginName string
	ResponseCode                                                                                      int
}

func outcomeOf(t *testing.T, s *harness.Server, path []string, command, node string, more ...string) outcome {
	t.Helper()
	var o outcome
	text := ask(
		t,
		s,
		path,
		`aws ssm get-command-invocation --output json --command-id "$@"`,
		append([]string{command, "--instance-id", node}, more...)...)
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return o
}

// awaitOutcome waits until a command has one of the statuses on a node.
func awaitOutcome(t *testing.T, s *harness.Server, command, node string, statuses ...string) outcome {
	t.Helper()
	var o outcome
	harness.Eventually(t, awhile, func() error {
		o = outcomeOf(t, s, nil, command, node)
		for _, want := range statuses {
			if o.Status == want {
				return nil
			}
		}
		return fmt.Errorf("the command is %+v, want one of %q", o, statuses)
	})
	return o
}

// send sends AWS-RunShellScript to a node.
func send(t *testing.T, s *harness.Server, path []string, node, parameters string, more ...string) string {
	t.Helper()
	return ask(
		t,
		s,
		path,
		`aws ssm send-command --document-name AWS-RunShellScript --query Command.CommandId --output text --instance-ids "$@"`,
		append([]string{node, "--parameters", parameters}, more...)...)
}

// TestRunCommand sends commands as users do: with the aws CLI and its waiter.
func TestRunCommand(t *testing.T) {
	t.Parallel()
	node := env(t, shared)["SEKISHO_TARGET"]
	eachCLI(t, func(t *testing.T, path []string) {
		dir := t.TempDir()
		id := send(
			t,
			shared,
			path,
			node,
			fmt.Sprintf(`{"commands":["echo out; pwd","echo err >&2","exit 0"],"workingDirectory":["%s"]}`, dir),
			"--comment",
			"why",
		)
		ask(t, shared, path, `aws ssm wait command-executed --command-id "$1" --instance-id "$2"`, id, node)
		o := outcomeOf(t, shared, path, id, node)
		if o.Status != "Success" || o.StandardOutputContent != "out\n"+dir+"\n" || o.StandardErrorContent != "err\n" ||
			o.ResponseCode != 0 ||
			o.PluginName != "aws:runShellScript" {
			t.Errorf("%+v", o)
		}
		got := ask(
			t,
			shared,
			path,
			`aws ssm list-commands --command-id "$1" --output text --query 'Commands[].[Status,Comment,TargetCount,`+
				`CompletedCount,ErrorCount]'`,
			id,
		)
		if strings.Join(strings.Fields(got), " ") != "Success why 1 1 0" {
			t.Errorf("list-commands: %s", got)
		}
		id = send(t, shared, path, node, `{"commands":["echo before","exit 7"]}`)
		r := harness.Do(
			t,
			shared.Shell(
				t.Context(),
				path,
				`aws ssm wait command-executed --command-id "$1" --instance-id "$2"`,
				id,
				node,
			),
		)
		if r.Code == 0 {
			t.Error("the waiter reported success for a failed command")
		}
		got = ask(
			t,
			shared,
			path,
			`aws ssm list-command-invocations --command-id "$1" --details --output text --query `+
				`'CommandInvocations[].CommandPlugins[].[Name,Status,ResponseCode]'`,
			id,
		)
		if strings.Join(strings.Fields(got), " ") != "aws:runShellScript Failed 7" {
			t.Errorf("list-command-invocations: %s", got)
		}
	})
}

// TestRunCommandCancelled: cancelling a command ends it on its node, with the
// processes it started.
func TestRunCommandCancelled(t *testing.T) {
	t.Parallel()
	node := env(t, shared)["SEKISHO_TARGET"]
	began := filepath.Join(t.TempDir(), "began")
	id := send(
		t,
		shared,
		nil,
		node,
		fmt.Sprintf(`{"commands":["echo under way","touch %s","while :; do sleep 1; done"]}`, began),
	)
	harness.Eventually(t, awhile, func() error { _, err := os.Stat(began); return err })
	ask(t, shared, nil, `aws ssm cancel-command --command-id "$1"`, id)
	if o := awaitOutcome(t, shared, id, node, "Cancelled", "Failed", "Success"); o.Status != "Cancelled" ||
		!strings.Contains(o.StandardOutputContent, "under way") {
		t.Errorf("%+v", o)
	}
}

// TestRunCommandTimeout: a command that exceeds its time limit is ended.
func TestRunCommandTimeout(t *testing.T) {
	t.Parallel()
	node := env(t, shared)["SEKISHO_TARGET"]
	id := send(
		t,
		shared,
		nil,
		node,
		`{"commands":["echo under way","while :; do sleep 1; done"],"executionTimeout":["5"]}`,
	)
	if o := awaitOutcome(t, shared, id, node, "TimedOut", "Failed", "Success"); o.StatusDetails != "ExecutionTimedOut" ||
		!strings.Contains(o.StandardOutputContent, "under way") {
		t.Errorf("%+v", o)
	}
}

// TestRunCommandBoto3 sends a custom document to nodes by their tag, with the AWS SDK for
// Python and its waiter.
func TestRunCommandBoto3(t *testing.T) {
	t.Parallel()
	const script = `
import os, boto3, botocore
greet = "Greet" + os.urandom(4).hex() # the test may run more than once
ssm = boto3.client("ssm", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name=os.environ["AWS_REGION"])
target = os.environ["SEKISHO_TARGET"]
ssm.add_tags_to_resource(ResourceType="ManagedInstance", ResourceId=target, Tags=[{"Key": "greets", "Value": "yes"}])
ssm.create_document(Name=greet, DocumentType="Command", DocumentFormat="YAML", Content="""
schemaVersion: "2.2"
parameters:
  who: {type: String, allowedPattern: "[a-z]+"}
mainSteps:
- {action: "aws:runShellScript", name: hello, inputs: {runCommand: ["echo hello {{ who }}"]}}
- {action: "aws:runShellScript", name: never, precondition: {StringEquals: [platformType, Windows]}, inputs: {runCommand: ["exit 1"]}}
- {action: "aws:runShellScript", name: goodbye, inputs: {runCommand: ["echo bye"]}}
""")
sent = ssm.send_command(DocumentName=greet, Targets=[{"Key": "tag:greets", "Values": ["yes"]}], Parameters={"who": ["you"]}, MaxConcurrency="50%", MaxErrors="0")["Command"]
assert sent["Status"] == "Pending" and sent["TargetCount"] == 1, sent
cid = sent["CommandId"]
ssm.get_waiter("command_executed").wait(CommandId=cid, InstanceId=target)
def step(name):
    return ssm.get_command_invocation(CommandId=cid, InstanceId=target, PluginName=name)
assert step("hello")["StandardOutputContent"] == "hello you\n", step("hello")
assert step("goodbye")["StandardOutputContent"] == "bye\n", step("goodbye")
assert step("never")["Status"] == "Success", step("never")
try:
    ssm.send_command(DocumentName=greet, InstanceIds=[target], Parameters={"who": ["$(reboot)"]})
    raise SystemExit("a parameter that does not match was taken")
except ssm.exceptions.InvalidParameters as e:
    assert "reboot" not in str(e), e
try:
    ssm.get_command_invocation(CommandId=cid, InstanceId="mi-00000000000000000")
    raise SystemExit("there is no such invocation")
except ssm.exceptions.InvocationDoesNotExist:
    pass
found = [c["CommandId"] for page in ssm.get_paginator("list_commands").paginate(Filters=[{"key": "DocumentName", "value": greet}]) for c in page["Commands"]]
assert found == [cid], found
nobody = ssm.send_command(DocumentName="AWS-RunShellScript", Targets=[{"Key": "tag:greets", "Values": ["no"]}], Parameters={"commands": ["id"]})["Command"]
assert nobody["StatusDetails"] == "NoInstancesInTag", nobody
print("all", "well")
`
	r := harness.Do(t, shared.Shell(t.Context(), nil, `exec "$1" -c "$2"`, pythonWithBoto3(t), script))
	if r.Code != 0 || !strings.Contains(r.Stdout, "all well") {
		t.Errorf("exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// TestRunCommandOutlivesTheServer: a command continues while the server is down, its output
// goes to a bucket and a log group, and a script comes from one.
func TestRunCommandOutlivesTheServer(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	agent := s.StartAgent(t, "runs", -1)
	dir := t.TempDir()
	ask(
		t,
		s,
		nil,
		`aws iam put-role-policy --role-name AmazonEC2RunCommandRoleForManagedInstances --policy-name outputs `+
			`--policy-document "$1"`,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*","logs:*"],"Resource":"*"}]}`,
	)
	ask(t, s, nil, `aws s3api create-bucket --bucket run-command`)

	go1 := filepath.Join(dir, "go")
	id := send(
		t,
		s,
		nil,
		agent.NodeID,
		fmt.Sprintf(`{"commands":["echo before","while [ ! -e %s ]; do sleep 0.1; done","echo after"]}`, go1),
		"--output-s3-bucket-name",
		"run-command",
		"--output-s3-key-prefix",
		"out",
		"--cloud-watch-output-config",
		"CloudWatchOutputEnabled=true,CloudWatchLogGroupName=run-command",
	)
	awaitOutcome(t, s, id, agent.NodeID, "InProgress")
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(go1, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	s.AwaitConnected(t, agent.NodeID, awhile)
	o := awaitOutcome(t, s, id, agent.NodeID, "Success", "Failed", "TimedOut")
	if o.Status != "Success" || o.StandardOutputContent != "before\nafter\n" {
		t.Fatalf("%+v", o)
	}

	id = send(
		t,
		s,
		nil,
		agent.NodeID,
		`{"commands":["echo to the bucket"]}`,
		"--output-s3-bucket-name",
		"run-command",
		"--output-s3-key-prefix",
		"out",
		"--cloud-watch-output-config",
		"CloudWatchOutputEnabled=true,CloudWatchLogGroupName=run-command",
	)
	o = awaitOutcome(t, s, id, agent.NodeID, "Success", "Failed", "TimedOut")
	_, key, ok := strings.Cut(o.StandardOutputURL, "/run-command/")
	if !ok || !strings.HasPrefix(key, "out/"+id+"/"+agent.NodeID+"/") {
		t.Fatalf("%+v", o)
	}
	if got := ask(t, s, nil, `aws s3 cp "s3://run-command/$1" -`, key); got != "to the bucket" {
		t.Errorf("in the bucket: %q", got)
	}
	logged := ask(t, s, nil,
		`aws logs filter-log-events --log-group-name run-command --query 'events[].message' --output text`)
	if !strings.Contains(logged, "to the bucket") {
		t.Errorf("in the log group: %q", logged)
	}

	ask(t, s, nil, `printf '#!/bin/sh\necho remote "$@"\n' | aws s3 cp - s3://run-command/scripts/hello.sh`)
	source, err := json.Marshal(
		map[string]string{"path": env(t, s)["AWS_ENDPOINT_URL"] + "/run-command/scripts/hello.sh"},
	)
	if err != nil {
		t.Fatal(err)
	}
	parameters, err := json.Marshal(
		map[string][]string{"sourceType": {"S3"}, "sourceInfo": {string(source)}, "commandLine": {"hello.sh 'a b' c"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	id = ask(
		t,
		s,
		nil,
		`aws ssm send-command --document-name AWS-RunRemoteScript --query Command.CommandId --output text `+
			`--instance-ids "$1" --parameters "$2"`,
		agent.NodeID,
		string(parameters),
	)
	awaitOutcome(t, s, id, agent.NodeID, "Success", "Failed", "TimedOut")
	if o := outcomeOf(t, s, nil, id, agent.NodeID, "--plugin-name", "runShellScript"); o.Status != "Success" ||
		o.StandardOutputContent != "remote a b c\n" {
		t.Errorf("%+v", o)
	}
}

// TestRunCommandAgentKilled: a command whose agent dies is reported as failed
// by the next agent process, ended on the node, and not run again.
func TestRunCommandAgentKilled(t *testing.T) {
	t.Parallel()
	agent := shared.StartAgent(t, "dies under a command", -1)
	dir := t.TempDir()
	id := send(
		t,
		shared,
		nil,
		agent.NodeID,
		fmt.Sprintf(`{"commands":["echo $$ >> %s/pids","while :; do sleep 1; done"]}`, dir),
	)
	var pid string
	running := func() error {
		text, err := os.ReadFile(filepath.Join(dir, "pids"))
		if pid = strings.TrimSpace(string(text)); err == nil && !strings.HasSuffix(string(text), "\n") {
			err = fmt.Errorf("it has written %q", text)
		}
		return err
	}
	harness.Eventually(t, awhile, running)
	awaitOutcome(t, shared, id, agent.NodeID, "InProgress")
	agent.Kill()
	if _, err := os.Stat("/proc/" + pid); err != nil {
		t.Fatalf("the script ended when its agent was killed: %v", err)
	}
	agent.Run(t)
	o := awaitOutcome(t, shared, id, agent.NodeID, "Failed", "Success", "TimedOut")
	if o.Status != "Failed" || !strings.Contains(o.StandardErrorContent, "agent restarted") {
		t.Errorf("%+v", o)
	}
	harness.Eventually(t, soon, func() error {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			return fmt.Errorf("the script still runs: %s", stat)
		}
		return nil
	})
	// The next command runs, and the one before it did not start again.
	id = send(t, shared, nil, agent.NodeID, `{"commands":["echo back"]}`)
	if o := awaitOutcome(t, shared, id, agent.NodeID, "Failed", "Success",
		"TimedOut"); o.StandardOutputContent != "back\n" {
		t.Errorf("%+v", o)
	}
	if err := running(); err != nil || strings.Contains(pid, "\n") {
		t.Errorf("the command started more than once: %q, %v", pid, err)
	}
}
