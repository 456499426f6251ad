package agent_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho/internal/agent"
	"sekisho/internal/agent/agenttest"
	"sekisho/internal/wire/id"
	"sekisho/internal/wire/mgs"
)

// script returns a command with one step that runs lines.
func script(t *testing.T, lines ...string) mgs.SendCommand {
	t.Helper()
	b, err := json.Marshal(map[string]any{"schemaVersion": "2.2", "mainSteps": []any{
		map[string]any{"action": "aws:runShellScript", "name": "run", "inputs": map[string]any{"runCommand": lines}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return mgs.SendCommand{CommandID: id.UUID(), DocumentName: "AWS-RunShellScript", DocumentContent: b}
}

// appears waits for a file with a complete line, and returns the line.
func appears(t *testing.T, path string) string {
	t.Helper()
	deadline := time.NewTimer(agenttest.Patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if b, err := os.ReadFile(path); err == nil && strings.HasSuffix(string(b), "\n") {
			return strings.TrimSpace(string(b))
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited %v for %s", agenttest.Patience, path)
		}
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	job := srv.SendCommand(script(t, "echo $AWS_SSM_INSTANCE_ID $AWS_SSM_REGION_NAME; echo bad >&2"))
	ack := srv.JobAcks(job, 1)[0]
	if ack.StatusCode != mgs.JobAccepted || ack.ErrorMessage != "Successful" {
		t.Errorf("acknowledged as %+v", ack)
	}
	last := srv.Over(job)
	s := last.RuntimeStatus["run"]
	if last.DocumentStatus != mgs.CommandSuccess || s == nil ||
		s.StandardOutput != string(srv.Node())+" "+agenttest.Region+"\n" ||
		s.StandardError != "bad\n" {
		t.Errorf("%+v %+v", last.CommandReply, s)
	}
	if a := last.AdditionalInfo.Agent; a.Name == "" || a.Version == "" || a.OS != "linux" {
		t.Errorf("agent %+v", a)
	}
	all := srv.Replies(job)
	if len(all) != 3 || all[0].DocumentStatus != mgs.CommandInProgress || len(all[0].RuntimeStatus) != 0 ||
		all[1].DocumentStatus != mgs.CommandInProgress {
		t.Errorf("%d replies: %+v", len(all), all)
	}
}

// TestRepliesUntilAcknowledged: the server reads and does not acknowledge, the
// connection breaks, and the agent restarts.
func TestRepliesUntilAcknowledged(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	var state string
	stop := start(t, srv, func(c *agent.Config) { state = c.StateDir })
	srv.IgnoreReplies(1 << 30)
	job := srv.SendCommand(script(t, "echo done"))
	first := srv.Over(job)
	same := func(r agenttest.Reply) bool { return r.ID == first.ID }
	for _, r := range srv.AwaitReplies("the last reply again", job, 2, same) {
		if d := r.RuntimeStatus["run"].StandardOutput; d != "done\n" {
			t.Errorf("it says %q", d)
		}
	}
	now := srv.Control()
	now.Drop()
	n := srv.ControlAfter(now.N).N
	srv.AwaitReplies(
		"the last reply on the new connection",
		job,
		1,
		func(r agenttest.Reply) bool { return same(r) && r.Control == n },
	)
	stop()
	srv.IgnoreReplies(0)
	start(t, srv, func(c *agent.Config) { c.StateDir = state })
	srv.AwaitReplies(
		"the last reply of the agent before",
		job,
		1,
		func(r agenttest.Reply) bool { return same(r) && r.Ack },
	)
}

// TestCommandAcrossConnections: a command keeps running while the control
// channel is down, and does not run twice when the server sends it again.
func TestCommandAcrossConnections(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	dir := t.TempDir()
	c := script(t, "echo $$ > "+dir+"/begun; until [ -e "+dir+"/go ]; do sleep 0.02; done; echo went on")
	job := srv.SendCommand(c)
	appears(t, dir+"/begun")
	// The script may begin before the acknowledgement is sent, which a dropped
	// connection would lose.
	srv.JobAcks(job, 1)
	now := srv.Control()
	now.Drop()
	srv.ControlAfter(now.N)
	srv.SendCommand(c)
	if ack := srv.JobAcks(job, 2)[1]; ack.StatusCode != mgs.JobDuplicate {
		t.Errorf("sent again: %+v", ack)
	}
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s := srv.Over(job).RuntimeStatus["run"]; s.StandardOutput != "went on\n" {
		t.Errorf("%+v", s)
	}
}

func TestCommandIsCancelled(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	dir := t.TempDir()
	c := script(t, "echo $$ > "+dir+"/begun; sleep 1000")
	job := srv.SendCommand(c)
	appears(t, dir+"/begun")
	m := mgs.NewCancelCommand(string(srv.Node()), c.CommandID)
	srv.Control().Send(m)
	if last := srv.Over(job); last.DocumentStatus != mgs.CommandCancelled {
		t.Errorf("%+v", last.CommandReply)
	}
	cancel, err := mgs.ParseBody[mgs.AgentJob](m.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if ack := srv.JobAcks(cancel.JobID, 1)[0]; ack.StatusCode != mgs.JobAccepted || ack.MessageID != m.ID {
		t.Errorf("the cancellation is acknowledged as %+v", ack)
	}
}

// TestStoppedAgentReportsItsCommands: the agent stops while a command runs.
func TestStoppedAgentReportsItsCommands(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	stop := start(t, srv, nil)
	dir := t.TempDir()
	job := srv.SendCommand(script(t, "echo $$ > "+dir+"/begun; sleep 1000"))
	appears(t, dir+"/begun")
	stop()
	last := srv.Over(job)
	if last.DocumentStatus != mgs.CommandFailed || !strings.Contains(last.DocumentTraceOutput, "agent was stopped") {
		t.Errorf("%+v", last.CommandReply)
	}
}

func TestNoCommands(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, func(c *agent.Config) { c.NoCommands = true })
	mark := filepath.Join(t.TempDir(), "ran")
	job := srv.SendCommand(script(t, "echo > "+mark))
	if ack := srv.JobAcks(job, 1)[0]; ack.StatusCode != mgs.JobUnsupported {
		t.Errorf("acknowledged as %+v", ack)
	}
	// Sessions still work.
	c := srv.StartSession(agenttest.Start{})
	c.Type("exit\n")
	srv.Completes(c.ID, 1)
	if _, err := os.Stat(mark); err == nil {
		t.Error("the command ran")
	}
}

// TestHostileJobs: no job ends the agent or its channel.
func TestHostileJobs(t *testing.T) {
	t.Parallel()
	srv := agenttest.New(t)
	start(t, srv, nil)
	control := srv.Control()
	for _, text := range []string{
		"", "null", "{", "[]", `{}`, `{"JobId":5}`,
		`{"JobId":"aws.ssm.../../x.y","Topic":"aws.ssm.sendCommand","Content":"{}"}`,
		`{"JobId":"","Topic":"aws.ssm.cancelCommand","Content":"{"}`, strings.Repeat("[", 200<<10),
	} {
		control.Send(mgs.New(mgs.TypeAgentJob, []byte(text)))
		control.Send(mgs.New(mgs.TypeAgentJobReplyAck, []byte(text)))
	}
	if acks := srv.JobAcks("", 6); acks[0].StatusCode != mgs.JobUnreadable {
		t.Errorf("acknowledged as %+v", acks[0])
	}
	job := srv.SendCommand(script(t, "echo alive"))
	if last := srv.Over(job); last.DocumentStatus != mgs.CommandSuccess || srv.Control().N != 1 {
		t.Errorf("%+v on connection %d", last.CommandReply, srv.Control().N)
	}
}
