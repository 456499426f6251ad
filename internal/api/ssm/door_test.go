package ssm_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/api"
	"sekisho/internal/api/ssm"
	"sekisho/internal/config/yamljson"
	"sekisho/internal/iam/identity"
	"sekisho/internal/node/control"
	"sekisho/internal/node/fleet"
	"sekisho/internal/node/inventory"
	"sekisho/internal/runcommand"
	"sekisho/internal/servertest/doortest"
	"sekisho/internal/session/access"
	"sekisho/internal/session/broker"
	"sekisho/internal/session/relay"
	"sekisho/internal/session/settings"
	"sekisho/internal/ssmdoc/doclibrary"
	"sekisho/internal/wire/sigv4"
)

type fields map[string]any

// roles are the roles of the account, as the server adapts them.
type roles struct{ *identity.Directory }

func (r roles) ActivationRole(ctx context.Context, name string) (string, error) {
	role, err := r.Roles.Get(ctx, name)
	if err != nil {
		return "", sekisho.Errorf(sekisho.CodeInvalid, "no role %s", name)
	}
	return role.ARN, nil
}

func (r roles) IssueNodeCredentials(
	ctx context.Context, node sekisho.NodeID, role string, programs bool, ttl time.Duration,
) (ssm.Credentials, error) {
	c, err := r.Credentials.IssueNodeCredentials(ctx, node, role, programs, ttl)
	return ssm.Credentials(c), err
}

// rig is the door with everything behind it.
type rig struct {
	*doortest.Base
	t     *testing.T
	front *api.Server
}

func start(t *testing.T) *rig {
	t.Helper()
	b := doortest.NewBase(t, nil)
	log := slog.New(slog.DiscardHandler)
	channels := control.New(log)
	nodes := fleet.New(fleet.Config{Store: b.DB.Fleet, Links: channels})
	sessions := relay.New(relay.Config{Log: log})
	front := b.Config(ssm.New(ssm.Config{
		Fleet: nodes, Channels: channels, Roles: roles{b.Directory},
		Documents: doclibrary.New(b.DB.Documents, yamljson.Texts{}, nil, nil),
		Broker:    broker.New(broker.Config{Store: b.DB.Sessions, Relay: sessions, Links: channels, Nodes: nodes, Log: log}),
		Inventory: inventory.New(b.DB.Inventory), Settings: settings.New(b.DB.Settings, nil),
		Commands: runcommand.New(runcommand.Config{Store: b.DB.Commands, Links: channels, Log: log}),
		Access:   access.New(access.Config{Store: b.DB.Access}), Region: doortest.Region, Account: doortest.Account,
	}))
	front.Nodes, front.NodeKeys = nodes, nodes
	return &rig{b, t, api.New(front)}
}

// call makes a call and returns the error code, "" for success.
func (r *rig) call(c sigv4.Credentials, operation string, in fields, out any) string {
	r.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		r.t.Fatal(err)
	}
	return doortest.CallJSON(r.t, r.front, c, "ssm", "AmazonSSM."+operation, string(body), out)
}

func (r *rig) must(operation string, in fields, out any) {
	r.t.Helper()
	if code := r.call(r.Admin, operation, in, out); code != "" {
		r.t.Fatalf("%s %v: %s", operation, in, code)
	}
}

const (
	preferences = `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"idleSessionTimeout":"20"}}`
	changed     = `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"idleSessionTimeout":"30"}}`
	unknownNode = "mi-0123456789abcdef0"
)

func TestRequestsAreRefusedByCode(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.must("CreateDocument", fields{"Name": "Mine", "DocumentType": "Session", "Content": preferences}, nil)
	setting := fields{"SettingId": settings.PublicSharing, "SettingValue": "Maybe"}
	many := make([]fields, 51)
	for i := range many {
		many[i] = fields{"Key": string(rune('A' + i)), "Value": ""}
	}
	for _, c := range []struct {
		name, operation string
		in              fields
		code            string
	}{
		{"a session on an unknown node", "StartSession", fields{"Target": unknownNode}, "TargetNotConnected"},
		{"a session with an unknown document", "StartSession", fields{"Target": unknownNode, "DocumentName": "None"},
			"InvalidDocument"},
		{"an unknown session to end", "TerminateSession", fields{"SessionId": ""}, "ValidationException"},
		{"an unknown session to resume", "ResumeSession", fields{"SessionId": "admin-0123456789abcdef0"},
			"DoesNotExistException"},
		{"an unknown state", "DescribeSessions", fields{"State": "Soon"}, "ValidationException"},
		{"a document that exists", "CreateDocument",
			fields{"Name": "Mine", "DocumentType": "Session", "Content": preferences}, "DocumentAlreadyExists"},
		{"a document that is not JSON", "CreateDocument", fields{"Name": "New", "DocumentType": "Session", "Content": "{"},
			"InvalidDocumentContent"},
		{"a schema of another type", "CreateDocument", fields{"Name": "New", "Content": preferences},
			"InvalidDocumentSchemaVersion"},
		{"a type that is not supported", "CreateDocument",
			fields{"Name": "New", "DocumentType": "Automation", "Content": preferences}, "ValidationException"},
		{"the same content again", "UpdateDocument",
			fields{"Name": "Mine", "DocumentVersion": "$LATEST", "Content": preferences}, "DuplicateDocumentContent"},
		{"a version that does not exist", "GetDocument", fields{"Name": "Mine", "DocumentVersion": "7"},
			"InvalidDocumentVersion"},
		{"an unknown document", "DescribeDocument", fields{"Name": "None"}, "InvalidDocument"},
		{"an unknown document to delete", "DeleteDocument", fields{"Name": "None"}, "InvalidDocument"},
		{"a command without nodes", "SendCommand", fields{"DocumentName": "AWS-RunShellScript"}, "ValidationException"},
		{"a command to one node twice", "SendCommand", fields{"DocumentName": "AWS-RunShellScript",
			"InstanceIds": []string{unknownNode, unknownNode}}, "DuplicateInstanceId"},
		{"an unknown command", "CancelCommand", fields{"CommandId": "0a0a0a0a-0000-4000-8000-000000000000"},
			"InvalidCommandId"},
		{"a limit that is too high", "CreateActivation", fields{"IamRole": "x", "RegistrationLimit": 1001},
			"ValidationException"},
		{"an unknown role", "CreateActivation", fields{"IamRole": "None"}, "ValidationException"},
		{"an unknown activation", "DeleteActivation", fields{"ActivationId": "0a0a0a0a-0000-4000-8000-000000000000"},
			"InvalidActivation"},
		{"an unknown node to deregister", "DeregisterManagedInstance", fields{"InstanceId": unknownNode},
			"InvalidInstanceId"},
		{"an unknown setting", "GetServiceSetting", fields{"SettingId": "/ssm/none"}, "ServiceSettingNotFound"},
		{"a value that a setting cannot have", "UpdateServiceSetting", setting, "ValidationException"},
		{"tags of an unknown type", "ListTagsForResource", fields{"ResourceType": "House", "ResourceId": "x"},
			"ValidationException"},
		{"tags of a type without objects", "ListTagsForResource", fields{"ResourceType": "Parameter", "ResourceId": "x"},
			"InvalidResourceType"},
		{"tags of an unknown node", "ListTagsForResource",
			fields{"ResourceType": "ManagedInstance", "ResourceId": unknownNode}, "InvalidResourceId"},
		{"too many tags", "AddTagsToResource", fields{"ResourceType": "Document", "ResourceId": "Mine", "Tags": many},
			"TooManyTagsError"},
		{"a reserved tag", "AddTagsToResource", fields{"ResourceType": "Document", "ResourceId": "Mine",
			"Tags": []fields{{"Key": "aws:x", "Value": ""}}}, "ValidationException"},
		{"a forged page token", "ListDocuments", fields{"NextToken": "x"}, "InvalidNextToken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := r.call(r.Admin, c.operation, c.in, nil); got != c.code {
				t.Errorf("%q, want %q", got, c.code)
			}
			if e := r.Trail.Last(); e.EventName != c.operation || e.ErrorCode == "" {
				t.Errorf("the trail has %s %q", e.EventName, e.ErrorCode)
			}
		})
	}
}

func TestEveryOperationAsksPolicy(t *testing.T) {
	t.Parallel()
	r := start(t)
	if _, err := r.Directory.Users.Create(t.Context(), "/", "nobody", "", nil); err != nil {
		t.Fatal(err)
	}
	k, err := r.Directory.Keys.Create(t.Context(), "nobody")
	if err != nil {
		t.Fatal(err)
	}
	nobody := sigv4.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret}
	for operation, in := range map[string]fields{
		"StartSession":                {"Target": unknownNode},
		"DescribeSessions":            {"State": "Active"},
		"CreateDocument":              {"Name": "New", "DocumentType": "Session", "Content": preferences},
		"GetDocument":                 {"Name": "SSM-SessionManagerRunShell"},
		"ListDocuments":               {},
		"SendCommand":                 {"DocumentName": "AWS-RunShellScript", "InstanceIds": []string{unknownNode}},
		"CreateActivation":            {"IamRole": "service-role/" + identity.NodeRole},
		"DescribeInstanceInformation": {},
		"GetServiceSetting":           {"SettingId": settings.PublicSharing},
		"AddTagsToResource": {"ResourceType": "Document", "ResourceId": "Missing",
			"Tags": []fields{{"Key": "a", "Value": "b"}}},
		"GetInventory": {},
	} {
		if got := r.call(nobody, operation, in, nil); got != "AccessDeniedException" {
			t.Errorf("%s: %q, want AccessDeniedException", operation, got)
		}
	}
}

func TestDocumentVersions(t *testing.T) {
	t.Parallel()
	r := start(t)
	var description struct {
		DocumentDescription struct{ Name, DocumentVersion, LatestVersion, DefaultVersion, Hash, Status string }
	}
	d := &description.DocumentDescription
	r.must("CreateDocument", fields{"Name": "Mine", "DocumentType": "Session", "Content": preferences}, &description)
	first := *d
	if d.Name != "Mine" || d.DocumentVersion != "1" || d.Status != "Active" || len(d.Hash) != 64 {
		t.Errorf("created %+v", *d)
	}
	r.must("UpdateDocument", fields{"Name": "Mine", "DocumentVersion": "$LATEST", "Content": changed}, &description)
	if d.DocumentVersion != "2" || d.DefaultVersion != "1" || d.Hash == first.Hash {
		t.Errorf("updated %+v", *d)
	}
	var got struct{ Content, DocumentVersion string }
	r.must("GetDocument", fields{"Name": "Mine"}, &got)
	if got.DocumentVersion != "1" || got.Content != preferences {
		t.Errorf("the default version is %+v", got)
	}
	r.must("UpdateDocumentDefaultVersion", fields{"Name": "Mine", "DocumentVersion": "2"}, nil)
	r.must("GetDocument", fields{"Name": "Mine"}, &got)
	if got.DocumentVersion != "2" || got.Content != changed {
		t.Errorf("the new default version is %+v", got)
	}
	r.must("DeleteDocument", fields{"Name": "Mine"}, nil)
	if code := r.call(r.Admin, "GetDocument", fields{"Name": "Mine"}, nil); code != "InvalidDocument" {
		t.Errorf("a deleted document: %q", code)
	}
}

func TestActivationsTagsAndSettings(t *testing.T) {
	t.Parallel()
	r := start(t)
	var made struct {
		ActivationID   string `json:"ActivationId"`
		ActivationCode string
	}
	r.must("CreateActivation", fields{"IamRole": "service-role/" + identity.NodeRole, "RegistrationLimit": 3}, &made)
	var list struct {
		ActivationList []struct {
			ActivationID      string `json:"ActivationId"`
			RegistrationLimit int
		}
	}
	r.must("DescribeActivations", fields{}, &list)
	if len(list.ActivationList) != 1 || list.ActivationList[0].ActivationID != made.ActivationID ||
		list.ActivationList[0].RegistrationLimit != 3 || len(made.ActivationCode) != 20 {
		t.Errorf("%+v of %s", list, made.ActivationID)
	}

	r.must("CreateDocument", fields{"Name": "Mine", "DocumentType": "Session", "Content": preferences}, nil)
	resource := fields{"ResourceType": "Document", "ResourceId": "Mine"}
	r.must("AddTagsToResource", fields{"ResourceType": "Document", "ResourceId": "Mine",
		"Tags": []fields{{"Key": "b", "Value": "2"}, {"Key": "a", "Value": "1"}}}, nil)
	r.must("RemoveTagsFromResource", fields{"ResourceType": "Document", "ResourceId": "Mine", "TagKeys": []string{"b"}},
		nil)
	type tag struct{ Key, Value string }
	var tags struct{ TagList []tag }
	r.must("ListTagsForResource", resource, &tags)
	if !slices.Equal(tags.TagList, []tag{{"a", "1"}}) {
		t.Errorf("tags %v", tags.TagList)
	}

	var setting struct {
		ServiceSetting struct{ SettingValue, Status string }
	}
	sharing := fields{"SettingId": settings.PublicSharing, "SettingValue": settings.Disable}
	r.must("UpdateServiceSetting", sharing, nil)
	r.must("GetServiceSetting", sharing, &setting)
	if s := setting.ServiceSetting; s.SettingValue != settings.Disable || s.Status != "Customized" {
		t.Errorf("changed: %+v", s)
	}
	share := fields{"Name": "Mine", "PermissionType": "Share", "AccountIdsToAdd": []string{"all"}}
	if code := r.call(r.Admin, "ModifyDocumentPermission", share, nil); code != "InvalidPermissionType" {
		t.Errorf("public sharing while the setting forbids it: %q", code)
	}
	r.must("ResetServiceSetting", fields{"SettingId": settings.PublicSharing}, &setting)
	if s := setting.ServiceSetting; s.SettingValue != settings.Enable || s.Status != "Default" {
		t.Errorf("reset: %+v", s)
	}
	r.must("ModifyDocumentPermission", share, nil)
}
