package servertest_test

import (
	"strings"
	"testing"

	"sekisho/internal/servertest"
)

// activate creates an activation with these metadata.
func activate(t *testing.T, s *servertest.Server, want string, metadata ...[2]string) (activation, code string) {
	t.Helper()
	var list []fields
	for _, m := range metadata {
		list = append(list, fields{"Key": m[0], "Value": m[1]})
	}
	a := s.JSON(
		s.Admin,
		"ssm",
		"CreateActivation",
		fields{"IamRole": "service-role/AmazonEC2RunCommandRoleForManagedInstances", "RegistrationMetadata": list},
	)
	if a.Code() != want {
		t.Fatalf("%v: %d %s; want %q", metadata, a.Status, a.Body, want)
	}
	var out struct {
		ActivationID   string `json:"ActivationId"`
		ActivationCode string
	}
	a.Decode(t, &out)
	return out.ActivationID, out.ActivationCode
}

// A machine can have an instance ID, even a particular one, so that policies
// for instances apply to it.
func TestInstanceIDs(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	const kind, fixed, id = "sekisho:NodeIdType", "sekisho:InstanceId", "i-01234567890abcdef"
	n := s.NodeOf(activate(t, s, "", [2]string{kind, "instance"}))
	if !strings.HasPrefix(n.ID, "i-") || len(n.ID) != 19 {
		t.Errorf("registered as %s", n.ID)
	}
	for _, bad := range [][][2]string{
		{{"Unknown", "x"}}, {{kind, "other"}}, {{kind, "instance"}, {kind, "instance"}}, {{fixed, ""}},
		{{fixed, "mi-01234567890abcdef"}},
		{{fixed, "i-0; rm -rf /"}}, {{kind, "managed-instance"}, {fixed, id}},
	} {
		activate(t, s, "ValidationException", bad...)
	}
	m := s.NodeOf(activate(t, s, "", [2]string{fixed, id}))
	if m.ID != id {
		t.Fatalf("registered as %s", m.ID)
	}
	activate(t, s, "AlreadyExistsException", [2]string{fixed, id})
	m.Connect()

	who := s.User("alice", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:StartSession",
		"Resource":["arn:aws:ec2:`+servertest.Region+`:`+servertest.Account+`:instance/`+id+`"]}]}`)
	s.Session(who, m)
	if a := s.JSON(who, "ssm", "StartSession", fields{"Target": n.ID}); a.Code() != "AccessDeniedException" {
		t.Errorf("the other instance: %d %s", a.Status, a.Body)
	}

	// A machine with an ID that was used before is another node to the server.
	old := m.Credentials
	if a := s.JSON(s.Admin, "ssm", "DeregisterManagedInstance", fields{"InstanceId": id}); a.Code() != "" {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	report := fields{"InstanceId": id, "AgentName": "x", "AgentVersion": "1"}
	if a := s.JSON(old, "ssm", "UpdateInstanceInformation", report); a.Code() == "" {
		t.Errorf("a deregistered machine reports: %d %s", a.Status, a.Body)
	}
	again := s.NodeOf(activate(t, s, "", [2]string{fixed, id}))
	if a := s.JSON(again.Credentials, "ssm", "UpdateInstanceInformation", report); a.Code() != "" {
		t.Errorf("a machine registered again under the same ID: %d %s", a.Status, a.Body)
	}
}
