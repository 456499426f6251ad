package servertest_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/aws/smithy-go"

	"sekisho/internal/servertest"
	"sekisho/internal/wire/link"
	"sekisho/internal/wire/mgs"
	"sekisho/internal/wire/sigv4"
)

var nobody = sigv4.Credentials{}

// wantRefused checks that the newest event with a name is a refusal with text.
func wantRefused(t *testing.T, s *servertest.Server, event, text string) {
	t.Helper()
	s.Eventually("the refusal of "+event+" in the trail: "+text, func() bool {
		return slices.ContainsFunc(s.Events(event), func(e servertest.Event) bool {
			return e.ErrorCode != "" && strings.Contains(e.ErrorMessage, text)
		})
	})
}

func TestSession(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	n.Connect()
	x := s.Session(s.Admin, n)
	x.Check(t)
	for _, name := range []string{"CreateControlChannel", "OpenControlChannel", "CreateDataChannel", "OpenDataChannel",
		"StartSession"} {
		e := s.Events(name)
		if len(e) == 0 || e[0].ErrorCode != "" {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if e := s.Events("StartSession")[0]; e.ResponseElements["sessionId"] != x.ID ||
		strings.Contains(e.ResponseElements["tokenValue"].(string), x.Token) {
		t.Errorf("recorded %v", e.ResponseElements)
	}
	if _, err := s.SSM(s.Admin).TerminateSession(t.Context(),
		&awsssm.TerminateSessionInput{SessionId: &x.ID}); err != nil {
		t.Fatal(err)
	}
	for _, leg := range []*servertest.Channel{x.Client, x.Agent} {
		closed, err := mgs.ParseBody[mgs.ChannelClosed](leg.Receive(mgs.TypeChannelClosed).Payload)
		if err != nil || closed.SessionID != x.ID {
			t.Errorf("%+v, %v", closed, err)
		}
	}
}

// A peer without a fresh token of this channel is refused, the audit trail has
// the reason, and sessions continue.
func TestTokens(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	a, b := s.Node(), s.Node()
	a.Connect()
	b.Connect()
	x, y := s.Session(s.Admin, a), s.Session(s.Admin, b)
	agentToken := func(n *servertest.Node, session string) string {
		return s.CreateChannel(n.Credentials, "data-channel", session).Token(t)
	}
	resumed := func(session string) string {
		out, err := s.SSM(s.Admin).ResumeSession(t.Context(), &awsssm.ResumeSessionInput{SessionId: &session})
		if err != nil {
			t.Fatal(err)
		}
		return *out.TokenValue
	}
	for _, tc := range []struct {
		name, kind, channel string
		as                  sigv4.Credentials
		first, want         string
	}{
		{"replay", "data-channel", x.ID, nobody, servertest.ClientFrame(x.Token), "used before"},
		{"a token of another session", "data-channel", x.ID, nobody, servertest.ClientFrame(resumed(y.ID)),
			"another channel"},
		{"an invented token", "data-channel", x.ID, nobody, servertest.ClientFrame("AAAA"), "not issued"},
		{"none", "data-channel", x.ID, nobody, servertest.ClientFrame(""), "not issued"},
		{"overlong", "data-channel", x.ID, nobody, servertest.ClientFrame(strings.Repeat("x", 301)), "too long"},
		{"the client's token for the agent", "data-channel", x.ID, a.Credentials, servertest.AgentFrame(resumed(x.ID), a.ID),
			"another channel"},
		{"the agent's token for the client", "data-channel", x.ID, nobody, servertest.ClientFrame(agentToken(a, x.ID)),
			"another channel"},
		{"the agent's token, unsigned", "data-channel", x.ID, nobody, servertest.AgentFrame(agentToken(a, x.ID), a.ID),
			"not the credentials of"},
		{"the agent's token, used by another node", "data-channel", x.ID, b.Credentials,
			servertest.AgentFrame(agentToken(a, x.ID), a.ID), "not the credentials of"},
		{"the agent's token, used by a user", "data-channel", x.ID, s.Admin, servertest.AgentFrame(agentToken(a, x.ID), a.ID),
			"not the credentials of"},
		{"not JSON", "data-channel", x.ID, nobody, "open sesame", "not a JSON object"},
		{"a frame that is too long", "data-channel", x.ID, nobody,
			servertest.ClientFrame(strings.Repeat("x", 9<<10)), "first frame"},
		{"a data channel's token for the control channel", "control-channel", a.ID, a.Credentials,
			servertest.OpenFrame(agentToken(a, x.ID)), "another channel"},
		{"a control channel token of another node", "control-channel", a.ID, a.Credentials,
			servertest.OpenFrame(s.CreateChannel(b.Credentials, "control-channel", b.ID).Token(t)), "another channel"},
	} {
		event := map[string]string{"data-channel": "OpenDataChannel", "control-channel": "OpenControlChannel"}[tc.kind]
		ch := s.MustDial(tc.as, tc.kind, tc.channel)
		ch.Text(tc.first)
		if code, reason := ch.WaitClosed(); code != link.ClosePolicy || !strings.Contains(reason, tc.want) {
			t.Errorf("%s: closed with %d %q, want %q", tc.name, code, reason, tc.want)
		}
		newest := s.Events(event)[0]
		if newest.ErrorCode == "" || !strings.Contains(newest.ErrorMessage, tc.want) {
			t.Errorf("%s: recorded %q %q", tc.name, newest.ErrorCode, newest.ErrorMessage)
		}
	}
	ch := s.MustDial(nobody, "data-channel", x.ID)
	ch.Raw([]byte(servertest.ClientFrame(resumed(x.ID))))
	if code, reason := ch.WaitClosed(); code != link.ClosePolicy || !strings.Contains(reason, "text frame") {
		t.Errorf("a binary first frame: %d %q", code, reason)
	}
	x.Check(t)
	y.Check(t)
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	n.Connect()
	x := s.Session(s.Admin, n)
	for _, origin := range [][]string{
		{"https://evil.example"}, {"null"}, {""}, {"http://" + s.Host}, {s.URL + ".evil.example"},
		{"https://evil.example", s.URL},
		{s.URL, "https://evil.example"}, {"https://localhost"}, {"%zz"},
	} {
		for _, kind := range []string{"data-channel", "control-channel"} {
			name, as := x.ID, nobody
			if kind == "control-channel" {
				name, as = n.ID, n.Credentials
			}
			_, err := s.Dial(as, kind, name, http.Header{"Origin": origin})
			if e, ok := errors.AsType[*link.HandshakeError](err); !ok || e.StatusCode != http.StatusForbidden {
				t.Errorf("%s from %q: %v", kind, origin, err)
			}
		}
	}
	wantRefused(t, s, "OpenDataChannel", `The origin "https://evil.example"`)
	wantRefused(t, s, "OpenDataChannel", `The origin "null"`)
	wantRefused(t, s, "OpenControlChannel", `The origin "https://evil.example"`)
	// The console's own origin is allowed for sessions. Browsers cannot be
	// agents.
	ch, err := s.Dial(nobody, "data-channel", x.ID, http.Header{"Origin": {s.URL}})
	if err != nil {
		t.Fatal(err)
	}
	_ = ch.CloseNow()
	if _, err := s.Dial(n.Credentials, "control-channel", n.ID, http.Header{"Origin": {s.URL}}); err == nil {
		t.Error("a browser opened a control channel")
	}
	// A GET without an upgrade opens no channel.
	if a := s.Do(nil, nobody, "", http.MethodGet, "/v1/data-channel/"+x.ID, ""); a.Status == http.StatusOK {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	x.Check(t)
}

// A protocol error closes its own channel with the reason, and no other
// channel.
func TestBrokenFrames(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n, other := s.Node(), s.Node()
	control, otherControl := n.Connect(), other.Connect()
	y := s.Session(s.Admin, other)
	good := mgs.New(mgs.TypeOutputStreamData, []byte("x"))
	good.PayloadType = mgs.PayloadOutput
	frame := good.AppendTo(nil)
	altered := slices.Clone(frame)
	altered[len(altered)-1] ^= 1
	negative := good
	negative.Seq = -1
	for _, tc := range []struct {
		name string
		side string // the sender
		send func(c *servertest.Channel)
		code link.Code
		want string
	}{
		{"oversized", "client", func(c *servertest.Channel) { c.Raw(make([]byte, 256<<10+1)) }, link.CloseTooBig, ""},
		{"oversized", "agent", func(c *servertest.Channel) { c.Raw(make([]byte, 256<<10+1)) }, link.CloseTooBig, ""},
		{"truncated", "client", func(c *servertest.Channel) { c.Raw(frame[:50]) }, link.CloseProtocol,
			"shorter than a header"},
		{"truncated", "agent", func(c *servertest.Channel) { c.Raw(frame[:len(frame)-1]) }, link.CloseProtocol,
			"payload length"},
		{"empty", "client", func(c *servertest.Channel) { c.Raw(nil) }, link.CloseProtocol, "protocol error"},
		{"altered", "agent", func(c *servertest.Channel) { c.Raw(altered) }, link.CloseProtocol, "digest"},
		{"negative number", "agent", func(c *servertest.Channel) { c.Send(negative) }, link.CloseProtocol, "negative"},
		{"text", "client", func(c *servertest.Channel) { c.Text("{}") }, 0, ""},
		{"the other side's data", "client", func(c *servertest.Channel) { c.Send(good) }, link.CloseProtocol,
			"the client sent output_stream_data"},
		{"the other side's data", "agent", func(c *servertest.Channel) { c.Data(mgs.TypeInputStreamData, 0, "x") },
			link.CloseProtocol, "the agent sent input_stream_data"},
		{"an acknowledgement of nothing", "client",
			func(c *servertest.Channel) { c.Send(mgs.New(mgs.TypeAcknowledge, []byte("{}"))) }, link.CloseProtocol,
			"protocol error"},
		{"a client that acts as the agent", "client",
			func(c *servertest.Channel) { c.Send(mgs.NewAgentSessionState("x", mgs.SessionStateTerminating)) },
			link.CloseProtocol, "agent_session_state"},
	} {
		x := s.Session(s.Admin, n)
		bad := x.Client
		if tc.side == "agent" {
			bad = x.Agent
		}
		tc.send(bad)
		code, reason := bad.WaitClosed()
		if tc.code != 0 && code != tc.code || !strings.Contains(reason, tc.want) {
			t.Errorf("%s by the %s: closed with %d %q, want %d %q", tc.name, tc.side, code, reason, tc.code, tc.want)
		}
		// The session outlives the connection: both ends reconnect.
		if tc.side == "agent" {
			x.Agent = n.Attach(x.ID)
		} else {
			out, err := s.SSM(s.Admin).ResumeSession(t.Context(), &awsssm.ResumeSessionInput{SessionId: &x.ID})
			if err != nil {
				t.Fatal(err)
			}
			x.Client = s.MustDial(nobody, "data-channel", x.ID)
			x.Client.Text(servertest.ClientFrame(*out.TokenValue))
		}
		x.Check(t)
		y.Check(t)
	}

	for name, b := range map[string][]byte{"truncated": frame[:50],
		"not JSON": func() []byte { m := mgs.New(mgs.TypeAgentTaskComplete, []byte("{")); return m.AppendTo(nil) }()} {
		control.Raw(b)
		if code, reason := control.WaitClosed(); code != link.CloseProtocol ||
			!strings.Contains(reason, "protocol error") {
			t.Errorf("%s on a control channel: %d %q", name, code, reason)
		}
		control = n.Connect()
	}
	otherControl.Send(mgs.NewTaskComplete(mgs.TaskComplete{TaskID: "alice-none", FinalTaskStatus: mgs.TaskSuccess}))
	otherControl.Receive(mgs.TypeAgentTaskAcknowledge)
	y.Check(t)
}

func TestFramesOutOfOrder(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	n.Connect()
	x := s.Session(s.Admin, n)
	// Frames out of order and far ahead: the client receives them in order.
	for _, seq := range []int64{3, 2, 1 << 40, 1} {
		x.Agent.Data(mgs.TypeOutputStreamData, seq, string(rune('0'+seq%10)))
	}
	for want := int64(1); want <= 3; want++ {
		m := x.Client.Receive(mgs.TypeOutputStreamData)
		if m.Seq != want || string(m.Payload) != string(rune('0'+want)) {
			t.Fatalf("message %d %q, want %d", m.Seq, m.Payload, want)
		}
	}
}

// Credentials for programs on a node have the permissions of its role, but
// cannot do what only its agent can.
func TestProgramCredentialsOpenNoChannel(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	n.Connect()
	x := s.Session(s.Admin, n)
	program := n.ProgramCredentials()
	for name, r := range map[string]servertest.Answer{
		"control channel": s.CreateChannel(program, "control-channel", n.ID),
		"data channel":    s.CreateChannel(program, "data-channel", x.ID),
		"report": s.JSON(program, "ssm", "UpdateInstanceInformation",
			map[string]string{"InstanceId": n.ID, "ComputerName": "stolen"}),
		"message poll": s.JSON(program, "ec2messages", "GetMessages",
			map[string]string{"Destination": n.ID, "MessagesRequestId": "0123456789abcdef0123"}),
		"role token": s.JSON(program, "ssm", "RequestManagedInstanceRoleToken",
			map[string]string{"Fingerprint": n.Fingerprint}),
		"inventory": s.JSON(program, "ssm", "PutInventory",
			map[string]any{"InstanceId": n.ID,
				"Items": []any{map[string]any{"TypeName": "AWS:Tag", "SchemaVersion": "1.0",
					"CaptureTime": "2026-01-01T00:00:00Z"}}}),
		"association list": s.JSON(program, "ssm", "ListInstanceAssociations", map[string]string{"InstanceId": n.ID}),
	} {
		if r.Status < 400 {
			t.Errorf("%s: a program on the node was taken for its agent: %d %s", name, r.Status, r.Body)
		}
	}
	if _, err := s.Dial(program, "control-channel", n.ID, nil); err == nil {
		t.Error("a program on the node opened its control channel")
	}
	// The agent's connection is undisturbed, and the credentials work
	// otherwise.
	x.Check(t)
	if r := s.Do(func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") },
		program, "sts", http.MethodPost, "/", "Action=GetCallerIdentity&Version=2011-06-15"); r.Status != http.StatusOK ||
		!strings.Contains(r.Body, "assumed-role/") {
		t.Errorf("GetCallerIdentity: %d %s", r.Status, r.Body)
	}
}

// A second program with the agent's own credentials does not get the agent's
// end of a running session, and the attempt raises an alarm.
func TestARunningAgentIsNotReplaced(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	n.Connect()
	x := s.Session(s.Admin, n)
	x.Check(t)
	token := s.CreateChannel(n.Credentials, "data-channel", x.ID).Token(t)
	intruder, err := s.Dial(n.Credentials, "data-channel", x.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	intruder.Text(servertest.AgentFrame(token, n.ID))
	intruder.WaitClosed()
	s.Eventually("the alarm", func() bool { return len(s.Events("NodeIdentityTwice")) == 1 })
	x.Check(t) // the agent is still connected
}

// The credentials of a node are valid for that node only.
func TestNodesActForThemselvesOnly(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	a, b := s.Node(), s.Node()
	a.Connect()
	bControl := b.Connect()
	x := s.Session(s.Admin, a)
	if r := s.CreateChannel(b.Credentials, "control-channel", a.ID); r.Code() != "AccessDeniedException" {
		t.Errorf("created another node's control channel: %d %s", r.Status, r.Body)
	}
	if _, err := s.Dial(b.Credentials, "control-channel", a.ID, nil); err == nil {
		t.Error("opened another node's control channel")
	}
	if r := s.CreateChannel(b.Credentials, "data-channel", x.ID); r.Status < 400 ||
		!strings.Contains(r.Body, "already terminated") {
		t.Errorf("created a data channel of another node's session: %d %s", r.Status, r.Body)
	}
	if r := s.JSON(b.Credentials, "ssm", "UpdateInstanceInformation",
		map[string]string{"InstanceId": a.ID, "ComputerName": "stolen"}); r.Code() != "AccessDeniedException" {
		t.Errorf("reported another node's facts: %d %s", r.Status, r.Body)
	}
	if r := b.RoleToken(a.Fingerprint); r.Code() != "MachineFingerprintDoesNotMatch" {
		t.Errorf("another machine's fingerprint: %d %s", r.Status, r.Body)
	}
	// A message of another node does not end a session.
	bControl.Send(mgs.NewTaskComplete(mgs.TaskComplete{TaskID: x.ID, FinalTaskStatus: mgs.TaskFailed}))
	bControl.Receive(mgs.TypeAgentTaskAcknowledge)
	x.Check(t)
	// Users cannot act as nodes, whatever they are allowed.
	for _, kind := range []string{"control-channel", "data-channel"} {
		name := map[string]string{"control-channel": a.ID, "data-channel": x.ID}[kind]
		if r := s.CreateChannel(s.Admin, kind, name); r.Code() != "AccessDeniedException" {
			t.Errorf("an administrator created a %s: %d %s", kind, r.Status, r.Body)
		}
	}
	if r := s.JSON(s.Admin, "ssm", "UpdateInstanceInformation",
		map[string]string{"InstanceId": a.ID}); r.Code() != "AccessDeniedException" {
		t.Errorf("an administrator reported facts: %d %s", r.Status, r.Body)
	}
	wantRefused(t, s, "CreateControlChannel", "not the credentials of "+a.ID)
	wantRefused(t, s, "OpenControlChannel", "not the credentials of "+a.ID)
	wantRefused(t, s, "CreateDataChannel", "already terminated")
	wantRefused(t, s, "UpdateInstanceInformation", a.ID)
	for _, bad := range []string{"x", "mi-", "..%2f..", strings.Repeat("a", 300)} {
		if r := s.CreateChannel(a.Credentials, "control-channel", bad); r.Status < 400 {
			t.Errorf("%q: %d %s", bad, r.Status, r.Body)
		}
		if r := s.CreateChannel(a.Credentials, "data-channel", bad); r.Status < 400 {
			t.Errorf("%q: %d %s", bad, r.Status, r.Body)
		}
	}
	if r := s.Do(nil, a.Credentials, "ssmmessages", http.MethodPost, "/v1/control-channel/"+a.ID,
		"not JSON"); r.Code() != "ValidationException" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

func TestDeregisteringDisconnects(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n, other := s.Node(), s.Node()
	control := n.Connect()
	other.Connect()
	x, y := s.Session(s.Admin, n), s.Session(s.Admin, other)
	token := s.CreateChannel(n.Credentials, "control-channel", n.ID).Token(t)
	if _, err := s.SSM(s.Admin).DeregisterManagedInstance(t.Context(),
		&awsssm.DeregisterManagedInstanceInput{InstanceId: &n.ID}); err != nil {
		t.Fatal(err)
	}
	control.WaitClosed()
	closed, err := mgs.ParseBody[mgs.ChannelClosed](x.Client.Receive(mgs.TypeChannelClosed).Payload)
	if err != nil || !strings.Contains(closed.Output, "deregistered") {
		t.Errorf("%+v, %v", closed, err)
	}
	x.Agent.WaitClosed()
	for what, r := range map[string]servertest.Answer{
		"new credentials": n.RoleToken(n.Fingerprint),
		"control channel": s.CreateChannel(n.Credentials, "control-channel", n.ID),
		"data channel":    s.CreateChannel(n.Credentials, "data-channel", x.ID),
		"report":          s.JSON(n.Credentials, "ssm", "UpdateInstanceInformation", map[string]string{"InstanceId": n.ID}),
		"anything":        s.JSON(n.Credentials, "ssm", "DescribeSessions", map[string]string{"State": "Active"}),
	} {
		if r.Status < 400 || !strings.Contains(r.Body, "registered") {
			t.Errorf("%s: %d %s", what, r.Status, r.Body)
		}
	}
	if ch, err := s.Dial(n.Credentials, "control-channel", n.ID, nil); err == nil {
		ch.Text(servertest.OpenFrame(token))
		t.Error("the upgrade was allowed")
	}
	_, err = s.SSM(s.Admin).StartSession(t.Context(), &awsssm.StartSessionInput{Target: &n.ID})
	if fault, ok := errors.AsType[smithy.APIError](err); !ok || fault.ErrorCode() != "TargetNotConnected" {
		t.Errorf("%v", err)
	}
	_, err = s.SSM(s.Admin).
		DeregisterManagedInstance(t.Context(), &awsssm.DeregisterManagedInstanceInput{InstanceId: &n.ID})
	if fault, ok := errors.AsType[smithy.APIError](err); !ok || fault.ErrorCode() != "InvalidInstanceId" {
		t.Errorf("%v", err)
	}
	y.Check(t)
}

// A session outlives the server process, and so does the data of the server.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	control := n.Connect()
	x := s.Session(s.Admin, n)
	s.Restart()
	control.WaitClosed()
	x.Agent.WaitClosed()
	x.Client.WaitClosed()
	out, err := s.SSM(s.Admin).DescribeInstanceInformation(t.Context(), &awsssm.DescribeInstanceInformationInput{})
	if err != nil || len(out.InstanceInformationList) != 1 ||
		aws.ToString(out.InstanceInformationList[0].InstanceId) != n.ID {
		t.Fatalf("%+v, %v", out, err)
	}
	_, err = s.SSM(s.Admin).StartSession(t.Context(), &awsssm.StartSessionInput{Target: &n.ID})
	if fault, ok := errors.AsType[smithy.APIError](err); !ok || fault.ErrorCode() != "TargetNotConnected" {
		t.Errorf("%v", err)
	}
	n.Connect()
	resumed, err := s.SSM(s.Admin).ResumeSession(t.Context(), &awsssm.ResumeSessionInput{SessionId: &x.ID})
	if err != nil || aws.ToString(resumed.TokenValue) == "" {
		t.Fatalf("%+v, %v", resumed, err)
	}
	x.Agent = n.Attach(x.ID)
	x.Client = s.MustDial(nobody, "data-channel", x.ID)
	x.Client.Text(servertest.ClientFrame(*resumed.TokenValue))
	x.CheckRestarted(t)
}
