package servertest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"sekisho/internal/servertest"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/sigv4"
)

// tagNode gives a node a tag.
func tagNode(t *testing.T, s *servertest.Server, n *servertest.Node, key, value string) {
	t.Helper()
	_, err := s.SSM(s.Admin).AddTagsToResource(t.Context(), &awsssm.AddTagsToResourceInput{
		ResourceType: types.ResourceTypeForTaggingManagedInstance, ResourceId: &n.ID, Tags: []types.Tag{tag(key, value)},
	})
	must(t, err)
}

// sendTo sends AWS-RunShellScript to nodes.
func sendTo(t *testing.T, s *servertest.Server, nodes ...string) string {
	t.Helper()
	out, err := s.SSM(s.Admin).SendCommand(t.Context(), &awsssm.SendCommandInput{
		DocumentName: aws.String(
			"AWS-RunShellScript",
		), InstanceIds: nodes, Parameters: map[string][]string{"commands": {"echo s3cret"}},
	})
	must(t, err)
	return *out.Command.CommandId
}

// nextJob returns the next requested job. The server may send a job again if
// the response took long.
func nextJob(t *testing.T, ch *servertest.Channel, wanted func(j *mgs.AgentJob) bool) (mgs.Message, mgs.AgentJob) {
	t.Helper()
	for {
		m := ch.Receive(mgs.TypeAgentJob)
		j, err := mgs.ParseBody[mgs.AgentJob](m.Payload)
		must(t, err)
		if wanted(&j) {
			return m, j
		}
	}
}

// takeJob acknowledges a command, which an agent does first.
func takeJob(t *testing.T, ch *servertest.Channel, command string) (job string, c mgs.SendCommand) {
	t.Helper()
	m, j := nextJob(t, ch, func(j *mgs.AgentJob) bool { return j.Sends() && strings.Contains(j.JobID, command) })
	c, err := j.Command()
	must(t, err)
	ch.Send(mgs.NewJobAck(&m, j.JobID, mgs.JobAccepted))
	return j.JobID, c
}

// report reports the result of a job, and waits until the server has stored
// it.
func report(t *testing.T, ch *servertest.Channel, job, status, stdout string) {
	t.Helper()
	m, err := mgs.NewJobReply(job, mgs.CommandReply{DocumentStatus: status, RuntimeStatus: map[string]*mgs.StepStatus{
		"aws:runShellScript": {Status: status, Name: "aws:runShellScript", StandardOutput: stdout, Output: stdout,
			StartDateTime: "2026-01-02T03:04:05.000Z", EndDateTime: "2026-01-02T04:06:08.250Z", OutputS3BucketName: "b",
			OutputS3KeyPrefix: "k/x", StepName: "0.awsrunShellScript"},
	}})
	must(t, err)
	ch.Send(m)
	for {
		ack, err := mgs.ParseBody[mgs.JobReplyAck](ch.Receive(mgs.TypeAgentJobReplyAck).Payload)
		must(t, err)
		if ack.MessageID == m.ID {
			return
		}
	}
}

func invocation(t *testing.T, s *servertest.Server, command, node string) *awsssm.GetCommandInvocationOutput {
	t.Helper()
	out, err := s.SSM(s.Admin).
		GetCommandInvocation(t.Context(), &awsssm.GetCommandInvocationInput{CommandId: &command, InstanceId: &node})
	must(t, err)
	return out
}

func TestCommand(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	ch := n.Connect()
	sent, err := s.SSM(s.Admin).SendCommand(t.Context(), &awsssm.SendCommandInput{
		DocumentName: aws.String(
			"AWS-RunShellScript",
		), InstanceIds: []string{n.ID}, Comment: aws.String("why"), TimeoutSeconds: aws.Int32(60),
		Parameters: map[string][]string{"commands": {"echo s3cret", "id"}, "executionTimeout": {"30"}},
		CloudWatchOutputConfig: &types.CloudWatchOutputConfig{
			CloudWatchOutputEnabled: true,
			CloudWatchLogGroupName:  aws.String("g"),
		},
	})
	must(t, err)
	c := sent.Command
	if c.Status != types.CommandStatusPending || c.TargetCount != 1 || *c.DocumentVersion != "1" ||
		c.ExpiresAfter.Sub(*c.RequestedDateTime).Seconds() != 90 ||
		c.InstanceIds[0] != n.ID || c.Parameters["commands"][1] != "id" ||
		*c.MaxConcurrency != "50" ||
		*c.MaxErrors != "0" {
		t.Errorf("%+v", c)
	}
	job, got := takeJob(t, ch, *c.CommandId)
	if job != mgs.JobID(*c.CommandId, n.ID) || got.CommandID != *c.CommandId || got.DocumentName != "AWS-RunShellScript" ||
		got.CloudWatchOutputEnabled != "true" ||
		got.CloudWatchLogGroupName != "g" ||
		fmt.Sprint(got.Parameters["commands"]) != "[echo s3cret id]" ||
		!json.Valid(got.DocumentContent) {
		t.Errorf("%s: %+v", job, got)
	}
	s.Eventually("the command to be in progress", func() bool {
		return invocation(t, s, *c.CommandId, n.ID).Status == types.CommandInvocationStatusInProgress
	})
	if out := invocation(t, s, *c.CommandId, n.ID); out.ResponseCode != -1 || *out.PluginName != "aws:runShellScript" {
		t.Errorf("%+v", out)
	}
	report(t, ch, job, mgs.CommandSuccess, "s3cret\n")
	out := invocation(t, s, *c.CommandId, n.ID)
	if out.Status != types.CommandInvocationStatusSuccess || *out.StatusDetails != "Success" ||
		*out.StandardOutputContent != "s3cret\n" || out.ResponseCode != 0 ||
		*out.Comment != "why" ||
		*out.ExecutionStartDateTime != "2026-01-02T03:04:05.000Z" ||
		*out.ExecutionElapsedTime != "PT1H2M3.25S" ||
		*out.StandardOutputUrl != s.URL+"/b/k/x/0.awsrunShellScript/stdout" {
		t.Errorf("%+v", out)
	}
	list, err := s.SSM(s.Admin).
		ListCommandInvocations(t.Context(), &awsssm.ListCommandInvocationsInput{CommandId: c.CommandId, Details: true})
	must(t, err)
	if p := list.CommandInvocations[0].CommandPlugins; len(p) != 1 || *p[0].Output != "s3cret\n" ||
		*p[0].Name != "aws:runShellScript" {
		t.Errorf("%+v", list.CommandInvocations)
	}
	for name, want := range map[string]string{"nope": "InvalidPluginName", "aws:runShellScript": ""} {
		a := s.JSON(
			s.Admin,
			"ssm",
			"GetCommandInvocation",
			map[string]string{"CommandId": *c.CommandId, "InstanceId": n.ID, "PluginName": name},
		)
		if a.Code() != want {
			t.Errorf("%s: %s", name, a.Body)
		}
	}
	for _, in := range []map[string]string{
		{"CommandId": *c.CommandId, "InstanceId": "mi-00000000000000000"},
		{"CommandId": strings.Repeat("0", 36), "InstanceId": n.ID},
	} {
		if a := s.JSON(s.Admin, "ssm", "GetCommandInvocation", in); a.Code() != "InvocationDoesNotExist" {
			t.Errorf("%v: %s", in, a.Body)
		}
	}
	// The trail has the call, but neither the script nor its output.
	s.JSON(s.Admin, "ssm", "SendCommand", map[string]any{"parameters": map[string]string{"commands": "s3cret"}})
	for _, e := range s.Events("SendCommand") {
		if b, err := json.Marshal(e); err != nil || strings.Contains(string(b), "s3cret") ||
			e.RequestParameters["parameters"] != "HIDDEN_DUE_TO_SECURITY_REASONS" {
			t.Errorf("%s, %v", b, err)
		}
	}
}

// TestCommandWaitsForItsNode: a command waits while its node is disconnected,
// and while the server restarts.
func TestCommandWaitsForItsNode(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	id := sendTo(t, s, n.ID)
	s.Eventually("the command to be delayed", func() bool {
		return invocation(t, s, id, n.ID).Status == types.CommandInvocationStatusDelayed
	})
	s.Restart()
	ch := n.Connect()
	job, _ := takeJob(t, ch, id)
	s.Eventually("the command to be in progress", func() bool {
		return invocation(t, s, id, n.ID).Status == types.CommandInvocationStatusInProgress
	})
	s.Restart()
	ch = n.Connect()
	report(t, ch, job, mgs.CommandFailed, "out")
	report(t, ch, job, mgs.CommandFailed, "out") // sent again, it is acknowledged again
	if out := invocation(t, s, id, n.ID); out.Status != types.CommandInvocationStatusFailed ||
		*out.StandardOutputContent != "out" {
		t.Errorf("%+v", out)
	}
}

func TestCancelCommand(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n, away := s.Node(), s.Node()
	ch := n.Connect()
	id := sendTo(t, s, n.ID, away.ID)
	job, _ := takeJob(t, ch, id)
	s.Eventually("the command to be in progress", func() bool {
		return invocation(t, s, id, n.ID).Status == types.CommandInvocationStatusInProgress
	})
	for name, in := range map[string]map[string]any{
		"InvalidCommandId":    {"CommandId": strings.Repeat("0", 36)},
		"InvalidInstanceId":   {"CommandId": id, "InstanceIds": []string{"mi-00000000000000000"}},
		"DuplicateInstanceId": {"CommandId": id, "InstanceIds": []string{n.ID, n.ID}},
		"ValidationException": {"CommandId": "x"},
	} {
		if a := s.JSON(s.Admin, "ssm", "CancelCommand", in); a.Code() != name {
			t.Errorf("%s: %s", name, a.Body)
		}
	}
	_, err := s.SSM(s.Admin).CancelCommand(t.Context(), &awsssm.CancelCommandInput{CommandId: &id})
	must(t, err)
	_, m := nextJob(t, ch, (*mgs.AgentJob).Cancels)
	if cancelled, err := m.Cancelled(); err != nil || cancelled != id || m.JobID == job {
		t.Errorf("%+v, %v", m, err)
	}
	if out := invocation(t, s, id, n.ID); out.Status != types.CommandInvocationStatusCancelling {
		t.Errorf("%+v", out)
	}
	report(t, ch, job, mgs.CommandCancelled, "")
	list, err := s.SSM(s.Admin).ListCommands(t.Context(), &awsssm.ListCommandsInput{CommandId: &id})
	must(t, err)
	if c := list.Commands[0]; c.Status != types.CommandStatusCancelled || c.CompletedCount != 2 {
		t.Errorf("%+v", c)
	}
}

// TestForeignReplies: a node cannot report on another node's command.
func TestForeignReplies(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	a, b := s.Node(), s.Node()
	mine, others := a.Connect(), b.Connect()
	id := sendTo(t, s, a.ID)
	job, _ := takeJob(t, mine, id)
	for _, forged := range []string{job, mgs.JobID(id, b.ID)} {
		m, err := mgs.NewJobReply(forged, mgs.CommandReply{DocumentStatus: mgs.CommandSuccess})
		must(t, err)
		others.Send(m)
	}
	// The server handles frames of one channel in order: when it has answered
	// this one, it has handled the others.
	last, err := mgs.NewJobReply(
		mgs.JobID("00000000-0000-4000-8000-000000000000", b.ID),
		mgs.CommandReply{DocumentStatus: mgs.CommandSuccess},
	)
	must(t, err)
	others.Send(last)
	ack, err := mgs.ParseBody[mgs.JobReplyAck](others.Receive(mgs.TypeAgentJobReplyAck).Payload)
	must(t, err)
	if ack.MessageID != last.ID {
		t.Errorf("a forged reply was acknowledged: %+v", ack)
	}
	e := s.Events("ForeignCommandReply")
	if len(e) != 1 || e[0].AdditionalEventData["instanceId"] != b.ID || e[0].AdditionalEventData["jobId"] != job {
		t.Errorf("%+v", e)
	}
	report(t, mine, job, mgs.CommandSuccess, "mine")
	if out := invocation(t, s, id, a.ID); *out.StandardOutputContent != "mine" {
		t.Errorf("%+v", out)
	}
}

// TestWhoMaySendCommands: policy must allow the document and every node; one
// denial refuses the whole command.
func TestWhoMaySendCommands(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	web, db := s.Node(), s.Node()
	tagNode(t, s, web, "role", "web")
	tagNode(t, s, web, "stage", "test")
	tagNode(t, s, db, "stage", "test")
	arn := "arn:aws:ssm:" + servertest.Region + ":" + servertest.Account + ":"
	const shell = `{"Effect":"Allow","Action":"ssm:SendCommand","Resource":"arn:aws:ssm:*::document/AWS-RunShellScript"}`
	allow := func(resource, condition string) string {
		return `{"Effect":"Allow","Action":"ssm:SendCommand","Resource":"` + resource + `","Condition":{` + condition + `}}`
	}
	on := func(key, value string) map[string]any {
		return map[string]any{"Targets": []any{map[string]any{"Key": key, "Values": []string{value}}}}
	}
	ids := func(nodes ...string) map[string]any { return map[string]any{"InstanceIds": nodes} }
	users := map[string]sigv4.Credentials{}
	for name, statements := range map[string]string{
		"all":      allow("*", ""),
		"document": shell,
		"node":     allow(arn+"managed-instance/*", ""),
		"web":      shell + "," + allow(arn+"managed-instance/"+web.ID, ""),
		"tagged":   shell + "," + allow(arn+"managed-instance/*", `"StringEquals":{"ssm:resourceTag/role":"web"}`),
		"all nodes except db": allow("*", "") + `,{"Effect":"Deny","Action":"ssm:SendCommand","Resource":"` + arn +
			"managed-instance/" + db.ID + `"}`,
		"other":            allow(arn+"managed-instance/*", "") + "," + allow(arn+"document/Other", ""),
		"by document type": allow("*", `"StringEquals":{"ssm:DocumentType":"Session"}`),
		"with a document type": allow(arn+"managed-instance/*", "") + "," +
			allow("arn:aws:ssm:*::document/*", `"StringEquals":{"ssm:DocumentType":"Command"}`),
	} {
		users[name] = s.User(
			strings.ReplaceAll(name, " ", "-"),
			`{"Version":"2012-10-17","Statement":[`+statements+`]}`,
		)
	}
	const unknown = "mi-00000000000000000"
	for _, c := range []struct {
		who  string
		in   map[string]any
		want string
	}{
		{"all", ids(web.ID, db.ID), ""},
		{"all", ids(unknown), "InvalidInstanceId"},
		{"all", on("tag:role", "web"), ""},
		{"document", ids(web.ID), "AccessDeniedException"},
		{"document", ids(unknown), "AccessDeniedException"},
		{"document", on("tag:nobody", "has"), ""}, // no node could be denied
		{"node", ids(web.ID), "AccessDeniedException"},
		{"web", ids(web.ID), ""},
		{"web", ids(db.ID), "AccessDeniedException"},
		{"web", ids(web.ID, db.ID), "AccessDeniedException"},
		{"web", on("tag:stage", "test"), "AccessDeniedException"},
		{"web", on("tag:role", "web"), ""},
		{"tagged", on("tag:role", "web"), ""},
		{"tagged", on("tag-key", "stage"), "AccessDeniedException"},
		{"tagged", ids(web.ID), ""},
		{"all nodes except db", on("tag:stage", "test"), "AccessDeniedException"},
		{"all nodes except db", on("InstanceIds", web.ID), ""},
		{"other", ids(web.ID), "AccessDeniedException"},
		{"by document type", ids(web.ID), "AccessDeniedException"},
		{"with a document type", ids(web.ID), ""},
	} {
		before := commandCount(t, s)
		c.in["DocumentName"], c.in["Parameters"] = "AWS-RunShellScript", map[string]any{"commands": []string{"id"}}
		a := s.JSON(users[c.who], "ssm", "SendCommand", c.in)
		if a.Code() != c.want {
			t.Errorf("%s, %v: %d %s, want %q", c.who, c.in, a.Status, a.Body, c.want)
		}
		made := commandCount(t, s) - before
		if (made == 1) != (a.Status == http.StatusOK) {
			t.Errorf("%s, %v: answered %d, %d commands made", c.who, c.in, a.Status, made)
		}
	}
}

func commandCount(t *testing.T, s *servertest.Server) int {
	t.Helper()
	out, err := s.SSM(s.Admin).ListCommands(t.Context(), &awsssm.ListCommandsInput{})
	must(t, err)
	return len(out.Commands)
}

func TestSendCommandRefusesBadInput(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	for _, c := range []struct {
		what string
		in   map[string]any
		want string
	}{
		{"nobody", map[string]any{"InstanceIds": []string{}}, "ValidationException"},
		{"both", map[string]any{"Targets": []any{map[string]any{"Key": "tag:a", "Values": []string{"b"}}}},
			"ValidationException"},
		{"twice", map[string]any{"InstanceIds": []string{n.ID, n.ID}}, "DuplicateInstanceId"},
		{"a node without an ID", map[string]any{"InstanceIds": []string{"web"}}, "ValidationException"},
		{"groups", map[string]any{"InstanceIds": nil,
			"Targets": []any{map[string]any{"Key": "resource-groups:Name", "Values": []string{"b"}}}}, "ValidationException"},
		{"key", map[string]any{"InstanceIds": nil, "Targets": []any{map[string]any{"Key": "Name", "Values": []string{"b"}}}},
			"ValidationException"},
		{"a target without values", map[string]any{"InstanceIds": nil, "Targets": []any{map[string]any{"Key": "tag:a"}}},
			"ValidationException"},
		{"no document", map[string]any{"DocumentName": "Nope"}, "InvalidDocument"},
		{"a session document", map[string]any{"DocumentName": "AWS-StartSSHSession"}, "InvalidDocument"},
		{"version", map[string]any{"DocumentVersion": "2"}, "InvalidDocumentVersion"},
		{"hash", map[string]any{"DocumentHash": strings.Repeat("0", 64)}, "InvalidDocument"},
		{"an old hash", map[string]any{"DocumentHash": "0", "DocumentHashType": "Sha1"}, "ValidationException"},
		{"parameters", map[string]any{"Parameters": map[string]any{}}, "InvalidParameters"},
		{"parameter", map[string]any{"Parameters": map[string]any{"commands": []string{"id"}, "x": []string{"y"}}},
			"InvalidParameters"},
		{"long", map[string]any{"Parameters": map[string]any{"commands": []string{strings.Repeat("a", 70000)}}},
			"InvalidParameters"},
		{"timeout", map[string]any{"TimeoutSeconds": 29}, "ValidationException"},
		{"concurrency", map[string]any{"MaxConcurrency": "0"}, "ValidationException"},
		{"errors", map[string]any{"MaxErrors": "101%"}, "ValidationException"},
		{"comment", map[string]any{"Comment": strings.Repeat("x", 101)}, "ValidationException"},
		{"bucket", map[string]any{"OutputS3BucketName": "no-such-bucket"}, "InvalidOutputFolder"},
		{"a missing bucket", map[string]any{"OutputS3BucketName": "No_Bucket"}, "InvalidOutputFolder"},
		{"prefix", map[string]any{"OutputS3KeyPrefix": "a/../b"}, "InvalidOutputFolder"},
		{"notification", map[string]any{"NotificationConfig": map[string]any{"NotificationArn": "arn:aws:sns:x:1:y"}},
			"InvalidNotificationConfig"},
		{"role", map[string]any{"ServiceRoleArn": "arn:aws:iam::1:role/x"}, "InvalidRole"},
		{"alarm", map[string]any{"AlarmConfiguration": map[string]any{"Alarms": []any{}}}, "ValidationException"},
	} {
		in := map[string]any{
			"DocumentName": "AWS-RunShellScript",
			"InstanceIds":  []string{n.ID},
			"Parameters":   map[string]any{"commands": []string{"id"}},
		}
		for k, v := range c.in {
			in[k] = v
		}
		if a := s.JSON(s.Admin, "ssm", "SendCommand", in); a.Code() != c.want {
			t.Errorf("%s: %d %s, want %s", c.what, a.Status, a.Body, c.want)
		}
	}
	if got := commandCount(t, s); got != 0 {
		t.Errorf("%d commands were made", got)
	}
}

func TestCommandDocuments(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	ch := n.Connect()
	c, ctx := s.SSM(s.Admin), t.Context()
	text := `{"schemaVersion":"2.2","parameters":{"who":{"type":"String","allowedPattern":"[a-z]+"}},"mainSteps":[
		{"action":"aws:runShellScript","name":"greet","inputs":{"runCommand":["echo %s {{ who }}"]}},
		{"action":"aws:runShellScript","name":"part","inputs":{"runCommand":["echo bye"]}}]}`
	// A document without a type is a Command document.
	made, err := c.CreateDocument(
		ctx,
		&awsssm.CreateDocumentInput{Name: aws.String("Greet"), Content: aws.String(fmt.Sprintf(text, "hello"))},
	)
	must(t, err)
	if d := made.DocumentDescription; d.DocumentType != types.DocumentTypeCommand || *d.SchemaVersion != "2.2" ||
		len(d.PlatformTypes) != 2 {
		t.Errorf("%+v", d)
	}
	_, err = c.UpdateDocument(
		ctx,
		&awsssm.UpdateDocumentInput{
			Name:            aws.String("Greet"),
			Content:         aws.String(fmt.Sprintf(text, "hey")),
			DocumentVersion: aws.String("$LATEST"),
		},
	)
	must(t, err)
	list, err := c.ListDocuments(
		ctx,
		&awsssm.ListDocumentsInput{
			Filters: []types.DocumentKeyValuesFilter{{Key: aws.String("DocumentType"), Values: []string{"Command"}}},
		},
	)
	must(t, err)
	var names []string
	for _, d := range list.DocumentIdentifiers {
		names = append(names, *d.Name)
	}
	if fmt.Sprint(names) != "[AWS-RunRemoteScript AWS-RunShellScript Greet]" {
		t.Errorf("%v", names)
	}
	got, err := c.GetDocument(ctx, &awsssm.GetDocumentInput{Name: aws.String("Greet")})
	must(t, err)
	if got.DocumentType != types.DocumentTypeCommand {
		t.Errorf("%+v", got)
	}
	for name, in := range map[string]map[string]any{
		"session content": {"Name": "A", "DocumentType": "Command",
			"Content": `{"schemaVersion":"1.0","sessionType":"Standard_Stream"}`},
		"command content": {"Name": "A", "DocumentType": "Session", "Content": fmt.Sprintf(text, "")},
		"a command in the preferences": {"Name": "SSM-SessionManagerRunShell", "DocumentType": "Command",
			"Content": fmt.Sprintf(text, "")},
		"an unsupported type":             {"Name": "A", "DocumentType": "Automation", "Content": fmt.Sprintf(text, "")},
		"a name that the server reserves": {"Name": "AWS-A", "DocumentType": "Command", "Content": fmt.Sprintf(text, "")},
	} {
		if a := s.JSON(s.Admin, "ssm", "CreateDocument", in); a.Status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	if a := s.JSON(s.Admin, "ssm", "StartSession",
		map[string]string{"Target": n.ID, "DocumentName": "Greet"}); a.Code() != "InvalidDocument" {
		t.Errorf("a session of a command's document: %s", a.Body)
	}
	send := func(version string) mgs.SendCommand {
		t.Helper()
		in := map[string]any{
			"DocumentName":    "Greet",
			"InstanceIds":     []string{n.ID},
			"Parameters":      map[string]any{"who": []string{"you"}},
			"DocumentVersion": version,
		}
		var out struct {
			Command struct{ CommandID, DocumentVersion string }
		}
		s.JSON(s.Admin, "ssm", "SendCommand", in).Decode(t, &out)
		job, c := takeJob(t, ch, out.Command.CommandID)
		m, err := mgs.NewJobReply(
			job,
			mgs.CommandReply{DocumentStatus: mgs.CommandInProgress, RuntimeStatus: map[string]*mgs.StepStatus{
				"greet": {Status: mgs.CommandSuccess, Name: "aws:runShellScript", StandardOutput: "hello you"},
			}},
		)
		must(t, err)
		ch.Send(m)
		report(t, ch, job, mgs.CommandFailed, "")
		for _, step := range []struct{ name, status, out string }{{"", "Failed", ""}, {"greet", "Success", "hello you"},
			{"part", "Failed", ""}} {
			in := map[string]string{"CommandId": out.Command.CommandID, "InstanceId": n.ID}
			if step.name != "" {
				in["PluginName"] = step.name
			}
			var got struct{ Status, StandardOutputContent, PluginName string }
			s.JSON(s.Admin, "ssm", "GetCommandInvocation", in).Decode(t, &got)
			if got.Status != step.status || got.StandardOutputContent != step.out || got.PluginName != step.name {
				t.Errorf("step %q: %+v", step.name, got)
			}
		}
		return c
	}
	if c := send("$DEFAULT"); !strings.Contains(string(c.DocumentContent), "echo hello {{ who }}") ||
		c.Parameters["who"] != "you" {
		t.Errorf("%s %v", c.DocumentContent, c.Parameters)
	}
	if c := send("2"); !strings.Contains(string(c.DocumentContent), "echo hey {{ who }}") {
		t.Errorf("%s", c.DocumentContent)
	}
}

func TestListCommands(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	a, b := s.Node(), s.Node()
	ch := a.Connect()
	first := sendTo(t, s, a.ID)
	job, _ := takeJob(t, ch, first)
	report(t, ch, job, mgs.CommandSuccess, "")
	second := sendTo(t, s, a.ID, b.ID)
	third := sendTo(t, s, b.ID)
	filter := func(key, value string) map[string]any {
		return map[string]any{"Filters": []any{map[string]string{"key": key, "value": value}}}
	}
	for _, c := range []struct {
		in   map[string]any
		want []string
	}{
		{map[string]any{}, []string{third, second, first}},
		{map[string]any{"CommandId": second}, []string{second}},
		{map[string]any{"CommandId": strings.Repeat("0", 36)}, nil},
		{map[string]any{"InstanceId": a.ID}, []string{second, first}},
		{filter("Status", "Success"), []string{first}},
		{filter("Status", "Failed"), nil},
		{filter("ExecutionStage", "Executing"), []string{third, second}},
		{filter("ExecutionStage", "Complete"), []string{first}},
		{filter("DocumentName", "AWS-RunShellScript"), []string{third, second, first}},
		{filter("DocumentName", "Other"), nil},
		{filter("InvokedAfter", "2000-01-01T00:00:00Z"), []string{third, second, first}},
		{filter("InvokedBefore", "2000-01-01T00:00:00Z"), nil},
	} {
		var out struct {
			Commands []struct{ CommandID string }
		}
		s.JSON(s.Admin, "ssm", "ListCommands", c.in).Decode(t, &out)
		var got []string
		for _, x := range out.Commands {
			got = append(got, x.CommandID)
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%v: %v, want %v", c.in, got, c.want)
		}
	}
	for _, in := range []map[string]any{
		filter("Status", "Nope"), filter("Color", "red"), filter("ExecutionStage", "Later"), filter("InvokedAfter", "today"),
		{"NextToken": "x"}, {"MaxResults": 51},
		{"Filters": []any{}}, {"Filters": []any{map[string]string{"key": "Status", "value": "Success"},
			map[string]string{"key": "Status", "value": "Failed"}}},
	} {
		for _, op := range []string{"ListCommands", "ListCommandInvocations"} {
			if r := s.JSON(s.Admin, "ssm", op, in); r.Status != http.StatusBadRequest {
				t.Errorf("%s %v: %d %s", op, in, r.Status, r.Body)
			}
		}
	}
	var pages []string
	commands := awsssm.NewListCommandsPaginator(s.SSM(s.Admin), &awsssm.ListCommandsInput{MaxResults: aws.Int32(1)})
	for commands.HasMorePages() {
		out, err := commands.NextPage(t.Context())
		must(t, err)
		for _, c := range out.Commands {
			pages = append(pages, *c.CommandId)
		}
	}
	if fmt.Sprint(pages) != fmt.Sprint([]string{third, second, first}) {
		t.Errorf("pages: %v", pages)
	}
	pages = nil
	parts := awsssm.NewListCommandInvocationsPaginator(
		s.SSM(s.Admin),
		&awsssm.ListCommandInvocationsInput{MaxResults: aws.Int32(1), InstanceId: &b.ID},
	)
	for parts.HasMorePages() {
		out, err := parts.NextPage(t.Context())
		must(t, err)
		for _, i := range out.CommandInvocations {
			pages = append(pages, *i.CommandId+" "+*i.InstanceId)
		}
	}
	if fmt.Sprint(pages) != fmt.Sprint([]string{third + " " + b.ID, second + " " + b.ID}) {
		t.Errorf("pages of invocations: %v", pages)
	}
}
