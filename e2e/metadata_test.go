package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sekisho/e2e/harness"
)

// memoBashrc is what users put into .bashrc on EC2 for a prompt that names the
// machine.
const memoBashrc = "instance_id=$(curl -s 169.254.169.254/latest/meta-data/instance-id)\n" +
	"az=$(curl -s 169.254.169.254/latest/meta-data/placement/availability-zone)\n" +
	"region=${az%?}\n" +
	"tagged_name=$(aws ec2 describe-instances --region $region --instance-ids $instance_id --query " +
	"'Reservations[].Instances[].[Tags[?Key==`Hostname`].Value]' --output text)\n" +
	"export PS1=\"[\\u@$tagged_name \\W]\\$ \"\n"

// memoRolePolicy is the policy that the node's role needs for it.
const memoRolePolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:DescribeInstances",` +
	`"ec2:DescribeTags"],"Resource":"*"}]}`

// TestMetadataService: a node in its own network namespace serves the address
// where programs look for the instance metadata service.
func TestMetadataService(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	dir := t.TempDir()
	programs := n.programs(dir)
	script := fmt.Sprintf(
		"#!/bin/sh\n[ \"$1\" != run ] || set -- \"$@\" --imds 169.254.169.254:80 --imds-v1 --imds-add-address\nexec ip "+
			"netns exec %s '%s' \"$@\"\n",
		n.node,
		filepath.Join(shared.Bin, "sekisho-agent"),
	)
	if err := os.WriteFile(filepath.Join(dir, "sekisho-agent"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, programs, t.TempDir(), "--listen", serverIP+":0", "--nodes", "0")
	agent := s.StartAgent(t, "metadata", -1, "Key=sekisho:InstanceId,Value=i-01234567890abcdef")
	if r := harness.Do(t, s.Shell(t.Context(), nil,
		`aws ec2 create-tags --resources "$1" --tags Key=Hostname,Value=MyEC2Instance`, agent.NodeID)); r.Code != 0 {
		t.Fatalf("create-tags: exit %d: %s", r.Code, r.Stderr)
	}

	e := env(t, s)
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".aws"), 0o755); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("[default]\nendpoint_url = %s\nca_bundle = %s\n", e["AWS_ENDPOINT_URL"], e["AWS_CA_BUNDLE"])
	for name, text := range map[string]string{".aws/config": config, ".bashrc": memoBashrc} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// on runs a script on the node as a login would: with a home directory,
	// and without AWS variables in the environment.
	on := func(script string) harness.Result {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", n.node, "bash", "-c", script)
		cmd.Dir = home
		cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}
		return harness.Do(t, cmd)
	}
	want := func(what, script, want string) {
		t.Helper()
		if r := on(script); strings.TrimSpace(r.Stdout) != want {
			t.Errorf("%s: exit %d, %q, not %q\n%s", what, r.Code, r.Stdout, want, r.Stderr)
		}
	}

	// Version 2: a token first.
	const token = `T=$(curl -sX PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' 169.254.169.254/latest/api/token); `
	want(
		"instance ID",
		token+`curl -s -H "X-aws-ec2-metadata-token: $T" 169.254.169.254/latest/meta-data/instance-id`,
		"i-01234567890abcdef",
	)
	want(
		"a wrong token",
		`curl -so /dev/null -w '%{http_code}' -H 'X-aws-ec2-metadata-token: x' 169.254.169.254/latest/meta-data/instance-id`,
		"401",
	)
	want(
		"a forwarded request",
		`curl -so /dev/null -w '%{http_code}' -H 'X-Forwarded-For: 10.0.0.1' 169.254.169.254/latest/meta-data/instance-id`,
		"403",
	)
	want(
		"a name that resolves to this address",
		`curl -so /dev/null -w '%{http_code}' --resolve evil.example:80:169.254.169.254 `+
			`http://evil.example/latest/meta-data/instance-id`,
		"403",
	)

	// The role may not read tags yet, and the error says so.
	want("tags", `curl -so /dev/null -w '%{http_code}' 169.254.169.254/latest/meta-data/tags/instance`, "403")
	if r := harness.Do(t, s.Shell(t.Context(), nil,
		`aws iam put-role-policy --role-name AmazonEC2RunCommandRoleForManagedInstances --policy-name memo `+
			`--policy-document "$1"`, memoRolePolicy)); r.Code != 0 {
		t.Fatalf("put-role-policy: exit %d: %s", r.Code, r.Stderr)
	}
	harness.Eventually(t, awhile, func() error {
		if r := on(`curl -s 169.254.169.254/latest/meta-data/tags/instance/Hostname`); r.Stdout != "MyEC2Instance" {
			return fmt.Errorf("the tag is %q", r.Stdout)
		}
		return nil
	})

	// AWS's own program finds the role's credentials by itself.
	want("caller", `aws sts get-caller-identity --region us-east-1 --query Arn --output text`,
		"arn:aws:sts::"+accountOf(t, s)+":assumed-role/AmazonEC2RunCommandRoleForManagedInstances/i-01234567890abcdef")

	// The lines from .bashrc work unchanged.
	want("the prompt", `. ~/.bashrc; printf '%s\n' "$PS1"`, `[\u@MyEC2Instance \W]$`)
	want(
		"the prompt as displayed",
		`cd ~ && . ~/.bashrc && printf '%s\n' "${PS1@P}"`,
		"["+userName(t)+"@MyEC2Instance ~]$",
	)

	// A machine on the same network with a route to the address gets no answer.
	n.ip("-n", n.server, "route", "add", "169.254.169.254/32", "via", nodeIP)
	cmd := exec.CommandContext(
		t.Context(),
		"ip",
		"netns",
		"exec",
		n.server,
		"curl",
		"-sS",
		"--max-time",
		"10",
		"169.254.169.254/latest/meta-data/instance-id",
	)
	if r := harness.Do(t, cmd); r.Code == 0 || strings.Contains(r.Stdout, "i-0") {
		t.Errorf("another machine was answered: exit %d, %q", r.Code, r.Stdout)
	}

	// The address disappears with the agent.
	agent.Stop(t)
	if out, err := exec.Command("ip", "-n", n.node, "addr", "show", "dev", "lo").CombinedOutput(); err != nil ||
		strings.Contains(string(out), "169.254.169.254") {
		t.Errorf("left behind: %v\n%s", err, out)
	}
}

func accountOf(t *testing.T, s *harness.Server) string {
	t.Helper()
	r := harness.Do(t, s.Shell(t.Context(), nil, `aws sts get-caller-identity --query Account --output text`))
	return strings.TrimSpace(r.Stdout)
}

func userName(t *testing.T) string {
	t.Helper()
	r := harness.Do(t, exec.Command("id", "-un"))
	return strings.TrimSpace(r.Stdout)
}
