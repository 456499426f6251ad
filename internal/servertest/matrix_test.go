package servertest_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sekisho/internal/api"
	"sekisho/internal/api/cloudtrail"
	"sekisho/internal/api/iam"
	sekishoapi "sekisho/internal/api/sekisho"
	"sekisho/internal/api/ssm"
	"sekisho/internal/api/ssmmessages"
	"sekisho/internal/api/sts"
	"sekisho/internal/awsproto"
	"sekisho/internal/servertest"
	"sekisho/internal/sigv4"
)

// inputs are requests that are good enough to reach policy. An operation
// that is not here is called with "" of its door: add what it needs beyond
// that, or the matrix fails.
var inputs = map[string]map[string]any{
	"ssm": {
		"": map[string]any{
			"Target": "TARGET", "InstanceId": "TARGET", "SessionId": "alice-aaaaaaaaaaaaaaaaaaaaaaaaaa", "State": "Active",
			"IamRole": "service-role/AmazonEC2RunCommandRoleForManagedInstances", "ActivationId": "00000000-0000-4000-8000-000000000000",
			"Name": "My-Document", "Content": `{"schemaVersion":"1.0","sessionType":"Standard_Stream"}`, "DocumentType": "Session",
			"DocumentVersion": "1", "PermissionType": "Share", "ResourceType": "ManagedInstance", "ResourceId": "TARGET",
		},
		"AddTagsToResource":      map[string]any{"ResourceType": "ManagedInstance", "ResourceId": "TARGET", "Tags": []any{map[string]string{"Key": "k", "Value": "v"}}},
		"RemoveTagsFromResource": map[string]any{"ResourceType": "ManagedInstance", "ResourceId": "TARGET", "TagKeys": []string{"k"}},
		"CreateDocument":         map[string]any{"Name": "My-Document", "Content": `{"schemaVersion":"1.0","sessionType":"Standard_Stream"}`, "DocumentType": "Session"},
	},
	"cloudtrail": {"": map[string]any{}},
	"sekisho":    {"": map[string]any{"SessionId": "alice-aaaaaaaaaaaaaaaaaaaaaaaaaa"}},
	"iam":        {"": iamInput},
	"sts":        {"": map[string]any{"RoleArn": "arn:aws:iam::123456789012:role/service-role/AmazonEC2RunCommandRoleForManagedInstances", "RoleSessionName": "name", "Name": "name", "AccessKeyId": "AKIAIOSFODNN7EXAMPLE"}},
}

// iamInput holds every parameter at once: the door takes what it knows.
var iamInput = map[string]any{
	"UserName": "somebody", "NewUserName": "other", "GroupName": "group", "RoleName": "role", "PolicyName": "policy", "InstanceProfileName": "profile",
	"PolicyArn": "arn:aws:iam::123456789012:policy/policy", "PolicyDocument": `{"Version":"2012-10-17","Statement":[]}`, "VersionId": "v1",
	"AssumeRolePolicyDocument": `{"Version":"2012-10-17","Statement":[]}`, "PermissionsBoundary": "arn:aws:iam::123456789012:policy/policy",
	"AccessKeyId": "AKIAIOSFODNN7EXAMPLE", "Status": "Inactive", "Password": "Abc123!?Abc123!?", "OldPassword": "Abc123!?Abc123!?", "NewPassword": "Abc123!?Abc123!?x",
	"SerialNumber": "arn:aws:iam::123456789012:mfa/device", "AuthenticationCode1": "123456", "AuthenticationCode2": "654321", "VirtualMFADeviceName": "device",
	"Tags.member.1.Key": "k", "Tags.member.1.Value": "v", "TagKeys.member.1": "k", "AccountAlias": "alias", "PolicySourceArn": "arn:aws:iam::123456789012:user/somebody",
	"ActionNames.member.1": "ssm:StartSession", "PolicyInputList.member.1": `{"Version":"2012-10-17","Statement":[]}`, "Description": "x", "MaxSessionDuration": "3600",
}

// open are the operations that some of the three may use.
var open = map[string]struct {
	anonymous, user, node bool
	why                   string
}{
	"ssm.RegisterManagedInstance":         {anonymous: true, user: true, node: true, why: "the activation code is the permission"},
	"ssm.RequestManagedInstanceRoleToken": {why: "signed with a node's key only"},
	"ssm.UpdateInstanceInformation":       {node: true, why: "a node reports its own facts"},
	"ssm.GetDocument":                     {node: true, why: "AmazonSSMManagedInstanceCore"},
	"ssm.DescribeDocument":                {node: true, why: "AmazonSSMManagedInstanceCore"},
	"sts.GetCallerIdentity":               {user: true, node: true, why: "whoever is somebody may know who"},
	"sts.GetSessionToken":                 {user: true, why: "it gives nothing that the caller does not have"},
	"ssmmessages.CreateControlChannel":    {node: true, why: "a node opens its own channel"},
	"ssmmessages.OpenControlChannel":      {node: true, why: "a node opens its own channel"},
	"ssmmessages.CreateDataChannel":       {node: true, why: "a node opens its own sessions"},
	"ssmmessages.OpenDataChannel":         {anonymous: true, user: true, node: true, why: "the token is the permission"},
}

// isRefusal knows how those are answered who may not: nobody for want of a
// signature (a query request without one does not even name its service),
// others by policy.
func isRefusal(who, operation, code string) bool {
	switch {
	case who == "anonymous":
		return slices.Contains([]string{"MissingAuthenticationTokenException", "MissingAuthenticationToken", "InvalidAction"}, code)
	case operation == "ssm.RequestManagedInstanceRoleToken":
		return code == "UnrecognizedClientException"
	}
	return code == "AccessDeniedException" || code == "AccessDenied"
}

// Every operation of every door refuses those who were granted nothing: it is
// found in the doors themselves, so that a new one cannot be forgotten.
func TestCrossPrincipalMatrix(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	callers := map[string]sigv4.Credentials{"anonymous": {}, "user": s.User("nobody", ""), "node": n.Credentials}
	doors := []*api.Door{
		ssm.New(ssm.Config{}), iam.New(nil), sts.New(nil), cloudtrail.New(cloudtrail.Config{}), sekishoapi.New(sekishoapi.Config{}), ssmmessages.New(),
	}
	seen := map[string]bool{}
	for _, d := range doors {
		if len(d.Operations) == 0 {
			t.Errorf("%s has no operations: the matrix proves nothing", d.Service)
		}
		for _, op := range slices.Sorted(maps.Keys(d.Operations)) {
			name := d.Service + "." + op
			seen[name] = true
			for _, who := range []string{"anonymous", "user", "node"} {
				may := map[string]bool{"anonymous": open[name].anonymous, "user": open[name].user, "node": open[name].node}[who]
				a := call(t, s, d, op, callers[who], n)
				refused := isRefusal(who, name, a.Code())
				switch {
				case refused == may:
					t.Errorf("%s by %s: %d %.300s", name, who, a.Status, a.Body)
				case !may && a.Status < 400:
					t.Errorf("%s by %s was answered: %.300s", name, who, a.Body)
				}
			}
		}
	}
	for name := range open {
		if !seen[name] {
			t.Errorf("the matrix has %s, which no door has", name)
		}
	}
}

func call(t *testing.T, s *servertest.Server, d *api.Door, op string, as sigv4.Credentials, n *servertest.Node) servertest.Answer {
	t.Helper()
	if d.Service == "ssmmessages" {
		const session = "alice-aaaaaaaaaaaaaaaaaaaaaaaaaa"
		switch op {
		case "CreateControlChannel":
			return s.CreateChannel(as, "control-channel", n.ID)
		case "CreateDataChannel":
			return s.CreateChannel(as, "data-channel", session)
		case "OpenControlChannel":
			return s.Do(nil, as, "ssmmessages", http.MethodGet, "/v1/control-channel/"+n.ID, "")
		case "OpenDataChannel":
			return s.Do(nil, as, "ssmmessages", http.MethodGet, "/v1/data-channel/"+session, "")
		}
		t.Fatalf("the matrix does not know how to call %s", op)
	}
	in := inputs[d.Service][op]
	if in == nil {
		in = inputs[d.Service][""]
	}
	if d.Protocol == awsproto.JSON {
		text, err := json.Marshal(in)
		must(t, err)
		return s.JSON(as, d.Service, op, json.RawMessage(strings.ReplaceAll(string(text), "TARGET", n.ID)))
	}
	form := url.Values{"Action": {op}, "Version": {d.Version}}
	for k, v := range in.(map[string]any) {
		form.Set(k, v.(string))
	}
	return s.Do(func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, as, d.Service, http.MethodPost, "/", form.Encode())
}
