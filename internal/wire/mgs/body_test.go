package mgs_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/mgs/mgstest"
)

// The stock programs write or accept the bodies below in this form.

func roundTrip[B mgs.Body](t *testing.T, text string, want B) {
	t.Helper()
	got, err := mgs.ParseBody[B]([]byte(text))
	if err != nil {
		t.Errorf("%T: %v", want, err)
		return
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%T (-want +got):\n%s", want, d)
	}
	back, err := mgs.MarshalBody(want)
	if err != nil {
		t.Errorf("%T: %v", want, err)
		return
	}
	if string(back) != text {
		t.Errorf("%T is written\n%s, want\n%s", want, back, text)
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	id := uuid(t, "1308e652-2ecc-44b4-9207-d6e1096ab492")
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	roundTrip(
		t,
		`{"AcknowledgedMessageType":"output_stream_data","AcknowledgedMessageId":"1308e652-2ecc-44b4-9207-d6e1096ab492",`+
			`"AcknowledgedMessageSequenceNumber":7,"IsSequentialMessage":true}`,
		mgs.Acknowledge{Type: mgs.TypeOutputStreamData, ID: id, Seq: 7, Sequential: true},
	)
	roundTrip(
		t,
		`{"AgentVersion":"3.3.0.0","RequestedClientActions":[{"ActionType":"SessionType",`+
			`"ActionParameters":{"SessionType":"Port","Properties":{"portNumber":"7777"}}}]}`,
		mgs.HandshakeRequest{AgentVersion: "3.3.0.0", RequestedClientActions: []mgs.RequestedAction{
			{
				ActionType:       mgs.ActionSessionType,
				ActionParameters: raw(`{"SessionType":"Port","Properties":{"portNumber":"7777"}}`),
			},
		}},
	)
	roundTrip(t, `{"SessionType":"NonInteractiveCommands","Properties":null}`,
		mgs.SessionTypeRequest{SessionType: "NonInteractiveCommands", Properties: raw("null")})
	roundTrip(
		t,
		`{"KMSKeyId":"alias/x","Challenge":"AAAA"}`,
		mgs.KMSEncryptionRequest{KMSKeyID: "alias/x", Challenge: "AAAA"},
	)
	roundTrip(
		t,
		`{"KMSCipherTextKey":"AQI=","KMSCipherTextHash":null}`,
		mgs.KMSEncryptionResponse{KMSCipherTextKey: []byte{1, 2}},
	)
	roundTrip(
		t,
		`{"ClientVersion":"1.3.0.0","ProcessedClientActions":[{"ActionType":"SessionType","ActionStatus":1,`+
			`"ActionResult":null,"Error":""}],"Errors":null}`,
		mgs.HandshakeResponse{ClientVersion: "1.3.0.0", ProcessedClientActions: []mgs.ProcessedAction{
			{ActionType: mgs.ActionSessionType, ActionStatus: mgs.ActionSuccess, ActionResult: raw("null")},
		}},
	)
	roundTrip(t, `{"HandshakeTimeToComplete":17606443,"CustomerMessage":""}`,
		mgs.HandshakeComplete{HandshakeTimeToComplete: 17606443 * time.Nanosecond})
	roundTrip(t, `{"Challenge":"AQI="}`, mgs.EncChallenge{Challenge: []byte{1, 2}})
	roundTrip(t, `{"cols":80,"rows":24}`, mgs.Size{Cols: 80, Rows: 24})
	roundTrip(
		t,
		`{"MessageId":"1308e652-2ecc-44b4-9207-d6e1096ab492","CreatedDate":"2026-11-23T11:37:32Z",`+
			`"DestinationId":"mi-0","SessionId":"s","MessageType":"channel_closed","SchemaVersion":1,"Output":"why"}`,
		mgs.ChannelClosed{
			MessageID:     id,
			CreatedDate:   "2026-11-23T11:37:32Z",
			DestinationID: "mi-0",
			SessionID:     "s",
			MessageType:   "channel_closed",
			SchemaVersion: 1,
			Output:        "why",
		},
	)
	roundTrip(
		t,
		`{"SchemaVersion":1,"SessionState":"Connected","SessionId":"dummy-7d0a9226-06d4-438"}`,
		mgs.AgentSessionState{
			SchemaVersion: 1,
			SessionState:  mgs.SessionStateConnected,
			SessionID:     "dummy-7d0a9226-06d4-438",
		},
	)
	roundTrip(
		t,
		`{"SchemaVersion":1,"TaskId":"dummy-7d0a9226-06d4-438","Topic":"agent_task_complete",`+
			`"FinalTaskStatus":"Success","IsRoutingFailure":false,"AwsAccountId":"","InstanceId":"mi-000000000000abc03",`+
			`"Output":"","S3Bucket":"","S3UrlSuffix":"","CwlGroup":"","CwlStream":"","RetryNumber":1}`,
		mgs.TaskComplete{
			SchemaVersion:   1,
			TaskID:          "dummy-7d0a9226-06d4-438",
			Topic:           "agent_task_complete",
			FinalTaskStatus: mgs.TaskSuccess,
			InstanceID:      "mi-000000000000abc03",
			RetryNumber:     1,
		},
	)
	roundTrip(
		t,
		`{"SchemaVersion":1,"MessageId":"1308e652-2ecc-44b4-9207-d6e1096ab492","TaskId":"t","Topic":"agent_task_complete"}`,
		mgs.TaskAcknowledge{SchemaVersion: 1, MessageID: id, TaskID: "t", Topic: "agent_task_complete"},
	)
	roundTrip(
		t,
		`{"Cookie":null,"MessageSchemaVersion":"1.0","RequestId":"r","TokenValue":"tok","AgentVersion":"3.3.0.0",`+
			`"PlatformType":"linux"}`,
		mgs.OpenControlChannel{
			MessageSchemaVersion: mgs.SchemaVersion10,
			RequestID:            "r",
			TokenValue:           "tok",
			AgentVersion:         "3.3.0.0",
			PlatformType:         "linux",
		},
	)
	roundTrip(
		t,
		`{"MessageSchemaVersion":"1.0","RequestId":"r","TokenValue":"tok","ClientInstanceId":"mi-000000000000abc03",`+
			`"ClientId":""}`,
		mgs.OpenDataChannel{
			MessageSchemaVersion: mgs.SchemaVersion10,
			RequestID:            "r",
			TokenValue:           "tok",
			ClientInstanceID:     "mi-000000000000abc03",
		},
	)
	roundTrip(
		t,
		`{"MessageSchemaVersion":"1.0","RequestId":"r","TokenValue":"tok","ClientId":"c","ClientVersion":"1.3.0.0"}`,
		mgs.OpenDataChannel{
			MessageSchemaVersion: mgs.SchemaVersion10,
			RequestID:            "r",
			TokenValue:           "tok",
			ClientID:             "c",
			ClientVersion:        "1.3.0.0",
		},
	)
	roundTrip(
		t,
		`{"MessageSchemaVersion":"1.0","RequestId":"r"}`,
		mgs.CreateControlChannelRequest{MessageSchemaVersion: "1.0", RequestID: "r"},
	)
	roundTrip(
		t,
		`{"MessageSchemaVersion":"1.0","RequestId":"r","ClientId":""}`,
		mgs.CreateDataChannelRequest{MessageSchemaVersion: "1.0", RequestID: "r"},
	)
}

func TestParseBodyRefuses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "null", "[]", `"x"`, "{", `{}{}`, `{"cols":70000,"rows":24}`, `{"cols":-1,"rows":24}`,
		`{"cols":"80"}`} {
		if v, err := mgs.ParseBody[mgs.Size]([]byte(bad)); err == nil || v != (mgs.Size{}) {
			t.Errorf("%q: %+v, %v", bad, v, err)
		}
	}
	large := `{"Content":"` + strings.Repeat("x", mgs.MaxBody) + `"}`
	if _, err := mgs.ParseBody[mgs.AgentTask]([]byte(large)); err == nil {
		t.Error("a body above the limit was read")
	}
}

func TestParseAck(t *testing.T) {
	t.Parallel()
	want := mgs.Acknowledge{
		Type:       mgs.TypeInputStreamData,
		ID:         uuid(t, "97e78e03-0875-4b2c-8bf3-d03b503facc1"),
		Seq:        40,
		Sequential: true,
	}
	usual := string(mgs.AppendAck(nil, want))
	viaJSON, err := mgs.MarshalBody(want)
	if err != nil || usual != string(viaJSON) {
		t.Errorf("AppendAck writes %s, JSON %s (%v)", usual, viaJSON, err)
	}
	for _, text := range []string{
		usual,
		strings.ReplaceAll(usual, ":", ": "),
		`{"IsSequentialMessage":true,"AcknowledgedMessageSequenceNumber":40,` +
			`"AcknowledgedMessageId":"97E78E03-0875-4B2C-8BF3-D03B503FACC1","AcknowledgedMessageType":"input_stream_data"}`,
	} {
		got, err := mgs.ParseAck([]byte(text))
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, bad := range []string{
		strings.Replace(usual, "40", "-1", 1),
		strings.Replace(usual, "40", "040", 1),
		strings.Replace(usual, "40", "99999999999999999999", 1),
		strings.Replace(usual, "97e7", "97g7", 1),
		usual + "x", usual[:len(usual)-1], "", "{}",
	} {
		if got, err := mgs.ParseAck([]byte(bad)); err == nil {
			t.Errorf("%s was read as %+v", bad, got)
		}
	}
}

func TestNewAck(t *testing.T) {
	t.Parallel()
	m := mgstest.StreamData(mgs.TypeOutputStreamData, 9, mgs.PayloadOutput, []byte("x"))
	ack := mgs.NewAck(&m)
	if ack.Type != mgs.TypeAcknowledge || ack.Seq != 0 || ack.Flags != 3 || ack.PayloadType != 0 || ack.ID == m.ID {
		t.Errorf("%+v", ack)
	}
	body, err := mgs.ParseAck(ack.Payload)
	if want := (mgs.Acknowledge{Type: m.Type, ID: m.ID, Seq: 9, Sequential: true}); err != nil || body != want {
		t.Errorf("%+v, %v", body, err)
	}
}

func TestNewChannelClosed(t *testing.T) {
	t.Parallel()
	m := mgs.NewChannelClosed("mi-0", "alice-x", "idle")
	c, err := mgs.ParseBody[mgs.ChannelClosed](m.Payload)
	if err != nil || c.MessageID != m.ID || c.SessionID != "alice-x" || c.Output != "idle" ||
		c.DestinationID != "mi-0" {
		t.Errorf("%+v, %v", c, err)
	}
	if at, err := time.Parse(time.RFC3339Nano, c.CreatedDate); err != nil || !at.Equal(m.Created()) {
		t.Errorf("created %q: %v", c.CreatedDate, err)
	}
}

func TestNewInteractiveShell(t *testing.T) {
	t.Parallel()
	want := mgs.AgentTaskPayload{
		DocumentName: "SSM-SessionManagerRunShell", DocumentContent: json.RawMessage(`{"schemaVersion":"1.0"}`),
		SessionID: "alice-x", Parameters: map[string]any{"portNumber": "80"},
		SessionOwner: "arn:aws:iam::000000000000:user/alice",
	}
	m, err := mgs.NewInteractiveShell(want)
	if err != nil {
		t.Fatal(err)
	}
	task, err := mgs.ParseBody[mgs.AgentTask](m.Payload)
	if err != nil || task.TaskID != "alice-x" || task.SchemaVersion != 1 {
		t.Fatalf("%+v, %v", task, err)
	}
	got, err := task.Payload()
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if _, err := mgs.NewInteractiveShell(mgs.AgentTaskPayload{DocumentContent: json.RawMessage("{")}); err == nil {
		t.Error("a document that is not JSON was sent")
	}
}

func TestTaskAcknowledge(t *testing.T) {
	t.Parallel()
	m := mgs.NewTaskComplete(
		mgs.TaskComplete{TaskID: "alice-x", FinalTaskStatus: mgs.TaskFailed, Output: "no such user"},
	)
	ack := mgs.NewTaskAcknowledge(&m, "alice-x")
	got, err := mgs.ParseBody[mgs.TaskAcknowledge](ack.Payload)
	want := mgs.TaskAcknowledge{SchemaVersion: 1, MessageID: m.ID, TaskID: "alice-x", Topic: mgs.TypeAgentTaskComplete}
	if err != nil || got != want || ack.Type != mgs.TypeAgentTaskAcknowledge {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestChannelResponse(t *testing.T) {
	t.Parallel()
	const text = `<CreateDataChannelResponse><MessageSchemaVersion>1.0</MessageSchemaVersion>` +
		`<TokenValue>tok-&lt;1&gt;</TokenValue></CreateDataChannelResponse>`
	want := mgs.ChannelResponse{MessageSchemaVersion: "1.0", TokenValue: "tok-<1>"}
	if got := string(mgs.MarshalChannelResponse(mgs.CreateDataChannelResponse, want)); got != text {
		t.Errorf("got %s", got)
	}
	for _, in := range []string{text, strings.ReplaceAll(text, "CreateDataChannelResponse", "x")} {
		if got, err := mgs.ParseChannelResponse([]byte(in)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "<a></a>", "<a><TokenValue>x</a>", "{}"} {
		if got, err := mgs.ParseChannelResponse([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, got)
		}
	}
}

func TestFlagAndExitCode(t *testing.T) {
	t.Parallel()
	for _, f := range []mgs.Flag{mgs.FlagDisconnectToPort, mgs.FlagTerminateSession, mgs.FlagConnectToPortError} {
		if got, err := mgs.ParseFlag(f.Bytes()); err != nil || got != f {
			t.Errorf("%d: %d, %v", f, got, err)
		}
	}
	for _, bad := range [][]byte{nil, {3}, {0, 0, 0, 0}, {0, 0, 0, 4}, {0, 0, 0, 3, 0}} {
		if got, err := mgs.ParseFlag(bad); err == nil {
			t.Errorf("%x was read as %d", bad, got)
		}
	}
	for _, n := range []int{0, 127, 255, -1} {
		if got, err := mgs.ParseExitCode(mgs.AppendExitCode(nil, n)); err != nil || got != n {
			t.Errorf("%d: %d, %v", n, got, err)
		}
	}
	if got := string(mgs.AppendExitCode(nil, 3)); got != "EXIT_CODE: 3" {
		t.Errorf("got %q", got)
	}
	for _, bad := range []string{"", "EXIT_CODE: ", "EXIT_CODE: x", "EXIT_CODE:3", "EXIT_CODE: 99999999999"} {
		if got, err := mgs.ParseExitCode([]byte(bad)); err == nil {
			t.Errorf("%q was read as %d", bad, got)
		}
	}
}

func FuzzParseBody(f *testing.F) {
	f.Add(
		[]byte(
			`{"AcknowledgedMessageType":"output_stream_data",` +
				`"AcknowledgedMessageId":"1308e652-2ecc-44b4-9207-d6e1096ab492","AcknowledgedMessageSequenceNumber":7,` +
				`"IsSequentialMessage":true}`,
		),
	)
	f.Add(
		[]byte(
			`{"AgentVersion":"3.3.0.0","RequestedClientActions":[{"ActionType":"SessionType","ActionParameters":{}}]}`,
		),
	)
	f.Add([]byte(`{"cols":80,"rows":24}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if ack, err := mgs.ParseAck(b); err == nil {
			// The fast parser and the JSON parser must agree.
			slow, err := mgs.ParseBody[mgs.Acknowledge](b)
			if err != nil || slow != ack {
				t.Fatalf("fast %+v, slow %+v (%v)", ack, slow, err)
			}
		}
		again(t, b, mgs.ParseBody[mgs.HandshakeRequest])
		again(t, b, mgs.ParseBody[mgs.HandshakeResponse])
		again(t, b, mgs.ParseBody[mgs.Size])
		again(t, b, mgs.ParseBody[mgs.ChannelClosed])
		again(t, b, mgs.ParseBody[mgs.AgentTask])
		again(t, b, mgs.ParseBody[mgs.OpenDataChannel])
		_, _ = mgs.ParseChannelResponse(b)
	})
}

// again checks that a parsed body survives a round trip.
func again[B mgs.Body](t *testing.T, b []byte, parse func([]byte) (B, error)) {
	v, err := parse(b)
	if err != nil {
		return
	}
	out, err := mgs.MarshalBody(v)
	if err != nil {
		t.Fatalf("%T was read from %q but cannot be written: %v", v, b, err)
	}
	if len(out) <= mgs.MaxBody {
		if _, err := parse(out); err != nil {
			t.Fatalf("%T was written as %s and is refused: %v", v, out, err)
		}
	}
}
