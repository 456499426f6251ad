package mgs_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/wire/mgs"
)

const commandID = "2b196342-d7d4-436e-8f09-3883a1116ac3"

func TestJobBodies(t *testing.T) {
	t.Parallel()
	id := uuid(t, "1308e652-2ecc-44b4-9207-d6e1096ab492")
	roundTrip(t, `{"Content":"{}","JobId":"aws.ssm.c.mi-0","Topic":"aws.ssm.sendCommand","SchemaVersion":1}`,
		mgs.AgentJob{Content: "{}", JobID: "aws.ssm.c.mi-0", Topic: mgs.TopicSendCommand, SchemaVersion: 1})
	roundTrip(
		t,
		`{"Parameters":{"commands":["id"],"workingDirectory":""},"DocumentContent":{"schemaVersion":"2.2"},"CommandId":"`+
			commandID+`","DocumentName":"AWS-RunShellScript","OutputS3KeyPrefix":"p","OutputS3BucketName":"b",`+
			`"CloudWatchLogGroupName":"g","CloudWatchOutputEnabled":"true"}`,
		mgs.SendCommand{
			Parameters: map[string]any{"commands": []any{"id"}, "workingDirectory": ""},
			DocumentContent: json.RawMessage(
				`{"schemaVersion":"2.2"}`,
			), CommandID: commandID, DocumentName: "AWS-RunShellScript",
			OutputS3KeyPrefix: "p", OutputS3BucketName: "b", CloudWatchLogGroupName: "g", CloudWatchOutputEnabled: "true",
		},
	)
	roundTrip(t, `{"CancelMessageId":"aws.ssm.c.mi-0"}`, mgs.CancelCommand{CancelMessageID: "aws.ssm.c.mi-0"})
	roundTrip(
		t,
		`{"jobId":"aws.ssm.c.mi-0","acknowledgedMessageId":"1308e652-2ecc-44b4-9207-d6e1096ab492",`+
			`"createdDate":"2026-11-23T11:37:32.005Z","statusCode":"200","errorMessage":"Successful"}`,
		mgs.JobAck{
			JobID:        "aws.ssm.c.mi-0",
			MessageID:    id,
			CreatedDate:  "2026-11-23T11:37:32.005Z",
			StatusCode:   mgs.JobAccepted,
			ErrorMessage: "Successful",
		},
	)
	roundTrip(t, `{"schemaVersion":1,"jobId":"aws.ssm.c.mi-0","content":"{}","topic":"aws.ssm.sendCommand"}`,
		mgs.JobReply{SchemaVersion: 1, JobID: "aws.ssm.c.mi-0", Content: "{}", Topic: mgs.TopicSendCommand})
	roundTrip(
		t,
		`{"additionalInfo":{"agent":{"lang":"en-US","name":"amazon-ssm-agent","os":"linux","osver":"1","ver":"3.3.0.0"},`+
			`"dateTime":"2026-11-23T11:37:32.005Z","runId":"","runtimeStatusCounts":{"Success":1}},`+
			`"documentStatus":"Success","documentTraceOutput":"","runtimeStatus":{"aws:runShellScript":{"status":"Success",`+
			`"code":0,"name":"aws:runShellScript","output":"hi\n","startDateTime":"2026-11-23T11:37:32.004Z",`+
			`"endDateTime":"2026-11-23T11:37:32.005Z","outputS3BucketName":"","outputS3KeyPrefix":"","stepName":"",`+
			`"standardOutput":"hi\n","standardError":""}}}`,
		mgs.CommandReply{
			AdditionalInfo: mgs.CommandInfo{
				Agent: mgs.CommandAgent{
					Lang:      "en-US",
					Name:      "amazon-ssm-agent",
					OS:        "linux",
					OSVersion: "1",
					Version:   "3.3.0.0",
				},
				DateTime:            "2026-11-23T11:37:32.005Z",
				RuntimeStatusCounts: map[string]int{"Success": 1},
			},
			DocumentStatus: mgs.CommandSuccess,
			RuntimeStatus: map[string]*mgs.StepStatus{"aws:runShellScript": {
				Status: mgs.CommandSuccess, Name: "aws:runShellScript", Output: "hi\n", StandardOutput: "hi\n",
				StartDateTime: "2026-11-23T11:37:32.004Z", EndDateTime: "2026-11-23T11:37:32.005Z",
			}},
		},
	)
	roundTrip(t, `{"jobId":"aws.ssm.c.mi-0","acknowledgedMessageId":"1308e652-2ecc-44b4-9207-d6e1096ab492"}`,
		mgs.JobReplyAck{JobID: "aws.ssm.c.mi-0", MessageID: id})
}

func TestJobID(t *testing.T) {
	t.Parallel()
	command, node, err := mgs.ParseJobID(mgs.JobID(commandID, "mi-000000000000abc03"))
	if err != nil || command != commandID || node != "mi-000000000000abc03" {
		t.Errorf("%q %q %v", command, node, err)
	}
	for _, bad := range []string{
		"", "aws.ssm.", "aws.ssm.c", "aws.ssm.c.", "aws.ssm..n", "x.ssm.c.n", "aws.ssm.c.n.o", "aws.ssm.../x.n",
		"aws.ssm.c.a/b",
		"aws.ssm.c.n\n", "aws.ssm." + strings.Repeat("c", 65) + ".n",
	} {
		if command, node, err := mgs.ParseJobID(bad); err == nil {
			t.Errorf("%q was read as %q on %q", bad, command, node)
		}
	}
}

func TestNewSendCommand(t *testing.T) {
	t.Parallel()
	want := mgs.SendCommand{
		CommandID:       commandID,
		DocumentName:    "AWS-RunShellScript",
		DocumentContent: json.RawMessage(`{}`),
		Parameters:      map[string]any{"commands": []any{"id"}},
	}
	m, err := mgs.NewSendCommand("mi-0", want)
	if err != nil || m.Type != mgs.TypeAgentJob {
		t.Fatalf("%+v, %v", m, err)
	}
	job, err := mgs.ParseBody[mgs.AgentJob](m.Payload)
	if err != nil || job.JobID != "aws.ssm."+commandID+".mi-0" || job.SchemaVersion != 1 || !job.Sends() ||
		job.Cancels() {
		t.Fatalf("%+v, %v", job, err)
	}
	got, err := job.Command()
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if _, err := mgs.NewSendCommand("mi-0", mgs.SendCommand{DocumentContent: json.RawMessage("{")}); err == nil {
		t.Error("a document that is not JSON was sent")
	}
	large := mgs.SendCommand{DocumentContent: json.RawMessage("{}"), DocumentName: strings.Repeat("x", mgs.MaxBody)}
	if _, err := mgs.NewSendCommand("mi-0", large); err == nil {
		t.Error("a job that no agent reads was sent")
	}
}

func TestNewCancelCommand(t *testing.T) {
	t.Parallel()
	m := mgs.NewCancelCommand("mi-0", commandID)
	job, err := mgs.ParseBody[mgs.AgentJob](m.Payload)
	if err != nil || !job.Cancels() || job.Sends() || job.JobID == mgs.JobID(commandID, "mi-0") {
		t.Fatalf("%+v, %v", job, err)
	}
	if _, node, err := mgs.ParseJobID(job.JobID); err != nil || node != "mi-0" {
		t.Errorf("job ID %q: %v", job.JobID, err)
	}
	if got, err := job.Cancelled(); err != nil || got != commandID {
		t.Errorf("cancels %q, %v", got, err)
	}
	job.Content = `{"CancelMessageId":"aws.ssm.../../etc.mi-0"}`
	if got, err := job.Cancelled(); err == nil {
		t.Errorf("cancels %q", got)
	}
}

func TestJobAck(t *testing.T) {
	t.Parallel()
	m := mgs.New(mgs.TypeAgentJob, []byte("{}"))
	m.CreatedMillis = 1795433852490
	seen := make(map[string]bool)
	for _, code := range []string{
		mgs.JobAccepted, mgs.JobClosed, mgs.JobBufferFull, mgs.JobUnexpected, mgs.JobUntranslated,
		mgs.JobDuplicate, mgs.JobInvalid, mgs.JobUnsupported, mgs.JobUnreadable, mgs.JobError,
	} {
		ack := mgs.NewJobAck(&m, "aws.ssm.c.mi-0", code)
		got, err := mgs.ParseBody[mgs.JobAck](ack.Payload)
		if err != nil || got.MessageID != m.ID || got.JobID != "aws.ssm.c.mi-0" || got.StatusCode != code ||
			seen[got.ErrorMessage] {
			t.Errorf("%s: %+v, %v", code, got, err)
		}
		if want := mgs.FormatJobTime(time.UnixMilli(1795433852490)); got.CreatedDate != want ||
			!strings.HasSuffix(want, ".490Z") {
			t.Errorf("created %s, want %s", got.CreatedDate, want)
		}
		seen[got.ErrorMessage] = true
	}
}

func TestJobReply(t *testing.T) {
	t.Parallel()
	want := mgs.CommandReply{
		DocumentStatus: mgs.CommandInProgress,
		RuntimeStatus:  map[string]*mgs.StepStatus{"s": {Status: mgs.CommandFailed, Code: 3}},
	}
	m, err := mgs.NewJobReply("aws.ssm.c.mi-0", want)
	if err != nil || m.Type != mgs.TypeAgentJobReply {
		t.Fatalf("%+v, %v", m, err)
	}
	r, err := mgs.ParseBody[mgs.JobReply](m.Payload)
	if err != nil || r.JobID != "aws.ssm.c.mi-0" || r.Topic != mgs.TopicSendCommand {
		t.Fatalf("%+v, %v", r, err)
	}
	got, err := r.Reply()
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	ack, err := mgs.ParseBody[mgs.JobReplyAck](mgs.NewJobReplyAck(&m, r.JobID).Payload)
	if err != nil || ack != (mgs.JobReplyAck{JobID: r.JobID, MessageID: m.ID}) {
		t.Errorf("%+v, %v", ack, err)
	}
	if _, err := mgs.NewJobReply("j",
		mgs.CommandReply{DocumentTraceOutput: strings.Repeat("x", mgs.MaxJobReply)}); err == nil {
		t.Error("a reply above the limit was made")
	}
	// The longest reply, all of whose characters are escaped twice, can still
	// be read.
	most := strings.Repeat(`"`, (mgs.MaxJobReply-1000)/2)
	if m, err = mgs.NewJobReply("j", mgs.CommandReply{DocumentTraceOutput: most}); err != nil {
		t.Fatal(err)
	}
	if r, err = mgs.ParseBody[mgs.JobReply](m.Payload); err != nil {
		t.Fatal(err)
	}
	if got, err = r.Reply(); err != nil || got.DocumentTraceOutput != most {
		t.Error("the longest reply came back changed", err)
	}
}

func FuzzJob(f *testing.F) {
	send, err := mgs.NewSendCommand(
		"mi-0",
		mgs.SendCommand{CommandID: commandID, DocumentContent: json.RawMessage(`{"schemaVersion":"2.2"}`)},
	)
	if err != nil {
		f.Fatal(err)
	}
	reply, err := mgs.NewJobReply(
		"aws.ssm.c.mi-0",
		mgs.CommandReply{
			DocumentStatus: mgs.CommandSuccess,
			RuntimeStatus:  map[string]*mgs.StepStatus{"s": {Code: 1}, "t": nil},
		},
	)
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range []mgs.Message{send, mgs.NewCancelCommand("mi-0", commandID), reply,
		mgs.NewJobAck(&send, "j", mgs.JobAccepted), mgs.NewJobReplyAck(&reply, "j")} {
		f.Add(m.Payload)
	}
	f.Add([]byte(`{"additionalInfo":{"runtimeStatusCounts":null},"runtimeStatus":{"":null}}`))
	f.Add([]byte(`{"Parameters":null,"DocumentContent":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		again(t, b, mgs.ParseBody[mgs.JobAck])
		again(t, b, mgs.ParseBody[mgs.JobReplyAck])
		again(t, b, mgs.ParseBody[mgs.SendCommand])
		again(t, b, mgs.ParseBody[mgs.CommandReply])
		if job, err := mgs.ParseBody[mgs.AgentJob](b); err == nil {
			_, _ = job.Command()
			if command, err := job.Cancelled(); err == nil && strings.ContainsAny(command, "./") {
				t.Fatalf("%q is a command's ID", command)
			}
			if command, node, err := mgs.ParseJobID(job.JobID); err == nil && mgs.JobID(command, node) != job.JobID {
				t.Fatalf("%q came back as %q, %q", job.JobID, command, node)
			}
		}
		if r, err := mgs.ParseBody[mgs.JobReply](b); err == nil {
			_, _ = r.Reply()
		}
	})
}
