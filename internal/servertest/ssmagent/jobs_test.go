package ssmagent_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// run sends a script to the machine and returns the command ID.
func (r *real) run(lines ...string) string {
	r.t.Helper()
	out, err := r.SSM(r.Admin).SendCommand(r.t.Context(), &awsssm.SendCommandInput{
		DocumentName: aws.String(
			"AWS-RunShellScript",
		), InstanceIds: []string{r.machine.ID}, Parameters: map[string][]string{"commands": lines},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return *out.Command.CommandId
}

func (r *real) becomes(command string, want types.CommandInvocationStatus) *awsssm.GetCommandInvocationOutput {
	r.t.Helper()
	var got *awsssm.GetCommandInvocationOutput
	r.Eventually("the command to be "+string(want), func() bool {
		out, err := r.SSM(r.Admin).
			GetCommandInvocation(r.t.Context(),
				&awsssm.GetCommandInvocationInput{CommandId: &command, InstanceId: &r.machine.ID})
		if err != nil {
			r.t.Fatal(err)
		}
		got = out
		return out.Status == want
	})
	return got
}

// AWS's agent runs commands: one that succeeds, one that fails, and one that
// is cancelled while it runs.
func TestCommands(t *testing.T) {
	t.Parallel()
	r := start(t)
	got := r.becomes(r.run("echo out", "complain err"), types.CommandInvocationStatusSuccess)
	if aws.ToString(got.StandardOutputContent) != "out\n" || aws.ToString(got.StandardErrorContent) != "err\n" ||
		got.ResponseCode != 0 {
		t.Errorf("%+v", got)
	}
	got = r.becomes(r.run("echo before", "exit 3", "echo after"), types.CommandInvocationStatusFailed)
	if aws.ToString(got.StandardOutputContent) != "before\n" || got.ResponseCode != 3 {
		t.Errorf("%+v", got)
	}
	command := r.run("wait")
	r.becomes(command, types.CommandInvocationStatusInProgress)
	if _, err := r.SSM(r.Admin).CancelCommand(t.Context(), &awsssm.CancelCommandInput{CommandId: &command}); err != nil {
		t.Fatal(err)
	}
	r.becomes(command, types.CommandInvocationStatusCancelled)
}
