package e2e_test

import (
	"os/exec"
	"strings"
	"testing"

	"sekisho/e2e/harness"
)

// pythonWithBoto3 is the first python3 that has boto3: Debian's or another.
func pythonWithBoto3(t *testing.T) string {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), python, "-c", "import boto3").Run() == nil {
			return python
		}
	}
	t.Fatal("no python3 with boto3 (scripts/setup installs it)")
	return ""
}

// TestBoto3 starts, finds and ends a session with the AWS SDK for Python.
func TestBoto3(t *testing.T) {
	t.Parallel()
	const script = `
import os, boto3
ssm = boto3.client("ssm", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name=os.environ["AWS_REGION"])
target = os.environ["SEKISHO_TARGET"]
s = ssm.start_session(Target=target, Reason="boto3 was here")
sid = s["SessionId"]
assert s["StreamUrl"].startswith("wss://"), s
assert 0 < len(s["TokenValue"]) <= 300, s
assert s["ResponseMetadata"]["RequestId"], s
found = [x for page in ssm.get_paginator("describe_sessions").paginate(State="Active", Filters=[{"key": "Target", "value": target}])
         for x in page["Sessions"] if x["SessionId"] == sid]
assert len(found) == 1 and found[0]["Reason"] == "boto3 was here", found
assert ssm.terminate_session(SessionId=sid)["SessionId"] == sid
history = ssm.describe_sessions(State="History", Filters=[{"key": "SessionId", "value": sid}])["Sessions"]
assert len(history) == 1 and history[0]["Status"] in ("Terminated", "Terminating"), history
assert history[0]["EndDate"] >= history[0]["StartDate"], history
nodes = ssm.describe_instance_information(Filters=[{"Key": "InstanceIds", "Values": [target]}])["InstanceInformationList"]
assert len(nodes) == 1 and nodes[0]["PingStatus"] == "Online", nodes
print("all", "well")
`
	r := harness.Do(t, shared.Shell(t.Context(), nil, `exec "$1" -c "$2"`, pythonWithBoto3(t), script))
	if r.Code != 0 || !strings.Contains(r.Stdout, "all well") {
		t.Errorf("exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
}
